"""In which precision a network is trained and asked: float32, or bfloat16 where that was measured to be fast.

bfloat16 is PyTorch's autocast: convolutions and dense layers take and give bfloat16, weights, their updates and losses
stay float32, and layers in the frequency domain compute in float32 by themselves.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import Any, Literal, get_args

import torch

from fermoe.errors import UserError

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
WORTH = 1.2
"""bfloat16 is fast where a product of matrices takes at most 1 / WORTH of its time in float32."""
FORCE = "FERMOE_FORCE_BFLOAT16"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The context in which a network of this precision computes, in training and in evaluation alike."""
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@functools.cache
def bfloat16_speed(device: torch.device, side: int = 768, repeats: int = 7) -> float:
    """How many times faster a product of two side × side matrices is in bfloat16, measured here."""
    matrices = {dtype: torch.rand(side, side).to(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    best = dict.fromkeys(matrices, float("inf"))
    for _ in range(repeats):
        for dtype, matrix in matrices.items():  # in turns: what else the machine does meets both
            started = time.perf_counter()
            (matrix @ matrix)[0, 0].item()  # waits for a GPU
            best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.float32] / best[torch.bfloat16]


def require_fast(device: torch.device, precision: str) -> None:
    """Refuse bfloat16 where it gains nothing, unless the environment sets FERMOE_FORCE_BFLOAT16.

    Raises:
        UserError: it was measured and is not fast.
    """
    if precision != "bfloat16" or os.environ.get(FORCE):
        return
    if (speed := bfloat16_speed(device)) < WORTH:
        what = f"bfloat16 is not fast on this processor ({speed:.1f} times float32, measured)"
        raise UserError(what, fix=f"leave precision at float32, or set {FORCE}=1")
