"""The EE wrapper on small networks: phases, proofs, what voids a guarantee, states."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from verify.certificate import write_certificates  # noqa: E402
from verify.errors import InputError  # noqa: E402
from verify.training import EEWrapper  # noqa: E402
from verify.verdict import Verdict  # noqa: E402
from verify_conditions.expressivity.ee_phases import Phase  # noqa: E402

N, D = 10, 3


def samples(loss="cross-entropy"):
    draw = np.random.default_rng(0)
    X = draw.standard_normal((N, D))
    y = draw.integers(0, 3, N) if loss == "cross-entropy" else draw.standard_normal((N, 3))
    return X, y


def network(*, extra=(), dtype=torch.float64, width=14, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(D, 6), *extra, nn.Tanh(), nn.Linear(6, width), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(width, 3)).to(dtype)


class Run:
    """A model, a wrapper and the loop around them."""

    def __init__(self, model=None, *, loss="cross-entropy", make=None, wrapper=EEWrapper, **given):
        self.model = network() if model is None else model
        X, y = samples(loss)
        dtype = next(self.model.parameters()).dtype
        self.X = torch.tensor(X, dtype=dtype)
        self.y = torch.tensor(y) if loss == "cross-entropy" else torch.tensor(y, dtype=dtype)
        optimiser = (make or _sgd)(self.model.parameters())
        self.scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 2, 0.9)
        settings = {"switch_step": 4, "record_every": 2, "budget": 5.0, "seed": 7} | given
        self.wrapper = wrapper(
            self.model, optimiser, loss=loss, data=(self.X, self.y),
            schedulers=[self.scheduler], **settings,
        )  # fmt: skip
        self.criterion = nn.CrossEntropyLoss() if loss == "cross-entropy" else nn.MSELoss()

    def train(self, steps, *, change=None):
        for _ in range(steps):
            self.wrapper.zero_grad()
            xb = self.X if change is None else change(self.X)
            self.criterion(self.model(xb), self.y).backward()
            self.wrapper.step()
            self.scheduler.step()
        return self


def _sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3)


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def finished():
    return Run().train(30)


def test_the_rank_is_proved_and_the_loss_stays_under_its_bound(finished, tmp_path):
    wrapper = finished.wrapper
    assert wrapper.phase is Phase.EXPLOIT
    assert wrapper.certificate.verdict is Verdict.PASS
    found = wrapper.guarantee()
    assert found.holds
    assert not found.void
    assert [record.step for record in found.records] == list(range(0, 27, 2))
    assert all(record.within for record in found.records)
    assert found.records[-1].high < found.records[0].low
    assert found.records[-1].bound < found.records[0].bound
    assert "rank Z = n = 10 at the frozen hidden weights (stored weights:" in str(found)
    assert "the executed binary64 iterates" in str(found)
    assert "at 14 of 14 recorded steps" in str(found)
    write_certificates([wrapper.certificate], tmp_path, "mlp")


def test_the_recorded_loss_is_that_of_the_model(finished):
    record = finished.wrapper.guarantee().records[-1]
    with torch.no_grad():
        loss = float(finished.criterion(finished.model(finished.X), finished.y))
    assert record.low * (1 - 1e-12) <= loss <= record.high * (1 + 1e-12)


def test_hidden_weights_move_at_the_switch_only():
    run = Run()
    alone = network()
    optimiser = _sgd(alone.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 2, 0.9)
    run.train(3)
    for _ in range(3):
        optimiser.zero_grad()
        run.criterion(alone(run.X), run.y).backward()
        optimiser.step()
        scheduler.step()
    assert same(bits(run.model), bits(alone))
    assert run.wrapper.phase is Phase.EXPLORE
    assert not run.wrapper.guarantee().holds
    assert "the switch has not been reached" in str(run.wrapper.guarantee())
    run.train(1)
    after = bits(run.model)
    run.train(5)
    assert {k for k, v in bits(run.model).items() if not torch.equal(v, after[k])} == {
        "4.weight", "4.bias"
    }  # fmt: skip
    assert all(p.requires_grad is name.startswith("4") for name, p in run.model.named_parameters())


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
def test_any_optimiser_explores(make):
    run = Run(make=make).train(6)
    assert run.wrapper.guarantee().holds


@pytest.mark.parametrize("loss", ["half-squares", "mean-squares"])
def test_squares_contract_by_the_proved_rate(loss):
    run = Run(loss=loss).train(20)
    found = run.wrapper.guarantee()
    assert found.holds
    assert all(record.within for record in found.records)
    assert run.wrapper.certified_curve.rate < 1.0
    assert "contraction by at most 0.9" in str(found)


@pytest.mark.parametrize(("loss", "bias"), [("logistic", True), ("half-squares", False)])
def test_one_output_and_a_last_layer_without_bias(loss, bias):
    draw = np.random.default_rng(0)
    X, y = draw.standard_normal((N, D)), np.where(draw.random(N) < 0.5, -1.0, 1.0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(D, 24), nn.Tanh(), nn.Linear(24, 1, bias=bias)).double()
    wrapper = EEWrapper(model, _sgd(model.parameters()), loss=loss, data=(X, y), switch_step=1)
    for _ in range(21):
        wrapper.zero_grad()
        out = model(input=torch.tensor(X))[:, 0]
        nn.functional.softplus(-torch.tensor(y) * out).mean().backward()
        wrapper.step()
    found = wrapper.guarantee()
    assert found.holds
    assert [record.within for record in found.records] == [True] * 3
    assert wrapper.certificate.claim["network"]["family"] == "two-layer"
    model(input=torch.tensor(X) + 1.0)
    wrapper.step()
    assert "augmentation" in str(wrapper.guarantee())


def test_a_float32_model_is_told_with_its_rounding():
    run = Run(network(dtype=torch.float32)).train(24)
    found = run.wrapper.guarantee()
    assert found.holds
    assert all(record.within for record in found.records)
    assert found.records[-1].distance > 1e-9
    stored = run.wrapper.last.weight.detach().double().numpy()
    assert not np.array_equal(stored, run.wrapper._V[:, :-1])


def test_a_bfloat16_model():
    run = Run(network(dtype=torch.bfloat16, width=40)).train(8)
    found = run.wrapper.guarantee()
    assert found.holds
    assert all(record.within for record in found.records)


@pytest.mark.parametrize("mode", ["gd", "base"])
def test_an_optimiser_that_needs_a_closure(mode):
    run = Run(make=lambda p: torch.optim.LBFGS(p, max_iter=2), mode=mode)

    def closure():
        run.wrapper.zero_grad()
        loss = run.criterion(run.model(run.X), run.y)
        loss.backward()
        return loss

    told = [float(run.wrapper.step(closure).detach()) for _ in range(8)]
    assert told[-1] < told[0]
    assert run.wrapper.phase is Phase.EXPLOIT
    assert run.wrapper.guarantee().holds is (mode == "gd")


def test_three_times_the_proved_step_is_seen():
    run = Run(loss="half-squares").train(4)
    layer = run.wrapper._layer
    layer.__dict__["factor"] = 3.0 * layer.factor
    run.train(60)
    found = run.wrapper.guarantee()
    assert not all(record.within for record in found.records)
    assert found.records[-1].low > found.records[-1].bound
    assert not found.holds
    assert "above the certified curve" in str(found)


# What voids --------------------------------------------------------------------------------------


def test_batch_norm_left_in_training_form():
    run = Run(network(extra=[nn.BatchNorm1d(6)])).train(6)
    assert run.wrapper.guarantee().holds
    run.model.train()
    run.train(1)
    found = run.wrapper.guarantee()
    assert not found.holds
    assert any("in training form during phase 2: BatchNorm1d 1" in text for text in found.void)
    assert any("batch statistics changed" in text for text in found.void)
    assert not run.model.eval().training
    assert not run.train(1).wrapper.guarantee().holds


def test_dropout_left_in_training_form():
    run = Run(network(extra=[nn.Dropout(0.5)])).train(6)
    assert run.wrapper.guarantee().holds
    run.model.train()
    assert not run.train(1).wrapper.guarantee().holds
    assert "Dropout 1" in str(run.wrapper.guarantee())


def test_augmented_inputs():
    run = Run().train(5)
    assert run.wrapper.guarantee().holds
    with torch.no_grad():
        run.model(run.X + 1.0)
    assert run.wrapper.guarantee().holds
    run.train(1, change=lambda X: X.flip(1))
    assert not run.wrapper.guarantee().holds
    assert "augmentation" in str(run.wrapper.guarantee())


def test_batches_of_the_samples_in_any_order_are_fine():
    run = Run().train(5)
    order = torch.arange(N - 1, -1, -1)
    for rows in order.split(4):
        run.wrapper.zero_grad()
        run.criterion(run.model(run.X[rows]), run.y[rows]).backward()
        run.wrapper.step()
    assert run.wrapper.guarantee().holds


def test_hidden_weights_changed_after_the_proof():
    run = Run().train(6)
    with torch.no_grad():
        run.model[0].bias[0] = 0.5
    found = run.wrapper.guarantee()
    assert not found.holds
    assert any("hidden weights or batch statistics changed" in text for text in found.void)


class Scaled(nn.Module):
    """A network that multiplies its inputs by something that is no parameter."""

    def __init__(self, scale):
        super().__init__()
        self.inner = network()
        if isinstance(scale, float):
            self.scale = scale
        else:
            self.register_buffer("scale", scale, persistent=False)

    def forward(self, x):
        return self.inner(x * self.scale)


def test_parts_that_are_no_stored_weights_changed_after_the_proof():
    def activation(model):
        model.inner[1] = nn.Softplus()

    def hook(model):
        model.inner[2].register_forward_hook(lambda module, given, out: 2.0 * out)

    def attribute(model):
        model.scale = 2.0

    def buffer(model):
        model.scale *= 2.0

    def unreadable(model):
        model.inner[2].register_forward_hook(lambda module, given, out: out.flip(1))

    for change, scale, told in (
        (activation, 1.0, "or other parts below"),
        (hook, 1.0, "or other parts below"),
        (attribute, 1.0, "or other parts below"),
        (buffer, torch.ones(D, dtype=torch.float64), "or other parts below"),
        (unreadable, 1.0, "cannot be read any more"),
    ):
        run = Run(Scaled(scale)).train(5)
        assert run.wrapper.guarantee().holds
        change(run.model)
        found = run.wrapper.guarantee()
        assert not found.holds
        assert told in str(found)


class ByBatch(nn.Module):
    """A network that treats a single sample otherwise."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return self.inner(x if len(x) == 1 else 2.0 * x)


