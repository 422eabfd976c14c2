"""The pytest plug-in, run on small test suites of its own."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

DECLARED = '{"family": "equilibrium", "activation": "relu"}'


@pytest.fixture(scope="session", autouse=True)
def _loaded_once() -> None:
    """Load what a check loads before pytester takes its snapshot of the modules.

    It drops modules that an inner run imports; a second copy of a class is another class.
    """
    from verify import check
    from verify.network import Activation, AffineInput, Data, Equilibrium, PlainWeight

    for scale, name in ((0.5, "relu"), (-3.0, "relu"), (0.5, "tanh")):
        weight = PlainWeight(np.array([[0.0, scale], [scale, 0.0]]))
        given = AffineInput(np.eye(2), np.zeros(2))
        network = Equilibrium(weight, Activation(name), given)
        check(network, Data(np.ones((1, 2))))


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder with a good and a bad model that declare themselves."""
    for name, weight in (("good", 0.5), ("bad", -3.0)):
        np.savez(
            pytester.path / f"{name}.npz",
            W=np.array([[0.0, weight], [weight, 0.0]]),
            verify=np.array(DECLARED),
        )
    np.savez(pytester.path / "bare.npz", W=np.array([[0.5]]))
    return pytester


def run(suite: pytest.Pytester, code: str, *more: str) -> pytest.RunResult:
    suite.makepyfile(code)
    return suite.runpytest("-p", "no:cacheprovider", "-p", "no:randomly", *more)


def test_marker_passes_and_the_body_runs(suite: pytest.Pytester) -> None:
    result = run(suite, """
        import pytest

        @pytest.mark.verify(model="good.npz", condition="well-posedness")
        def test_it():
            print("the body ran")
        """, "-s")  # fmt: skip
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*the body ran*"])


def test_marker_fails_before_the_body_with_sentence_and_command(suite: pytest.Pytester) -> None:
    result = run(suite, """
        import pytest

        @pytest.mark.verify(model="bad.npz", condition="well-posedness")
        def test_it():
            print("the body ran")
        """, "-s")  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*the body ran*")
    result.stdout.fnmatch_lines([
        "*✗ fail*", "Refuted: it is false that*", "*reproduce: verify check *bad.npz*",
    ])  # fmt: skip


def test_undecided_fails_too(suite: pytest.Pytester) -> None:
    generator = np.random.default_rng(5)
    np.savez(
        suite.path / "open.npz",
        W=0.85 * generator.standard_normal((40, 40)) / np.sqrt(40),
        verify=np.array(DECLARED),
    )
    result = run(suite, """
        import pytest

        @pytest.mark.verify(model="open.npz", condition="well-posedness", budget=0)
        def test_it():
            pass
        """)  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*undecided*", "*next step*", "*--budget 0*"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('model="bare.npz"', "*--activation*"),
        ('model="missing.npz"', "*missing.npz*"),
        ('condition="well-posedness"', "*expected model=... once*"),
        ('model="good.npz", condition="nonsense"', "*expected one of*"),
        ('model="good.npz", colour="red"', "*expected flags family*"),
        ("model=7", "*expected a path*"),
        ('"bad.npz", model="good.npz"', "*expected model=... once*"),
        ('"good.npz", "well-posedness", condition="well-posedness"', "*expected model=... once*"),
    ],
)
def test_a_marker_that_cannot_be_checked_fails(
    suite: pytest.Pytester, arguments: str, told: str
) -> None:
    result = run(suite, f"""
        import pytest

        @pytest.mark.verify({arguments})
        def test_it():
            pass
        """)  # fmt: skip
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([told])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_several_markers_are_all_checked(suite: pytest.Pytester) -> None:
    result = run(suite, """
        import pytest

        @pytest.mark.verify(model="good.npz")
        @pytest.mark.verify(model="bad.npz")
        def test_it():
            pass
        """)  # fmt: skip
    result.assert_outcomes(failed=1)


def test_fixture_checks_paths_arrays_and_networks(suite: pytest.Pytester) -> None:
    result = run(suite, """
        import numpy as np
        import pytest

        NAMED = {"family": "equilibrium", "activation": "relu"}
        WELL = "well-posedness"

        def test_path(verify):
            (one,) = verify.check("good.npz", None, "well-posedness")
            assert one.verdict == "pass"

        def test_arrays(verify):
            (one,) = verify.passes({"W": np.array([[0.5]])}, None, "well-posedness", **NAMED)
            assert one.condition == "well-posedness"

        def test_arrays_that_fail(verify):
            (one,) = verify.check({"W": np.array([[2.0]])}, None, "well-posedness", **NAMED)
            assert one.verdict == "fail"
            with pytest.raises(pytest.fail.Exception, match="its model is not a file"):
                verify.passes({"W": np.array([[2.0]])}, **NAMED)

        def test_network(verify):
            from verify.network import Activation, Equilibrium, PlainWeight

            network = Equilibrium(PlainWeight(np.array([[0.5]])), Activation("tanh"))
            verify.passes(network, None, "well-posedness")

        def test_data(verify):
            arrays = {"W": np.array([[0.5]]), "U": np.array([[1.0]])}
            (one,) = verify.passes(arrays, np.array([[1.0], [2.0]]), WELL, **NAMED)
            assert one.claim["samples"]["total"] == 2
            (two,) = verify.passes(arrays, {"X": np.array([[1.0]])}, WELL, **NAMED)
            assert two.claim["samples"]["total"] == 1

        def test_error(verify):
            from verify import VerifyError

            with pytest.raises(VerifyError, match="activation"):
                verify.check("bare.npz")
        """)  # fmt: skip
    result.assert_outcomes(passed=6)


