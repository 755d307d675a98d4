"""Weights into the model, and out of it: Keras arrays, Keras .h5 files, torchvision's ResNet-50, safetensors.

No loader executes a pickle: .h5 and safetensors hold arrays only, torchvision's files are read with weights_only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fermoe.errors import UserError
from fermoe.files import atomic
from fermoe.network.model import ExpressNetMoE, Extractor, MixtureOfExperts
from fermoe.network.resnet import Bottleneck, ResNet

BACKBONE = "ResNet50/vggface_resnet50/"


_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def _layer(prefix: str, layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The Keras keys of one convolution, dense or batch-norm layer, with our tensors."""
    if isinstance(layer, nn.BatchNorm2d):
        for keras, ours in _NORM.items():
            yield f"{prefix}/{keras}", getattr(layer, ours)
    elif isinstance(layer, nn.Conv2d | nn.Linear):
        yield f"{prefix}/kernel", layer.weight
        if layer.bias is not None:
            yield f"{prefix}/bias", layer.bias


def _numbered(name: str, number: int) -> str:
    """Keras numbers layers of one type as they are created: name, name_1, name_2, …"""
    return f"{name}_{number}" if number else name


def _extractor(prefix: str, blocks: Extractor, first: int) -> Iterator[tuple[str, Tensor]]:
    for i, (conv, norm) in enumerate(zip(blocks.convs, blocks.norms, strict=True)):
        yield from _layer(f"{prefix}/{_numbered('conv2d', first + i)}", conv)
        yield from _layer(f"{prefix}/{_numbered('batch_normalization', first + i)}", norm)


def _backbone(resnet: ResNet) -> Iterator[tuple[str, Tensor]]:
    yield from _layer(f"{BACKBONE}conv1/7x7_s2", resnet.stem)
    yield from _layer(f"{BACKBONE}conv1/7x7_s2/bn", resnet.stem_norm)
    for s, stage in enumerate(resnet.stages, start=2):
        assert isinstance(stage, nn.Sequential)
        for b, block in enumerate(stage, start=1):
            assert isinstance(block, Bottleneck)
            parts = {
                "1x1_reduce": (block.reduce, block.reduce_norm),
                "3x3": (block.conv, block.conv_norm),
                "1x1_increase": (block.increase, block.increase_norm),
            }
            if block.project is not None and block.project_norm is not None:
                parts["1x1_proj"] = (block.project, block.project_norm)
            for name, (conv, norm) in parts.items():
                yield from _layer(f"{BACKBONE}conv{s}_{b}_{name}", conv)
                yield from _layer(f"{BACKBONE}conv{s}_{b}_{name}/bn", norm)


def keras_targets(model: ExpressNetMoE) -> dict[str, Tensor]:
    """Every Keras key of the paper's network with the tensor of `model` that it fills (full variant only)."""
    if model.config.gate is None or not (model.has_cnn1 and model.has_cnn2):
        raise UserError(
            f"variant '{model.config.variant}' has no Keras counterpart",
            fix="load into a variant with every block",
        )
    targets = dict(_extractor("CNNFeatureExtractor_1", model.cnn1.blocks, first=0))
    targets |= dict(_layer("CNNFeatureExtractor_1/dense", model.cnn1.dense))
    targets |= dict(_extractor("CNNFeatureExtractor_2", model.cnn2.blocks, first=len(model.cnn1.blocks.convs)))
    targets |= dict(_backbone(model.resnet))
    targets |= dict(_layer("dense_1", model.fusion))
    number = 2
    for name, mixture in (("MoE_CNN_Features", model.moe_cnn), ("MoE_Expression", model.moe_expression)):
        assert isinstance(mixture, MixtureOfExperts)
        for layer in (*mixture.experts, mixture.gate):
            targets |= dict(_layer(f"{name}/dense_{number}", layer))
            number += 1
    return targets | dict(_layer(f"dense_{number}", model.head))


