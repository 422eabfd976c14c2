import subprocess
import sys

from verify.environment import environment


def test_names_and_versions_are_text():
    found = environment()
    assert {"python", "platform", "device", "numpy", "verify-nn"} <= set(found)
    assert all(isinstance(value, str) and value for value in found.values())
    assert found["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")


def test_the_caller_cannot_change_it():
    environment().clear()
    assert environment()


def test_nothing_is_imported():
    code = (
        "import sys; from verify.environment import environment; environment();"
        "print(sorted({'numpy', 'scipy', 'sympy', 'numba', 'flint', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert found.stdout == "[]\n", found.stderr
