"""Values of activations in the certified pass: the error of every point, in ball arithmetic."""

import flint
import numpy as np
import pytest
from flint import arb

from verify.network.activation import Activation
from verify_kernels.activation_analysis import jet
from verify_kernels.forward.activation_values import EXACT, RULES

ENDS = (0.0, -0.0, 5e-324, -5e-324, 2e-308, 1.7e308, -1.7e308, -745.0, -746.0, 709.9, -708.3, 22.0,
        -37.5, 1e-160, -1e-160)  # fmt: skip
NAMES = (
    "tanh", "sigmoid", "softplus(1)", "softplus(100)", "softplus(1/3)", "softplus(0.001)", "elu(1)",
    "elu(0.3)", "gelu", "gelu_tanh", "silu", "mish", "erf", "atan", "sin", "softsign", "relu",
    "leaky_relu(0.01)", "leaky_relu(-3)", "relu6", "hardtanh", "abs", "identity",
)  # fmt: skip


def _points():
    draw = np.random.default_rng(7)
    tails = 10.0 ** draw.uniform(-320, 100, 20) * draw.choice([-1.0, 1.0], 20)
    near, far = draw.standard_normal(40), draw.standard_normal(20) * 40
    return np.concatenate([near, far, tails, ENDS])


def _outside(activation, points, *, drop=False):
    """Count points whose value is certainly farther off than its bound."""
    found = RULES[activation.name](points, activation.parameters, np)
    wrong = seen = 0
    with flint.ctx.workprec(2400):  # 1 + erf(z) for z = -37 needs a thousand bits
        for z, value in zip(points.tolist(), found.values.tolist(), strict=True):
            true = jet(activation, arb(z), 0)[0]
            if not (np.isfinite(value) and true.is_finite()):
                continue
            seen += 1
            bound = arb(0)
            if not drop:
                bound = arb(found.relative) * abs(arb(value)) + arb(found.argument) * abs(arb(z))
                bound += arb(found.absolute)
            wrong += bool(abs(arb(value) - true) > bound)
    assert seen > len(points) // 2
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_as_near_as_it_says(name):
    activation, points = Activation.parse(name), _points()
    with np.errstate(all="ignore"):
        assert not _outside(activation, points)
        missed = _outside(activation, points, drop=True)
    assert (missed == 0) == (activation.name in EXACT)


def test_every_rule_is_tried():
    assert {Activation.parse(name).name for name in NAMES} == set(RULES)
