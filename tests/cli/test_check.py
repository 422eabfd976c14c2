"""``verify check``: what it prints, writes and returns."""

import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

# --- exit codes ----------------------------------------------------------------------------------


def test_0_pass(verify_command: Any, models: Path, flags: list[str]) -> None:
    done = verify_command("check", models / "good.npz", *flags)
    assert done.code == 0
    assert "✓ pass" in done.out
    assert "Proved:" in done.out
    assert done.err == ""


def test_1_fail_with_two_equilibria(verify_command: Any, models: Path, flags: list[str]) -> None:
    done = verify_command("check", models / "bad.npz", *flags)
    assert done.code == 1
    assert "✗ fail" in done.out
    assert "two different equilibria for one b" in done.out
    assert "nothing follows from this" in done.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.npz"], "missing.npz"),
        (["text.npz"], "expected"),
        (["good.npz", "--activation", "swosh"], "--activation: expected one of"),
        (["good.npz", "--set", "gamma"], "--set: expected condition.key=value"),
        (["good.npz", "--set", "well-posedness.nonsense=1"], "nonsense"),
        (["good.npz", "--condition", "nonsense"], "--condition: expected one of"),
        (["good.npz", "--report", "page.pdf"], "--report: expected a file named .html"),
        (["good.npz", "--run", "nowhere"], "--run: expected a folder"),
        (["good.npz", "--data", "nowhere.npz"], "nowhere.npz"),
        (["good.npz", "--backend", "abacus"], "abacus"),
        (["good.npz", "--budget", "-1"], "--budget"),
        (["good.npz", "--budget", "nan"], "--budget"),
        (["good.npz", "--no-such-flag"], "no-such-flag"),
        ([], "MODEL"),
    ],
)
def test_2_usage_and_bad_input_is_one_sentence(
    verify_command: Any,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(models)
    base = [] if "--activation" in arguments else ["--activation", "relu"]
    done = verify_command("check", *arguments, "--family", "equilibrium", *base)
    assert done.code == 2
    assert done.err.startswith("verify: ")
    assert told.lower() in done.err.lower()
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err


def test_2_a_missing_declaration_names_the_flag(verify_command: Any, models: Path) -> None:
    done = verify_command("check", models / "good.npz", "--family", "equilibrium")
    assert done.code == 2
    assert "--activation" in done.err


def test_3_undecided_names_the_next_step(
    verify_command: Any, models: Path, flags: list[str]
) -> None:
    done = verify_command("check", models / "open.npz", *flags, "--budget", "0")
    assert done.code == 3
    assert "? undecided" in done.out
    assert "next step" in done.out
    allowed = verify_command(
        "check", models / "open.npz", *flags, "--budget", "0", "--allow-undecided"
    )
    assert allowed.code == 0
    assert "? undecided" in allowed.out


def test_4_an_unsafe_file_is_refused_and_nothing_runs(
    verify_command: Any, models: Path, flags: list[str]
) -> None:
    done = verify_command("check", models / "unsafe.npz", *flags)
    assert done.code == 4
    assert done.err.startswith("verify: ")
    assert done.err.count("\n") == 1
    assert not (models / "executed").exists()


def test_2_a_backend_that_is_not_there(verify_command: Any, models: Path, flags: list[str]) -> None:
    pytest.importorskip("verify_kernels")
    if _has_cuda():
        pytest.skip("this machine has a CUDA backend")
    done = verify_command("check", models / "good.npz", *flags, "--backend", "cupy")
    assert done.code == 2
    assert "pass" not in done.out
    assert done.err.count("\n") == 1


def _has_cuda() -> bool:
    try:
        import cupy  # noqa: F401
    except ImportError:
        return False
    return True


def test_5_an_unexpected_exception_is_one_sentence(
    verify_command: Any, models: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("one \x1b[31mbad\x1b[0m\nline")

    monkeypatch.delenv("VERIFY_DEBUG", raising=False)
    monkeypatch.setattr("verify.engine.check", broken)
    done = verify_command("check", models / "good.npz", *flags)
    assert done.code == 5
    assert "internal error: ZeroDivisionError" in done.err
    assert "\x1b" not in done.err
    assert done.err.count("\n") == 1
    monkeypatch.setenv("VERIFY_DEBUG", "1")
    assert "Traceback" in verify_command("check", models / "good.npz", *flags).err


# --- several files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["good", "good2"], 0),
        (["good", "open"], 3),
        (["open", "bad", "good"], 1),
        (["bad", "text", "good"], 2),
        (["text", "unsafe", "bad"], 4),
    ],
)
def test_several_files_one_table_and_the_worst_code(
    verify_command: Any, models: Path, flags: list[str], names: list[str], code: int
) -> None:
    np.savez(models / "good2.npz", W=np.array([[0.25]]))
    files = [models / f"{name}.npz" for name in names]
    done = verify_command("check", *files, *flags, "--budget", "0")
    assert done.code == code
    table = done.out.split("\n\n")[0]
    if "good" in names:
        assert "✓ pass" in table
    assert table.count("not checked") == len({"text", "unsafe"} & set(names))
    assert done.err.count("\n") == len({"text", "unsafe"} & set(names))


