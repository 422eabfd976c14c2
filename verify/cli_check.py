"""``verify check``: files to certificates, tables, reports and one exit code."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verify.cli import complain, describe_defect, printable
from verify.command_line import command_line
from verify.errors import InputError, PluginError, SettingsError, VerifyError
from verify.verdict import EXIT_INTERNAL, EXIT_PASS, EXIT_UNDECIDED, combined_exit_code, exit_code

if TYPE_CHECKING:
    from verify.certificate import Certificate
    from verify.network import Data, Run

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """The flags of ``verify check``."""

    models: tuple[str, ...]
    data: str | None
    run_folder: str | None
    conditions: tuple[str, ...]
    settings: tuple[str, ...]
    family: str | None
    activation: str | None
    key: str | None
    report: str | None
    json_folder: str | None
    junit: str | None
    backend: str
    budget: float
    all_routes: bool
    trust: bool
    allow_undecided: bool

    def chosen(self) -> dict[str, str]:
        """Return ``--set`` as a mapping.

        Raises:
            SettingsError: not of the form condition.key=value, or one key twice.
        """
        found: dict[str, str] = {}
        for text in self.settings:
            name, equals, value = text.partition("=")
            condition, dot, key = name.strip().partition(".")
            if not (equals and dot and condition and key and value.strip()):
                raise SettingsError(f"--set: expected condition.key=value, but got {text!r}")
            if name.strip() in found:
                raise SettingsError(f"--set: expected each setting once, but got {name!r} twice")
            found[name.strip()] = value.strip()
        return found

    def command(self, model: str) -> str:
        """Return the command that checks one of the models again in the same way."""
        texts = {
            "data": self.data,
            "run": self.run_folder,
            "family": self.family,
            "activation": self.activation,
            "key": self.key,
        }
        return command_line(
            model,
            texts=texts,
            conditions=self.conditions,
            settings=self.chosen(),
            backend=self.backend,
            budget=self.budget,
            all_routes=self.all_routes,
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one file: certificates, or the sentence why there are none."""

    model: str
    certificates: tuple[Certificate, ...] = ()
    code: int = EXIT_PASS
    problem: str = ""


def check_models(request: Request) -> int:
    """Check every model, print and write what was asked for, and return the exit code.

    Raises:
        InputError: a flag names a file of a kind that no renderer writes, or a missing folder.
        SettingsError: a malformed ``--set``.
    """
    settings = request.chosen()
    if request.budget != request.budget:
        raise SettingsError("--budget: expected a number of seconds, but got nan")
    renderers = _renderers(request)
    run = _run(request.run_folder)
    if request.trust:
        complain("--trust: no installed family needs code of its own, so nothing was imported")
    data: Data | None = None
    if request.data is not None:
        from verify.readers import read_data

        data = read_data(request.data)
    outcomes = []
    with _progress(len(request.models)) as say:
        for model in dict.fromkeys(request.models):
            outcome = _check_one(model, request, settings, data, run, say)
            outcomes.append(outcome)
            if outcome.problem:
                complain(outcome.problem)
    _print(outcomes)
    codes = [outcome.code for outcome in outcomes]
    if any(outcome.certificates for outcome in outcomes):
        codes += _missing_conditions(request)
    try:
        _write(outcomes, request, renderers)
    except OSError as error:
        raise InputError(
            f"{error.filename}: expected a place to write to, but got {error.strerror}"
        ) from error
    return combined_exit_code(codes)


def _check_one(
    model: str,
    request: Request,
    settings: dict[str, str],
    data: Data | None,
    run: Run | None,
    say: Progress,
) -> Outcome:
    """Check one file; whatever goes wrong concerns this file alone."""
    try:
        certificates = _certificates(model, request, settings, data, run, say)
    except VerifyError as error:
        return Outcome(model, code=error.exit_code, problem=printable(error))
    except Exception as error:
        return Outcome(
            model, code=EXIT_INTERNAL, problem=printable(f"{model}: {describe_defect(error)}")
        )
    code = exit_code(
        [certificate.verdict for certificate in certificates],
        requested=bool(request.conditions),
        allow_undecided=request.allow_undecided,
    )
    return Outcome(model, certificates, code)