def _to_torch(key: str, array: np.ndarray, model: ExpressNetMoE) -> Tensor:
    """Keras' axis order to PyTorch's: (H, W, in, out) → (out, in, H, W), (in, out) → (out, in)."""
    value = torch.from_numpy(np.array(array, dtype=np.float32))  # a copy: h5 and npz arrays may be read-only
    if value.ndim == 4:
        return value.permute(3, 2, 0, 1)
    if key == "CNNFeatureExtractor_1/dense/kernel":
        # Keras flattens (H, W, C), PyTorch (C, H, W): reorder the rows once instead of the map every time.
        channels = model.config.cnn1.channels[-1]
        side = round((value.shape[0] / channels) ** 0.5)
        if side * side * channels == value.shape[0]:
            value = value.reshape(side, side, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
    return value.T if value.ndim == 2 else value


def load_keras_weights(model: ExpressNetMoE, weights: Mapping[str, np.ndarray]) -> None:
    """Fill the model from Keras arrays, keyed "submodel/layer/variable" in Keras' axis order.

    Strict: the keys must be all of the network's, or all of the backbone's ("ResNet50/vggface_resnet50/…")
    alone; every shape must fit. Nothing is changed unless everything fits.

    Raises:
        UserError: a key is missing or unknown, or a shape is wrong.
    """
    only_backbone = bool(weights) and all(key.startswith(BACKBONE) for key in weights)
    targets = dict(_backbone(model.resnet)) if only_backbone else keras_targets(model)
    fix = "give the weights of the same network (or of its ResNet-50 alone)"
    for problem, keys in (
        ("missing", targets.keys() - weights.keys()),
        ("unknown", weights.keys() - targets.keys()),
    ):
        if keys:
            raise UserError(f"{len(keys)} Keras weights are {problem}, such as '{min(keys)}'", fix=fix)
    values = {key: _to_torch(key, array, model) for key, array in weights.items()}
    for key, target in targets.items():
        if values[key].shape != target.shape:
            shapes = f"{tuple(values[key].shape)}, the model's is {tuple(target.shape)}"
            raise UserError(f"Keras weight '{key}' has shape {shapes} (PyTorch order)", fix=fix)
    with torch.no_grad():
        for key, target in targets.items():
            target.copy_(values[key])


def read_keras_h5(path: str | Path) -> dict[str, np.ndarray]:
    """Read keras_vggface's `rcmalli_vggface_tf_notop_resnet50.h5` into a mapping for `load_keras_weights`.

    Keras 2 stores a layer's variables under <layer>/<layer>/<variable>:0, and layer names hold slashes
    themselves: `conv1/7x7_s2/bn/conv1/7x7_s2/bn/gamma:0` is gamma of the layer `conv1/7x7_s2/bn`. The layer
    list is in the file's `layer_names` attribute.
    """
    path = Path(path)
    fix = "give keras_vggface's rcmalli_vggface_tf_notop_resnet50.h5"
    if not path.is_file():
        raise UserError("no such weight file", where=path, fix=fix)
    weights: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)  # whole-model files keep their weights one level down
            for name in root.attrs["layer_names"]:
                group = root[_text(name)]
                for weight in group.attrs["weight_names"]:
                    layer_variable = _text(weight).removesuffix(":0")
                    weights[BACKBONE + layer_variable] = np.asarray(group[_text(weight)])
    except (OSError, KeyError, RuntimeError) as error:
        raise UserError(f"not a Keras weight file ({error})", where=path, fix=fix) from None
    if not weights:
        raise UserError("the Keras file holds no weights", where=path, fix=fix)
    return weights


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _misfit(module: nn.Module, values: Mapping[str, Tensor]) -> str | None:
    """A key that one side lacks or whose shapes differ: `load_state_dict` changes what fits before it says so."""
    own = module.state_dict()
    for key in (*own, *values):
        if key not in own or key not in values or getattr(values[key], "shape", None) != own[key].shape:
            return key
    return None


def load_torchvision_resnet50(resnet: ResNet, state: Mapping[str, Tensor]) -> None:
    """Fill the ResNet-50 from a torchvision ResNet-50's state dict (ImageNet weights).

    torchvision puts a stage's stride on the 3×3 convolution and uses ε = 1e-5, so features are not torchvision's to
    the digit; as initial weights for training they serve.
    """
    names = {"reduce": "conv1", "conv": "conv2", "increase": "conv3", "project": "downsample.0"}
    norms = {"reduce_norm": "bn1", "conv_norm": "bn2", "increase_norm": "bn3", "project_norm": "downsample.1"}
    ours = {}
    for key in resnet.state_dict():
        if key.startswith("stem_norm."):
            ours[key] = "bn1." + key.removeprefix("stem_norm.")
        elif key.startswith("stem."):
            ours[key] = "conv1." + key.removeprefix("stem.")
        else:
            _, stage, block, part, rest = key.split(".")
            ours[key] = f"layer{int(stage) + 1}.{block}.{(names | norms)[part]}.{rest}"
    missing = [theirs for theirs in ours.values() if theirs not in state]
    if missing:
        raise UserError(f"not a torchvision ResNet-50: '{missing[0]}' is missing", fix="give resnet50's state dict")
    values = {key: state[theirs] for key, theirs in ours.items()}
    misfit = _misfit(resnet, values)
    if misfit is not None:
        what = f"the ImageNet weights do not fit: '{ours[misfit]}' has another shape"
        raise UserError(what, fix="give resnet50's state dict, and train the paper's network (model=paper)")
    resnet.load_state_dict(values)


def load_initial_weights(model: ExpressNetMoE, source: str) -> None:
    """Fill the backbone from `source`: "random" (nothing), "vggface2:FILE.h5", "imagenet" or "imagenet:FILE".

    "imagenet" alone takes torchvision's own download or its cache; FILE is a state dict saved by torchvision.
    """
    kind, _, path = source.partition(":")
    if kind == "random":
        return
    if kind == "vggface2" and path:
        load_keras_weights(model, read_keras_h5(path))
    elif kind == "imagenet":
        load_torchvision_resnet50(model.resnet, _imagenet_state(path))
    else:
        raise UserError(
            f"unknown initial weights '{source}'",
            fix="choose random, imagenet, imagenet:FILE.pth or vggface2:rcmalli_vggface_tf_notop_resnet50.h5",
        )


def _imagenet_state(path: str) -> Mapping[str, Tensor]:
    from torchvision.models import ResNet50_Weights  # here: it doubles the time to import the package

    try:
        if path:
            return torch.load(path, map_location="cpu", weights_only=True)
        return ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except Exception as error:  # torch.load and the download fail in many ways; each is one line to the user
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the ImageNet weights cannot be read ({message})",
            where=path or None,
            fix="give a file: weights=imagenet:/path/to/resnet50.pth",
        ) from None


def save_weights(model: nn.Module, path: str | Path) -> None:
    """Write the model's state dict as safetensors, atomically."""
    with atomic(path) as temporary:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, temporary)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read what `save_weights` wrote; the model must have the same configuration."""
    path = Path(path)
    try:
        values = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"the weights cannot be read ({error})", where=path, fix="train again") from None
    if _misfit(model, values) is not None:
        raise UserError("the weights belong to another configuration", where=path, fix="use the run's own parameters")
    model.load_state_dict(values)