class OwnDropout(ByBatch):
    """A network with dropout that is no module."""

    def forward(self, x):
        return self.inner(nn.functional.dropout(x, 0.5, self.training))


def test_a_model_is_read_on_a_batch_of_all_samples():
    run = Run(ByBatch()).train(6)
    record = run.wrapper.guarantee().records[-1]
    with torch.no_grad():
        loss = float(run.criterion(run.model(run.X), run.y))
    assert record.low * (1 - 1e-12) <= loss <= record.high * (1 + 1e-12)


def test_a_forward_that_asks_for_training_form():
    run = Run(OwnDropout()).train(6)
    assert run.wrapper.guarantee().holds
    run.model.train()
    run.train(1)
    run.model.eval()
    assert "in training form during phase 2: OwnDropout;" in str(run.wrapper.guarantee())


def test_labels_that_change_in_place_are_not_those_of_the_statements():
    run = Run(loss="half-squares")
    kept, run.y[:] = run.y.clone(), 0.0
    assert np.array_equal(run.wrapper.y, kept.numpy())


def test_a_last_layer_changed_by_others():
    run = Run().train(6)
    with torch.no_grad():
        run.model[4].weight.mul_(2.0)
    assert "changed between two steps" in str(run.train(1).wrapper.guarantee())


def test_the_base_optimiser_in_phase_2_has_no_guarantee():
    run = Run(mode="base").train(8)
    found = run.wrapper.guarantee()
    assert not found.holds
    assert "SGD with momentum and weight_decay" in str(found)
    assert "rank Z = n" in found.proved[0]
    assert all(not np.isfinite(record.bound) for record in found.records)