def _certificates(
    model: str,
    request: Request,
    settings: dict[str, str],
    data: Data | None,
    run: Run | None,
    say: Progress,
) -> tuple[Certificate, ...]:
    from verify.condition import Effort
    from verify.engine import check
    from verify.readers import read_network

    say(f"reading {printable(model)}")
    loaded = read_network(
        model,
        family=request.family,
        activation=request.activation,
        settings=settings,
        key=request.key,
    )
    effort = Effort(backend=request.backend, budget=request.budget, all_routes=request.all_routes)
    certificates = check(
        loaded.network,
        data if data is not None else loaded.data,
        run,
        conditions=request.conditions or None,
        settings=loaded.settings,
        effort=effort,
        provenance={"file": loaded.file, "sha256": loaded.sha256, "format": loaded.format},
        progress=say,
    )
    again = {"command": request.command(model)}
    return tuple(replace(one, provenance={**one.provenance, **again}) for one in certificates)


def _run(folder: str | None) -> Run | None:
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise InputError(f"--run: expected a folder of checkpoints, but got {folder!r}")
    from verify.network import Run as RunValue

    return RunValue({"folder": folder})


def _missing_conditions(request: Request) -> list[int]:
    """Return an exit code for conditions that are installed but do not load: nothing is proved."""
    from verify import registry

    missing = []
    for name in [] if request.conditions else registry.names("conditions"):
        try:
            registry.load("conditions", name)
        except PluginError as error:
            complain(f"condition {name!r} was not decided: {error}")
            missing.append(EXIT_UNDECIDED)
    return [] if request.allow_undecided else missing


# --- what the person sees --------------------------------------------------------------------


@contextmanager
def _progress(files: int) -> Iterator[Progress]:
    """Show what is being done, on a terminal only; pipes and CI see results alone."""
    if not sys.stderr.isatty() or os.environ.get("CI"):
        yield lambda text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("reading") as status:
        yield lambda text: status.update(Text(printable(text)))


def _print(outcomes: Sequence[Outcome]) -> None:
    import click

    from verify import registry

    certificates = [one for outcome in outcomes for one in outcome.certificates]
    if not certificates and len(outcomes) == 1:
        return
    terminal = sys.stdout.isatty()
    text = registry.load("reports", "terminal")(
        certificates,
        problems=_problems(outcomes),
        width=shutil.get_terminal_size().columns if terminal else 80,
        colour=terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb",
        details=len(outcomes) == 1,
    )
    click.echo(text, nl=False)


def _problems(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.model, outcome.problem) for outcome in outcomes if outcome.problem]


# --- files -----------------------------------------------------------------------------------


def _renderers(request: Request) -> dict[str, Any]:
    """Return the renderers for the files that are asked for, before any time is spent."""
    from verify import registry

    found = {}
    if request.report is not None:
        kind = Path(request.report).suffix.removeprefix(".").lower()
        if kind not in ("html", "htm"):
            raise InputError(f"--report: expected a file named .html, but got {request.report!r}")
        found["report"] = registry.load("reports", "html")
    if request.junit is not None:
        found["junit"] = registry.load("reports", "junit")
    return found


def _write(outcomes: Sequence[Outcome], request: Request, renderers: dict[str, Any]) -> None:
    certificates = [one for outcome in outcomes for one in outcome.certificates]
    problems = _problems(outcomes)
    if request.report is not None:
        write_text(Path(request.report), renderers["report"](certificates, problems=problems))
    if request.junit is not None:
        text = renderers["junit"](
            certificates, problems=problems, requested=bool(request.conditions)
        )
        write_text(Path(request.junit), text)
    if request.json_folder is not None:
        from verify.certificate import write_certificates

        stems = stems_of([outcome.model for outcome in outcomes])
        for outcome, stem in zip(outcomes, stems, strict=True):
            if outcome.certificates:
                write_certificates(outcome.certificates, Path(request.json_folder), stem)


def stems_of(models: Sequence[str]) -> list[str]:
    """Return a file stem for each model: its own, with its folders where two are equal."""
    plain = [Path(model).stem for model in models]
    stems: list[str] = []
    for model, stem in zip(models, plain, strict=True):
        if plain.count(stem) > 1:
            stem = "-".join(part for part in Path(model).parts if part not in ("/", ".", ".."))
        wanted, count = stem, 1
        while stem in stems:
            count += 1
            stem = f"{wanted}-{count}"
        stems.append(stem)
    return stems


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside its place first, then renamed.

    What exists and is no plain file (a pipe, /dev/stdout) is written to and never replaced; a
    link keeps pointing where it points.
    """
    content = text.encode("utf-8", errors="replace")
    if path.exists() and (not path.is_file() or path.is_relative_to("/dev")):
        path.write_bytes(content)
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
