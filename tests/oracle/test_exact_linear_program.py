"""The exact simplex method against the enumeration of all vertices."""

from __future__ import annotations

import random
from itertools import combinations

from flint import fmpq, fmpq_mat

from verify_kernels.exact_linear_program import maximise


def rational(rows):
    return [[fmpq(e) for e in row] for row in rows]


def vertices(rows, bounds, n):
    for chosen in combinations(range(len(rows)), n):
        matrix = fmpq_mat(n, n, [rows[j][k] for j in chosen for k in range(n)])
        try:
            point = matrix.solve(fmpq_mat(n, 1, [bounds[j] for j in chosen]))
        except ZeroDivisionError:
            continue
        x = [point[k, 0] for k in range(n)]
        if all(dot(row, x) <= b for row, b in zip(rows, bounds, strict=True)):
            yield x


def dot(row, x):
    return sum((a * b for a, b in zip(row, x, strict=True)), fmpq(0))


def test_bounded_programs_end_at_the_best_vertex():
    chooser = random.Random(4)
    infeasible = 0
    for _ in range(300):
        n = chooser.randint(1, 3)
        box = [[s * (i == j) for j in range(n)] for i in range(n) for s in (1, -1)]
        more = [[chooser.randint(-3, 3) for _ in range(n)] for _ in range(chooser.randint(0, 5))]
        rows = rational(box + more)
        bounds = [fmpq(5)] * (2 * n) + [fmpq(chooser.randint(-6, 4)) for _ in more]
        goal = [fmpq(chooser.randint(-3, 3)) for _ in range(n)]
        best = maximise(goal, rows, bounds)
        values = [dot(goal, x) for x in vertices(rows, bounds, n)]
        if not values:
            infeasible += 1
            assert best.status == "infeasible"
            continue
        assert best.status == "optimal"
        assert best.value == max(values) == dot(goal, best.point)
        assert all(dot(row, best.point) <= b for row, b in zip(rows, bounds, strict=True))
    assert infeasible > 20


def test_unbounded_and_free_directions():
    assert maximise([fmpq(1)], [], []).status == "unbounded"
    assert maximise([fmpq(0)], [], []).status == "optimal"
    assert maximise([fmpq(0), fmpq(1)], rational([[1, 0]]), [fmpq(3)]).status == "unbounded"
    assert maximise([fmpq(1), fmpq(0)], rational([[1, 0]]), [fmpq(3)]).value == 3
    assert maximise([], rational([[]]), [fmpq(-1)]).status == "infeasible"


def test_a_degenerate_program_that_cycles_without_blands_rule_ends():
    """Beale's example."""
    rows = [
        [fmpq(1, 4), fmpq(-60), fmpq(-1, 25), fmpq(9)],
        [fmpq(1, 2), fmpq(-90), fmpq(-1, 50), fmpq(3)],
        [fmpq(0), fmpq(0), fmpq(1), fmpq(0)],
        *([fmpq(-int(i == j)) for j in range(4)] for i in range(4)),
    ]
    bounds = [fmpq(0), fmpq(0), fmpq(1), *([fmpq(0)] * 4)]
    goal = [fmpq(3, 4), fmpq(-150), fmpq(1, 50), fmpq(-6)]
    assert maximise(goal, rows, bounds).value == fmpq(1, 20)