# --- what is written -----------------------------------------------------------------------------


def test_json_holds_certificates_that_read_back(
    verify_command: Any, models: Path, flags: list[str], tmp_path: Path
) -> None:
    from verify.certificate import read_certificate

    done = verify_command("check", models / "bad.npz", *flags, "--json", tmp_path / "out")
    assert done.code == 1
    path = tmp_path / "out" / "bad.well-posedness.json"
    certificate = read_certificate(path)
    assert certificate.verdict == "fail"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["provenance"]["command"].startswith("verify check ")
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.startswith(".")]


def test_models_of_one_name_do_not_overwrite_each_other(
    verify_command: Any, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, size in (("a", 0.5), ("b", 0.25)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "model.npz", W=np.array([[size]]))
    done = verify_command("check", "a/model.npz", "b/model.npz", *flags, "--json", "out")
    assert done.code == 0
    names = sorted(p.name for p in (tmp_path / "out").glob("*.json"))
    assert names == ["a-model.npz.well-posedness.json", "b-model.npz.well-posedness.json"]


def test_report_and_junit_tell_of_files_that_could_not_be_read(
    verify_command: Any, models: Path, flags: list[str], tmp_path: Path
) -> None:
    page, xml = tmp_path / "deep" / "page.html", tmp_path / "out.xml"
    files = [models / "good.npz", models / "bad.npz", models / "text.npz"]
    done = verify_command("check", *files, *flags, "--report", page, "--junit", xml)
    assert done.code == 2
    text = page.read_text(encoding="utf-8")
    assert "✓ pass" in text
    assert "✗ fail" in text
    assert "not checked" in text
    suite = ElementTree.fromstring(xml.read_text(encoding="utf-8").split("\n", 1)[1])
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == (
        "3", "1", "1",
    )  # fmt: skip


def test_a_report_that_cannot_be_written_is_one_sentence(
    verify_command: Any, models: Path, flags: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = verify_command(
        "check", models / "good.npz", *flags, "--report", tmp_path / "file" / "page.html"
    )
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_an_existing_report_survives_a_renderer_that_fails(
    verify_command: Any, models: Path, flags: list[str], tmp_path: Path, monkeypatch: Any
) -> None:
    from verify.cli_output import write_text

    page = tmp_path / "page.html"
    page.write_text("old", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", _refuse)
    with pytest.raises(OSError, match="full"):
        write_text(page, "new")
    assert page.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [page]


def test_a_pipe_is_written_to_and_a_link_stays_a_link(tmp_path: Path) -> None:
    from verify.cli_output import write_text

    write_text(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()
    (tmp_path / "page.html").write_text("old", encoding="utf-8")
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    write_text(tmp_path / "link.html", "new")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "new"


def _refuse(*args: Any) -> None:
    raise OSError("full")


# --- settings and data ---------------------------------------------------------------------------


def test_a_declared_file_needs_no_flag(verify_command: Any, models: Path) -> None:
    assert verify_command("check", models / "declared.npz").code == 0


def test_settings_beside_the_model(verify_command: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", W=np.array([[0.5]]))
    (tmp_path / "verify.toml").write_text(
        'family = "equilibrium"\nactivation = "relu"\n', encoding="utf-8"
    )
    assert verify_command("check", tmp_path / "w.npz").code == 0


def test_a_flag_wins_over_the_file(verify_command: Any, models: Path) -> None:
    done = verify_command("check", models / "declared.npz", "--activation", "tanh")
    assert done.code == 0
    assert "tanh(W z" in done.out


def test_data_are_certified_sample_by_sample(
    verify_command: Any, models: Path, flags: list[str]
) -> None:
    done = verify_command("check", models / "input.npz", *flags, "--data", models / "samples.npz")
    assert done.code == 0
    assert "3 of 3 samples certified" in done.out


def test_trust_says_that_nothing_was_imported(
    verify_command: Any, models: Path, flags: list[str]
) -> None:
    done = verify_command("check", models / "good.npz", *flags, "--trust")
    assert done.code == 0
    assert "--trust: no class is declared for" in done.err


def test_all_routes_tries_what_the_goal_no_longer_needs(
    verify_command: Any, models: Path, flags: list[str]
) -> None:
    less = verify_command("check", models / "good.npz", *flags).out
    more = verify_command("check", models / "good.npz", *flags, "--all-routes").out
    assert "--all-routes tries it nevertheless" in less
    assert "--all-routes tries it nevertheless" not in more


# --- the terminal --------------------------------------------------------------------------------


def test_no_colour_and_80_columns_in_a_pipe(
    verify_command: Any, models: Path, flags: list[str]
) -> None:
    done = verify_command("check", models / "bad.npz", *flags)
    assert "\x1b" not in done.out + done.err
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_hostile_file_name_is_harmless(
    verify_command: Any, flags: list[str], tmp_path: Path
) -> None:
    good = tmp_path / "a\x1b[31m<script>b\u202e.npz"
    np.savez(good, W=np.array([[0.5]]))
    page = tmp_path / "page.html"
    done = verify_command("check", good, tmp_path / "x\x1b]0;t\x07.npz", *flags, "--report", page)
    assert done.code == 2
    text = page.read_text(encoding="utf-8")
    for seen in (done.out, done.err, text):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\x9b\u202e]", seen)
    assert "<script" not in text


def test_progress_is_silent_without_a_terminal(
    verify_command: Any, models: Path, flags: list[str]
) -> None:
    assert not sys.stderr.isatty()
    assert verify_command("check", models / "good.npz", *flags).err == ""


# --- what is refused or not used is named --------------------------------------------------------


def test_samples_of_another_dimension_name_their_file(
    verify_command: Any, tmp_path: Path, flags: list[str]
) -> None:
    np.savez(tmp_path / "w.npz", W=np.eye(2) / 2, U=np.ones((2, 3)))
    np.savez(tmp_path / "samples.npz", X=np.ones((5, 2)))
    done = verify_command("check", tmp_path / "w.npz", *flags, "--data", tmp_path / "samples.npz")
    assert done.code == 2
    assert "samples.npz': expected samples X of shape (n, 3), but got (5, 2)" in done.err


def test_samples_without_an_input_map_are_said_to_be_unused(
    verify_command: Any, tmp_path: Path, flags: list[str]
) -> None:
    np.savez(tmp_path / "w.npz", W=np.eye(2) / 2)
    np.savez(tmp_path / "samples.npz", X=np.ones((5, 2)))
    done = verify_command("check", tmp_path / "w.npz", *flags, "--data", tmp_path / "samples.npz")
    assert done.code == 0
    assert "the samples are not used" in done.out


def test_of_several_files_the_refused_one_is_named(
    verify_command: Any, tmp_path: Path, flags: list[str]
) -> None:
    np.savez(tmp_path / "good.npz", W=np.eye(2) / 2)
    np.savez(tmp_path / "oblong.npz", W=np.ones((2, 3)))
    done = verify_command("check", tmp_path / "good.npz", tmp_path / "oblong.npz", *flags)
    assert done.code == 2
    assert "oblong.npz': equilibrium: expected 'W' to be square, but got (2, 3)" in done.err


def test_a_folder_is_called_a_folder(verify_command: Any, tmp_path: Path, flags: list[str]) -> None:
    done = verify_command("check", tmp_path, *flags)
    assert done.code == 2
    assert "but got a folder" in done.err
