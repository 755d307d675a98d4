"""Trains a run of the study file in the arguments with dropout off and norms frozen; started by torchrun, or not."""

from __future__ import annotations

import sys

import pytest
from torch import nn

from fermoe.cli import main
from fermoe.training import train


class Exact(train.ExpressNetMoE):
    """Nothing in it is random, and nothing of one image depends on the others."""

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "ExpressNetMoE", Exact)
        main(["train", *sys.argv[1:]])
