"""fermoe: a reproducibility study kit for ExpressNet-MoE (arXiv 2510.13493)."""

from importlib.metadata import version

__version__ = version("fermoe")
