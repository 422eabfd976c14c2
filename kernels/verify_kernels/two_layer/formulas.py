"""The formulas of the regularised risk of a two-layer network, for numbers of any kind.

With u_i = sum_j a_j s(z_ij) + c, z_ij = w_j . x_i + b_j and a loss l_i(u_i),

    f = rho sum_i l_i(u_i) + sum over the trained roles (penalty / 2) ||role||^2,   rho = c' / n.

The loss is l_i(u) = (u - y_i)^2 / 2 (squared) or log(1 + exp(-y_i u)) (logistic). Numbers are
balls in `verify_kernels.two_layer.ball_risk`; they may be SymPy expressions or fractions as well,
so that the formulas are compared with the derivatives of f itself.

Source:
    the chain rule; compared with symbolic differentiation by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Vector = Sequence[Any]
Rows = Sequence[Sequence[Any]]
Product = Callable[[Rows, Rows], Rows]

ROLES = ("W", "b", "a", "c")  # the order of the parameters in a full Hessian


@dataclass(frozen=True)
class Setting:
    """What does not depend on the weights.

    Args:
        X: inputs, shape (n, d).
        rho: loss scale divided by n.
        penalties: trained role -> its penalty, among `ROLES`, ``W`` always; roles that are not
            trained are absent.
        multiply: the product of two matrices given as rows.
    """

    X: Rows
    rho: Any
    penalties: Mapping[str, Any]
    multiply: Product

    @property
    def reach(self) -> list[Any]:
        """||x_i||^2, plus one if the inner biases are trained: the squared length of dz_ij."""
        extra = 1 if "b" in self.penalties else 0
        return [sum(x * x for x in row) + extra for row in self.X]


@dataclass(frozen=True)
class Weights:
    """W (p, d), a (p,), and b (p,), c, where the network has them."""

    W: Rows
    a: Vector
    b: Vector | None = None
    c: Any = None

    def role(self, name: str) -> list[Any]:
        """Return the entries of one role as a flat list."""
        if name == "W":
            return [w for row in self.W for w in row]
        if name == "c":
            return [] if self.c is None else [self.c]
        return list(self.a if name == "a" else self.b or ())


@dataclass(frozen=True)
class Local:
    """The derivatives at one point: s, s', s'' at z_ij, shape (n, p), and l, l', l'' at u_i."""

    s0: Rows
    s1: Rows
    s2: Rows
    l0: Vector
    l1: Vector
    l2: Vector


def rows_product(left: Rows, right: Rows) -> Rows:
    """Multiply two matrices, entry by entry."""
    columns = list(zip(*right, strict=True))
    return [[sum(x * y for x, y in zip(row, col, strict=True)) for col in columns] for row in left]


def preactivations(setting: Setting, at: Weights) -> Rows:
    """z_ij = w_j . x_i + b_j, shape (n, p)."""
    z = setting.multiply(setting.X, _transpose(at.W))
    if at.b is None:
        return z
    return [[entry + b for entry, b in zip(row, at.b, strict=True)] for row in z]


def outputs(s0: Rows, at: Weights) -> list[Any]:
    """u_i = sum_j a_j s(z_ij) + c."""
    c = 0 if at.c is None else at.c
    return [sum(a * s for a, s in zip(at.a, row, strict=True)) + c for row in s0]


def value(setting: Setting, at: Weights, local: Local) -> Any:
    """F = rho sum_i l_i + sum (penalty / 2) ||role||^2."""
    total = setting.rho * sum(local.l0)
    for role, penalty in setting.penalties.items():
        total = total + penalty * sum(v * v for v in at.role(role)) / 2
    return total


def gradient(setting: Setting, at: Weights, local: Local) -> dict[str, Any]:
    """Return the gradient by trained role: W (p, d), b (p,), a (p,), c a number.

    With m_i = rho l'_i: grad_{w_j} = sum_i m_i a_j s'(z_ij) x_i, grad_{b_j} the same without
    x_i, grad_{a_j} = sum_i m_i s(z_ij), grad_c = sum_i m_i, each plus penalty times weight.
    """
    m = [setting.rho * slope for slope in local.l1]
    back = [
        [m_i * a * s for a, s in zip(at.a, row, strict=True)]
        for m_i, row in zip(m, local.s1, strict=True)
    ]
    found: dict[str, Any] = {}
    for role, penalty in setting.penalties.items():
        if role == "W":
            raw = setting.multiply(_transpose(back), setting.X)
            found["W"] = [
                [g + penalty * w for g, w in zip(left, right, strict=True)]
                for left, right in zip(raw, at.W, strict=True)
            ]
        elif role == "c":
            found["c"] = sum(m) + penalty * at.c
        else:
            rows = back
            if role == "a":
                rows = [[m_i * s for s in row] for m_i, row in zip(m, local.s0, strict=True)]
            sums = [sum(column) for column in zip(*rows, strict=True)]
            found[role] = [s + penalty * v for s, v in zip(sums, at.role(role), strict=True)]
    return found


def laplacian(setting: Setting, at: Weights, local: Local) -> Any:
    """Sum of the second derivatives with respect to every trained parameter.

    rho sum_i ( l''_i |grad u_i|^2 + l'_i Lap u_i ) + sum penalty dim(role), with
    |grad u_i|^2 = reach_i sum_j (a_j s'_ij)^2 + [a] sum_j s_ij^2 + [c] and
    Lap u_i = reach_i sum_j a_j s''_ij.
    """
    total: Any = 0
    for i, reach in enumerate(setting.reach):
        slopes = reach * sum((a * s) ** 2 for a, s in zip(at.a, local.s1[i], strict=True))
        if "a" in setting.penalties:
            slopes = slopes + sum(s * s for s in local.s0[i])
        if "c" in setting.penalties:
            slopes = slopes + 1
        bend = reach * sum(a * s for a, s in zip(at.a, local.s2[i], strict=True))
        total = total + setting.rho * (local.l2[i] * slopes + local.l1[i] * bend)
    return total + sum(penalty * len(at.role(role)) for role, penalty in setting.penalties.items())


def second_derivative(setting: Setting, at: Weights, local: Local, v: Weights) -> Any:
    """D^2 f[v, v] for a direction v; its roles that are not trained are ignored.

    With q_ij = v_j . x_i + v_{b_j}: du_i = sum_j (a_j s'_ij q_ij + v_{a_j} s_ij) + v_c,
    d2u_i = sum_j (a_j s''_ij q_ij^2 + 2 v_{a_j} s'_ij q_ij), and
    D^2 f = rho sum_i (l''_i du_i^2 + l'_i d2u_i) + sum penalty ||v_role||^2.
    """
    roles = setting.penalties
    bias = v.b if "b" in roles else None
    move = preactivations(setting, Weights(v.W, v.a, bias))
    outer = list(v.a) if "a" in roles else [0] * len(at.a)
    shift = v.c if "c" in roles else 0
    total: Any = 0
    for i, q in enumerate(move):
        du, d2u = shift, 0
        for j, a in enumerate(at.a):
            du = du + a * local.s1[i][j] * q[j] + outer[j] * local.s0[i][j]
            d2u = d2u + (a * local.s2[i][j] * q[j] + 2 * outer[j] * local.s1[i][j]) * q[j]
        total = total + setting.rho * (local.l2[i] * du * du + local.l1[i] * d2u)
    for role, penalty in roles.items():
        total = total + penalty * sum(x * x for x in v.role(role))
    return total


def hessian(setting: Setting, at: Weights, local: Local) -> list[list[Any]]:
    """Return the full Hessian; the trained roles in the order of `ROLES`, W row by row.

    H = rho sum_i (l''_i g_i g_i^T + l'_i K_i) + diag(penalties), g_i the gradient of u_i and K_i
    its Hessian: a_j s''_ij on pairs of the same row j of (W, b), s'_ij between that row and a_j.
    """
    places = _places(setting, at)
    size = len(places)
    total: list[list[Any]] = [[0] * size for _ in range(size)]
    for i, x in enumerate(setting.X):
        rate = [_du(place, i, x, at, local) for place in places]
        for r in range(size):
            for k in range(r + 1):
                bend = _d2u(places[r], places[k], i, x, at, local)
                term = local.l2[i] * rate[r] * rate[k] + local.l1[i] * bend
                total[r][k] = total[r][k] + setting.rho * term
    for r in range(size):
        total[r][r] = total[r][r] + setting.penalties[places[r][0]]
        for k in range(r):
            total[k][r] = total[r][k]
    return total


Place = tuple[str, int, int]  # role, row, column


def _places(setting: Setting, at: Weights) -> list[Place]:
    p, d = len(at.a), len(setting.X[0])
    found: list[Place] = []
    for role in ROLES:
        if role in setting.penalties:
            rows, columns = (1 if role == "c" else p), (d if role == "W" else 1)
            found += [(role, j, k) for j in range(rows) for k in range(columns)]
    return found


def _dz(place: Place, x: Vector) -> Any:
    """dz_ij for the row j of a place in W or b."""
    return x[place[2]] if place[0] == "W" else 1


def _du(place: Place, i: int, x: Vector, at: Weights, local: Local) -> Any:
    role, j, _ = place
    if role == "c":
        return 1
    return local.s0[i][j] if role == "a" else at.a[j] * local.s1[i][j] * _dz(place, x)


def _d2u(one: Place, two: Place, i: int, x: Vector, at: Weights, local: Local) -> Any:
    inner = [place for place in (one, two) if place[0] in ("W", "b")]
    j = one[1]
    if not inner or "c" in (one[0], two[0]) or j != two[1]:
        return 0
    if len(inner) == 1:
        return local.s1[i][j] * _dz(inner[0], x)
    return at.a[j] * local.s2[i][j] * _dz(one, x) * _dz(two, x)


def _transpose(rows: Rows) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
