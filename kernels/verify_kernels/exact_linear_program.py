"""Linear programs in exact rational arithmetic, for few variables and constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flint import fmpq

Rational = Any  # python-flint's fmpq
Row = list[Rational]


@dataclass(frozen=True)
class Optimum:
    """The end of a simplex run.

    Args:
        status: ``"infeasible"``, ``"optimal"`` or ``"unbounded"``.
        point: a feasible point (an optimal one if optimal), empty if infeasible.
        value: the objective at the point, 0 if infeasible.
    """

    status: Literal["infeasible", "optimal", "unbounded"]
    point: Row
    value: Rational


def maximise(objective: Sequence[Rational], rows: Sequence[Row], bounds: Row) -> Optimum:
    """Maximise c.x over {x in R^n : A x <= b} by the simplex method with Bland's rule.

    Every number is rational and Bland's rule cannot cycle, so the answer is exact and the run
    ends. The free variables enter the basis first and stay there.

    Args:
        objective: c, length n.
        rows: the rows of A.
        bounds: b, one entry a row.

    Source: V. Chvatal, *Linear Programming* (1983), chapters 2 and 3.
    """
    return _Dictionary(len(objective), rows, bounds).run(objective)


class _Dictionary:
    """basic variable = constant + sum of coefficients times nonbasic variables.

    Labels: 0..n-1 the free variables, n the auxiliary variable of the first phase, n+1.. slacks.
    """

    def __init__(self, n: int, rows: Sequence[Row], bounds: Row) -> None:
        self.n = n
        self.table = [[b, *(-a for a in row)] for row, b in zip(rows, bounds, strict=True)]
        self.basic = [n + 1 + j for j in range(len(rows))]
        self.nonbasic = list(range(n))
        for column in range(n):
            row = self._slack_row_with(column + 1)
            if row is not None:
                self._pivot(row, column + 1)

    def run(self, objective: Sequence[Rational]) -> Optimum:
        if not self._make_feasible():
            return Optimum("infeasible", [], fmpq(0))
        costs = self._in_nonbasic(objective)
        bounded = self._simplex(costs)
        point = self._point()
        value = sum((c * x for c, x in zip(objective, point, strict=True)), fmpq(0))
        return Optimum("optimal" if bounded else "unbounded", point, value)

    def _slack_row_with(self, column: int) -> int | None:
        for j, row in enumerate(self.table):
            if self.basic[j] > self.n and row[column] != 0:
                return j
        return None

    def _pivot(self, leaving: int, column: int) -> None:
        row = self.table[leaving]
        pivot = row[column]
        row[column] = fmpq(-1)
        solved = [-entry / pivot for entry in row]
        self.table[leaving] = solved
        for j, other in enumerate(self.table):
            factor = other[column]
            if j != leaving and factor != 0:
                other[column] = fmpq(0)
                self.table[j] = [
                    entry + factor * new if new != 0 else entry
                    for entry, new in zip(other, solved, strict=True)
                ]
        label = self.basic[leaving]
        self.basic[leaving] = self.nonbasic[column - 1]
        self.nonbasic[column - 1] = label

    def _make_feasible(self) -> bool:
        slack_rows = [j for j, label in enumerate(self.basic) if label > self.n]
        worst = min(slack_rows, key=lambda j: self.table[j][0], default=None)
        if worst is None or self.table[worst][0] >= 0:
            return True
        for j, row in enumerate(self.table):
            row.append(fmpq(1) if self.basic[j] > self.n else fmpq(0))
        self.nonbasic.append(self.n)
        self._pivot(worst, len(self.nonbasic))
        costs = self._costs_of(self.n, fmpq(-1))
        self._simplex(costs)
        return self._drop_auxiliary()

    def _drop_auxiliary(self) -> bool:
        if self.n in self.basic:
            row = self.basic.index(self.n)
            if self.table[row][0] != 0:
                return False
            column = next((k for k in range(1, len(self.table[row])) if self.table[row][k] != 0), 0)
            if column == 0:  # the row says 0 = 0
                del self.table[row], self.basic[row]
                return True
            self._pivot(row, column)
        column = self.nonbasic.index(self.n)
        del self.nonbasic[column]
        for entries in self.table:
            del entries[column + 1]
        return True

    def _costs_of(self, label: int, weight: Rational) -> Row:
        if label in self.nonbasic:
            return [weight if other == label else fmpq(0) for other in self.nonbasic]
        row = self.table[self.basic.index(label)]
        return [weight * entry for entry in row[1:]]

    def _in_nonbasic(self, objective: Sequence[Rational]) -> Row:
        total = [fmpq(0)] * len(self.nonbasic)
        for label, weight in enumerate(objective):
            if weight != 0:
                part = self._costs_of(label, weight)
                total = [a + b for a, b in zip(total, part, strict=True)]
        return total

    def _simplex(self, costs: Row) -> bool:
        """Run to the optimum; False if the objective is unbounded. ``costs`` is used up."""
        while True:
            entering = self._entering(costs)
            if entering is None:
                return True
            leaving = self._leaving(entering)
            if leaving is None:
                return False
            self._pivot(leaving, entering)
            weight, costs[entering - 1] = costs[entering - 1], fmpq(0)
            row = self.table[leaving]
            costs = [c + weight * entry for c, entry in zip(costs, row[1:], strict=True)]

    def _entering(self, costs: Row) -> int | None:
        best: int | None = None
        for k, cost in enumerate(costs):
            free = self.nonbasic[k] < self.n  # in no constraint: any nonzero cost is unbounded
            improves = cost != 0 if free else cost > 0
            if improves and (best is None or self.nonbasic[k] < self.nonbasic[best - 1]):
                best = k + 1
        return best

    def _leaving(self, column: int) -> int | None:
        best: int | None = None
        least = fmpq(0)
        for j, row in enumerate(self.table):
            if self.basic[j] < self.n or row[column] >= 0:
                continue
            ratio = -row[0] / row[column]
            if best is None or (ratio, self.basic[j]) < (least, self.basic[best]):
                best, least = j, ratio
        return best

    def _point(self) -> Row:
        point = [fmpq(0)] * self.n
        for j, label in enumerate(self.basic):
            if label < self.n:
                point[label] = self.table[j][0]
        return point
