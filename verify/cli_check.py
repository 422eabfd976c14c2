"""``verify check``: files to certificates, tables, reports and one exit code."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from verify.cli_output import print_outcomes, progress, renderers_for, write_outputs
from verify.cli_words import complain, describe_defect, printable
from verify.command_line import command_line
from verify.errors import InputError, PluginError, SettingsError, VerifyError
from verify.verdict import EXIT_INTERNAL, EXIT_PASS, EXIT_UNDECIDED, combined_exit_code, exit_code

if TYPE_CHECKING:
    from verify.certificate import Certificate
    from verify.network import Data, Run
    from verify.readers import Loaded

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
            trust=self.trust,
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
    renderers = renderers_for(request)
    _limit_threads(request.models)
    uses_run = _uses_run(request)
    if request.run_folder is not None and not uses_run:
        complain(
            "--run: no condition of this check looks at a training run, so it changes nothing; "
            "give the checkpoints themselves as models to check each of them"
        )
    data: Data | None = None
    if request.data is not None:
        from verify.readers import read_data

        data = read_data(request.data)
    outcomes = []
    with progress(len(request.models)) as say:
        for model in dict.fromkeys(request.models):
            outcome = _check_one(model, request, settings, data, uses_run, say)
            outcomes.append(outcome)
            if outcome.problem:
                complain(outcome.problem)
    print_outcomes(outcomes)
    codes = [outcome.code for outcome in outcomes]
    if any(outcome.certificates for outcome in outcomes):
        codes += _missing_conditions(request)
    try:
        write_outputs(outcomes, request, renderers)
    except OSError as error:
        raise InputError(
            f"{error.filename}: expected a place to write to, but got {error.strerror}"
        ) from error
    return combined_exit_code(codes)


_NO_INPUT_MAP = "the samples are not used: b(x) cannot be evaluated from this file"

# Below this size of the files one thread is the fastest: more only wait for each other.
_ONE_THREAD_BYTES = 16 << 20


def _limit_threads(models: tuple[str, ...]) -> None:
    """Let small models run on one thread; a variable that the user has set stays."""
    sizes = [Path(model).stat().st_size for model in models if Path(model).is_file()]
    if max(sizes, default=0) < _ONE_THREAD_BYTES:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _check_one(
    model: str,
    request: Request,
    settings: dict[str, str],
    data: Data | None,
    uses_run: bool,
    say: Progress,
) -> Outcome:
    """Check one file; whatever goes wrong concerns this file alone."""
    try:
        certificates = _certificates(model, request, settings, data, uses_run, say)
    except VerifyError as error:
        several = len(request.models) > 1 and Path(model).name not in str(error)
        problem = f"{model!r}: {error}" if several else str(error)
        return Outcome(model, code=error.exit_code, problem=printable(problem))
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
    uses_run: bool,
    say: Progress,
) -> tuple[Certificate, ...]:
    from verify.condition import Effort
    from verify.engine import check
    from verify.network import AffineInput, Equilibrium, ReluFeatureInput
    from verify.readers import read_network
    from verify.readers.assembly import check_data_fits, with_notes

    say(f"reading {printable(model)}")
    loaded = read_network(
        model,
        family=request.family,
        activation=request.activation,
        settings=settings,
        key=request.key,
        trust=request.trust,
    )
    if request.trust and (loaded.module is None or not loaded.module.table.name):
        complain(
            f"--trust: no class is declared for {printable(repr(model))}, so none was imported"
        )
    network = loaded.network
    if data is not None and request.data is not None:
        check_data_fits(network, data, printable(repr(request.data)))
        evaluable = AffineInput | ReluFeatureInput
        if isinstance(network, Equilibrium) and not isinstance(network.input, evaluable):
            network = with_notes(network, [_NO_INPUT_MAP])
    effort = Effort(backend=request.backend, budget=request.budget, all_routes=request.all_routes)
    certificates = check(
        network,
        data if data is not None else loaded.data,
        _run(request, loaded, say) if uses_run else None,
        conditions=request.conditions or None,
        settings=loaded.settings,
        effort=effort,
        provenance={"file": loaded.file, "sha256": loaded.sha256, "format": loaded.format},
        progress=say,
    )
    again = {"command": request.command(model)}
    return tuple(replace(one, provenance={**one.provenance, **again}) for one in certificates)


def _uses_run(request: Request) -> bool:
    """Return whether there is a run that some condition of the check looks at."""
    if request.run_folder is None:
        return False
    if not Path(request.run_folder).is_dir():
        raise InputError(f"--run: expected a folder of checkpoints, but got {request.run_folder!r}")
    from verify import registry

    installed = registry.conditions()
    names = request.conditions or tuple(installed)
    return any(installed[name].uses_run for name in names if name in installed)


def _run(request: Request, loaded: Loaded, say: Progress) -> Run:
    from verify.readers import read_run

    say(f"reading {printable(str(request.run_folder))}")
    return read_run(str(request.run_folder), loaded, skip=[request.data] if request.data else [])


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
