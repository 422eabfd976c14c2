"""Machine code kept for later processes: private, checked before use, never required."""

import importlib.util
import os
import tempfile

import numpy as np
import pytest
import sympy as sp

from verify.errors import BackendError
from verify_kernels.elementary import arrays
from verify_kernels.interval import (
    code_cache,
    compilation,
    operations,
    transcendental,
    vector_code,
)
from verify_kernels.interval.kernel import IntervalKernel

x = sp.Symbol("x", real=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compilation, "_LOADED", {})
    return tmp_path / "verify" / "interval"


def enclose(expression):
    found = IntervalKernel(expression, (x,), 0, False)(np.array([1.0]), np.array([2.0]))
    return found.lo[0], found.hi[0]


def again(monkeypatch, expression):
    """Enclose as another process would; return the result and whether it was compiled."""
    monkeypatch.setattr(compilation, "_LOADED", {})
    compiled = []
    before = compilation._from_lines

    def counted(*arguments, **options):
        compiled.append(1)
        return before(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(compilation, "_from_lines", counted)
        return enclose(expression), bool(compiled)


def test_code_is_compiled_once(folder, monkeypatch):
    first = enclose(x**2 + 101)
    assert [oct(file.stat().st_mode & 0o777) for file in folder.iterdir()] == ["0o600"]
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert again(monkeypatch, x**2 + 101) == (first, False)
    assert again(monkeypatch, x**2 + 102)[1]


def test_a_file_that_was_changed_is_not_used(folder, monkeypatch):
    first = enclose(x**2 + 103)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:200], b"", whole[:-9] + b"x" + whole[-8:], b"{}\n" + whole):
        file.write_bytes(damaged)
        assert code_cache.load(file.name) is None
    file.write_bytes(whole)
    assert code_cache.load(file.name) is not None
    file.rename(folder / ("0" * 64))
    assert code_cache.load("0" * 64) is None
    assert again(monkeypatch, x**2 + 103) == (first, True)


def test_a_folder_that_others_may_enter_is_not_used(folder, monkeypatch):
    enclose(x**2 + 104)
    folder.chmod(0o755)
    (file,) = folder.iterdir()
    assert code_cache.load(file.name) is None
    assert again(monkeypatch, x**2 + 104)[1]
    enclose(x**2 + 105)
    assert len(list(folder.iterdir())) == 1


def test_a_file_of_others_is_not_used(folder, monkeypatch):
    first = enclose(x**2 + 107)
    (file,) = folder.iterdir()
    assert code_cache.load(file.name) is not None
    file.chmod(0o620)
    assert code_cache.load(file.name) is None
    file.chmod(0o600)
    with monkeypatch.context() as patch:
        status = os.fstat
        patch.setattr(os, "fstat", lambda opened: _of_another_user(status(opened)))
        assert code_cache.load(file.name) is None
    file.rename(folder / "elsewhere")
    file.symlink_to(folder / "elsewhere")
    assert code_cache.load(file.name) is None
    file.unlink()
    file.mkdir(mode=0o700)
    assert code_cache.load(file.name) is None
    assert again(monkeypatch, x**2 + 107) == (first, True)


def _of_another_user(status):
    return os.stat_result([*status[:4], status.st_uid + 1, *status[5:]])


def test_a_folder_that_cannot_be_written_is_no_obstacle(folder, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert enclose(x**2 + 108) == (109, 112)
    assert list(folder.iterdir()) == []


def test_the_elementary_functions_are_compiled_once(folder, monkeypatch):
    points = np.array([0.5, -900.0])
    results = []
    for _ in range(2):
        monkeypatch.setattr(compilation, "_LOADED", {})
        arrays._core.cache_clear()
        arrays._outside.cache_clear()
        results.append(arrays.softplus(points).tobytes())
        monkeypatch.setattr(compilation, "_from_lines", None)
    arrays._core.cache_clear()
    arrays._outside.cache_clear()
    assert results[0] == results[1]
    assert len(list(folder.iterdir())) == 2


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(compilation, "_LOADED", {})
    assert enclose(x**2 + 106) == (107, 110)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(OSError, match="no folder"):
        code_cache.folder()
    assert code_cache.load("0" * 64) is None
    code_cache.store("0" * 64, "entry", b"", b"")


def test_names_of_code_differ_with_all_they_depend_on(monkeypatch):
    name = code_cache.digest((operations,), "lines", 1)
    assert name != code_cache.digest((operations,), "lines", 2)
    assert name != code_cache.digest((transcendental,), "lines", 1)
    monkeypatch.setattr(code_cache, "_surroundings", lambda modules: ("another compiler",))
    assert name != code_cache.digest((operations,), "lines", 1)


def test_a_source_that_changed_after_its_import_is_refused(tmp_path):
    path = tmp_path / "changing.py"
    before = "from __future__ import annotations\n\ndef iv_f(xl: float, xh: float) -> float:\n"
    path.write_text(before + "    return xl + xh\n")
    spec = importlib.util.spec_from_file_location("changing", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path.write_text(before + "    return xl - xh\n")
    with pytest.raises(BackendError, match="expected the source of 'iv_f' as it was imported"):
        vector_code._definition(module.iv_f)
    path.write_text(before + "    return xl + xh\n")
    vector_code._definitions.cache_clear()
    assert vector_code._definition(module.iv_f).name == "iv_f"
