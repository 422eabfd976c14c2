"""Students and teachers as plain arrays W, W_star, optionally a, a_star."""

from __future__ import annotations

from verify.errors import InputError
from verify.readers.layouts import Constants, Layout, TeacherStudentParts, View
from verify.readers.tensors import STEP_NAMES, shown, whole_number

# Stored beside the rows without being part of the network.
_BESIDE = frozenset(("X", "y", "data.X", "data.y"))


def _build(view: View, constants: Constants) -> TeacherStudentParts:
    W = view.matrix("W")
    W_star = view.matrix("W_star", columns=W.shape[1])
    free = view.has("a") or view.has("a_star")
    a = view.vector("a", len(W)) if free else None
    a_star = view.vector("a_star", len(W_star)) if free else None
    _refuse_more(view)
    told = () if free else ("no output weights are stored: they are tied to the norms of the rows",)
    return TeacherStudentParts(W, W_star, a, a_star, told)


def _refuse_more(view: View) -> None:
    """Refuse further tensors: they might change the function."""
    steps = {name for name in STEP_NAMES if whole_number(view.tensors.get(name)) is not None}
    more = [
        name
        for name in view.unused()
        if name not in _BESIDE | steps and (name.startswith(view.prefix) or not view.selected)
    ]
    if more:
        raise InputError(
            "teacher-student: expected W, W_star and perhaps a, a_star alone, but got also "
            f"{', '.join(shown(name) for name in more[:8])}; remove what is not part of the network"
        )


TEACHER_STUDENT = Layout(
    name="teacher-student",
    tells="W (m, d) and W_star (r, d), optional a (m,) and a_star (r,)",
    variants=(("W_star", "W"),),
    build=_build,
)
