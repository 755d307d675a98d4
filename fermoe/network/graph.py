"""The network as blocks and what flows between them, read from its forward pass: for a diagram that cannot be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from fermoe.network.model import ExpressNetMoE, parameter_counts

IMAGES = "images"


@dataclass(frozen=True)
class Block:
    """A part of the network with parameters: the blocks that it reads from, and the shape of what it gives for images.

    `depth` is the length of the longest way from the images.
    """

    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    parameters: int
    depth: int


class _Parts(fx.Tracer):
    """Follows the whole network and looks into none of its parts."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def flow(model: ExpressNetMoE, images: Tensor) -> list[Block]:
    """The network's blocks in the order in which a forward pass of `images` (N, 3, H, W) goes through them.

    Connections are those that torch.fx finds in `forward`; dropout, which has no parameters, is passed through. The
    parameters of a block include moving statistics.
    """
    shapes = _shapes(model, images)
    counts, depths, found = parameter_counts(model), {IMAGES: 0}, []
    for node in _Parts().trace(model).nodes:
        if node.op == "call_module" and str(node.target) in counts:
            name = str(node.target)
            inputs = tuple(
                dict.fromkeys(source for before in node.all_input_nodes for source in _sources(before, counts))
            )
            if name.startswith("moe") and len(inputs) > 1:  # a mixture is given the images to draw random gates from
                inputs = tuple(source for source in inputs if source != IMAGES)
            depths[name] = 1 + max(depths[source] for source in inputs)
            found.append(Block(name, inputs, shapes[name], counts[name], depths[name]))
    return found


def _sources(node: fx.Node, counts: dict[str, int]) -> list[str]:
    """The nearest blocks behind a node, or the images."""
    if node.op == "placeholder":
        return [IMAGES]
    if node.op == "call_module" and str(node.target) in counts:
        return [str(node.target)]
    return [source for before in node.all_input_nodes for source in _sources(before, counts)]


@torch.inference_mode()
def _shapes(model: ExpressNetMoE, images: Tensor) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def keep(module: nn.Module, args: Any, output: Any, name: str) -> None:
        shapes[name] = tuple((output[0] if isinstance(output, tuple) else output).shape)

    hooks = [part.register_forward_hook(partial(keep, name=name)) for name, part in model.named_children()]
    was_training = model.training
    model.eval()(images)
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return shapes
