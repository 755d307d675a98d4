"""Where each branch looks: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) for the extractors and the ResNet.

A map is the last convolution's output after its ReLU, channels weighted by the mean gradient of a class's logit,
summed, and cut off at zero. It is as coarse as that output: 7×7 or 14×14 cells for the paper's network at 224, 2×2
or 4×4 for the miniature at 64. Axis legend: N images, S pixels per side, h cells per side.

The weights and sums are pytorch-grad-cam's. Two of its habits are not taken over: it stretches every map from its own
lowest to its own highest value, which makes a nearly even map look like a sharp one (here the highest value is 1 and
zero stays zero), and it spreads the cells evenly over the picture, which is wrong for this ResNet (`TargetLayer`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fermoe.data.datasets import Dataset
from fermoe.data.faces import detect_faces
from fermoe.errors import UserError
from fermoe.network.large_kernel import same_padding
from fermoe.network.model import ExpressNetMoE
from fermoe.training.inference import BATCH, TrainedNetwork, TrainedRun

Floats = NDArray[np.floating[Any]]
BRANCHES = ("cnn1", "cnn2", "resnet")
PARTS = ("eyes", "mouth", "face")
"""The boxes of a synthetic face; the one of the eyes includes the brows."""

_CORNERS = ("x0", "y0", "x1", "y1")


@dataclasses.dataclass(frozen=True, eq=False)
class TargetLayer:
    """A convolution whose map is explained: block `block` of an extractor, or the end of stage `block` of the ResNet.

    `centres` (h,) are the pixels, along either axis, in the middle of what each cell sees. In an extractor the cells
    tile the picture; in this ResNet, whose strides sit on 1×1 convolutions that keep every other pixel from the first
    on, they lie up and to the left of that: at 3 and 35 of 64 pixels, not at 15.5 and 47.5. `field` is the side, in
    pixels, of what a cell can see at most; where it reaches beyond the picture, there is only padding.
    """

    branch: str
    block: int
    name: str
    centres: Floats
    field: int

    @property
    def side(self) -> int:
        return len(self.centres)


def branches(model: ExpressNetMoE) -> tuple[str, ...]:
    """Those of `BRANCHES` that the model's variant has."""
    return tuple(branch for branch in BRANCHES if hasattr(model, branch))


def target_layer(model: ExpressNetMoE, branch: str, min_side: int = 1) -> TargetLayer:
    """The branch's last convolution, or the last one whose map has at least `min_side` cells per side.

    Raises:
        UserError: the variant lacks the branch, or no map is that fine.
    """
    if branch not in branches(model):
        what = f"variant '{model.config.variant}' has no branch '{branch}'"
        raise UserError(what, fix=f"choose one of {', '.join(branches(model))}")
    found = [layer for layer in _layers(model, branch) if layer.side >= min_side]
    if not found:
        raise UserError(f"no map of '{branch}' has {min_side}×{min_side} cells", fix="ask for a coarser one")
    return found[-1]


