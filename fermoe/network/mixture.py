"""A mixture of experts, the ways in which its gate may choose them, and the loss that balances their load."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GateKind = Literal["top_k", "dense", "frozen", "detached", "hash", "random"]
"""How a gate chooses: "top_k" as the paper's; "dense" keeps the whole softmax; "frozen" stays as it was initialised;
"detached" learns, but what it reads does not learn to be routed; "hash" and "random" do not look at the features."""

CONTENT_FREE = ("hash", "random")


class MixtureOfExperts(nn.Module):
    """Σ_e weight_e(x) · relu(expert_e(x)), where the weights are the top-k of the gate's softmax.

    The experts are plain `nn.Linear` layers in a list: four matrix products on one input cost the same as a batched
    one here, and a single expert stays easy to name, load and knock out. `balance_batches` is how many batches the
    running load of `running_load` stands for.
    """

    def __init__(
        self, width: int, experts: int, top_k: int, kind: GateKind = "top_k", balance_batches: int = 1, salt: int = 0
    ):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(experts))
        if kind not in CONTENT_FREE:
            self.gate = nn.Linear(width, experts)
        self.top_k, self.kind, self.balance_batches, self.salt = top_k, kind, balance_batches, salt
        if kind == "frozen":
            self.gate.requires_grad_(False)
        if balance_batches > 1:
            self.register_buffer("load", torch.full((experts,), 1 / experts))
        self.load: Tensor

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

    def forward(self, x: Tensor, images: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (N, D) → the mixture (N, D) and the gate's full softmax (N, E).

        `images` (N, 3, H, W) are those that x are the features of: what routes by them needs them.
        """
        gates = self.gates(x, images)
        return self.mix(x, self.weights(gates)), gates

    def gates(self, x: Tensor, images: Tensor | None = None) -> Tensor:
        """The gate's softmax (N, E); where it does not look at the features, 1/k for each of the k chosen experts."""
        if self.kind in CONTENT_FREE:
            if self.kind == "random" and self.training:
                scores = torch.rand(len(x), len(self.experts), device=x.device)
            else:
                if images is None:
                    raise ValueError(f"routing by '{self.kind}' needs the images")
                scores = hashed(images, len(self.experts), self.salt)
            places = scores.topk(self.top_k, dim=1).indices
            return torch.zeros_like(scores).scatter(1, places, 1 / self.top_k)
        return F.softmax(self.gate(x.detach() if self.kind == "detached" else x).float(), dim=1)

    def running_load(self, load: Tensor) -> Tensor:
        """The load (E,) of this batch → that of the last batches, each weighing 1/`balance_batches` of what is left."""
        if self.balance_batches == 1:
            return load
        if self.training:
            self.load.lerp_(load.detach(), 1 / self.balance_batches)
        return self.load.clone()


def hashed(images: Tensor, experts: int, salt: int) -> Tensor:
    """Scores (N, E) in [0, 1) that depend on every pixel of images (N, 3, H, W) and on nothing that they show.

    Pixels are rounded to 1/256, multiplied by fixed odd numbers and added up, all as whole numbers, so that the order
    of the sum does not matter; the sum goes through the finaliser of splitmix64 (Steele et al. 2014), once per expert.
    """
    pixels = (images.detach() * 256).round().to(torch.int64).flatten(1)  # (N, P)
    generator = torch.Generator().manual_seed(0)
    odd = torch.randint(-(2**62), 2**62, (pixels.shape[1],), generator=generator).to(images.device) * 2 + 1
    key = (pixels * odd).sum(1, keepdim=True)  # (N, 1); whole numbers overflow by wrapping around
    key = key + (torch.arange(experts, device=images.device) + 1 + experts * salt) * -7046029254386353131
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        key = (key ^ _shifted(key, shift)) * factor
    return (_shifted(key ^ _shifted(key, 31), 40)).to(torch.float32) / 2**24


def _shifted(key: Tensor, places: int) -> Tensor:
    """Bits moved to the right, zeros from the left: PyTorch's own shift repeats the sign."""
    return (key >> places) & ((1 << (64 - places)) - 1)


def load_balancing_loss(gates: Tensor, top_k: int, pooled: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """E · Σ_e load_e · importance_e (Switch Transformer, eq. 4–6, for top-k): 1 when balanced, up to E/k when not.

    Args:
        gates: full softmax (N, E).
        top_k: how many experts each image uses.
        pooled: the loads (E,) of these images → those of the whole batch, or of several batches, that they are part of.
    """
    experts = gates.shape[1]
    chosen = torch.zeros_like(gates).scatter(1, gates.topk(top_k, dim=1).indices, 1.0 / top_k)
    load = chosen.mean(0) if pooled is None else pooled(chosen.mean(0))
    return experts * (load * gates.mean(0)).sum()
