"""Run notebooks from top to bottom and keep their outputs: `python -m fermoe.study.refresh notebooks/*.ipynb`.

What a second run would change without meaning is left out (execution times, the kernel's version), so that a diff of
a notebook is a change of its results. Figures are kept with 256 colours.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from fermoe.files import PROJECT_ROOT, write_text
from fermoe.plots.style import with_palette


def refresh(path: Path) -> None:
    """Execute one notebook in a fresh kernel with its default parameters and save it in place."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(PROJECT_ROOT)}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False, resources=resources).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                small = with_palette(base64.b64decode(output.data["image/png"]))
                output.data["image/png"] = base64.b64encode(small).decode()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    write_text(path, nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(name, flush=True)
        refresh(Path(name))
