"""What must be declared about training before the Villani property can be asked about.

Nothing that changes the function f is guessed; the loss alone has a printed default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from verify.errors import SettingsError
from verify.exact import parse_exact
from verify_conditions.square_loss import SCALES

SETTINGS = {
    "outer": "whether the outer layer a is trained: frozen or trained",
    "bias": "the inner biases, if there are any: regularised, unregularised or frozen",
    "outer_bias": "the outer bias, if there is one: regularised, unregularised or frozen",
    "loss": "half-mean-squares (default), mean-squares (torch's MSELoss), half-sum-squares, "
    "sum-squares or logistic",
    "weight_decay": "lambda of the penalty (lambda/2) ||W||^2, the weight_decay of plain SGD",
    "l2": "alternatively the factor of the penalty l2 ||W||^2, so that lambda = 2 l2",
    "bias_decay": "lambda of the regularised inner biases, if it differs",
    "outer_bias_decay": "lambda of the regularised outer bias, if it differs",
    "outer_decay": "lambda of a trained outer layer, if it differs",
    "outer_penalty": "penalty on a trained outer layer: quadratic (default) or quartic, "
    "(lambda/4) ||a||^4",
    "s": "temperature: the law exp(-2 f/s), the learning rate of the SGD model",
    "level": "M of the radius beyond which V_s >= M; 0 by default",
    "step": "step of gradient descent, held against 1/gLip",
    "noise": "noise of the training steps: injected (full gradient plus N(0, I)) or minibatch",
    "init": "initial law: gaussian(standard deviation), compact or point",
    "epsilon": "accuracy for the time that the diffusion needs; needs s and a gaussian init",
}
SQUARES = ("half-mean-squares", "mean-squares", "half-sum-squares", "sum-squares")
LOSSES = (*SQUARES, "logistic")
_GAUSSIAN = re.compile(r"gaussian\((.*)\)")
_KINDS = ("regularised", "unregularised", "frozen")


@dataclass(frozen=True)
class Declared:
    """The settings as exact numbers and fixed words.

    ``bias`` and ``outer_bias`` are ``none`` where the network has no such tensor. ``init`` is
    ``gaussian``, ``compact``, ``point`` or empty, ``tau`` the standard deviation.
    """

    outer: str
    bias: str
    outer_bias: str
    loss: str
    decay: Fraction
    bias_decay: Fraction
    outer_bias_decay: Fraction
    outer_decay: Fraction
    outer_penalty: str
    level: Fraction
    s: Fraction | None = None
    step: Fraction | None = None
    epsilon: Fraction | None = None
    noise: str = ""
    init: str = ""
    tau: Fraction | None = None

    @property
    def logistic(self) -> bool:
        """Whether the loss is logistic."""
        return self.loss == "logistic"

    def loss_scale(self, n: int) -> Fraction:
        """The factor in front of half the mean of squares, or of the mean of logistic losses."""
        return Fraction(1) if self.logistic else n * SCALES[self.loss](n)

    def decays(self) -> list[Fraction]:
        """The factors of the quadratic penalties, one for each kind of trained parameter."""
        found = [self.decay]
        if self.bias in ("regularised", "unregularised"):
            found.append(self.bias_decay)
        if self.outer_bias in ("regularised", "unregularised"):
            found.append(self.outer_bias_decay)
        return found


def read(settings: Mapping[str, str], *, has_bias: bool, has_outer_bias: bool) -> Declared:
    """Return what is declared, exactly.

    Raises:
        SettingsError: something required is missing, unknown or out of range.
    """
    decay = _decay(settings)
    bias = _kind(settings, "bias", has_bias)
    outer_bias = _kind(settings, "outer_bias", has_outer_bias)
    outer = _word(settings, "outer", ("frozen", "trained"))
    init, tau = _initial_law(settings)
    return Declared(
        outer=outer, bias=bias, outer_bias=outer_bias,
        loss=_word(settings, "loss", LOSSES, default=LOSSES[0]),
        decay=decay,
        bias_decay=_own_decay(settings, "bias_decay", bias == "regularised", "bias", decay),
        outer_bias_decay=_own_decay(
            settings, "outer_bias_decay", outer_bias == "regularised", "outer_bias", decay
        ),
        outer_decay=_own_decay(settings, "outer_decay", outer == "trained", "outer", decay),
        outer_penalty=_outer_penalty(settings, outer),
        level=_number(settings, "level") or Fraction(0),
        s=_positive(settings, "s"), step=_positive(settings, "step"),
        epsilon=_positive(settings, "epsilon"),
        noise=_word(settings, "noise", ("injected", "minibatch"), default=""),
        init=init, tau=tau,
    )  # fmt: skip


def _word(
    settings: Mapping[str, str], key: str, words: tuple[str, ...], *, default: str | None = None
) -> str:
    text = settings.get(key, default)
    if text is None:
        raise SettingsError(
            f"--set villani.{key}: expected {_either(words)}, which the file does not tell, "
            f"but got nothing; add for example --set villani.{key}={words[0]}"
        )
    if text not in words and text != default:
        raise SettingsError(f"--set villani.{key}: expected {_either(words)}, but got {text!r}")
    return text


def _either(words: tuple[str, ...]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"


def _kind(settings: Mapping[str, str], key: str, present: bool) -> str:
    if present:
        return _word(settings, key, _KINDS)
    if key in settings:
        raise SettingsError(
            f"--set villani.{key}: expected a network with such biases, but got none; leave it out"
        )
    return "none"


def _number(settings: Mapping[str, str], key: str) -> Fraction | None:
    if key not in settings:
        return None
    return parse_exact(settings[key], where=f"--set villani.{key}")


def _positive(settings: Mapping[str, str], key: str) -> Fraction | None:
    number = _number(settings, key)
    if number is not None and number <= 0:
        raise SettingsError(
            f"--set villani.{key}: expected a positive number, but got {settings[key]!r}"
        )
    return number


def _penalty(settings: Mapping[str, str], key: str) -> Fraction | None:
    number = _number(settings, key)
    if number is not None and number < 0:
        raise SettingsError(
            f"--set villani.{key}: expected a number >= 0, but got {settings[key]!r}"
        )
    return number


def _decay(settings: Mapping[str, str]) -> Fraction:
    decay, l2 = _penalty(settings, "weight_decay"), _penalty(settings, "l2")
    if (decay is None) == (l2 is None):
        found = "both" if decay is not None else "neither"
        raise SettingsError(
            "--set villani.weight_decay: expected exactly one of villani.weight_decay (penalty "
            f"(lambda/2) ||W||^2) and villani.l2 (penalty l2 ||W||^2), but got {found}; "
            "add for example --set villani.weight_decay=0.001"
        )
    return decay if decay is not None else 2 * (l2 or Fraction(0))


def _own_decay(
    settings: Mapping[str, str], key: str, meant: bool, owner: str, decay: Fraction
) -> Fraction:
    own = _penalty(settings, key)
    if own is not None and not meant:
        wanted = "trained" if owner == "outer" else "regularised"
        raise SettingsError(
            f"--set villani.{key}: expected villani.{owner}={wanted} beside it, "
            f"but got {settings.get(owner, 'nothing')!r}"
        )
    if not meant:
        return Fraction(0)
    if own == 0 and owner != "outer":
        raise SettingsError(
            f"--set villani.{key}: expected a positive number, but got 0; "
            f"a bias without penalty is villani.{owner}=unregularised"
        )
    return decay if own is None else own


def _outer_penalty(settings: Mapping[str, str], outer: str) -> str:
    word = _word(settings, "outer_penalty", ("quadratic", "quartic"), default="quadratic")
    if "outer_penalty" in settings and outer != "trained":
        raise SettingsError(
            "--set villani.outer_penalty: expected villani.outer=trained beside it, "
            f"but got {outer!r}"
        )
    return word


def _initial_law(settings: Mapping[str, str]) -> tuple[str, Fraction | None]:
    text = settings.get("init")
    if text is None or text in ("compact", "point"):
        return text or "", None
    match = _GAUSSIAN.fullmatch(text.replace(" ", ""))
    if match is None:
        raise SettingsError(
            "--set villani.init: expected gaussian(standard deviation), compact or point, "
            f"but got {text!r}"
        )
    tau = parse_exact(match[1], where="--set villani.init")
    if tau <= 0:
        raise SettingsError(
            f"--set villani.init: expected a positive standard deviation, but got {text!r}"
        )
    return "gaussian", tau
