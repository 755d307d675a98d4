"""What a cache was made by and of: code and packages, files and their times. Another recipe is another place in it."""

from __future__ import annotations

import ast
import functools
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fermoe.files import digest

FILES = ("images",)
"""The modules of this room by which a file becomes a picture."""
DRAWINGS = ("drawing", "images")
"""Those by which a row of factors becomes one."""
PACKAGES = ("pillow", "opencv-python-headless", "mediapipe")
_parsing = threading.Lock()  # Python 3.11's parser counts one depth for all threads: two at once can raise SystemError


def modules_of(drawn: bool) -> tuple[str, ...]:
    """The modules by which a dataset's pictures are made."""
    return DRAWINGS if drawn else FILES


@functools.cache
def recipe(*modules: str) -> str:
    """Sixteen hex digits over the code of these modules of this room and over the packages that do the work.

    Comments, docstrings and layout are not code.
    """
    code = [_code((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")) for name in modules]
    return digest([code, [_version(package) for package in PACKAGES]], 16)


def _code(text: str) -> str:
    with _parsing:
        tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    """A docstring, or the like of one after a constant."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