def test_state_dict_of_torch_tensors(suite: pytest.Pytester) -> None:
    if find_spec("torch") is None:  # an import here would be undone with the fixture
        pytest.skip("torch is not installed")
    suite.makepyfile("""
        import torch

        def test_it(verify):
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                weights = {"W": torch.tensor([[0.5]], dtype=dtype, requires_grad=True)}
                verify.passes(weights, family="equilibrium", activation="relu")
        """)  # fmt: skip
    result = suite.runpytest_subprocess("-p", "no:cacheprovider")  # torch loads once a process
    result.assert_outcomes(passed=1)


def test_nothing_that_was_asked_is_ignored(suite: pytest.Pytester) -> None:
    result = run(suite, """
        import numpy as np
        import pytest

        def test_network_with_another_activation(verify):
            from verify import VerifyError
            from verify.network import Activation, Equilibrium, PlainWeight

            network = Equilibrium(PlainWeight(np.array([[-1.5]])), Activation("relu"))
            verify.passes(network)
            with pytest.raises(VerifyError, match="but got activation"):
                verify.check(network, activation="leaky_relu(0.9)")

        def test_two_keys_of_one_name(verify):
            from verify import VerifyError

            with pytest.raises(VerifyError, match="each name once"):
                verify.check({"W": np.eye(1), 1: np.eye(1), "1": np.eye(1)}, family="equilibrium")
        """)  # fmt: skip
    result.assert_outcomes(passed=2)


MARKED = '@pytest.mark.verify(model="{}.npz", condition="well-posedness")'


@pytest.mark.parametrize(
    "code",
    [
        "pytestmark = pytest.mark.verify(model='bad.npz')\ndef test_it(): pass",
        f"{MARKED.format('bad')}\nclass TestIt:\n    def test_it(self): pass",
        f"{MARKED.format('bad')}\nclass TestIt:\n    {MARKED.format('good')}\n"
        "    def test_it(self): pass",
        "@pytest.mark.parametrize('x', [pytest.param(1, marks="
        "pytest.mark.verify(model='bad.npz'))])\ndef test_it(x): pass",
        "@pytest.mark.verify\ndef test_it(): pass",
        "@pytest.fixture\ndef late(request):\n"
        "    request.applymarker(pytest.mark.verify(model='bad.npz'))\n"
        "def test_it(late): pass",
        "import unittest\nclass TestIt(unittest.TestCase):\n"
        f"    {MARKED.format('bad')}\n    def test_it(self): pass",
        "pytestmark = pytest.mark.verify(model='good.npz', condition='')\ndef test_it(): pass",
    ],
)
def test_a_marker_fails_wherever_it_stands(suite: pytest.Pytester, code: str) -> None:
    run(suite, f"import pytest\n{code}").assert_outcomes(failed=1)


def test_marker_is_registered(suite: pytest.Pytester) -> None:
    result = suite.runpytest("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.verify(model, condition=None*"])


def test_relative_paths_start_at_the_root(suite: pytest.Pytester, monkeypatch: object) -> None:
    suite.makeini("[pytest]\n")
    inner = suite.mkdir("inner")
    (inner / "test_inner.py").write_text(
        "import pytest\n\n@pytest.mark.verify(model='good.npz')\ndef test_it():\n    pass\n",
        encoding="utf-8",
    )
    result = suite.runpytest("-p", "no:cacheprovider", str(inner))
    result.assert_outcomes(passed=1)


def test_plugin_file_is_an_entry_point() -> None:
    from importlib.metadata import entry_points

    (point,) = (p for p in entry_points(group="pytest11") if p.value == "verify.pytest_plugin")
    assert Path(point.load().__file__).name == "pytest_plugin.py"


def test_a_mapping_of_data_is_taken_whole_or_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import numpy as np
        import pytest

        from verify.errors import InputError

        MODEL = {"W": np.array([[0.5]]), "U": np.eye(1), "b": np.zeros(1)}
        FLAGS = {"family": "equilibrium", "activation": "relu"}

        def test_outputs_count(verify):
            data = {"X": np.array([[1.0]]), "Z": np.array([[2.25]])}
            (certificate,) = verify.passes(MODEL, data, "well-posedness", **FLAGS)
            (row,) = certificate.claim["samples"]["rows"]
            assert float.fromhex(row["distance"]) >= 0.25

        def test_other_names_are_refused(verify):
            with pytest.raises(InputError, match="expected data with X"):
                verify.check(MODEL, {"X": np.array([[1.0]]), "z": np.array([[2.25]])}, **FLAGS)
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_live_torch_module(pytester: pytest.Pytester) -> None:
    pytest.importorskip("torch")
    pytester.makepyfile(
        """
        import numpy as np
        import pytest
        import torch

        from verify.errors import InputError

        torch.manual_seed(0)
        NET = torch.nn.Sequential(torch.nn.Linear(3, 12), torch.nn.Dropout(), torch.nn.Tanh(),
                                  torch.nn.Linear(12, 2)).train()
        X = np.random.default_rng(0).standard_normal((9, 3))

        def test_it_is_exported_in_evaluation_form(verify):
            verify.passes(NET, X, "expressivity")
            assert NET.training

        def test_an_example_of_its_input_is_needed(verify):
            with pytest.raises(InputError, match="expected data with the torch module Sequential"):
                verify.check(NET, None, "expressivity")
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)
