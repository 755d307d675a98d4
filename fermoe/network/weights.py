"""Weights into the model, and out of it: Keras arrays, Keras .h5 files, torchvision's ResNet-50, safetensors.

No loader executes a pickle: .h5 and safetensors hold arrays only, torchvision's files are read with weights_only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fermoe.errors import UserError
from fermoe.files import atomic
from fermoe.network.extractor import Extractor
from fermoe.network.mixture import MixtureOfExperts
from fermoe.network.model import ExpressNetMoE
from fermoe.network.resnet import ResNet

BACKBONE = "ResNet50/vggface_resnet50/"
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
# The ResNet's convolutions: keras_vggface's names, torchvision's, and torchvision's of the batch norms behind them.
_RESNET = {
    "stem": ("conv1/7x7_s2", "conv1", "bn1"),
    "reduce": ("1x1_reduce", "conv1", "bn1"),
    "conv": ("3x3", "conv2", "bn2"),
    "increase": ("1x1_increase", "conv3", "bn3"),
    "project": ("1x1_proj", "downsample.0", "downsample.1"),
}


def _layer(prefix: str, layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The Keras keys of one convolution, dense or batch-norm layer, with our tensors."""
    if isinstance(layer, nn.BatchNorm2d):
        for keras, ours in _NORM.items():
            yield f"{prefix}/{keras}", getattr(layer, ours)
    elif isinstance(layer, nn.Conv2d | nn.Linear):
        yield f"{prefix}/kernel", layer.weight
        if layer.bias is not None:
            yield f"{prefix}/bias", layer.bias


def _extractor(prefix: str, blocks: Extractor, first: int) -> Iterator[tuple[str, Tensor]]:
    for i, (conv, norm) in enumerate(zip(blocks.convs, blocks.norms, strict=True), start=first):
        number = f"_{i}" if i else ""  # Keras numbers layers of one type as they are created: name, name_1, name_2, …
        yield from _layer(f"{prefix}/conv2d{number}", conv)
        yield from _layer(f"{prefix}/batch_normalization{number}", norm)


def _backbone(resnet: ResNet) -> Iterator[tuple[str, Tensor]]:
    for name, conv in resnet.named_modules():
        if isinstance(conv, nn.Conv2d):
            *place, part = name.split(".")  # ("stages", stage, block), or nothing for the stem
            block = f"conv{int(place[1]) + 2}_{int(place[2]) + 1}_" if place else ""
            layer = f"{BACKBONE}{block}{_RESNET[part][0]}"
            yield from _layer(layer, conv)
            yield from _layer(f"{layer}/bn", resnet.get_submodule(f"{name}_norm"))


