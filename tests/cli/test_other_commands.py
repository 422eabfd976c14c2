"""``verify list``, ``explain``, ``plugins``, ``reproduce``, ``demo``, ``--help``, ``--version``."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from verify import __version__, registry


def test_version(verify_command: Any) -> None:
    done = verify_command("--version")
    assert done.code == 0
    assert done.out == f"verify {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_names_every_command(verify_command: Any, arguments: list[str]) -> None:
    done = verify_command(*arguments)
    assert done.code == 0
    for name in ("check", "list", "explain", "reproduce", "demo", "plugins"):
        assert f"  {name} " in done.out
    assert "Exit codes" in done.out


@pytest.mark.parametrize("name", ["check", "list", "explain", "reproduce", "demo", "plugins"])
def test_every_command_has_help(verify_command: Any, name: str) -> None:
    done = verify_command(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: verify {name}")


def test_an_unknown_command_is_one_sentence(verify_command: Any) -> None:
    done = verify_command("prove")
    assert done.code == 2
    assert done.err.startswith("verify: ")
    assert done.err.count("\n") == 1


def test_list_tells_what_each_condition_needs(verify_command: Any) -> None:
    done = verify_command("list")
    assert done.code == 0
    for name, condition in registry.conditions().items():
        assert f"{name}: {condition.title}" in done.out
        assert condition.needs.split()[0] in done.out
    assert "verify-nn" in done.out


def test_explain_is_derived_from_the_condition(verify_command: Any) -> None:
    for name, condition in registry.conditions().items():
        done = verify_command("explain", name)
        assert done.code == 0
        text = " ".join(done.out.split())
        for goal in condition.goals:
            assert goal.sentence in text
        for key, meaning in condition.settings.items():
            assert f"--set {name}.{key}=VALUE" in text
            assert " ".join(meaning.split()) in text
        for route in condition.routes:
            assert route.title in text
            for statement in route.statements:
                assert _in_words(statement.text()) in text
                assert statement.conclusion in text
                assert statement.source.key in text
                assert " ".join(statement.source.where.split()) in text
                assert all(" ".join(one.split()) in text for one in statement.assumes)


def _in_words(statement: str) -> str:
    words = {" & ": " and ", " | ": " or ", "**": "^"}
    for sign, word in words.items():
        statement = statement.replace(sign, word)
    return " ".join(statement.split())


def test_explain_tells_a_statement_and_what_all_assume_once(verify_command: Any) -> None:
    condition = registry.conditions()["expressivity"]
    statements = [s for route in condition.routes for s in route.statements]
    text = " ".join(verify_command("explain", "expressivity").out.split())
    assert "the statement of [perturbed-gram]" in text
    drawn = "the weights differ from the stored ones in trained hidden tensors only and "
    assert text.count(f"{drawn}(lambda_min > rho2)") == 1
    common = set.intersection(*(set(statement.assumes) for statement in statements))
    assert common
    assert all(text.count(" ".join(one.split())) == 1 for one in common)


def test_explain_changes_with_the_statement(
    verify_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import sympy as sp

    name, condition = next(iter(registry.conditions().items()))
    route = next(r for r in condition.routes if r.statements[0].quantities)
    statement = route.statements[0]
    other = replace(statement, hypothesis=sp.And(statement.hypothesis, _another(statement)))
    changed = replace(
        condition, routes=(replace(route, statements=(other, *route.statements[1:])),)
    )
    monkeypatch.setattr(registry, "conditions", lambda: {name: changed})
    assert "4711" in verify_command("explain", name).out


def _another(statement: Any) -> Any:
    return statement.quantities[0].symbol < 4711


def test_explain_an_unknown_name(verify_command: Any) -> None:
    done = verify_command("explain", "nonsense")
    assert done.code == 2
    assert "well-posedness" in done.err


def test_plugins_lists_every_entry_point(verify_command: Any) -> None:
    done = verify_command("plugins")
    assert done.code == 0
    for plugin in registry.plugins():
        assert plugin.name in done.out
    for group in ("conditions", "backends", "readers", "reports", "reproductions"):
        assert f"verify.{group}" in done.out


def test_plugins_names_what_failed_to_load(
    verify_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = registry.Plugin(
        "conditions", "odd", "odd.module:CONDITION", "odd-nn", "no \x1b module"
    )
    monkeypatch.setattr(registry, "plugins", lambda: [broken])
    done = verify_command("plugins")
    assert "failed odd" in done.out
    assert "\x1b" not in done.out


def test_reproduce_hands_its_flags_over_and_returns_the_code(
    verify_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def run(**given: Any) -> int:
        seen.update(given)
        given["echo"]("a line")
        return 1

    monkeypatch.setattr(registry, "load", lambda group, name: run)
    done = verify_command(
        "reproduce", "implicit-relu", "--quick", "--json", "out", "--report", "page.html"
    )
    assert done.code == 1
    assert done.out == "a line\n"
    seen.pop("echo")
    assert seen == {"quick": True, "json_dir": "out", "report": "page.html"}


def test_reproduce_an_unknown_name(verify_command: Any) -> None:
    done = verify_command("reproduce", "nonsense")
    assert done.code == 2
    for name in ("implicit-relu", "well-posedness"):
        assert name in done.err


def test_the_installed_command_runs_from_anywhere(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("verify")
    if not script.exists():
        pytest.skip("the command is not installed beside this interpreter")
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [script, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"verify {__version__}\n")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from verify.cli import main; sys.exit(main(['--help']))"
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
