"""What belongs where: folders, packages, entry points, the wheel, the README, the statements."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUTER = ("conditions", "kernels", "reports")
PACKAGES = ("verify", "verify_conditions", "verify_kernels", "verify_reports")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
KERNELS = ROOT / "kernels" / "verify_kernels"


def sources() -> list[Path]:
    """Every file that belongs to the project: listed by git, else by walking."""
    git = shutil.which("git")
    listed = None
    if git and (ROOT / ".git").exists():
        listed = subprocess.run(
            [git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
        )
    if listed is not None and listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        hidden = {".venv", "build", "dist", "__pycache__"}
        found = [p for p in ROOT.rglob("*") if not hidden & set(p.relative_to(ROOT).parts)]
    return [path for path in found if path.is_file()]


def packages_in_the_tree() -> set[str]:
    roots = [ROOT, *(ROOT / name for name in OUTER)]
    return {
        str(init.parent.relative_to(root)).replace(os.sep, ".")
        for root in roots
        for name in PACKAGES
        for init in (root / name).rglob("__init__.py")
    }


@pytest.mark.parametrize("folder", [*OUTER, "tests"])
def test_outer_folders_and_test_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()
    if folder == "tests":
        assert not list((ROOT / folder).rglob("__init__.py"))


def test_every_module_lies_in_a_package() -> None:
    """A folder without __init__.py would be missing from the wheel."""
    known = packages_in_the_tree()
    assert set(PACKAGES) <= known
    for root in (ROOT, *(ROOT / name for name in OUTER)):
        for name in PACKAGES:
            for path in (root / name).rglob("*.py"):
                assert str(path.parent.relative_to(root)).replace(os.sep, ".") in known, path


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_is_typed(name: str) -> None:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    assert (Path(spec.origin).parent / "py.typed").exists()


DECLARED = [
    (group, name, target)
    for group, points in PROJECT["project"]["entry-points"].items()
    for name, target in points.items()
] + [("console_scripts", name, target) for name, target in PROJECT["project"]["scripts"].items()]


@pytest.mark.parametrize(("group", "name", "target"), DECLARED)
def test_every_entry_point_loads_and_is_installed(group: str, name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    found = importlib.import_module(module)
    assert not attribute or getattr(found, attribute) is not None
    installed = [point.value for point in entry_points(group=group) if point.name == name]
    assert installed == [target]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    if find_spec("pip") is None or find_spec("setuptools") is None:
        pytest.skip("pip or setuptools is not installed here")
    if int(version("setuptools").partition(".")[0]) < 80:
        pytest.skip("setuptools is older than the build needs")
    place = tmp_path_factory.mktemp("wheel")
    copy = place / "source"  # a build leaves folders behind
    for path in sources():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", str(place), "."],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = place.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = set()
    for root in (ROOT, *(ROOT / name for name in OUTER)):
        for path in sources():
            inside = path.is_relative_to(root) and path.relative_to(root).parts[0] in PACKAGES
            if inside:
                expected.add(path.relative_to(root).as_posix())
    assert names == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert any(name.startswith("verify_reports/templates/") for name in names)
    assert packages_in_the_tree() <= {name.rpartition("/")[0].replace("/", ".") for name in names}


def test_the_wheel_says_what_the_project_says(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    about = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert about["Name"] == "verify-nn"
    assert about["Version"] == PROJECT["project"]["version"]
    assert any("LICENSE" in name for name in wheel.namelist())
    points = wheel.read(f"{info}/entry_points.txt").decode()
    for group, name, target in DECLARED:
        assert f"{name} = {target}" in points.partition(f"[{group}]")[2].partition("\n[")[0]


def test_python_in_the_documents_compiles() -> None:
    blocks = 0
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.S):
            compile(block, str(path), "exec")
            blocks += 1
    assert blocks > 0


def test_links_of_the_documents_lead_to_files() -> None:
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_commands_of_the_readme_exist() -> None:
    from verify.cli import command

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?m)(?:^|`)verify ([a-z]+)", text))
    assert {"check", "explain"} <= named <= set(command.commands)


# Written in pieces, so that this file does not name what it forbids.
FORBIDDEN = [
    r"/work" + "/", r"/ro" + "ot/", r"/ho" + r"me/\w", r"/Us" + r"ers/\w", r"[A-Z]:\\\\?Us" + "ers",
    r"pypi" + r"\.org", r"pythonho" + "sted", r"--extra-index" + "-url", r"--index" + "-url",
    r"(?<!no-)find-l" + "inks", r"local" + r"host:\d",
]  # fmt: skip


def test_no_file_names_a_machine_or_a_package_host() -> None:
    pattern = re.compile("|".join(FORBIDDEN))
    for path in sources():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = pattern.search(text)
        assert found is None, f"{path.relative_to(ROOT)}: {found and found[0]}"


def test_pins_are_pins() -> None:
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].strip()
        assert not words or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+(\s*;.*)?", words), line


def test_statements_hold_exact_numbers_and_real_symbols_only() -> None:
    import sympy as sp

    from verify import registry

    seen = 0
    for condition in registry.conditions().values():
        for route in condition.routes:
            for statement in route.statements:
                seen += 1
                assert not statement.hypothesis.atoms(sp.Float), route.name
                for symbol in statement.hypothesis.free_symbols:
                    assert symbol.assumptions0.get("positive") is None, symbol
                    assert symbol.assumptions0.get("nonnegative") is None, symbol
    assert seen > 10


def test_statement_modules_contain_no_float_literal() -> None:
    for path in (ROOT / "conditions").rglob("statements.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        floats = [
            n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is float
        ]
        assert not floats, f"{path}: line {floats[0].lineno}"


def imported(path: Path, package: str) -> set[str]:
    """The modules of a package that a file imports, by their dotted path in it."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
    return {name.removeprefix(f"{package}.") for name in named if name.startswith(f"{package}.")}