def _layers(model: ExpressNetMoE, branch: str) -> list[TargetLayer]:
    """All convolutions (of the ResNet: all ends of stages) that can be explained, from the first to the last."""
    size = model.config.image_size
    layers = []
    if branch == "resnet":
        side = -(-size // 2)
        before = max((side - 1) * 2 + 7 - size, 0) // 2  # TensorFlow's padding of the stem
        # Stem 7×7 / 2, then max-pool 3×3 / 2 without padding.
        first, stride, field, side = 3.0 - before + 2, 4, 7 + 2 * 2, (side - 3) // 2 + 1
        for stage, depth in enumerate(model.config.resnet.depths):
            if stage:
                stride, side = 2 * stride, -(-side // 2)
            field += depth * 2 * stride  # one 3×3 per block
            centres = first + stride * np.arange(side)
            layers.append(TargetLayer(branch, stage, f"resnet.stages.{stage}", centres, field))
        return layers
    first, stride, field = 0.0, 1, 1
    for block, kernel in enumerate(getattr(model.config, branch).kernels):
        before, after = same_padding(kernel)
        first += stride * (after - before) / 2  # an even kernel reaches further down and right
        field += stride * (kernel - 1)
        centres = first + stride * np.arange(size // stride)
        layers.append(TargetLayer(branch, block, f"{branch}.blocks.convs.{block}", centres, field))
        first, stride, field = first + stride / 2, 2 * stride, field + stride  # the max-pool that follows
    return layers


class _Tapped(nn.Module):
    """The network as pytorch-grad-cam wants it: bare logits out, and every wanted map the output of a module.

    ReLU is no module of the network, so a map is caught where the next layer takes it in. It is a frozen copy: the
    run's own network keeps no hooks and no gradients, and nothing in front of the first map needs any.
    """

    def __init__(self, model: ExpressNetMoE, layers: Sequence[TargetLayer]):
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.maps = nn.ModuleList(nn.Identity() for _ in layers)
        for layer, tap in zip(layers, self.maps, strict=True):
            if layer.branch == "resnet":
                stage = self.model.resnet.stages[layer.block]
                stage.register_forward_hook(lambda _module, _inputs, output, tap=tap: tap(_with_gradient(output)))
            else:
                norm = getattr(self.model, layer.branch).blocks.norms[layer.block]
                norm.register_forward_pre_hook(lambda _module, inputs, tap=tap: (tap(_with_gradient(inputs[0])),))

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def _with_gradient(x: Tensor) -> Tensor:
    return x if x.requires_grad else x.detach().requires_grad_()


def layer_cells(
    trained: TrainedNetwork, images: Tensor, layers: Sequence[TargetLayer], targets: Sequence[int] | None = None
) -> list[Floats]:
    """The maps as coarse as they are, (N, h, h) per layer, from one pass over images (N, 3, S, S) in [0, 1].

    `targets` (N,) are class indices; without them each image's predicted class is explained. No cell is negative.
    """
    if targets is not None and len(targets) != len(images):
        raise ValueError(f"{len(targets)} targets for {len(images)} images")
    from pytorch_grad_cam import GradCAM  # here, for it takes seconds: whoever needs only the boxes does not wait
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    # pytorch-grad-cam pairs maps with gradients by the order in which the network computes them.
    order = sorted(range(len(layers)), key=lambda i: (-BRANCHES.index(layers[i].branch), layers[i].block))
    network = _Tapped(trained.model, [layers[i] for i in order])
    cam = GradCAM(network, list(network.maps))
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(images), BATCH):
        batch = trained.normalise(images[start : start + BATCH])
        chosen = None if targets is None else targets[start : start + BATCH]
        cam(batch, None if chosen is None else [ClassifierOutputTarget(int(target)) for target in chosen])
        found = zip(
            network.maps, cam.activations_and_grads.activations, cam.activations_and_grads.gradients, strict=True
        )
        # The maps as they are before the library stretches them.
        parts.append([cam.get_cam_image(batch, tap, chosen, a.numpy(), g.numpy()) for tap, a, g in found])
    coarse = {i: np.concatenate([part[place] for part in parts]) for place, i in enumerate(order)}
    return [np.maximum(coarse[i], 0) for i in range(len(layers))]


def layer_maps(
    trained: TrainedNetwork, images: Tensor, layers: Sequence[TargetLayer], targets: Sequence[int] | None = None
) -> list[Floats]:
    """One array of maps (N, S, S) per layer, of `layer_cells`.

    A map's highest value is 1; a map without any positive value is all zeros ("empty"): no cell speaks for the class.
    """
    cells = layer_cells(trained, images, layers, targets)
    return [enlarge(found, layer.centres, images.shape[-1]) for found, layer in zip(cells, layers, strict=True)]


def grad_cam(
    trained: TrainedNetwork, images: Tensor, branch: str, targets: Sequence[int] | None = None, min_side: int = 1
) -> Floats:
    """The maps (N, S, S), in [0, 1], of one branch; see `target_layer` and `layer_maps`."""
    return layer_maps(trained, images, [target_layer(trained.model, branch, min_side)], targets)[0]


def enlarge(coarse: Floats, centres: Floats, size: int) -> Floats:
    """Cells (N, h, h), none negative, at pixels `centres` (h,) → maps (N, size, size) with highest value 1.

    Linear between the cells' centres, constant outside the outermost ones.
    """
    spread = np.stack([np.interp(np.arange(size), centres, cell) for cell in np.eye(len(centres))], axis=1)  # (S, h)
    maps = spread @ coarse.astype(float) @ spread.T
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0).astype(np.float32)


def redrawn(trained: TrainedRun, seed: int, parts: Sequence[str] | None = None) -> TrainedRun:
    """The run with the same network freshly initialised: every weight drawn again, batch-norm statistics reset.

    `parts` are modules of the network: then only these are, as far as its variant has them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = ExpressNetMoE(trained.model.config)
    if parts is not None:
        fresh, model = model, copy.deepcopy(trained.model)
        for part in parts:
            if hasattr(model, part):
                getattr(model, part).load_state_dict(getattr(fresh, part).state_dict())
    return dataclasses.replace(trained, model=model.to(trained.device).eval())


def is_empty(maps: Floats) -> NDArray[np.bool_]:
    """Which maps (N, S, S) are zero everywhere: (N,)."""
    return maps.max(axis=(1, 2)) <= 0


def area_above_half(maps: Floats) -> Floats:
    """Share of each map's pixels above half of its highest value: (N,); NaN for an empty map."""
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.where(is_empty(maps), np.nan, (maps > highest / 2).mean(axis=(1, 2)))


def map_entropy(maps: Floats) -> Floats:
    """Shannon entropy of each map (N, S, S) as a distribution over pixels, over log S²: 1 even, 0 a single pixel."""
    shares = _shares(maps).reshape(len(maps), maps.shape[1] * maps.shape[2])
    terms = np.where(
        shares > 0, shares * np.log(np.where(shares > 0, shares, 1)), np.where(np.isnan(shares), np.nan, 0)
    )
    return np.maximum(-terms.sum(axis=1) / np.log(shares.shape[1]), 0)


def _shares(maps: Floats) -> Floats:
    """Maps that add up to 1; NaN for an empty one."""
    total = maps.sum(axis=(1, 2), dtype=float, keepdims=True)
    return np.divide(maps, total, out=np.full(maps.shape, np.nan), where=total > 0)


def box_share(maps: Floats, boxes: Floats) -> tuple[Floats, Floats]:
    """Each map's share inside its box, and the box's share of the picture: (N,), (N,).

    `maps` (N, S, S); `boxes` (N, 4) as x0, y0, x1, y1 in pixels, edges and not centres: (0, 0, S, S) is the whole
    picture. Pixels cut by an edge count in part. The first over the second is 1 without any preference. An empty map
    has no share (NaN).
    """
    columns, rows = _cover(boxes[:, 0], boxes[:, 2], maps.shape[2]), _cover(boxes[:, 1], boxes[:, 3], maps.shape[1])
    share = np.einsum("nyx,ny,nx->n", _shares(maps), rows, columns)
    return share, rows.mean(axis=1) * columns.mean(axis=1)


def _cover(low: Floats, high: Floats, size: int) -> Floats:
    """How much of each of `size` unit intervals lies between low and high (N,): (N, size)."""
    start = np.arange(size)
    return np.clip(np.minimum(high[:, None], start + 1) - np.maximum(low[:, None], start), 0, 1)


def boxes_in_crop(dataset: Dataset, crop: str, size: int) -> dict[str, Floats]:
    """The boxes of `PARTS` as the network sees them, (N, 4) each, in pixels of the crop resized to `size`.

    `crop` is one of `CROPS`. What the crop cuts off is cut off the boxes.

    Raises:
        UserError: the dataset has no true boxes.
    """
    if not dataset.has_boxes:
        raise UserError("the parts of the face are not known", fix="only the synthetic dataset has true boxes")
    table, crops = dataset.table, _crops(dataset, crop)
    corner, scale = np.tile(crops[:, :2], 2), size / np.tile(crops[:, 2:] - crops[:, :2], 2)
    parts = {part: table[[f"{part}_{c}" for c in _CORNERS]].to_numpy(dtype=float) for part in PARTS}
    return {part: np.clip((box - corner) * scale, 0, size) for part, box in parts.items()}


def _crops(dataset: Dataset, crop: str) -> Floats:
    """What `fermoe.data.arrays` keeps of each original picture: (N, 4), as x0, y0, x1, y1."""
    if crop == "blazeface":
        return detect_faces(dataset, progress=False)[list(_CORNERS)].to_numpy(dtype=float)
    if crop == "annotated":
        return dataset.table[[f"face_{c}" for c in _CORNERS]].to_numpy(dtype=float)
    whole = dataset.table["size"].to_numpy(dtype=float)
    return np.stack([0 * whole, 0 * whole, whole, whole], axis=1)


def class_averages(maps: Floats, classes: NDArray[np.integer[Any]], count: int) -> Floats:
    """The mean of each class's maps (N, S, S), or boxes (N, 4), by class index (N,): (count, S, S) or (count, 4).

    Empty maps count as zeros: a class whose maps are often empty is dark. A class without images is NaN.
    """
    means = [maps[classes == c].mean(axis=0) if (classes == c).any() else maps[0] * np.nan for c in range(count)]
    return np.stack(means)
