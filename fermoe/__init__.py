"""A reproducibility study kit for the paper ExpressNet-MoE (arXiv 2510.13493).

The public names are loaded when they are first used: `import fermoe` alone imports neither PyTorch nor pandas.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

__version__ = version("fermoe")

if TYPE_CHECKING:
    from fermoe.data.audit import check_dataset as check_dataset
    from fermoe.data.datasets import load_dataset as load_dataset
    from fermoe.data.faces import crop_box as crop_box
    from fermoe.evidence.maps import grad_cam as grad_cam
    from fermoe.network.large_kernel import fft_conv2d as fft_conv2d
    from fermoe.network.model import ExpressNetMoE as ExpressNetMoE
    from fermoe.network.model import ModelConfig as ModelConfig
    from fermoe.network.weights import load_keras_weights as load_keras_weights
    from fermoe.network.weights import read_keras_h5 as read_keras_h5
    from fermoe.paper.claims import claims_table as claims_table
    from fermoe.study.plan import load_study as load_study
    from fermoe.study.tables import rebuild_tables as rebuild_tables
    from fermoe.training.config import TrainConfig as TrainConfig
    from fermoe.training.inference import open_run as open_run
    from fermoe.training.inference import predict as predict
    from fermoe.training.train import train as train
    from fermoe.use.predict import predict_pictures as predict_pictures
    from fermoe.use.trained import load_trained as load_trained

_HOMES = {
    "data.audit": ("check_dataset",),
    "data.datasets": ("load_dataset",),
    "data.faces": ("crop_box",),
    "evidence.maps": ("grad_cam",),
    "network.large_kernel": ("fft_conv2d",),
    "network.model": ("ExpressNetMoE", "ModelConfig"),
    "network.weights": ("load_keras_weights", "read_keras_h5"),
    "paper.claims": ("claims_table",),
    "study.plan": ("load_study",),
    "study.tables": ("rebuild_tables",),
    "training.config": ("TrainConfig",),
    "training.inference": ("open_run", "predict"),
    "training.train": ("train",),
    "use.predict": ("predict_pictures",),
    "use.trained": ("load_trained",),
}
_HOME_OF = {name: f"fermoe.{module}" for module, names in _HOMES.items() for name in names}
__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
