"""From tensors and declarations to a network: choose the group, the layout, and build."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from verify.errors import InputError, SettingsError
from verify.network import (
    Activation,
    Data,
    Equilibrium,
    Graph,
    Network,
    OpaqueInput,
    TeacherStudent,
    TwoLayer,
    recognise,
)
from verify.readers.declaration import CONDITION, CONSTANTS, Declaration
from verify.readers.feedforward_layout import (
    ADVICE,
    FEEDFORWARD,
    linear_alone,
    network_of_chain,
    refuse_activations,
)
from verify.readers.layouts import (
    Constants,
    FeedforwardParts,
    Layout,
    Parts,
    TeacherStudentParts,
    TwoLayerParts,
    View,
)
from verify.readers.plain_layouts import IMPLICIT_RELU, PLAIN
from verify.readers.public_layouts import LAYOUTS as PUBLIC
from verify.readers.public_layouts import not_covered
from verify.readers.teacher_student_layout import TEACHER_STUDENT
from verify.readers.tensors import StoredTensor, TensorBag, render_listing, shown
from verify.readers.two_layer_layout import TWO_LAYER

LAYOUTS = {
    layout.name: layout
    for layout in (PLAIN, IMPLICIT_RELU, TWO_LAYER, TEACHER_STUDENT, FEEDFORWARD, *PUBLIC)
}
Group = Mapping[str, StoredTensor]
# What torch's parametrisations store beside or instead of a parameter that a layout reads.
_OWN = frozenset(("W", "A", "B", "U", "M", "S", "L", "R", "C", "D", "b", "bias", "d", "f"))
_PARAMETRISED = re.compile(r"(?:.*\.)?(?:parametrizations\..*|[^.]*_(?:orig|mask|u))")
_FACTOR = re.compile(r"(?:.*\.)?[^.]+_[vg]")
# Layouts beside whose tensors the samples may be stored.
_WITH_DATA = (PLAIN, IMPLICIT_RELU, TWO_LAYER, TEACHER_STUDENT)
_DATA_NAMES = (("X", "y"), ("data.X", "data.y"))


@dataclass(frozen=True, eq=False)
class Assembled:
    """The network, data stored beside it, and the settings that only the conditions read."""

    network: Network
    data: Data | None
    settings: Mapping[str, str]
    family: str


def assemble(bag: TensorBag, declared: Declaration, where: str) -> Assembled:
    """Build the network that the tensors and the declaration stand for.

    Raises:
        InputError: several groups or layouts fit, none fits, or a tensor has a wrong shape.
        SettingsError: something that must be declared is not.
    """
    if bag.network is not None:
        return _recognised(bag.network, declared)
    chosen, prefix = _group(bag, declared, where)
    group = _plain_names(chosen)
    if not group:
        raise InputError(f"{where}: expected tensors, but got {render_listing(bag.listing())}")
    layout = _layout(group, declared, prefix, where)
    view = View(layout.name, group, _prefix(layout, group, prefix, where), prefix is not None)
    constants = Constants(layout.name, declared.settings)
    _refuse_parametrised(view, group, _PARAMETRISED)
    parts = layout.build(view, constants)
    _refuse_parametrised(view, view.unused(), _FACTOR)
    if isinstance(parts, Parts) and parts.weight.width == 0:
        raise InputError(f"{where}: expected a state of at least one coordinate, but got none")
    if isinstance(parts, FeedforwardParts):
        chain = network_of_chain(parts, declared)
        rest = _check_constants(declared, constants.used, layout.name)
        return Assembled(chain, _bundled(view, where), rest, chain.family)
    refuse_activations(layout.name, declared)
    activation = _activation(layout, declared)
    data = _bundled(view, where) if layout in _WITH_DATA else None
    unused = _unused(view, _elsewhere(bag, chosen))
    notes = (f"read as {layout.name}: {layout.tells}", *parts.notes, *unused)
    rest = _check_constants(declared, constants.used, layout.name)
    return Assembled(_network(parts, activation, notes), data, rest, layout.name)


def state_dict(bag: TensorBag, declared: Declaration, where: str) -> Group:
    """Return the tensors of the declared part of a file under the names of a state dict.

    Raises:
        InputError: no tensors, or several sets of them and none is declared.
    """
    group, prefix = _group(bag, declared, where)
    if prefix is None:
        return group
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in group.items()
        if name.startswith(prefix)
    }


def refuse_told(names: Iterable[str], declared: Declaration, where: str) -> None:
    """Refuse flags about what the operations of the network tell themselves.

    Raises:
        SettingsError: one of them is declared for this file.
    """
    for name in names:
        if name in declared.texts and declared.origins.get(name) in ("flag", "file"):
            raise SettingsError(
                f"--{name}: expected none for {where}, where the file or its class tells the "
                f"operations of the network, but got {shown(declared.texts[name])}; leave it out"
            )


def _recognised(graph: Graph, declared: Declaration) -> Assembled:
    """Return the narrowest family of a graph."""
    network = recognise(graph)
    rest = _check_constants(declared, set(), network.family)
    return Assembled(network, None, rest, network.family)


def _network(
    parts: Parts | TwoLayerParts | TeacherStudentParts,
    activation: Activation,
    notes: tuple[str, ...],
) -> Network:
    if isinstance(parts, TeacherStudentParts):
        return TeacherStudent(parts.W, parts.W_star, activation, parts.a, parts.a_star, notes)
    if isinstance(parts, TwoLayerParts):
        return TwoLayer(parts.W, parts.a, activation, parts.b, parts.c, notes)
    return Equilibrium(parts.weight, activation, parts.input, parts.readout, notes)


def check_data_fits(network: Network, data: Data | None, where: str) -> None:
    """Refuse samples of another dimension than the network's inputs, or outputs.

    Raises:
        InputError: X has another number of columns than U or W; for a network with one output,
            y has several.
    """
    source = network.input if isinstance(network, Equilibrium) else network
    if data is None or source is None or isinstance(source, OpaqueInput):
        return
    if isinstance(network, Equilibrium | TwoLayer | TeacherStudent) and data.X.ndim != 2:
        raise InputError(
            f"{where}: expected samples X of shape (n, {source.dimension}) for this family, but "
            f"got {data.X.shape}; flatten each sample to one row"
        )
    if math.prod(data.X.shape[1:]) != source.dimension:
        raise InputError(
            f"{where}: expected samples X of shape (n, {source.dimension}), but got {data.X.shape}"
        )
    y = data.y
    if isinstance(source, TwoLayer) and y is not None and y.shape not in ((data.n,), (data.n, 1)):
        raise InputError(
            f"{where}: expected targets y of shape ({data.n},) for a network with one output, "
            f"but got {y.shape}"
        )


def _group(bag: TensorBag, declared: Declaration, where: str) -> tuple[Group, str | None]:
    """Return the tensors to use, and the prefix that ``--key`` asks for inside them."""
    key = declared.texts.get("key")
    if key is not None:
        return _named_group(bag, key, where)
    full = {
        path: group
        for path, group in bag.groups.items()
        if any(len(tensor.shape) >= 2 for tensor in group.values())
    }
    found = full or {path: group for path, group in bag.groups.items() if group}
    if not found:
        raise InputError(f"{where}: expected named tensors, but got none")
    if len(found) > 1:
        fitting = {path: group for path, group in found.items() if _fits(group, declared)}
        if len(fitting) == 1:
            return next(iter(fitting.values())), None
        paths = sorted(found)
        listed = ", ".join(shown(path or "(top)") for path in paths[:8])
        example = shown(next(path for path in paths if path))
        raise InputError(
            f"{where}: expected one set of tensors, but got {len(found)}: {listed}; "
            f"choose one, for example --key {example}"
        )
    return next(iter(found.values())), None


def _family(declared: Declaration) -> str | None:
    """Return the declared family; activations of a table ``[model]`` are those of a chain."""
    chain = declared.model is not None and declared.model.activations
    return declared.texts.get("family", FEEDFORWARD.name if chain else None)


def _fits(group: Group, declared: Declaration) -> bool:
    """Return whether the declared family, or else a distinctive layout, has these names."""
    plain = _plain_names(group)
    family = _family(declared)
    if family is None:
        return any(_distinctive(layout, plain, None) for layout in LAYOUTS.values())
    return family in LAYOUTS and bool(LAYOUTS[family].prefixes(plain))


def _named_group(bag: TensorBag, key: str, where: str) -> tuple[Group, str | None]:
    if key == "." and "" in bag.groups:
        return bag.groups[""], None
    if key in bag.groups:
        return bag.groups[key], None
    for path, group in bag.groups.items():
        start = f"{path}." if path else ""
        inner = f"{key.removeprefix(start)}."
        if key.startswith(start) and any(name.startswith(inner) for name in group):
            return group, inner
    listed = ", ".join(shown(path) for path in list(bag.groups)[:8] if path) or "no nested ones"
    raise InputError(f"{where}: expected --key to name tensors, but got {shown(key)}; "
                     f"the file has {listed}")  # fmt: skip


def _plain_names(group: Group) -> Group:
    """Return the group with parametrised weight normalisation under its older names."""
    renamed: dict[str, StoredTensor] = {}
    for name, tensor in group.items():
        head, found, tail = name.rpartition("parametrizations.")
        pair = f"{head}{found}{tail[:-1]}"
        both = f"{pair}0" in group and f"{pair}1" in group
        if found and both and tail.count(".") == 1 and tail.endswith((".original0", ".original1")):
            suffix = "_g" if tail.endswith("0") else "_v"
            name = head + tail.partition(".")[0] + suffix
        if name in renamed or (name in group and group[name] is not tensor):
            raise InputError(f"tensor {shown(name)}: expected one tensor, but got two by that name")
        renamed[name] = tensor
    return renamed


def _layout(group: Group, declared: Declaration, prefix: str | None, where: str) -> Layout:
    family = _family(declared)
    if family is not None:
        if family not in LAYOUTS:
            raise SettingsError(
                f"--family: expected one of {', '.join(LAYOUTS)}, but got {shown(family)}"
            )
        return LAYOUTS[family]
    fitting = [layout for layout in LAYOUTS.values() if _prefixes(layout, group, prefix)]
    automatic = [layout for layout in fitting if _distinctive(layout, group, prefix)]
    known = not_covered(list(group))
    if known is not None:
        raise InputError(
            f"{where}: expected a network with one fully connected equilibrium layer, "
            f"but got {known}, which is not covered yet"
        )
    if len(automatic) == 1:
        return automatic[0]
    raise InputError(
        f"{where}: expected a declared family, but got {_listed(group)}; {_advice(fitting, group)}"
    )


def _distinctive(layout: Layout, group: Group, wanted: str | None) -> bool:
    ending = layout.automatic
    return ending is not None and any(
        prefix.endswith(ending) for prefix in _prefixes(layout, group, wanted)
    )


def _listed(group: Group) -> str:
    return render_listing(tuple((n, tensor.shape, tensor.dtype) for n, tensor in group.items()))


def _advice(fitting: Iterable[Layout], group: Group) -> str:
    layouts = list(fitting)
    if layouts == [FEEDFORWARD] and not linear_alone(group):
        return f"these are not the tensors of linear layers alone; {ADVICE}"
    if not layouts:
        return (
            "no known family has these names; name the matrix W (m, m), optionally U (m, d) and "
            "b (m,), and add --family equilibrium --activation relu, or name W (p, d) and a (p,) "
            "and add --family two-layer --activation tanh"
        )
    lines = [
        " ".join(
            [
                f"--family {layout.name}",
                *(["--activation relu"] if layout.activation is None else []),
                *(f"--set {CONDITION}.{constant}" for constant in layout.constants),
            ]
        )
        for layout in layouts
    ]
    names = ", ".join(layout.name for layout in layouts)
    return f"this could be {names}; add what is true of it, for example {lines[0]}"


def _prefixes(layout: Layout, group: Group, wanted: str | None) -> list[str]:
    found = layout.prefixes(group)
    return [prefix for prefix in found if wanted is None or prefix.startswith(wanted)]


def _prefix(layout: Layout, group: Group, wanted: str | None, where: str) -> str:
    found = _prefixes(layout, group, wanted)
    if not found:
        raise InputError(
            f"{where}: expected the tensors of {layout.name} ({layout.tells}), "
            f"but got {_listed(group)}"
        )
    if len(found) > 1 and found[0]:
        listed = ", ".join(shown(prefix.rstrip(".")) for prefix in found[:8])
        raise InputError(
            f"{where}: expected one layer of {layout.name}, but got {len(found)}: {listed}; "
            f"choose one, for example --key {shown(found[0].rstrip('.'))}"
        )
    return found[0]


def _activation(layout: Layout, declared: Declaration) -> Activation:
    text = declared.texts.get("activation", layout.activation)
    if text is None:
        raise SettingsError(
            f"--activation: expected the activation of the layout {layout.name}, which the "
            "tensors do not tell, but got nothing; add for example --activation relu"
        )
    activation = Activation.parse(text)
    if layout.activation is not None and activation != Activation.parse(layout.activation):
        raise SettingsError(
            f"--activation: expected {layout.activation}, which the family {layout.name} means, "
            f"but got {shown(text)}"
        )
    return activation


def _bundled(view: View, where: str) -> Data | None:
    """Return samples that are stored beside the weights under the names X and y."""
    from verify.readers.data_file import data_from

    for X, y in _DATA_NAMES:
        if X in view.tensors and f"{view.prefix}{X}" not in view.used:
            view.used |= {X, y}
            return data_from(view.tensors[X], view.tensors.get(y), where)
    return None


def _refuse_parametrised(view: View, names: Iterable[str], pattern: re.Pattern[str]) -> None:
    """Refuse tensors that change a parameter of the layer in a way that is not read.

    Raises:
        InputError: one of the names belongs to a parametrisation of such a parameter.
    """
    for name in names:
        rest = name.removeprefix(view.prefix)
        owner = re.sub(r"_(orig|mask|u|v|g)$", "", rest.partition(".")[0])
        if name.startswith(view.prefix) and owner in _OWN and pattern.fullmatch(rest):
            raise InputError(
                f"{view.layout}: expected the parameters that enter the equation, but got "
                f"{shown(name)}, part of a parametrisation that is not read; "
                "remove the parametrisation before saving"
            )


def _elsewhere(bag: TensorBag, chosen: Group) -> list[str]:
    """Return the names of the tensors of the groups that were not chosen."""
    return [
        f"{path}.{name}" if path else name
        for path, group in bag.groups.items()
        if group is not chosen
        for name in group
    ]


def _unused(view: View, elsewhere: Iterable[str]) -> tuple[str, ...]:
    names = [*view.unused(), *sorted(elsewhere)]
    if not names:
        return ()
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (f"not used: {', '.join(shown(name)[1:-1] for name in names[:8])}{more}",)


def _check_constants(declared: Declaration, used: set[str], layout: str) -> dict[str, str]:
    """Return the settings of the conditions; constants unknown to the layout are refused."""
    constants = {f"{CONDITION}.{name}" for name in CONSTANTS}
    for name in declared.settings:
        strict = declared.origins.get(name) in ("flag", "file")
        if name in constants and name not in used and strict:
            raise SettingsError(
                f"--set {name}: expected no such constant for the layout {layout}, "
                f"but got {shown(declared.settings[name])}"
            )
    return {name: text for name, text in declared.settings.items() if name not in constants}


def with_notes(network: Network, notes: Iterable[str]) -> Network:
    """Return the network with further notes."""
    return replace(network, notes=(*network.notes, *notes))
