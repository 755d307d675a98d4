"""The executed report notebook → one HTML file that stands alone."""

from __future__ import annotations

from pathlib import Path

from nbconvert import HTMLExporter

from fermoe.files import write_text

_STYLE = """
body { max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff;
       font: 16px/1.55 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.25; margin-top: 2rem; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 0.8rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: 0.35rem 0.6rem; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
img { max-width: 100%; height: auto; }
pre { overflow-x: auto; font-size: 0.85rem; background: #f6f6f6; padding: 0.6rem; }
code { background: #f6f6f6; }
.jp-InputPrompt, .jp-OutputPrompt, .anchor-link { display: none; }
"""


def write_report(notebook: Path, path: Path, title: str) -> None:
    """Write `notebook`'s prose and outputs, without its code, as a page with its pictures inside.

    The page holds no time, host or path, so that equal results give an equal file.
    """
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True)
    body, _ = exporter.from_filename(str(notebook))
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    write_text(path, f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n')
