"""A network as an ONNX file, for programs without PyTorch.

Convolutions are computed directly: ONNX has no fast path for large kernels in the frequency domain. The file takes
pictures as `predict` prepares them and holds the pixel values' normalisation itself.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fermoe.data.transforms import NORMALISATIONS
from fermoe.errors import UserError
from fermoe.files import atomic
from fermoe.network.mixture import CONTENT_FREE
from fermoe.network.model import ExpressNetMoE
from fermoe.use.trained import KEY, Trained

OPSET = 18
INPUT = "images"


class Portable(nn.Module):
    """Images (N, 3, S, S), RGB in [0, 1] → probabilities (N, C) and each mixture's gates (N, E)."""

    def __init__(self, trained: Trained):
        super().__init__()
        model = trained.network.model
        self.network = ExpressNetMoE(replace(model.config, convolution="direct"), fast=False)
        self.network.load_state_dict(model.state_dict())
        self.normalise = NORMALISATIONS[str(trained.network.config.normalisation)]
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        out = self.network(self.normalise(images))
        return out.logits.softmax(1), *out.gates.values()

    @property
    def outputs(self) -> list[str]:
        """What the results of `forward` are called in the file."""
        config = self.network.config
        return ["probabilities", *(f"gate_{name}" for name in (config.mixtures if config.gate else ()))]


def export_onnx(trained: Trained, path: Path) -> Path:
    """Write a network as ONNX, opset 18, for any number of pictures at a time.

    Its metadata hold what a weights file says of its network (`About`) as JSON under "fermoe".

    Raises:
        UserError: the package onnx is missing, or the network chooses its experts by the pixels' bits.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UserError("ONNX needs the package onnx, which is not installed", fix="pip install 'fermoe[onnx]'")
    if trained.network.model.config.gate in CONTENT_FREE:
        what = f"variant '{trained.about.config.variant}' chooses experts by a hash that ONNX cannot compute"
        raise UserError(what, fix="export another variant")
    import onnx

    portable = Portable(trained)
    example = torch.zeros(2, 3, trained.size, trained.size)
    names = [INPUT, *portable.outputs]
    with atomic(path) as temporary:
        with warnings.catch_warnings():  # about tracing sizes that never change, and that there is a newer exporter
            warnings.simplefilter("ignore")
            # The newer exporter needs onnxscript, which MediaPipe's versions of its parts do not allow.
            torch.onnx.export(
                portable,
                (example,),
                temporary,
                input_names=names[:1],
                output_names=names[1:],
                dynamic_axes={name: {0: "pictures"} for name in names},
                opset_version=OPSET,
                dynamo=False,
            )
        content = onnx.load(temporary)
        onnx.helper.set_model_props(content, {KEY: json.dumps(asdict(trained.about), sort_keys=True)})
        onnx.checker.check_model(content, full_check=True)
        onnx.save(content, temporary)
    return path
