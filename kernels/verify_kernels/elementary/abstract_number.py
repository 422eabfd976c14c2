"""Abstract binary64 numbers: a range, error bounds, and the rounding of every operation.

A `Number` stands for one computed value of a program and, for every input x of the piece under
study, for the *ideal* value: what exact arithmetic gives for the same program (or the true value
of a mathematical function, after `replaced`). It carries

* ``ideal``: a ball that contains the ideal value for every x of the piece,
* ``error``: a bound of |computed - ideal|,
* ``relative``: a bound of |computed / ideal - 1|, or None,
* ``grid``: g such that the computed value is a multiple of 2^g, or None,
* ``eta``: a multiple of 2^-1074 that comes on top of both errors (tails only),
* ``ends``: the exact ends of the piece for an input, whose ball may be a little wider.

Each is valid on its own, for all x of the piece; correlation between operands is forgotten, which
only widens. Rounding model, round to nearest with gradual underflow: a real v with |v| <= M has
|fl(v) - v| <= 2^(e-53) for M <= 2^(e+1) (half a unit of the binade; at 2^(e+1) itself the error
is 0), <= 2^-1075 where the result is subnormal, <= u |v| where it is normal, and always <= |v|,
because 0 is a binary64 number. Exact are: multiples of 2^g of modulus <= 2^(53+g), g >= -1074
(which contains Sterbenz' lemma and the first steps of argument reductions); products with powers of
two without underflow; operations with 0; the difference of a value and itself. For a binary64
number c and any real d, |fl(c + d) - (c + d)| <= |d|, because c itself is a candidate.

Tails. On a piece x_min <= |x| <= x_max << 1 every ideal value is |x|^order times a cofactor, and
``ideal`` and ``error`` are those of the cofactor. Lower orders absorb higher ones with factors in
[0, x_max]. Thus one piece reaches down to x_min = 0, where the rounding of products of order >= 2
has no bound but |v|, and one of order 1 adds 2^-1075.
"""

from __future__ import annotations

from typing import Any

from flint import arb, fmpq

Exact = Any  # an arb of radius 0

U = arb(2) ** -53
_ZERO, _ONE = arb(0), arb(1)
_TOO_LARGE = arb(2**1024 - 2**970)  # rounds to infinity
_NORMAL = arb(2) ** -1022
_ETA = arb(2) ** -1074


class Undecided(Exception):  # noqa: N818
    """A select whose condition is true for some numbers of the piece only."""

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold)
        self.threshold = threshold


class Tail:
    """The piece x_min <= |x| <= x_max of inputs near 0."""

    def __init__(self, x_min: Exact, x_max: Exact) -> None:
        self.x_min, self.x_max = x_min, x_max
        self.powers = [_ONE] + [_from_zero_to(x_max**j) for j in range(1, 20)]


def _from_zero_to(top: Exact) -> Exact:
    return arb(top / 2, top / 2)


def interval(lo: Any, hi: Any) -> Exact:
    """Return a ball that contains [lo, hi]."""
    return arb(lo).union(arb(hi))


def _exponent(magnitude: Exact) -> int:
    """Return the least e with magnitude <= 2^e, for an exact magnitude > 0."""
    mantissa, exponent = magnitude.man_exp()
    power = int(mantissa).bit_length() + int(exponent)
    return power - 1 if mantissa == 1 else power


def _trailing(x: float) -> int | None:
    """Return the largest g such that x is a multiple of 2^g; None for 0."""
    if x == 0.0:
        return None
    n, d = x.as_integer_ratio()
    return (n & -n).bit_length() - 1 if d == 1 else 1 - d.bit_length()


def smaller(a: Exact | None, b: Exact | None) -> Exact | None:
    """Return one of two valid bounds, the smaller where that is certain; None is no bound."""
    if a is None or b is None:
        return b if a is None else a
    return a if a < b else b


class Unknown:
    """A value nothing is known about: that of a branch which the select does not take."""

    def _same(self, *_: Any) -> Unknown:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _same
    __truediv__ = __rtruediv__ = __neg__ = __abs__ = fused = _same

    def replaced(self, *_: Any, **__: Any) -> Unknown:
        """Stay unknown."""
        return self


UNKNOWN = Unknown()