def keras_targets(model: ExpressNetMoE) -> dict[str, Tensor]:
    """Every Keras key of the paper's network with the tensor of `model` that it fills.

    Raises:
        UserError: the model's variant lacks a block.
    """
    config = model.config
    if not (config.cnn1 and config.cnn2 and config.fusion and config.gate):
        what = f"variant '{config.variant}' has no Keras counterpart"
        raise UserError(what, fix="load into a variant with every block")
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
    if key == "CNNFeatureExtractor_1/dense/kernel" and model.config.cnn1 is not None:
        # Keras flattens (H, W, C), PyTorch (C, H, W): reorder the rows once instead of the map every time.
        channels = model.config.cnn1.channels[-1]
        side = round((value.shape[0] / channels) ** 0.5)
        if side * side * channels == value.shape[0]:
            value = value.reshape(side, side, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
    return value.T if value.ndim == 2 else value


def _misfit(own: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> str | None:
    """What is wrong with a weight, if any: `load_state_dict` changes what fits before it says so."""
    for key in (*own, *values):
        if key not in own or key not in values:
            return f"'{key}' is {'missing' if key in own else 'unknown'}"
        shape, needed = getattr(values[key], "shape", ()), own[key].shape
        if shape != needed:
            return f"'{key}' has shape {tuple(shape)}, the network's is {tuple(needed)}"
    return None


def load_keras_weights(model: ExpressNetMoE, weights: Mapping[str, np.ndarray]) -> None:
    """Fill the model from Keras arrays, keyed "submodel/layer/variable" in Keras' axis order.

    Strict: the keys must be all of the network's, or all of the backbone's ("ResNet50/vggface_resnet50/…")
    alone; every shape must fit. Nothing is changed unless everything fits.

    Raises:
        UserError: a key is missing or unknown, or a shape is wrong.
    """
    only_backbone = bool(weights) and all(key.startswith(BACKBONE) for key in weights)
    targets = dict(_backbone(model.resnet)) if only_backbone else keras_targets(model)
    values = {key: _to_torch(key, array, model) for key, array in weights.items()}
    if problem := _misfit(targets, values):
        what = f"the Keras weight {problem} (PyTorch's order)"
        raise UserError(what, fix="give the weights of the same network (or of its ResNet-50 alone)")
    with torch.no_grad():
        for key, target in targets.items():
            target.copy_(values[key])


def read_keras_h5(path: str | Path) -> dict[str, np.ndarray]:
    """Read keras_vggface's `rcmalli_vggface_tf_notop_resnet50.h5` into a mapping for `load_keras_weights`.

    Keras 2 stores a layer's variables under <layer>/<layer>/<variable>:0, and layer names hold slashes
    themselves: `conv1/7x7_s2/bn/conv1/7x7_s2/bn/gamma:0` is gamma of the layer `conv1/7x7_s2/bn`. The layer
    list is in the file's `layer_names` attribute.
    """
    import h5py  # here: who trains from random weights does not wait for it

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


def load_torchvision_resnet50(resnet: ResNet, state: Mapping[str, Tensor]) -> None:
    """Fill the ResNet-50 from a torchvision ResNet-50's state dict (ImageNet weights).

    torchvision puts a stage's stride on the 3×3 convolution and uses ε = 1e-5, so features are not torchvision's to
    the digit; as initial weights for training they serve.
    """
    names = {}
    own = resnet.state_dict()
    for key in own:
        *place, part, tensor = key.split(".")
        block = f"layer{int(place[1]) + 1}.{place[2]}." if place else ""
        _, conv, norm = _RESNET[part.removesuffix("_norm")]
        names[key] = f"{block}{norm if part.endswith('_norm') else conv}.{tensor}"
    values = {name: state[name] for name in names.values() if name in state}
    if problem := _misfit({name: own[key] for key, name in names.items()}, values):
        what = f"the ImageNet weight {problem}"
        raise UserError(what, fix="give resnet50's state dict, and train the paper's network (model=paper)")
    resnet.load_state_dict({key: values[name] for key, name in names.items()})


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
        fix = "choose random, imagenet, imagenet:FILE.pth or vggface2:rcmalli_vggface_tf_notop_resnet50.h5"
        raise UserError(f"unknown initial weights '{source}'", fix=fix)


def _imagenet_state(path: str) -> Mapping[str, Tensor]:
    from torchvision.models import ResNet50_Weights  # here: it doubles the time to import the package

    try:
        if path:
            return torch.load(path, map_location="cpu", weights_only=True)
        return ResNet50_Weights.IMAGENET1K_V1.get_state_dict(progress=True, check_hash=True)
    except Exception as error:  # torch.load and the download fail in many ways; each is one line to the user
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        what, fix = f"the ImageNet weights cannot be read ({message})", "weights=imagenet:/path/to/resnet50.pth"
        raise UserError(what, where=path or None, fix=f"give a file: {fix}") from None


def save_weights(model: nn.Module, path: str | Path, about: dict[str, str] | None = None) -> None:
    """Write the model's state dict as safetensors, atomically, with what the file is to say `about` it."""
    with atomic(path) as temporary:
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, temporary, about)


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Read what `save_weights` wrote; the model must have the same configuration."""
    try:
        values = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"the weights cannot be read ({error})", where=path, fix="train again") from None
    if _misfit(model.state_dict(), values):
        raise UserError("the weights belong to another configuration", where=path, fix="use the run's own parameters")
    model.load_state_dict(values)
