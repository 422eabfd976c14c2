"""Time of an activation's analysis: the symbolic part, each supremum, and everything together.

CPU time of one thread. The symbolic part cuts the formula into smooth pieces and classifies their
joints; a supremum is one search for both signs with its half-lines. As in the analysis, boxes and
expansions of earlier quantities are there for later ones; the fourth derivative starts anew.
"""

import json
import statistics
import time
from pathlib import Path

import flint
import pytest

from verify.network.activation import Activation
from verify.network.expression import parse_expression
from verify.verdict import Truth
from verify_kernels.activation_analysis import analyse, analyse_expression
from verify_kernels.activation_analysis.analysis import PRECISION, WORK
from verify_kernels.activation_analysis.extrema import Budget
from verify_kernels.activation_analysis.kinks import joints
from verify_kernels.activation_analysis.pieces import Cutting
from verify_kernels.activation_analysis.ranges import Ranges
from verify_kernels.activation_analysis.tree import tree_of

VECTORS = Path(__file__).parents[1] / "vectors" / "activations.json"
SIX = ["tanh", "sigmoid", "softplus", "silu", "gelu", "mish"]
SYMBOLIC, SUPREMUM, WHOLE, CACHED = 0.2, 0.025, 3.0, 1e-4  # goals in seconds
QUANTITIES = ("d0", "d1", "d2", "d3", "kappa", "zd1")


def seconds(function, repeats):
    """Return the median CPU time of a function and its last result."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        found = function()
        spent.append(time.process_time() - start)
    return statistics.median(spent), found


@pytest.mark.parametrize("name", SIX)
def test_symbolic_work_and_each_supremum(benchmark, name):
    expression, repeats = Activation.parse(name).formula(), 1 if benchmark.disabled else 7

    def symbolic():
        cutting = Cutting(Budget(WORK))
        root = tree_of(expression)
        pieces = cutting.pieces(root)
        joints(root, pieces, cutting)
        return pieces

    with flint.ctx.workprec(PRECISION):
        symbolic()
        cut, pieces = seconds(symbolic, repeats)
        times = {quantity: [] for quantity in (*QUANTITIES, "d4")}
        for _ in range(repeats):
            shared = Ranges(pieces, Budget(WORK))
            for quantity, record in times.items():
                ranges = shared if quantity != "d4" else Ranges(pieces, Budget(WORK), order=6)
                spent, bound = seconds(lambda r=ranges, q=quantity: r.range(q).largest(), 1)
                record.append(spent)
                if bound.finite is Truth.PROVED:
                    assert bound.value.width <= bound.value.lo / 10**9
                else:
                    assert (bound.finite, quantity in "d0 zd1") == (Truth.REFUTED, True)
    times = {quantity: statistics.median(record) for quantity, record in times.items()}
    benchmark.extra_info |= {"symbolic_s": cut} | times
    benchmark.pedantic(symbolic, rounds=1)
    shown = ", ".join(f"{key} {1000 * value:.1f} ms" for key, value in times.items())
    print(f"activation {name}: symbolic {1000 * cut:.1f} ms, {shown}")
    if not benchmark.disabled:
        assert cut <= SYMBOLIC
        assert max(times.values()) <= SUPREMUM


def test_the_whole_analysis_of_every_stored_activation(benchmark):
    rows = json.loads(VECTORS.read_text())["activations"]
    analyse_expression(parse_expression("z**3/(1+z**2)*tanh(z)"))  # what only the first call pays
    spent = {}
    for row in rows[:3] if benchmark.disabled else rows:

        def whole(text=row["sympy"]):
            return analyse_expression(parse_expression(text))

        spent[row["sympy"]], _ = seconds(whole, 1)
    analyse(Activation.parse("gelu"))
    again, _ = seconds(lambda: analyse(Activation.parse("gelu")), 3)
    benchmark.extra_info |= {"slowest_s": max(spent.values()), "cached_s": again}
    benchmark.pedantic(whole, rounds=1)
    slowest = max(spent, key=spent.get)
    print(
        f"activations: {len(spent)} analysed, the slowest is {slowest} in {spent[slowest]:.2f} s, "
        f"median {1000 * statistics.median(spent.values()):.0f} ms, again {1e6 * again:.0f} us"
    )
    if not benchmark.disabled:
        assert spent[slowest] <= WHOLE
        assert again <= CACHED