def test_stochastic_steps_have_a_conditional_statement_only():
    run = Run(mode="sgd", sgd_step=0.05).train(8)
    found = run.wrapper.guarantee()
    assert found.holds
    assert len(found.proved) == 1
    assert "neither hypothesis is checked" in found.conditional[0]
    assert found.records[-1].high < found.records[0].high


def test_features_that_are_not_bounded_prove_no_step():
    run = Run().train(4)
    wrapper = run.wrapper
    open_radius = replace(wrapper._layer, row_radius=np.full(N, np.inf))
    wrapper._begin(open_radius, wrapper.proof)
    found = run.train(2).wrapper.guarantee()
    assert not found.holds
    assert "not bounded in binary64" in str(found)
    assert not np.isfinite(found.records[-1].bound)


# The switch --------------------------------------------------------------------------------------


def dying():
    """A relu layer whose units are all dead until the noise is as large as the biases."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(D, 80), nn.ReLU(), nn.Linear(80, 3)).double()
    with torch.no_grad():
        model[0].bias.fill_(-2.5)
    return model


def test_dead_units_need_a_larger_draw():
    run = Run(dying(), noise_scale=1e-3, growth=3e3, max_draws=3, budget=1.0).train(6)
    draws = run.wrapper.draws
    assert [draw.proved for draw in draws] == [False, True]
    assert [draw.seed for draw in draws] == [7, 8]
    assert [draw.scale for draw in draws] == [1e-3, 3.0]
    assert "stored weights" in draws[0].why
    assert run.wrapper.guarantee().holds


def test_without_a_rank_proof_training_goes_on_and_nothing_is_promised():
    run = Run(dying(), noise_scale=1e-3, growth=2.0, max_draws=2, budget=1.0)
    before = bits(run.model)
    run.train(4)
    assert run.wrapper.phase is Phase.NO_PROOF
    assert [draw.proved for draw in run.wrapper.draws] == [False, False]
    assert all(p.requires_grad for p in run.model.parameters())
    assert torch.equal(bits(run.model)["0.weight"] * 0, before["0.weight"] * 0)
    assert run.model.training
    alone = dying()
    optimiser = _sgd(alone.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimiser, 2, 0.9)
    for _ in range(7):
        optimiser.zero_grad()
        run.criterion(alone(run.X), run.y).backward()
        optimiser.step()
        scheduler.step()
    assert same(bits(run.train(3).model), bits(alone))
    found = run.wrapper.guarantee()
    assert not found.holds
    assert "was not proved for any of 2 perturbation(s)" in found.void[0]


def test_too_narrow_a_layer_is_refuted_and_never_exploited():
    run = Run(network(width=8), max_draws=1, budget=1.0).train(5)
    assert run.wrapper.phase is Phase.NO_PROOF
    assert run.wrapper.certificate.verdict is Verdict.FAIL


# States ------------------------------------------------------------------------------------------


class Observed(EEWrapper):
    """Stores its state before every transition of the switch, as a killed run would leave it."""

    def advance(self):
        self.__dict__.setdefault("seen", {})[str(self.phase)] = stored(self.state_dict())
        super().advance()


def stored(state):
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()


def resumed(state, steps, model=None, **given):
    run = Run(network(seed=5) if model is None else model, **given)
    run.wrapper.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
    return run.train(steps)


def told(run):
    proof = run.wrapper.proof
    return (bits(run.model), run.wrapper.phase, run.wrapper.draws, run.wrapper.guarantee().records,
            run.wrapper.voids, None if proof is None else proof.certificate.digest,
            run.scheduler.get_last_lr())  # fmt: skip


def agree(one, other):
    assert same(one[0], other[0])
    assert one[1:] == other[1:]


@pytest.mark.parametrize("at", [2, 4, 9])
def test_a_resumed_run_continues_bit_for_bit(at):
    whole = Run().train(at)
    state = stored(whole.wrapper.state_dict())
    agree(told(resumed(state, 14 - at)), told(whole.train(14 - at)))


@pytest.mark.parametrize("phase", ["perturb", "check rank"])
def test_an_interrupted_switch_is_completed(phase):
    whole = Run(wrapper=Observed).train(4)
    state = whole.wrapper.seen[phase]
    again = resumed(state, 0)
    again.scheduler.step()
    again.train(5)
    agree(told(again), told(whole.train(5)))


def test_a_later_state_than_the_switch_is_switched_at_the_next_step():
    state = stored(Run(switch_step=20).train(6).wrapper.state_dict())
    assert resumed(state, 1).wrapper.phase is Phase.EXPLOIT


def test_a_state_in_a_model_with_other_activations_is_void():
    state = stored(Run().train(6).wrapper.state_dict())
    other = network()
    other[1] = nn.Softplus()
    again = resumed(state, 2, other)
    assert not again.wrapper.guarantee().holds


def test_a_switch_that_failed_is_made_up_for(monkeypatch):
    run = Run().train(3)
    kept = run.wrapper._read

    def failing():
        raise InputError("no reader")

    monkeypatch.setattr(run.wrapper, "_read", failing)
    for _ in range(2):
        with pytest.raises(InputError, match="no reader"):
            run.train(1)
        assert run.wrapper.phase is Phase.CHECK_RANK
    monkeypatch.setattr(run.wrapper, "_read", kept)
    assert run.train(1).wrapper.guarantee().holds


def test_a_run_without_a_proof_is_resumed_too():
    settings = {"noise_scale": 1e-3, "growth": 2.0, "max_draws": 1, "budget": 0.5}
    whole = Run(dying(), **settings).train(5)
    again = resumed(stored(whole.wrapper.state_dict()), 3, dying(), **settings)
    agree(told(again), told(whole.train(3)))


def test_a_state_of_other_data_is_refused():
    whole = Run().train(1)
    state = whole.wrapper.state_dict()
    other = Run(loss="half-squares")
    with pytest.raises(InputError, match=r"^EEWrapper: expected a state with the same loss"):
        other.wrapper.load_state_dict(state)
    same_loss = Run()
    same_loss.wrapper.y = same_loss.wrapper.y[::-1].copy()
    with pytest.raises(InputError, match=r"^EEWrapper: expected a state with the same samples"):
        same_loss.wrapper.load_state_dict(state)


# Settings and the facade -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "adam"}, "expected one of gd, sgd, base as mode"),
        ({"switch_step": 0}, "expected switch_step >= 1"),
        ({"noise_scale": 0.0}, "expected noise_scale > 0"),
        ({"growth": float("inf")}, "expected growth > 0"),
        ({"last_layer": nn.Linear(2, 2)}, "expected a model that ends in a torch.nn.Linear"),
    ],
)
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(InputError, match=rf"^EEWrapper: {message}"):
        Run(**given)


def test_data_that_do_not_fit_are_refused():
    model = network()
    optimiser = _sgd(model.parameters())
    for X, y in ((np.ones((3, D)), [0, 1]), (np.ones((2, D)), [0, 9])):
        with pytest.raises(InputError, match=r"expected"):
            EEWrapper(model, optimiser, loss="cross-entropy", data=(X, np.array(y)), switch_step=1)


def test_another_last_layer_is_refused_at_once():
    model = network()
    with pytest.raises(InputError, match=r"^EEWrapper: expected the last Linear module to be"):
        Run(model, last_layer=model[2])
    assert not model._forward_pre_hooks


class Square(nn.Module):
    """Two layers of one size, tied in some way."""

    def __init__(self, how):
        super().__init__()
        torch.manual_seed(0)
        self.below, self.last = nn.Linear(D, D).double(), nn.Linear(D, D).double()
        if how == "parameter":
            self.last.weight = self.below.weight
        elif how == "bias":
            self.last.bias = self.below.bias
        elif how == "storage":
            self.last.weight = nn.Parameter(self.below.weight.data)
        elif how == "transposed":
            self.last.weight.data = self.below.weight.data.t()
        self.first = self.last if how == "twice" else self.below

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


@pytest.mark.parametrize("how", ["parameter", "bias", "storage", "transposed", "twice"])
def test_a_last_layer_that_is_tied_to_those_below_is_refused(how):
    with pytest.raises(InputError, match="expected a last layer that shares no tensor"):
        Run(Square(how))


@pytest.mark.parametrize(
    ("end", "loss", "fine"),
    [
        (nn.Softmax(1), "half-squares", False),
        (nn.Sigmoid(), "mean-squares", False),
        (nn.Sigmoid(), "cross-entropy", False),
        (nn.LogSoftmax(1), "cross-entropy", True),
    ],
)
def test_what_follows_the_last_layer_belongs_to_the_loss(end, loss, fine):
    model = nn.Sequential(*network(), end)
    if fine:
        found = Run(model, loss=loss).train(6).wrapper.guarantee()
        assert found.holds
        assert "loss of the outputs of the last layer" in str(found)
    else:
        with pytest.raises(InputError, match=f"that is no part of the {loss} loss, but got s"):
            Run(model, loss=loss)


def test_samples_that_are_not_finite_are_refused_at_once():
    model = network()
    X = np.full((2, D), np.nan)
    with pytest.raises(InputError, match="expected finite samples"):
        EEWrapper(model, _sgd(model.parameters()), loss="cross-entropy",
                  data=(X, np.array([0, 1])), switch_step=1)  # fmt: skip


def test_closing_gives_the_model_back(finished):
    run = Run().train(6)
    run.wrapper.close()
    assert all(p.requires_grad for p in run.model.parameters())
    assert not run.model._forward_pre_hooks


def test_the_facade_loads_no_torch():
    code = (
        "import sys, verify.training as t; assert 'EEWrapper' in dir(t);"
        "assert not {'torch', 'numpy', 'sympy'} & set(sys.modules), sorted(sys.modules);"
        "from verify.training import EEWrapper; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from verify.training import Nothing  # noqa: F401


def test_a_record_is_within_its_bound_only_if_its_upper_end_is(finished):
    record = finished.wrapper.guarantee().records[-1]
    assert record.within
    assert not replace(record, bound=(record.low + record.high) / 2 - 1e-15).within
