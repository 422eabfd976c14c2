r"""Two-phase training with a proof between the phases: the EE wrapper.

Exploration: a base optimiser trains all layers, unmodified. At the switch, once: Gaussian noise on
the hidden weights, the model in evaluation form, a proof that rank Z = n at these very weights
(redrawn with a larger scale if there is none). Exploitation: the hidden layers are frozen, and the
last affine layer alone is trained.

    wrapper = EEWrapper(model, optimiser, loss="cross-entropy", data=(X, y), switch_step=600)
    for xb, yb in batches:
        wrapper.zero_grad()
        criterion(model(xb), yb).backward()
        wrapper.step()
    print(wrapper.guarantee())

Modes of exploitation:

    gd     full gradient descent of the mean loss over ``data`` in binary64, with the step
           alpha <= 1/L_V from the proved sigma_max(Z); momentum and weight decay do not enter.
           The certified curve bounds the exact iterates, the executed ones with their rounding
           errors, and the last layer as the model stores it. The gradients of the batches of the
           loop are not used.
    sgd    the batch gradients of the loop, steps c/sqrt(t + 1): a conditional statement only.
    base   the base optimiser goes on with the last layer: no statement about its iterates.

What voids the guarantee, and is told: no rank proof; batch norm, instance norm or dropout in
training form during a training pass of phase 2 (`model.train()` belongs in phase 1 only); inputs of
such a pass that are not among ``data`` (augmentation); a model that `guarantee` reads and finds to
compute other features than at the proof, be it by weights, statistics, hooks or attributes; a last
layer changed by others; in mode base whatever the base optimiser does. All statements are about the
function that the model is in evaluation form on a batch of all samples, about the stored weights as
real numbers, and about the labels in ``data``: labels of batches are not seen, and neither is what
a module does in training form only, unless its forward asks for ``training``.

Source: Kawaguchi and Sun, *A Recipe for Global Convergence Guarantee in Deep Neural Networks*,
arXiv:2104.05785, for the two phases; what is claimed of phase 2 is proved in the words at the head
of `ee_descent` and `ee_curve`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verify.certificate import Certificate
from verify.errors import InputError
from verify.network import Graph
from verify_conditions.expressivity import ee_certificate as words
from verify_conditions.expressivity import ee_phases as parts
from verify_conditions.expressivity.ee_certificate import Guarantee, RankProof, Recorded
from verify_conditions.expressivity.ee_curve import Curve, certified_curve
from verify_conditions.expressivity.ee_descent import LastLayer, distance_up
from verify_conditions.expressivity.ee_loss_values import loss_values
from verify_conditions.expressivity.ee_phases import Array, Draw, InputWatch, Phase
from verify_conditions.expressivity.ee_state import packed, unpacked
from verify_kernels._rounding import add_up

MODES = ("gd", "sgd", "base")


class EEWrapper:
    """A base optimiser, one switch with a rank proof, and the last layer's descent.

    Args:
        model: any module that ends in a `Linear` layer and that can be read as an operator graph
            in evaluation form. A softmax after it is read as part of the cross-entropy, a sigmoid
            as part of the logistic loss: the loss is that of the outputs of the `Linear` layer.
        optimiser: of all its parameters; any `torch.optim` optimiser.
        loss: half-squares, mean-squares, cross-entropy or logistic: mean over the samples.
        data: (X, y), all training samples as the model is fed them, and their targets.
        switch_step: calls of `step` before the switch.
        noise_scale: standard deviation of the noise over the root mean square of each tensor.
        seed: of the first draw; the k-th has ``seed + k``.
        schedulers: whose state is stored too; they are stepped by the loop, as usual.
        mode: gd, sgd or base.
        sgd_step: c of mode sgd.
        max_draws, growth: at most so many draws, each with a scale so many times larger.
        record_every: in phase 2, steps between two recorded losses (0 and the last are kept too).
        last_layer: the last `Linear`, where it is not the last one registered.
        budget: seconds for the expensive proofs of a draw.

    Raises:
        InputError: settings out of range, data that do not fit, or a model that cannot be read.
    """

    def __init__(
        self,
        model: Any,
        optimiser: Any,
        *,
        loss: str,
        data: tuple[Any, Any],
        switch_step: int,
        noise_scale: float = 0.01,
        seed: int = 0,
        schedulers: Sequence[Any] = (),
        mode: str = "gd",
        sgd_step: float = 0.1,
        max_draws: int = 4,
        growth: float = 5.0,
        record_every: int = 10,
        last_layer: Any = None,
        budget: float = 30.0,
    ) -> None:
        _check_settings(mode, switch_step, max_draws, record_every, noise_scale, growth, sgd_step)
        self.model, self.optimiser = model, optimiser
        self.schedulers = tuple(schedulers)
        self.last = parts.last_linear(model, last_layer)
        self.hidden = parts.hidden_parameters(model, self.last)
        self.trained = {name for name, p in self.hidden.items() if p.requires_grad}
        self.loss, self.mode = loss, mode
        self.X, self.y = _samples(data, self.last, loss)
        self.switch_step, self.noise_scale, self.seed = switch_step, noise_scale, seed
        self.sgd_step, self.max_draws, self.growth = sgd_step, max_draws, growth
        self.record_every, self.budget = record_every, budget
        self.phase = Phase.EXPLORE
        self.steps, self.exploited = 0, 0
        self.draws: list[Draw] = []
        self.records: list[Recorded] = []
        self.voids: list[str] = []
        self.proof: RankProof | None = None
        self._before: dict[str, Any] = {}
        self._flags: list[bool] = []
        self._problem: LastLayer | None = None
        self._curve: Curve | None = None
        self._V: Array = parts.read_last(self.last)
        self._distance, self._digest = 0.0, ""
        self._watch = InputWatch(parts.row_digests(self.X))
        self._hook: Any = None
        self._read()
        self._hook = self._hooked()

    def _hooked(self) -> Any:
        return self.model.register_forward_pre_hook(self._watch, with_kwargs=True)

    def _read(self) -> tuple[Any, Graph]:
        """Read the model as it is now; the hook is no operation of the model's own."""
        watched = self._hook is not None
        if watched:
            self._hook.remove()
        try:
            network, graph = words.network_at(self.model, self.X, self.loss)
        finally:
            if watched:
                self._hook = self._hooked()
        words.check_last(graph, self.last)
        return network, graph

    # The loop --------------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the model's parameters."""
        self.optimiser.zero_grad(set_to_none=set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step of the phase; after the last one of exploration, perturb and prove.

        Args:
            closure: as for the base optimiser, which gets it; modes gd and sgd call it once.

        Returns:
            what the optimiser or the closure returns.
        """
        self._switch()  # one that an error interrupted
        if self.phase is Phase.EXPLOIT and self.mode != "base":
            told = None if closure is None else closure()
        else:
            told = self.optimiser.step() if closure is None else self.optimiser.step(closure)
        if self.phase is Phase.EXPLOIT:
            self._exploit()
        self.steps += 1
        if self.phase is Phase.EXPLORE and self.steps >= self.switch_step:
            self.phase = Phase.PERTURB
            self._switch()
        return told

    def _switch(self) -> None:
        while self.phase in (Phase.PERTURB, Phase.CHECK_RANK):
            self.advance()

    def advance(self) -> None:
        """Make one transition: perturb, or check the rank; nothing in the other phases."""
        if self.phase is Phase.PERTURB:
            self._perturb()
        elif self.phase is Phase.CHECK_RANK:
            self._check_rank()

    # The switch ------------------------------------------------------------------------------

    def _perturb(self) -> None:
        if not self._before:
            self._before = parts.copies(self.hidden)
            self._flags = [module.training for module in self.model.modules()]
        number = len(self.draws)
        draw = Draw(self.seed + number, self.noise_scale * self.growth**number)
        parts.perturb(self.hidden, self._before, self.trained, draw)
        self.model.eval()
        self.draws.append(draw)
        self.phase = Phase.CHECK_RANK

    def _check_rank(self) -> None:
        network, graph = self._read()
        data = words.as_data(self.X, self.y)
        name = f"{type(self.model).__name__} after draw {len(self.draws)}, step {self.steps}"
        frozen = "none" if self.trained == set(self.hidden) else None
        proof = words.prove_rank(
            network, data, self.loss, frozen=frozen, budget=self.budget, file=name
        )
        self.proof = proof
        self.draws[-1] = replace(self.draws[-1], proved=proof.proved, why=proof.why)
        if proof.proved:
            self._digest = words.digest_of_features(graph)
            self._begin(words.last_layer_problem(graph, data, self.loss, proof), proof)
        elif len(self.draws) < self.max_draws:
            self.phase = Phase.PERTURB
        else:
            parts.restore(self.hidden, self._before)
            self._before = {}
            for module, training in zip(self.model.modules(), self._flags, strict=True):
                module.training = training
            self._void(words.void_without_rank(len(self.draws), proof.why))
            self.phase = Phase.NO_PROOF

    def _begin(self, problem: LastLayer, proof: RankProof) -> None:
        parts.freeze(self.model, self.hidden)
        self._before = {}
        self._problem, self._V = problem, parts.read_last(self.last)
        self._curve = certified_curve(problem, self._V, max(0.0, proof.sigma_n.lo_float))
        self._watch.active = True
        self.phase = Phase.EXPLOIT
        if self.mode == "base":
            self._void_base()
        if not (problem.factor > 0.0 and math.isfinite(problem.rho)):
            self._void(
                "the features are not bounded in binary64, so no step and no curve is proved"
            )
        self._record()

    # Exploitation ----------------------------------------------------------------------------

    def _exploit(self) -> None:
        if self.mode == "base":
            self._V = parts.read_last(self.last)
        self._look_around()
        if self.mode == "sgd":
            self._sgd_step()
        elif self.mode == "gd":
            self._gd_step()
        self.exploited += 1
        if self.exploited % self.record_every == 0:
            self._record()

    def _gd_step(self) -> None:
        self._V, error = self._layer.step(self._V)
        self._distance = add_up(self._distance, error)
        parts.write_last(self.last, self._V)

    def _sgd_step(self) -> None:
        import torch

        size = self.sgd_step / math.sqrt(self.exploited + 1)
        with torch.no_grad():
            for parameter in self.last.parameters():
                if parameter.grad is not None:
                    parameter.sub_(size * parameter.grad)
        self._V = parts.read_last(self.last)

    @property
    def _layer(self) -> LastLayer:
        if self._problem is None:
            raise InputError(f"EEWrapper: expected phase 2, but got phase {self.phase!r}")
        return self._problem

    def _look_around(self) -> None:
        """Note what happened to the model since the last step that the proof does not cover."""
        watch = self._watch
        if watch.passes:
            self._void(f"in training form during phase 2: {', '.join(watch.passes)}; Z changes "
                       "with the batch, so nothing proved about Z applies")  # fmt: skip
        if watch.foreign:
            self._void("a training pass of phase 2 was fed inputs that are not among the certified "
                       "samples (augmentation, or other data)")  # fmt: skip
        watch.passes, watch.foreign = [], 0
        stored = parts.rounded_like(self.last, self._V)
        if not np.array_equal(stored, parts.read_last(self.last)):
            self._void("the last layer was changed between two steps of phase 2 by something else")

    def _record(self) -> None:
        """Enclose the loss at the last layer that the model holds, and its certified bound."""
        if self.records and self.records[-1].step == self.exploited:
            return
        stored = parts.read_last(self.last)
        loss = self._layer.enclose(stored)
        found = Recorded(self.exploited, loss.lo_float, loss.hi_float)
        if self.mode == "gd" and self._curve is not None:
            moved = add_up(self._distance, distance_up(stored, self._V))
            found = replace(
                found,
                exact=self._curve.exact(self.exploited),
                bound=self._curve.executed(self.exploited, moved),
                distance=moved,
            )
        if found.low > found.bound:
            self._void("the enclosed loss lies above the certified curve: other steps were taken")
        self.records.append(found)

    # What is known ---------------------------------------------------------------------------

    @property
    def certificate(self) -> Certificate | None:
        """The certificate of the condition at the last draw, None before the switch."""
        return None if self.proof is None else self.proof.certificate

    @property
    def certified_curve(self) -> Curve | None:
        """The certified curve of phase 2, None before."""
        return self._curve

    def guarantee(self) -> Guarantee:
        """Return which guarantee holds for the run so far, for which loss, in words."""
        if self.phase is Phase.EXPLOIT:
            self._look_around()
            self._compare()
            self._record()
        if self.proof is None or not self.proof.proved:
            voids = self.voids or ["no rank has been proved: the switch has not been reached"]
            return Guarantee(False, self.loss, (), (), tuple(voids))
        return self._told(self.proof)

    def _compare(self) -> None:
        """Read the model once more: its features have to be those that the proof is about."""
        try:
            _, graph = self._read()
        except InputError as error:
            self._void(f"the model cannot be read any more ({error})")
            return
        if words.digest_of_features(graph) != self._digest:
            self._void("hidden weights or batch statistics changed after the rank was proved, or "
                       "other parts below the last layer did")  # fmt: skip

    def _told(self, proof: RankProof) -> Guarantee:
        told = words.words_of_descent(self.loss, self._layer.n, proof, self._curve, self.records)
        if self.voids:
            past = "at the switch this was proved, and it does not apply to the model as it is now"
            return Guarantee(False, self.loss, (f"{past}: {told[0]}",), (), tuple(self.voids),
                             tuple(self.records))  # fmt: skip
        if self.mode == "sgd":
            return Guarantee(True, self.loss, (told[0],), (words.words_of_sgd(self.sgd_step),), (),
                             tuple(self.records))  # fmt: skip
        return Guarantee(True, self.loss, tuple(told), (), (), tuple(self.records))

    def _void(self, why: str) -> None:
        sentence = f"from step {self.steps} on: {why}"
        if not any(old.split(": ", 1)[1] == why for old in self.voids):
            self.voids.append(sentence)

    def _void_base(self) -> None:
        groups = self.optimiser.param_groups
        used = [key for key in ("momentum", "weight_decay", "betas")
                if any(group.get(key) for group in groups)]  # fmt: skip
        extra = f" with {' and '.join(used)}" if used else ""
        self._void(
            f"phase 2 goes on with {type(self.optimiser).__name__}{extra}; only the infimum over "
            "the last layer is proved, nothing about the iterates"
        )

    # State -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs: model, optimiser, schedulers, proofs."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedulers": [each.state_dict() for each in self.schedulers],
            "wrapper": packed(self),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken; the settings are those of this wrapper.

        A switch that was interrupted between two draws is completed.

        Raises:
            InputError: the state is of other data, another loss or another mode.
        """
        unpacked(self, state["wrapper"])
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        for each, stored in zip(self.schedulers, state["schedulers"], strict=True):
            each.load_state_dict(stored)
        if self.phase is Phase.EXPLOIT:
            parts.freeze(self.model, self.hidden)
        else:
            parts.release(self.hidden, self.trained)
        self._watch.active = self.phase is Phase.EXPLOIT
        self._switch()

    def close(self) -> None:
        """Remove the hook from the model and let all layers be trained again."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        parts.release(self.hidden, self.trained)


def _check_settings(
    mode: str,
    switch_step: int,
    max_draws: int,
    record_every: int,
    noise_scale: float,
    growth: float,
    sgd_step: float,
) -> None:
    if mode not in MODES:
        raise InputError(f"EEWrapper: expected one of {', '.join(MODES)} as mode, but got {mode!r}")
    counts = {"switch_step": switch_step, "max_draws": max_draws, "record_every": record_every}
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"EEWrapper: expected {name} >= 1, but got {count!r}")
    for name, size in {"noise_scale": noise_scale, "growth": growth, "sgd_step": sgd_step}.items():
        if not (size > 0.0 and math.isfinite(size)):
            raise InputError(f"EEWrapper: expected {name} > 0, but got {size!r}")


def _samples(data: tuple[Any, Any], last: Any, loss: str) -> tuple[Any, Array]:
    """Return X as the model is fed it, and y as float64, checked against the loss."""
    import torch

    X = torch.as_tensor(data[0]).detach().to(last.weight.device, last.weight.dtype).clone()
    y = np.array(torch.as_tensor(data[1]).detach().cpu().double().numpy())
    if len(X) != len(y) or len(y) == 0:
        raise InputError(
            f"EEWrapper: expected X and y of the same samples, but got {len(X)} and {len(y)}"
        )
    if not bool(torch.isfinite(X).all()):
        raise InputError("EEWrapper: expected finite samples X, but got infinities or NaN")
    loss_values(loss).targets(y, int(last.weight.shape[0]))
    return X, y
