"""What loads what: the import budget, entry points, layout, and the commands in the README."""

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"sympy", "numpy", "scipy", "numba", "torch", "cupy", "flint", "jinja2", "rich", "cvxpy"}
CONDITION_ROOT = ROOT / "conditions" / "verify_conditions"


def loaded(code: str, tmp_path: Path) -> set[str]:
    """Run code in a fresh interpreter elsewhere and return the modules it has loaded."""
    script = f"{code}\nimport sys\nprint('LOADED', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("LOADED ")[1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import verify",
        "import verify; dir(verify)",
        "import verify.cli",
        "import verify.pytest_plugin",
        "import verify.readers",
        "from verify.cli import main\nassert main(['--help']) == 0",
        "from verify.cli import main\nassert main(['check', '--help']) == 0",
        "from verify.cli import main\nassert main(['--version']) == 0",
    ],
)
def test_nothing_heavy_is_loaded(code: str, tmp_path: Path) -> None:
    assert not HEAVY & loaded(code, tmp_path)


def test_checking_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import numpy as np; np.savez('w.npz', W=np.array([[0.5]]))\n"
        "from verify.cli import main\n"
        "assert main(['check', 'w.npz', '--family', 'equilibrium', '--activation', 'relu']) == 0"
    )
    assert not {"torch", "cupy"} & loaded(code, tmp_path)


def test_the_facade_names_what_it_promises() -> None:
    import verify

    for name in verify.__all__:
        assert getattr(verify, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = verify.nonsense


def entry_points_declared() -> dict[str, dict[str, str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups: dict[str, dict[str, str]] = project["entry-points"]
    return groups


def test_every_entry_point_names_a_module_that_exists() -> None:
    for group in entry_points_declared().values():
        for target in group.values():
            assert find_spec(target.partition(":")[0]) is not None, target


def test_every_condition_module_is_an_entry_point() -> None:
    found = {
        f"verify_conditions.{path.parent.name}.condition:CONDITION"
        for path in CONDITION_ROOT.glob("*/condition.py")
    }
    assert found
    assert found == set(entry_points_declared()["verify.conditions"].values())


def test_entry_points_carry_the_names_of_their_conditions() -> None:
    from verify import registry

    for name, condition in registry.conditions().items():
        assert condition.name == name


@pytest.mark.parametrize("folder", ["conditions", "kernels", "reports", "tests"])
def test_outer_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_readme_commands_exist() -> None:
    from verify.cli import command

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    used = [words for block in blocks for line in block.splitlines() if (words := line.split())]
    used = [words[words.index("verify") :] for words in used if words[:1] in (["verify"], ["$"])
            and "verify" in words]  # fmt: skip
    assert used
    for words in used:
        if len(words) == 1 or words[1].startswith("-"):
            continue
        assert words[1] in command.commands, " ".join(words)
        known = {flag for option in command.commands[words[1]].params for flag in option.opts}
        for word in words[2:]:
            if word.startswith("#"):
                break
            if word.startswith("--"):
                assert word.partition("=")[0] in known | {"--help"}, " ".join(words)


def test_make_targets_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.M))
    assert named <= made