class Number:
    """One computed value; see the module's docstring."""

    __slots__ = (
        "ends",
        "error",
        "eta",
        "grid",
        "high",
        "ideal",
        "low",
        "order",
        "relative",
        "tail",
    )

    def __init__(
        self,
        ideal: Exact,
        error: Exact | None = None,
        relative: Exact | None = None,
        *,
        grid: int | None = None,
        tail: Tail | None = None,
        order: int = 0,
        eta: Exact = _ZERO,
        ends: tuple[Exact, Exact] | None = None,
    ) -> None:
        self.ends = ends
        self.ideal, self.grid, self.tail, self.order, self.eta = ideal, grid, tail, order, eta
        self.high, self.low = ideal.abs_upper(), ideal.abs_lower()
        if ends is not None:
            self.high = smaller(self.high, abs(ends[0]).max(abs(ends[1])))
        if relative is not None:
            error = smaller(error, relative * self.high)
        if error is None:
            raise ValueError("Number: expected a bound of the error, but got none")
        if order == 0 and eta != 0:
            error, relative, self.eta = error + eta * _ETA, None, _ZERO
        if self.low > 0:
            relative = smaller(relative, error / self.low)
        self.error = arb(error.abs_upper())
        self.relative = None if relative is None else arb(relative.abs_upper())

    # what a program can ask

    def __neg__(self) -> Number:
        return self._mirrored()

    def __abs__(self) -> Number:
        """Return the modulus, for an ideal value of one sign: ||a| - |b|| <= |a - b|."""
        lo, hi = self.computed()
        if lo >= 0 and (self.ideal >= 0 or self.ends is not None):
            return self
        if hi <= 0 and (self.ideal <= 0 or self.ends is not None):
            return self._mirrored()
        if self.ideal >= 0 or self.ideal <= 0:
            sign = 1 if self.ideal >= 0 else -1
            return Number(
                self.ideal * sign,
                self.error,
                self.relative,
                grid=self.grid,
                tail=self.tail,
                order=self.order,
                eta=self.eta,
            )
        raise Undecided(0.0)

    def computed(self) -> tuple[Exact, Exact]:
        """Return bounds of the computed value (of the cofactor in a tail)."""
        if self.ends is not None:
            return self.ends
        return (self.ideal - self.error).lower(), (self.ideal + self.error).upper()

    def __lt__(self, bound: float) -> bool:
        return self._compare(bound, strict=True)

    def __le__(self, bound: float) -> bool:
        return self._compare(bound, strict=False)

    def __gt__(self, bound: float) -> bool:
        return not self._compare(bound, strict=False)

    def __ge__(self, bound: float) -> bool:
        return not self._compare(bound, strict=True)

    def _compare(self, bound: float, *, strict: bool) -> bool:
        lo, hi = self.computed()
        if self.order:
            if self.tail is None or self.eta != 0 or self.order != 1:
                raise Undecided(bound)
            if bound == 0.0:
                if hi < 0 or lo > 0:
                    return bool(hi < 0)
                raise Undecided(bound)
            if max(abs(lo), abs(hi)) * self.tail.x_max < abs(arb(bound)):
                return bound > 0
            raise Undecided(bound)
        limit = arb(bound)
        if hi < limit or (not strict and hi <= limit):
            return True
        if lo > limit or (strict and lo >= limit):
            return False
        raise Undecided(bound)

    def __add__(self, other: Any) -> Any:
        return _rounded_sum(self, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return 0.0 if other is self else _rounded_sum(self, -other)

    def __rsub__(self, other: Any) -> Any:
        return _rounded_sum(-self, other)

    def __mul__(self, other: Any) -> Any:
        return _rounded_product(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return _rounded_quotient(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _rounded_quotient(_coerced(other, self), self)

    def fused(self, a: Any, b: Any, c: Any) -> Any:
        """Return fl(a b + c)."""
        if isinstance(a, Unknown) or isinstance(b, Unknown) or isinstance(c, Unknown):
            return UNKNOWN
        product = _exact_product(a, b, self)
        if _is_zero(product):
            return c
        if _is_zero(c):
            return _rounded_product(a, b) if isinstance(a, Number) else _rounded_product(b, a)
        return _rounded(_exact_sum(product, c), _reach(product, c), product=True)

    # what a proof can ask

    def _mirrored(self) -> Number:
        return Number(
            -self.ideal,
            self.error,
            self.relative,
            grid=self.grid,
            tail=self.tail,
            order=self.order,
            eta=self.eta,
            ends=None if self.ends is None else (-self.ends[1], -self.ends[0]),
        )

    def replaced(self, truth: Exact, *, error: Exact = _ZERO, relative: Exact | None = None) -> Any:
        """Return the same computed value against another ideal one.

        Args:
            truth: a ball of the new ideal value (of its cofactor in a tail).
            error: bound of |old ideal - new ideal|, used if ``relative`` is None.
            relative: bound of |old ideal / new ideal - 1|.
        """
        total = None
        if relative is not None:
            error = relative * truth.abs_upper()
            if self.relative is not None:
                total = self.relative + relative + self.relative * relative
        return Number(
            truth,
            self.error + error,
            total,
            grid=self.grid,
            tail=self.tail,
            order=self.order,
            eta=self.eta,
        )


def _is_zero(value: Any) -> bool:
    return isinstance(value, float) and value == 0.0


def _coerced(value: Any, like: Number) -> Number:
    if isinstance(value, Number):
        return value
    number = float(value)
    return Number(arb(number), relative=_ZERO, grid=_trailing(number), tail=like.tail)


def _lowered(number: Number, order: int) -> Number:
    """Return the number in units of |x|^order, order <= 1; eta 2^-1074 <= eta |x| goes there."""
    if number.order == order:
        return number
    factor = number.tail.powers[number.order - order]  # type: ignore[union-attr]
    error, relative = number.error * factor.abs_upper(), number.relative
    if number.eta != 0:
        error, relative = error + number.eta, None
    return Number(
        number.ideal * factor, error, relative, grid=number.grid, tail=number.tail, order=order
    )


def _exact_sum(left: Any, right: Any) -> Any:
    """Return the sum of the computed values, before any rounding."""
    a = left if isinstance(left, Number) else _coerced(left, right)
    b = _coerced(right, a)
    order = min(a.order, b.order)
    if order > 1:
        return UNKNOWN
    a, b = _lowered(a, order), _lowered(b, order)
    ideal = a.ideal + b.ideal
    relative = None
    if (a.ideal >= 0 and b.ideal >= 0) or (a.ideal <= 0 and b.ideal <= 0):
        relative = _relative_of_sum(a, b, ideal.abs_lower())
    total = Number(
        ideal,
        a.error + b.error,
        relative,
        grid=None if a.grid is None or b.grid is None else min(a.grid, b.grid),
        tail=a.tail or b.tail,
        order=order,
        eta=a.eta + b.eta,
    )
    total.high = smaller(total.high, a.high + b.high)
    return total


def _relative_of_sum(a: Number, b: Number, least: Exact) -> Exact | None:
    """Return a relative error of a sum of numbers of one sign, whose modulus is >= least."""
    relative = None
    if a.relative is not None and b.relative is not None:
        relative = a.relative.max(b.relative)
    if least > 0:
        if a.relative is not None:
            relative = smaller(relative, a.relative + b.error / least)
        if b.relative is not None:
            relative = smaller(relative, b.relative + a.error / least)
    return relative


def _exact_product(left: Any, right: Any, like: Number) -> Any:
    """Return the product of the computed values, before any rounding."""
    if _is_zero(left) or _is_zero(right):
        return 0.0
    a, b = _coerced(left, like), _coerced(right, like)
    relative = None
    if a.relative is not None and b.relative is not None:
        relative = a.relative + b.relative + a.relative * b.relative
    error = a.high * b.error + b.high * a.error + a.error * b.error
    eta = _ZERO
    if a.eta != 0 or b.eta != 0:
        eta = a.eta * _size(b) + b.eta * _size(a) + a.eta * b.eta * _ETA
    return Number(
        a.ideal * b.ideal,
        error,
        relative,
        grid=None if a.grid is None or b.grid is None else a.grid + b.grid,
        tail=a.tail or b.tail,
        order=a.order + b.order,
        eta=eta,
    )


def _size(number: Number) -> Exact:
    """Return a bound of the modulus of the computed value without its share of eta."""
    size = number.high + number.error
    return size * number.tail.powers[number.order].abs_upper() if number.tail else size


def _reach(d: Any, c: Any) -> Exact | None:
    """Return a bound of |d| in the units of c + d, None where there is none."""
    d = _coerced(d, c)
    order = min(d.order, c.order if isinstance(c, Number) else 0)
    if order > 1:
        return None
    d = _lowered(d, order)
    return d.high + d.error if d.eta == 0 else None


def _rounded_sum(left: Number, right: Any) -> Any:
    if isinstance(right, Unknown):
        return UNKNOWN
    if _is_zero(right):
        return left
    reach = smaller(_reach(right, left), _reach(left, right))
    return _rounded(_exact_sum(left, right), reach, product=False)


def _power_of_two(value: Any) -> int | None:
    if not isinstance(value, float):
        return None
    n, d = abs(value).as_integer_ratio()
    return n.bit_length() - d.bit_length() if n & (n - 1) == 0 else None


def _rounded_product(a: Any, b: Any) -> Any:
    if isinstance(b, Unknown):
        return UNKNOWN
    product = _exact_product(a, b, a)
    if _is_zero(product):
        return 0.0
    power = _power_of_two(b)
    if power is not None and (power >= 0 or _is_normal(product)):
        return _checked(product)
    return _rounded(product, None, product=True)


def _is_normal(value: Number) -> bool:
    """Tell whether the modulus of the computed value is certainly >= 2^-1022."""
    least = value.low - value.error
    if value.order:
        least = least * value.tail.x_min**value.order  # type: ignore[union-attr]
    return bool(value.eta == 0 and least >= _NORMAL)


def _rounded_quotient(a: Number, right: Any) -> Any:
    if isinstance(right, Unknown):
        return UNKNOWN
    if right == 1.0 if isinstance(right, float) else False:
        return a
    b = _coerced(right, a)
    least = b.low - b.error
    if b.order or b.eta != 0 or not least > 0:
        return UNKNOWN
    relative = None
    if a.relative is not None and b.relative is not None and b.relative < 0.5:
        relative = (a.relative + b.relative) / (1 - b.relative)
    ideal = a.ideal / b.ideal
    error = (a.error + ideal.abs_upper() * b.error) / least
    exact = Number(ideal, error, relative, tail=a.tail or b.tail, order=a.order, eta=a.eta / least)
    return _rounded(exact, None, product=True)


def _checked(value: Number) -> Any:
    if value.order == 0 and not value.high + value.error < _TOO_LARGE:
        return UNKNOWN
    return value


def _rounded(value: Any, reach: Exact | None, *, product: bool) -> Any:
    """Return the value after rounding to nearest.

    Args:
        value: the exact result of the computed operands.
        reach: bound of the distance to some binary64 number, hence of the rounding error.
        product: False for sums, which are exact where they are subnormal.
    """
    if isinstance(value, Unknown):
        return UNKNOWN
    magnitude = value.high + value.error
    if value.order:
        return _rounded_in_tail(value, magnitude, reach, product)
    if not magnitude < _TOO_LARGE:
        return UNKNOWN
    if magnitude == 0:
        return value
    exponent = _exponent(magnitude.abs_upper())
    if value.grid is not None and value.grid >= -1074 and exponent <= 53 + value.grid:
        return value
    step: Exact = arb(2) ** max(exponent - 54, -1075)
    step = smaller(smaller(step, magnitude), reach)
    relative = None
    if value.relative is not None and (not product or _is_normal(value)):
        relative = value.relative + U + value.relative * U
    result = Number(value.ideal, value.error + step, relative, tail=value.tail)
    result.grid = value.grid
    least = result.low - result.error
    if least > 0:
        ulp = max(_exponent(least.lower()) - 53, -1074)
        result.grid = ulp if value.grid is None else max(ulp, value.grid)
    return result


def _rounded_in_tail(value: Number, magnitude: Exact, reach: Exact | None, product: bool) -> Number:
    unit: Exact | None = U
    eta: Exact = value.eta
    step: Exact = U * magnitude
    if reach is not None and reach < step:
        unit, step = None, reach
    elif product and not _is_normal(value):
        if value.order >= 2:
            unit, step, eta = _ONE, magnitude, 2 * eta
        else:
            eta = eta * (1 + U) + fmpq(1, 2)
    else:
        eta = eta * (1 + U)
    relative = None
    if value.relative is not None and unit is not None:
        relative = value.relative + unit + value.relative * unit
    return Number(
        value.ideal, value.error + step, relative, tail=value.tail, order=value.order, eta=eta
    )