def kernel_modules() -> dict[str, Path]:
    """Every module of the kernels, by its dotted path."""
    paths = (path for path in KERNELS.rglob("*.py") if path.stem != "__init__")
    return {".".join(path.relative_to(KERNELS).with_suffix("").parts): path for path in paths}


@pytest.mark.parametrize("theory", ["well_posedness", "villani"])
def test_every_kernel_of_a_route_has_an_oracle_test(theory: str) -> None:
    tested = set()
    for path in (ROOT / "tests" / "oracle").glob("test_*.py"):
        tested |= imported(path, "verify_kernels")
    folder = ROOT / "conditions" / "verify_conditions" / theory
    used = set()
    for name in ("routes", "evidence", "special"):
        if (folder / f"{name}.py").exists():
            used |= imported(folder / f"{name}.py", "verify_kernels") & set(kernel_modules())
    assert used
    assert used - tested == set()


def test_every_kernel_module_is_imported_by_a_test() -> None:
    reached = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        reached |= imported(path, "verify_kernels")
    modules = kernel_modules()
    packages = {name: path for name, path in _kernel_packages().items() if name in reached}
    while True:  # a module counts if a tested one of its users imports it
        users = [modules[name] for name in reached & set(modules)] + list(packages.values())
        more = set().union(*(imported(path, "verify_kernels") for path in users))
        if more <= reached:
            break
        reached |= more
        packages = {name: path for name, path in _kernel_packages().items() if name in reached}
    assert set(modules) - reached == set()


def _kernel_packages() -> dict[str, Path]:
    inits = (path for path in KERNELS.rglob("__init__.py") if path.parent != KERNELS)
    return {".".join(path.parent.relative_to(KERNELS).parts): path for path in inits}


def test_no_assert_in_a_product_file() -> None:
    """``python -O`` removes it."""
    for path in sources():
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in (*OUTER, "verify"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
            assert not found, f"{path.relative_to(ROOT)}: line {found[0].lineno}"


def test_outward_rounding_has_one_home() -> None:
    for path in sources():
        inside = path.suffix == ".py" and path.relative_to(ROOT).parts[0] in (*OUTER, "verify")
        if inside and path.name != "_rounding.py":
            assert "nextafter" not in path.read_text(encoding="utf-8"), path
