"""What is proved of a model at the switch, and the words for what it guarantees.

The certificate is that of the condition, issued by `verify.check` for the very weights that the
model holds. Everything that phase 2 needs is read from its claim: whether the rank at the stored
weights is n, by which route, and the singular values of Z. The features are enclosed once more,
for the last layer's descent.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verify.certificate import Certificate
from verify.condition import Effort
from verify.enclosure import Enclosure, endpoint_from_hex
from verify.engine import check
from verify.errors import InputError
from verify.network import Data, Graph, recognise
from verify.readers.live import exported
from verify.readers.pt2_file import parse
from verify_conditions.expressivity.ee_curve import Curve
from verify_conditions.expressivity.ee_descent import LastLayer
from verify_conditions.expressivity.ee_phases import Array, read_last
from verify_conditions.expressivity.losses import after_last_layer, belongs_to
from verify_conditions.expressivity.problem import HERE
from verify_conditions.reproduction import rounded_down, rounded_up
from verify_kernels.forward import enclose_features
from verify_kernels.forward.inputs import Inputs

CONDITION = "expressivity"


@dataclass(frozen=True, eq=False)
class RankProof:
    """What is known of rank Z at the weights that the model holds.

    Args:
        certificate: of the condition at these weights.
        proved: whether rank Z = n at these weights is proved.
        rung: the title of the route that proved it, empty if none did.
        why: why it is not proved.
        sigma_n, sigma_max: enclosures of singular values of Z, where the certificate has them.
        structural: whether Theorem D proves the condition for network and data.
        seconds: that the check took.
    """

    certificate: Certificate
    proved: bool
    rung: str
    why: str
    sigma_n: Enclosure
    sigma_max: Enclosure
    structural: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Recorded:
    """The loss at a step of phase 2.

    Args:
        step: t, steps since the switch.
        low, high: an enclosure of J at the last layer that the model holds, exact features.
        exact: the certified bound of J at the exact iterate.
        bound: the certified bound of J at the last layer that the model holds.
        distance: proved bound of the distance of that layer from the exact iterate.
    """

    step: int
    low: float
    high: float
    exact: float = float("inf")
    bound: float = float("inf")
    distance: float = float("inf")

    @property
    def within(self) -> bool:
        """Whether the loss is proved to lie under the certified bound."""
        return self.high <= self.bound


@dataclass(frozen=True)
class Guarantee:
    """Which guarantee holds for the run, in words.

    Args:
        holds: whether the guarantee of the chosen mode holds and nothing voided it.
        loss: the name of the loss that it is about.
        proved: sentences that are proved of this run.
        conditional: sentences that hold under a hypothesis that is not checked.
        void: the reasons for which a guarantee does not hold; empty if it does.
        records: the loss at the recorded steps.
    """

    holds: bool
    loss: str
    proved: tuple[str, ...]
    conditional: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    records: tuple[Recorded, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        """Return the sentences as text."""
        lines = [f"guarantee for the loss {self.loss}: {'holds' if self.holds else 'void'}"]
        lines += [f"  proved: {text}" for text in self.proved]
        lines += [f"  under a hypothesis: {text}" for text in self.conditional]
        lines += [f"  void: {text}" for text in self.void]
        return "\n".join(lines)


def network_at(model: Any, X: Any, loss: str) -> tuple[Any, Graph]:
    """Return the network that the model is in evaluation form, and the same as a graph.

    The batch has the size of all samples, since a model may ask for it, and the bytes of one.

    Raises:
        InputError: it is not a feedforward network of the listed operations, or its end is
            neither the last layer nor part of the loss.
    """
    graph = parse(exported(model, X[:1].expand(X.shape)), type(model).__name__)
    if graph.last_affine is None:
        raise InputError(
            "EEWrapper: expected a model whose last operation is its affine last layer, with "
            "nothing after it but what belongs to the loss"
        )
    after = after_last_layer(graph)
    if not belongs_to(loss, after):
        raise InputError(
            f"EEWrapper: expected nothing after the last layer that is no part of the {loss} loss, "
            f"but got {', '.join(after)}"
        )
    return recognise(graph), graph


def digest_of_features(graph: Graph) -> str:
    """Return the sha256 of what determines the function below the last layer."""
    last = graph.last_affine or 0
    total = hashlib.sha256(f"{graph.sample_shape} {graph.equation}".encode())
    own = set(graph.nodes[last].parameters.values())
    for role, tensor in sorted(graph.stored.items()):
        if role not in own:
            total.update(f"{role} {tensor.shape} ".encode())
            total.update(np.ascontiguousarray(tensor).tobytes())
    return total.hexdigest()


def check_last(graph: Graph, last: Any) -> None:
    """Check that the graph ends in the layer that phase 2 trains.

    Raises:
        InputError: it ends in another one, or this one is also used below.
    """
    roles = graph.nodes[graph.last_affine or 0].parameters
    slots = [graph.stored[roles["weight"]]]
    if "bias" in roles:
        slots.append(graph.stored[roles["bias"]][:, None])
    tied = [role for group in graph.ties if set(group) & set(roles.values()) for role in group]
    if tied:
        raise InputError(
            "EEWrapper: expected a last layer that shares no tensor with the layers below, but "
            f"got {', '.join(tied)} as one"
        )
    if not np.array_equal(np.hstack(slots), read_last(last)):
        raise InputError(
            "EEWrapper: expected the last Linear module to be the last operation of the model, "
            "but got another one; name it with last_layer="
        )


def prove_rank(
    network: Any, data: Data, loss: str, *, frozen: str | None, budget: float, file: str
) -> RankProof:
    """Issue the certificate of the condition and read the rank at the stored weights from it.

    Args:
        network: with the weights that the model holds.
        data: the certified samples.
        loss: a name of the table of losses.
        frozen: as the condition's setting; None leaves it undeclared.
        budget: seconds for the expensive routes.
        file: what the certificate names as its origin.
    """
    started = time.perf_counter()
    settings = {"loss": loss} | ({} if frozen is None else {"frozen": frozen})
    certificate = _issue(network, data, settings, budget, file)
    structural = _is_proved(certificate, "theorem-d")
    if structural and _truth_here(certificate) != "proved":
        # Theorem D decides the condition for some weights, and the expensive rungs at these
        # weights are left out. Undeclared, it says nothing, and they are tried.
        certificate = _issue(network, data, {"loss": loss}, budget, file)
    claim = certificate.claim
    here = [route for route in claim["routes"] if route["goal"] == HERE]
    rungs = [route["title"] for route in here if route["truth"] == "proved"]
    reasons = [f"{route['title']}: {route['why']}" for route in here if route["why"]]
    proved = _truth_here(certificate) == "proved"
    return RankProof(
        certificate,
        proved,
        rungs[0] if proved and rungs else "",
        "" if proved else "; ".join(reasons) or claim["reason"] or claim["sentence"],
        _number(claim, "sigma_n"),
        _number(claim, "sigma_max"),
        structural,
        time.perf_counter() - started,
    )


def _issue(
    network: Any, data: Data, settings: Mapping[str, str], budget: float, file: str
) -> Certificate:
    [certificate] = check(
        network,
        data,
        conditions=[CONDITION],
        settings={f"{CONDITION}.{key}": text for key, text in settings.items()},
        effort=Effort(budget=budget),
        provenance={"file": file},
    )
    return certificate


def _truth_here(certificate: Certificate) -> str:
    sides = {side["name"]: side["truth"] for side in certificate.claim["side_statements"]}
    return str(sides.get(HERE, "undecided"))


def _is_proved(certificate: Certificate, route: str) -> bool:
    return any(
        each["name"] == route and each["truth"] == "proved" for each in certificate.claim["routes"]
    )


def _number(claim: dict[str, Any], name: str) -> Enclosure:
    for item in claim["consequences"]:
        if item["name"] == name and item["rigorous"]:
            return Enclosure(endpoint_from_hex(item["lo"]), endpoint_from_hex(item["hi"]))
    return Enclosure.unbounded()


def last_layer_problem(graph: Graph, data: Data, loss: str, proof: RankProof) -> LastLayer:
    """Return the convex problem of the last layer at the features of the graph."""
    place = graph.nodes[graph.last_affine or 0].inputs[0]
    found = enclose_features(graph, place, Inputs.of(data.X, graph.sample_shape))
    head = graph.nodes[graph.last_affine or 0]
    return LastLayer(
        np.asarray(found.mid).reshape(data.n, -1),
        np.asarray(found.row_radius),
        "bias" in head.parameters,
        np.asarray(data.y),
        int(head.shape[-1]),
        loss,
        proof.sigma_max.hi_float,
    )


def words_of_descent(
    loss: str, n: int, proof: RankProof, curve: Curve | None, records: Sequence[Recorded]
) -> list[str]:
    """Return what is proved of gradient descent on the last layer."""
    step, rate = (0.0, 1.0) if curve is None else (curve.step, curve.rate)
    shown = rounded_up(rate, 17)
    contraction = f", contraction by at most {shown} a step" if rate < 1.0 else ""
    within = sum(record.within for record in records)
    return [
        f"rank Z = n = {n} at the frozen hidden weights ({proof.rung}), "
        f"in evaluation form; so the infimum of the mean {loss} loss of the outputs of the last "
        "layer, over that layer, is 0, which no weights of any network go below",
        "gradient descent in exact arithmetic with a constant step of at most 1/L_V, here at least "
        f"{rounded_down(step, 6)}, brings "
        "the loss to this infimum; for every t it lies under the certified curve (descent, "
        f"comparison{contraction})",
        "the executed binary64 iterates, rounding of the logits, gradients, features and updates "
        "included, lie under the corrected curve",
        "beside this, the loss at the stored last layer was enclosed: its upper end is under the "
        f"corrected curve at {within} of {len(records)} recorded steps",
    ]


def words_of_sgd(c: float) -> str:
    """Return the conditional statement of mode sgd."""
    return (
        f"stochastic gradient steps {c:g}/sqrt(t + 1) on the last layer: the steps sum to infinity "
        "and their squares over them tend to 0, so if every batch gradient is unbiased and its "
        "mean square is at most G^2 at every iterate, the least expected loss over the iterates "
        "tends to the infimum 0; neither hypothesis is checked, and rounding is left out"
    )


def void_without_rank(draws: int, why: str) -> str:
    """Return the sentence for a switch at which no draw was proved."""
    return (
        f"rank Z = n was not proved for any of {draws} perturbation(s), so nothing is known about "
        f"the infimum over the last layer; the base algorithm trains on ({why})"
    )


def as_data(X: Any, y: Array) -> Data:
    """Return the samples as a condition reads them: the numbers that the model is fed."""
    rows = X.detach().cpu().double().numpy()
    return Data(np.ascontiguousarray(rows.reshape(len(rows), -1)), y)
