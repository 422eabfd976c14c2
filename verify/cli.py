"""The command ``verify``. Everything heavy is imported inside the commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from verify import __version__
from verify.cli_words import complain, describe_defect
from verify.errors import VerifyError
from verify.verdict import EXIT_INTERNAL, EXIT_PASS, EXIT_USAGE

_INTERRUPTED = 130
_BACKENDS = ("auto", "numpy", "numba", "cupy")
_PATH = click.Path(path_type=str)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; every error is one sentence."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="replace"
            )  # a terminal without Unicode must not cost a verdict
    try:
        given = None if arguments is None else list(arguments)
        code = command.main(args=given, prog_name="verify", standalone_mode=False)
        return code if isinstance(code, int) else EXIT_PASS
    except click.exceptions.Abort:
        complain("interrupted")
        return _INTERRUPTED
    except click.ClickException as error:
        complain(error.format_message())
        return EXIT_USAGE
    except VerifyError as error:
        complain(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away; leave without a word, as other commands do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERNAL
    except Exception as error:  # the last resort: still one sentence, and never a wrong answer
        complain(describe_defect(error))
        return EXIT_INTERNAL


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all pass, 1 some condition fails, 2 usage or bad input, 3 nothing fails "
    "but something is undecided, 4 the file was refused as unsafe, 5 internal error.\n",
)
@click.version_option(__version__, prog_name="verify", message="%(prog)s %(version)s")
@click.pass_context
def command(context: click.Context) -> int:
    """Do the hypotheses of a deep-learning theorem hold for this trained network?

    A pass is a proof, a fail comes with a witness, everything else says undecided and why.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    return EXIT_PASS


@command.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...", type=_PATH)
@click.option("--data", type=_PATH, metavar="FILE", help="Samples: X (n, d) and optionally y.")
@click.option("--run", "run_folder", type=_PATH, metavar="DIR", help="Checkpoints of the training.")
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="NAME",
    help="A condition to decide; repeatable. Default: every installed one.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="CONDITION.KEY=VALUE",
    help="A setting; numbers are exact (0.01, 1/3, 0x1.8p-3).",
)
@click.option("--family", metavar="NAME", help="Which family or layout the tensors are.")
@click.option("--activation", metavar="NAME", help="relu, leaky_relu(0.01), log(1+exp(z)), ...")
@click.option("--key", metavar="NAME", help="Which part of a nested checkpoint.")
@click.option("--report", type=_PATH, metavar="FILE.html", help="Write one page about all models.")
@click.option(
    "--json",
    "json_folder",
    type=_PATH,
    metavar="DIR",
    help="Write certificates with their witnesses and the exact tensors.",
)
@click.option("--junit", type=_PATH, metavar="FILE.xml", help="Write results as JUnit XML.")
@click.option(
    "--backend",
    type=click.Choice(_BACKENDS),
    default="auto",
    show_default=True,
    envvar="VERIFY_BACKEND",
    help="What computes; each one is rigorous.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Time for the expensive routes of each condition.",
)
@click.option("--all-routes", is_flag=True, help="Try expensive routes although it is decided.")
@click.option(
    "--trust", is_flag=True, help="Import the class that verify.toml declares under [model]."
)
@click.option("--allow-undecided", is_flag=True, help="Exit with 0 unless something fails.")
def check(**options: object) -> int:
    """Decide conditions about trained networks, with proof.

    \b
    verify check model.pt
    verify check w.npz --family equilibrium --activation relu --condition well-posedness
    verify check runs/*.pt --report runs.html
    """  # noqa: D301 - click knows the character backspace
    from verify.cli_check import Request, check_models

    return check_models(Request(**options))  # type: ignore[arg-type]


@command.command("list")
def list_conditions() -> int:
    """List the installed conditions, what each needs and where it comes from."""
    from verify.cli_catalogue import list_text

    click.echo(list_text())
    return EXIT_PASS


@command.command()
@click.argument("name")
def explain(name: str) -> int:
    """Explain a condition: goals, settings, routes, sources, what would make it pass."""
    from verify.cli_catalogue import explain_text

    click.echo(explain_text(name))
    return EXIT_PASS


@command.command()
def plugins() -> int:
    """List what is installed, and what failed to load."""
    from verify.cli_catalogue import plugins_text

    click.echo(plugins_text())
    return EXIT_PASS


@command.command()
@click.argument("name")
@click.option("--quick", is_flag=True, help="A short run, for a look.")
@click.option("--json", "json_folder", type=_PATH, metavar="DIR", help="Write certificates.")
@click.option("--report", type=_PATH, metavar="FILE.html", help="Write a page.")
def reproduce(name: str, quick: bool, json_folder: str | None, report: str | None) -> int:
    """Run a paper's experiment, with certificates along the run."""
    from verify.cli_catalogue import reproduction

    run = reproduction(name)
    return int(run(quick=quick, json_dir=json_folder, report=report, echo=click.echo))


@command.command()
@click.option("--quick", is_flag=True, help="A short run, for a look.")
@click.option("--json", "json_folder", type=_PATH, metavar="DIR", help="Write certificates there.")
@click.option("--report", type=_PATH, metavar="FILE.html", help="Write the page there.")
def demo(quick: bool, json_folder: str | None, report: str | None) -> int:
    """Train the bundled examples, certify them and write one report."""
    from verify.cli_catalogue import reproduction

    run = reproduction("demo")
    return int(run(quick=quick, json_dir=json_folder, report=report, echo=click.echo))


if __name__ == "__main__":
    sys.exit(main())
