"""Networks of the experiments with the EE wrapper, all with one wide layer before the last."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

Build = Callable[[int], Any]
"""Makes a model from a seed."""


def mlp(
    sizes: tuple[int, ...], activation: str, *, gain: float = 1.0, double: bool = False
) -> Build:
    """Return a maker of fully connected networks, every layer with a bias.

    Args:
        sizes: inputs, hidden widths, outputs.
        activation: ``tanh`` or ``softplus``.
        gain: factor of torch's initial hidden weights and biases.
        double: whether the weights are float64.
    """

    def build(seed: int) -> Any:
        import torch
        from torch import nn

        torch.manual_seed(seed)
        layers: list[Any] = []
        for fan_in, fan_out in pairwise(sizes[:-1]):
            hidden = nn.Linear(fan_in, fan_out)
            with torch.no_grad():
                hidden.weight.mul_(gain)
                hidden.bias.mul_(gain)
            layers += [hidden, nn.Tanh() if activation == "tanh" else nn.Softplus()]
        model = nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
        return model.double() if double else model

    return build


def residual_network(width: int, *, channels: int = 8, outputs: int = 10) -> Build:
    """Return a maker of small convolutional residual networks with batch norm, for 8 x 8 images.

    A stem, a residual block of equal size, one of half the size and twice the channels with a
    projection, all convolutions 3 x 3 with batch norm and softplus; then a wide fully connected
    softplus layer and the last layer.
    """

    def build(seed: int) -> Any:
        import torch
        from torch import nn

        class Block(nn.Module):
            def __init__(self, fan_in: int, fan_out: int, stride: int) -> None:
                super().__init__()
                self.branch = nn.Sequential(
                    nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False),
                    nn.BatchNorm2d(fan_out),
                    nn.Softplus(),
                    nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False),
                    nn.BatchNorm2d(fan_out),
                )
                self.skip = (
                    nn.Identity() if stride == 1 else nn.Sequential(
                        nn.Conv2d(fan_in, fan_out, 1, stride, bias=False), nn.BatchNorm2d(fan_out)
                    )
                )  # fmt: skip
                self.after = nn.Softplus()

            def forward(self, x: Any) -> Any:
                return self.after(self.branch(x) + self.skip(x))

        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.Softplus(),
            Block(channels, channels, 1),
            Block(channels, 2 * channels, 2),
            nn.Flatten(),
            nn.Linear(2 * channels * 16, width),
            nn.Softplus(),
            nn.Linear(width, outputs),
        )

    return build
