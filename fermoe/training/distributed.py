"""One run on several GPUs or processes: torchrun and DistributedDataParallel. Off unless torchrun started the process.

Every *global* batch is split over the ranks, so that a run takes the same steps however many there are. With dropout
off and norms frozen it is the same run to rounding; else each rank draws its own dropout and augmentation and
normalises by its own part of the batch, and runs are equal in expectation.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fermoe.network.model import ExpressNetOutput

PATIENCE = timedelta(days=1)  # the first rank may have a whole dataset to decode before the others go on


@dataclass(frozen=True)
class World:
    """This process among those that train one run; alone, it changes nothing."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def part(self, rows: int) -> slice:
        """This rank's share of `rows`: in order, unpadded, sizes that differ by one at most."""
        return slice(self.rank * rows // self.size, (self.rank + 1) * rows // self.size)

    def images(self, rows: int) -> int:
        """How many of a global batch of `rows` are this rank's."""
        part = self.part(rows)
        return part.stop - part.start

    def enough(self, rows: int) -> bool:
        """Whether a global batch gives every rank two images: batch norm has no variance of one value.

        All ranks say the same, so a batch is skipped by all of them or by none.
        """
        return rows >= 2 * self.size

    def weight(self, rows: int) -> float:
        """Of this rank's mean loss, so that the ranks' mean gradient is the global batch's: n_local · size / n."""
        return self.images(rows) * self.size / rows

    def pooled(self, mean: Tensor, rows: int) -> Tensor:
        """The mean over the global batch of what `mean` is the mean of over this rank's part; it has no gradient."""
        return mean if self.size == 1 else self.sum(mean.detach() * (self.images(rows) / rows))

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def apart(self, generator: torch.Generator) -> None:
        """Give every rank draws of its own from here on."""
        if self.rank:
            generator.manual_seed(generator.initial_seed() + self.rank)

    def shared(self, model: nn.Module) -> nn.Module:
        """The model as it is trained: a backward pass leaves the mean gradient of all ranks."""
        if self.size == 1:
            return model
        warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)  # its successor is newer than 2.6
        warnings.filterwarnings("ignore", "Grad strides do not match")  # of 1×1 convolutions, which have two orders
        return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    def agree(self, model: nn.Module) -> None:
        """Give all ranks the mean of their moving statistics: what is evaluated and kept is one network."""
        for value in model.buffers():
            if value.is_floating_point():
                self.sum(value).div_(self.size)

    def gathered(self, out: ExpressNetOutput, rows: int, device: torch.device) -> ExpressNetOutput:
        """The answers for all `rows`, each from the rank whose `part` it is in, put in its place by index."""
        if self.size == 1:
            return out
        whole = partial(self._whole, rows=rows, device=device)
        return ExpressNetOutput(whole(out.logits), {name: whole(gate) for name, gate in out.gates.items()}, {})

    def _whole(self, mine: Tensor, rows: int, device: torch.device) -> Tensor:
        values = torch.zeros(rows, *mine.shape[1:], device=device)
        values[self.part(rows)] = mine[: self.images(rows)].to(device)
        return self.sum(values).cpu()  # every value meets zeros only: exact

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first rank runs the block alone, then the others: they find in the cache what it made."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()


def is_first() -> bool:
    """Whether this process is the one that speaks to people: torchrun's first rank, or a process without torchrun."""
    return not dist.is_available() or not dist.is_torchelastic_launched() or os.environ["RANK"] == "0"


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """The world that torchrun made, for as long as the block takes; without torchrun this process alone."""
    if not dist.is_available() or not dist.is_torchelastic_launched():
        yield World()
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
