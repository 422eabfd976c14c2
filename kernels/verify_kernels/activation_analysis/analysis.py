"""Analysis of an activation from its formula: every fact proved, or open with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from flint import arb, ctx

from verify.enclosure import Enclosure
from verify.network.activation import Activation
from verify.verdict import Truth
from verify_kernels.activation_analysis.coefficients import UnclearError
from verify_kernels.activation_analysis.extrema import Budget, OutOfBudgetError
from verify_kernels.activation_analysis.facts import (
    ActivationFacts,
    Bound,
    Range,
    infinite_bound,
    open_bound,
    proved_bound,
)
from verify_kernels.activation_analysis.jet import BREAKING, derivatives
from verify_kernels.activation_analysis.kinks import SMOOTH, Joint, joints, value_at
from verify_kernels.activation_analysis.periodic import (
    Periodic,
    far_ranges,
    limits,
    periodic_part,
    slopes_at_infinity,
)
from verify_kernels.activation_analysis.pieces import (
    Cut,
    Cutting,
    Piece,
    UndefinedError,
    rational_ball,
)
from verify_kernels.activation_analysis.ranges import PieceRanges, Ranges
from verify_kernels.activation_analysis.tail_bounds import Tail, TailSupremum, growth, tail_of
from verify_kernels.activation_analysis.tree import (
    Node,
    direction,
    is_switching,
    parity,
    postorder,
    tree_of,
)

Ball = Any
PRECISION = 160
NAMES = ("d0", "d1", "d2", "d3", "kappa", "zd1")
WORK = 250_000  # operations on jets and boxes, a few seconds


@contextmanager
def _precision(bits: int) -> Iterator[None]:
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


@lru_cache(maxsize=512)
def analyse(activation: Activation) -> ActivationFacts:
    """Return what is proved about an activation; each activation is analysed once a process.

    Finite suprema have a relative width of at most 1e-9, or say in ``where`` that they do not.
    Nothing is guessed: what the method does not decide is UNDECIDED, with the reason in ``why``.

    Raises:
        InputError: the formula holds an operation that is not known.
    """
    return analyse_expression(activation.formula(), text=activation.expression())


def analyse_expression(expression: Any, *, text: str = "") -> ActivationFacts:
    """Return what is proved about an exact SymPy expression in one real variable.

    Raises:
        InputError: it holds an operation that is not known.
    """
    with _precision(PRECISION):
        return _Analysis(tree_of(expression), text or str(expression)).facts()


@lru_cache(maxsize=512)
def enclose_fourth_derivative(activation: Activation) -> Range:
    """Return the range of the fourth derivative, which `ActivationFacts` leaves out.

    One-sided at kinks, like the others; undecided where the formula is not cut into pieces.
    """
    with _precision(PRECISION):
        budget = Budget(WORK)
        cutting = Cutting(budget)
        try:
            pieces = cutting.pieces(tree_of(activation.formula()))
            return Ranges(pieces, budget, order=6).range("d4")
        except (UndefinedError, UnclearError, OutOfBudgetError, RecursionError) as reason:
            return Range(open_bound(str(reason)), open_bound(str(reason)))


class _Analysis:
    def __init__(self, root: Node, text: str) -> None:
        self.root, self.text = root, text
        self.budget = Budget(WORK)
        self.why: dict[str, str] = {}

    def facts(self) -> ActivationFacts:
        form = periodic_part(self.root)
        if form is not None:
            try:
                return self._periodic(form)
            except (UndefinedError, UnclearError, OutOfBudgetError, RecursionError):
                self.budget = Budget(WORK)
        cutting = Cutting(self.budget)
        try:
            pieces = cutting.pieces(self.root)
            found = joints(self.root, pieces, cutting)
        except UndefinedError as hole:
            place = "" if hole.place is None else f" at z in {hole.place.str(8)}"
            return self._open(Truth.REFUTED, Truth.REFUTED, f"{hole.what}{place}")
        except UnclearError as reason:
            return self._open(Truth.UNDECIDED, Truth.UNDECIDED, str(reason))
        except (OutOfBudgetError, RecursionError):
            return self._open(Truth.UNDECIDED, Truth.UNDECIDED, "the work allowed was used up")
        return self._facts(cutting, pieces, found)

    def _open(self, defined: Truth, smooth: Truth, why: str) -> ActivationFacts:
        nothing = Range(open_bound(why), open_bound(why))
        bound = open_bound(why)
        even, odd = self._parities()
        return ActivationFacts(
            expression=self.text,
            defined=defined,
            smooth=smooth,
            order=None,
            kinks=(),
            limits=(bound, bound),
            growth=("unknown", "unknown"),
            d0=nothing,
            d1=nothing,
            d2=nothing,
            d3=nothing,
            kappa=nothing,
            zd1=nothing,
            secant=nothing,
            l0=bound,
            l1=bound,
            kappa1=bound,
            monotone=Truth.UNDECIDED,
            strictly_increasing=Truth.UNDECIDED,
            even=even,
            odd=odd,
            value_at_zero=Enclosure.from_arb(derivatives(self.root, arb(0), 0)[0]),
            why={"defined": why},
        )

    def _facts(
        self, cutting: Cutting, pieces: Sequence[Piece], found: Sequence[Joint]
    ) -> ActivationFacts:
        merged = _merged(pieces, found)
        ranges = Ranges(merged, self.budget)
        smooth, order = self._smoothness(cutting, found)
        isolated = [joint.value for joint in found if joint.value.is_finite()]
        unknown = any(not joint.value.is_finite() for joint in found)
        values = {name: ranges.range(name, isolated if name == "d0" else ()) for name in NAMES}
        if unknown:
            values["d0"] = Range(*(open_bound("a value at a jump is not known"),) * 2)
        ends = (tail_of(merged[0].node, -1), tail_of(merged[-1].node, 1))
        if direction(self.root):
            values["d1"] = _one_sided(values["d1"], direction(self.root))
            self.why["monotone"] = "composed of monotone functions"
        secant = _secant(values["d1"], found)
        monotone = _monotone(values["d1"], found)
        even, odd = self._parities()
        return ActivationFacts(
            expression=self.text,
            defined=self._defined(found, "logarithms, roots and quotients are defined on all of R"),
            smooth=smooth,
            order=order,
            kinks=tuple(joint.kink() for joint in found if joint.agree != SMOOTH),
            limits=(self._limit(ends[0]), self._limit(ends[1])),
            growth=(self._growth(ends[0]), self._growth(ends[1])),
            d0=values["d0"],
            d1=values["d1"],
            d2=values["d2"],
            d3=values["d3"],
            kappa=values["kappa"],
            zd1=values["zd1"],
            secant=secant,
            l0=self._superior(ends, "slope"),
            l1=self._superior(ends, "d1"),
            kappa1=self._superior(ends, "kappa1"),
            monotone=monotone,
            strictly_increasing=_strict(monotone, ranges.parts),
            even=even,
            odd=odd,
            value_at_zero=self._at_zero(cutting),
            why=self.why,
        )

    def _periodic(self, form: Periodic) -> ActivationFacts:
        """Return the facts of c z + P(z), from one period."""
        cutting = Cutting(self.budget)
        low, high = (cutting.cut_at(rational_ball(end), end) for end in form.window)
        pieces = cutting.pieces(self.root, low, high)
        found = joints(self.root, pieces, cutting)
        ranges = Ranges(_merged(pieces, found), self.budget)
        isolated = [joint.value for joint in found]
        if any(not value.is_finite() for value in isolated):
            raise UnclearError("a value at a jump is not known")
        smooth, order = self._smoothness(cutting, found)
        plain = not (is_switching(self.root) or cutting.rough)
        whole = Ranges([Piece(None, None, self.root)], self.budget) if plain else None
        values = {}
        for name in ("d0", "d1", "d2", "d3"):
            exact = whole.wave(name) if whole is not None else None
            values[name] = exact or ranges.range(name, isolated if name == "d0" else ())
        breaking = any(node.op in BREAKING for node in postorder(self.root))
        values["kappa"], values["zd1"] = far_ranges(values["d1"], breaking=breaking)
        ends = limits(form, values["d0"] if not form.slope else ranges.range("d0"))
        if form.slope:
            endless = infinite_bound("z -> +infinity"), infinite_bound("z -> -infinity")
            values["d0"] = Range(*(endless if form.slope.sign() < 0 else endless[::-1]))
        l0, l1, kappa1 = slopes_at_infinity(form, values["d1"])
        bounded = all(end.finite is not Truth.UNDECIDED for end in ends)
        growth_word = ("linear" if form.slope else "bounded") if bounded else "unknown"
        even, odd = self._parities()
        monotone = _monotone(values["d1"], found)
        return ActivationFacts(
            expression=self.text,
            defined=self._defined(found, "shown on one period of the periodic part"),
            smooth=smooth,
            order=order,
            kinks=tuple(joint.kink() for joint in found if joint.agree != SMOOTH),
            limits=ends,
            growth=(growth_word, growth_word),
            d0=values["d0"],
            d1=values["d1"],
            d2=values["d2"],
            d3=values["d3"],
            kappa=values["kappa"],
            zd1=values["zd1"],
            secant=_secant(values["d1"], found),
            l0=l0,
            l1=l1,
            kappa1=kappa1,
            monotone=monotone,
            strictly_increasing=_strict(monotone, ranges.parts),
            even=even,
            odd=odd,
            value_at_zero=self._at_zero(cutting),
            why=self.why,
            period=Enclosure.from_arb(form.period),
        )

    def _defined(self, found: Sequence[Joint], proof: str) -> Truth:
        """Decide the points between the pieces: there a sign may be zero."""
        hidden = any(not joint.value.is_finite() for joint in found)
        self.why["defined"] = "a value at a cut is not known" if hidden else proof
        return Truth.UNDECIDED if hidden else Truth.PROVED

    def _smoothness(self, cutting: Cutting, found: Sequence[Joint]) -> tuple[Truth, int | None]:
        if cutting.rough:
            self.why["smooth"] = cutting.rough[0]
            return Truth.UNDECIDED, None
        limited = [joint.at_most for joint in found if joint.at_most != SMOOTH]
        known = [joint.agree for joint in found]
        if limited:
            most = min(limited)
            sure = all(agree is not None and agree >= most for agree in known)
            self.why["smooth"] = "one-sided derivatives differ at a kink"
            return Truth.REFUTED, most if sure else None
        if any(agree != SMOOTH for agree in known):
            self.why["smooth"] = "one-sided derivatives are not told apart at a cut"
            return Truth.UNDECIDED, None
        if any(not joint.value.is_finite() for joint in found):
            self.why["smooth"] = "a value at a cut is not known"
            return Truth.UNDECIDED, None
        self.why["smooth"] = "built from analytic functions inside their domains"
        return Truth.PROVED, None

    def _parities(self) -> tuple[Truth, Truth]:
        sign = parity(self.root)
        even, odd = Truth.UNDECIDED, Truth.UNDECIDED
        if sign > 0:
            even = Truth.PROVED
        if sign < 0:
            odd = Truth.PROVED
        for x in (arb(5) / 4, arb(1) / 8, arb(7)):
            here, there = (derivatives(self.root, y, 0)[0] for y in (x, -x))
            if here.is_finite() and there.is_finite():
                even = Truth.REFUTED if here != there else even
                odd = Truth.REFUTED if here != -there else odd
        return even, odd

    def _limit(self, tail: Tail) -> Bound:
        limit = tail.limit()
        where = f"z -> {'+' if tail.side > 0 else '-'}infinity"
        if limit.kind == "finite":
            return proved_bound(Enclosure.from_arb(limit.value), where)
        if limit.kind == "unknown":
            return open_bound(tail.why or "not decided at infinity")
        names = {"+inf": "+infinity", "-inf": "-infinity", "oscillates": "no limit: it oscillates"}
        return infinite_bound(names[limit.kind])

    def _growth(self, tail: Tail) -> str:
        made = tail.first()
        if made is None:
            return "unknown"
        try:
            return growth(made[0])
        except UnclearError:
            return "unknown"

    def _superior(self, ends: Sequence[Tail], name: str) -> Bound:
        both: list[TailSupremum] = []
        for tail in ends:
            known = tail.superior(name)
            if known is not None and known.infinite:
                return infinite_bound(f"z -> {'+' if tail.side > 0 else '-'}infinity")
            if known is None or known.high is None:
                return open_bound(tail.why or "not decided at infinity")
            both.append(known)
        low, high = (max((getattr(t, end) for t in both), key=_midpoint) for end in ("low", "high"))
        for t in both:
            low, high = low.max(t.low).lower(), high.max(t.high).upper()
        value = Enclosure(Enclosure.from_arb(low).lo, Enclosure.from_arb(high).hi)
        return proved_bound(value, "limit superior of both sides")

    def _at_zero(self, cutting: Cutting) -> Enclosure:
        for cut in cutting.cuts:
            if cut.exact == 0:
                return Enclosure.from_arb(value_at(self.root, cut, cutting))
        return Enclosure.from_arb(value_at(self.root, Cut(arb(0), None), cutting))


def _midpoint(ball: Ball) -> float:
    return float(ball.mid())


def _merged(pieces: Sequence[Piece], found: Sequence[Joint]) -> list[Piece]:
    """Join neighbours with one formula and no break between."""
    cuts = {joint.cut for joint in found}
    result = [pieces[0]]
    for piece in pieces[1:]:
        if piece.low in cuts:
            result.append(piece)
        else:
            result[-1] = Piece(result[-1].low, piece.high, piece.node)
    return result


def _jumps(found: Sequence[Joint]) -> tuple[bool, bool, bool]:
    """Return whether it jumps up somewhere, down somewhere, and whether that is known."""
    up = down = False
    known = True
    for joint in found:
        if joint.agree is not None and joint.agree >= 0:
            continue
        left, right, value = joint.left[0], joint.right[0], joint.value
        rising = value > left or right > value or right > left
        falling = value < left or right < value or right < left
        up, down = up or rising, down or falling
        settled = value.is_finite() and (
            (rising and not falling and left <= value <= right)
            or (falling and not rising and left >= value >= right)
            or (rising and falling)
        )
        known = known and settled
    return up, down, known


def _secant(slopes: Range, found: Sequence[Joint]) -> Range:
    """Return the range of secant slopes: that of the derivative, and infinite over a jump."""
    up, down, known = _jumps(found)
    why = "what happens at a cut is not known"
    low, high = slopes.inf, slopes.sup
    if not known:
        low, high = open_bound(why), open_bound(why)
    return Range(
        inf=infinite_bound("over a jump downwards") if down else low,
        sup=infinite_bound("over a jump upwards") if up else high,
    )


def _monotone(slopes: Range, found: Sequence[Joint]) -> Truth:
    _, down, known = _jumps(found)
    if down or slopes.inf.finite is Truth.REFUTED:
        return Truth.REFUTED
    if slopes.inf.finite is Truth.UNDECIDED:
        return Truth.UNDECIDED
    if slopes.inf.value.hi < 0:
        return Truth.REFUTED
    return Truth.PROVED if known and slopes.inf.value.lo >= 0 else Truth.UNDECIDED


def _one_sided(slopes: Range, sign: int) -> Range:
    """Use that the derivative has one sign."""
    inf, sup = slopes.inf, slopes.sup
    if sign > 0 and inf.finite is Truth.PROVED and inf.value.lo < 0:
        inf = Bound(Enclosure(0, max(inf.value.hi, 0)), Truth.PROVED, inf.where)
    if sign < 0 and sup.finite is Truth.PROVED and sup.value.hi > 0:
        sup = Bound(Enclosure(min(sup.value.lo, 0), 0), Truth.PROVED, sup.where)
    return Range(inf, sup)


def _strict(monotone: Truth, parts: Sequence[PieceRanges]) -> Truth:
    """Decide strictness: an analytic piece is constant, or its derivative has isolated zeros."""
    if monotone is not Truth.PROVED:
        return monotone
    try:
        answers = [_rises(part) for part in parts]
    except OutOfBudgetError:
        return Truth.UNDECIDED
    if all(answer is Truth.PROVED for answer in answers):
        return Truth.PROVED
    return Truth.REFUTED if Truth.REFUTED in answers else Truth.UNDECIDED


def _rises(part: PieceRanges) -> Truth:
    for box in part.boxes(part.starts()[0]):
        if box.jet[1].is_zero():
            return Truth.REFUTED
        if any(place.jet[1] > 0 for place in (box.left, box.middle, box.right)):
            return Truth.PROVED
    return Truth.UNDECIDED
