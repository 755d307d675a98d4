"""One notebook is executed with its parameters, whole or with its error shown, by a kernel without network ports."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from fermoe.study.notebooks import execute, is_whole


def notebook(path: Path, *sources: str) -> Path:
    first = new_code_cell("number: int = 1", metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=[first, *map(new_code_cell, sources)], metadata={"kernelspec": kernel}), path)
    return path


def outputs(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    path = tmp_path / "parameters.yaml"
    path.write_text("number: 7\n")
    return path


def test_a_notebook_runs_with_the_parameters_given(tmp_path: Path, parameters: Path) -> None:
    source, executed = notebook(tmp_path / "a.ipynb", "print(6 * number)"), tmp_path / "out.ipynb"
    assert execute(str(source), str(executed), str(parameters)) == 0
    assert is_whole(executed)
    assert outputs(executed).strip() == "42"
    assert not is_whole(source)


def test_an_error_is_an_exit_code_and_stands_in_the_notebook(tmp_path: Path, parameters: Path) -> None:
    source, executed = notebook(tmp_path / "a.ipynb", "1 / 0", "print('after')"), tmp_path / "out.ipynb"
    assert execute(str(source), str(executed), str(parameters)) == 1
    assert not is_whole(executed)
    assert "after" not in outputs(executed)


@pytest.mark.skipif(sys.platform != "linux", reason="sockets with a name of their own are Linux's")
def test_a_kernel_opens_no_port_and_leaves_no_socket_behind(tmp_path: Path, parameters: Path) -> None:
    ask = "from ipykernel.kernelapp import IPKernelApp\napp = IPKernelApp.instance()\nprint(app.transport, app.ip)"
    executed = tmp_path / "out.ipynb"
    assert execute(str(notebook(tmp_path / "a.ipynb", ask)), str(executed), str(parameters)) == 0
    assert outputs(executed).startswith("ipc @fermoe-")
