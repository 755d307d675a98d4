"""Adam by PyTorch's functional form.

`torch.optim.Adam` imports PyTorch's compiler at its first use, which takes two seconds of every run and is not needed;
the steps are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

EPSILON = 1e-7  # Keras' default; PyTorch's is 1e-8


class Adam:
    """Adam (Kingma and Ba, 2015) with Keras' ε over parameters of one device, fused where it can be."""

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.fused = all(parameter.device.type != "mps" for parameter in self.parameters)
        self.steps = [torch.zeros((), device=p.device if self.fused else None) for p in self.parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step of learning rate `rate` for every parameter that has a gradient; the gradients are given up."""
        states = zip(self.parameters, self.means, self.squares, self.steps, strict=True)
        taken = [(p, p.grad, mean, square, step) for p, mean, square, step in states if p.grad is not None]
        parameters, gradients, means, squares, steps = (list(tensors) for tensors in zip(*taken, strict=True))
        adam(
            parameters, gradients, means, squares, [], steps, foreach=False, fused=self.fused, amsgrad=False,
            beta1=0.9, beta2=0.999, lr=rate, weight_decay=0.0, eps=EPSILON, maximize=False,
        )  # fmt: skip
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, list[Tensor]]:
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, mine in self.state_dict().items():
            for tensor, kept in zip(mine, state[name], strict=True):
                tensor.copy_(kept)
