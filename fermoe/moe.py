"""The mixture of experts, as the paper's code computes it.

Axis legend: N images, E experts, D features. Four dense experts, a softmax gate, and the two largest gate values
kept *without* renormalising them; every expert is computed for every image.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GateKind = Literal["top_k", "dense", "random"]


class MixtureOfExperts(nn.Module):
    """Σ_e weight_e(x) · relu(expert_e(x)), where the weights are the top-k of the gate's softmax.

    `kind` "dense" keeps the whole softmax; "random" freezes the gate as initialised. The experts are plain
    `nn.Linear` layers in a list: four matrix products on one input cost the same as a batched one here, and a
    single expert stays easy to name, load and knock out.
    """

    def __init__(self, width: int, experts: int, top_k: int, kind: GateKind = "top_k"):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(experts))
        self.gate = nn.Linear(width, experts)
        self.top_k = top_k
        self.kind = kind
        if kind == "random":
            self.gate.requires_grad_(False)

    def weights(self, gates: Tensor) -> Tensor:
        """The gate's softmax (N, E) → the weight of every expert (N, E), zero for those not chosen."""
        if self.kind == "dense":
            return gates
        values, indices = gates.topk(self.top_k, dim=1)
        return torch.zeros_like(gates).scatter(1, indices, values)

    def mix(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (N, D) through every expert, summed with the given weights (N, E) → (N, D)."""
        outputs = torch.stack([F.relu(expert(x)) for expert in self.experts], 1)  # (N, E, D)
        return torch.einsum("ne,ned->nd", weights.to(outputs.dtype), outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, D) → the mixture (N, D) and the gate's full softmax (N, E)."""
        gates = F.softmax(self.gate(x).float(), dim=1)
        return self.mix(x, self.weights(gates)), gates
