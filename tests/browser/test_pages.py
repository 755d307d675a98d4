"""Every report and the page over all studies, as a browser shows them: on a desk, on a phone, in the dark, on paper."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from pypdf import PdfReader

pytestmark = pytest.mark.browser

RESULTS = Path(__file__).resolve().parents[2] / "results"
PAGES = [RESULTS / "index.html", *sorted(RESULTS.glob("*/report.html"))]
DESK, PHONE = 1280, 390  # CSS pixels
WINDOW, PICTURE = 900, 6000  # CSS pixels: a reader's window, the tallest picture
A4 = (595.3, 841.9)  # points
PIXELS_A_MILLIMETRE = 96 / 25.4

OPEN_FOLDS = "document.querySelectorAll('details').forEach(fold => fold.open = true)"
PAGE_HEIGHT = "document.documentElement.scrollHeight"
PAGE_WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
# What a reader must not have to scroll sideways for, or would not see: text beyond its own box or beyond the window.
PROSE_BEYOND = """
() => [...document.querySelectorAll('h1, h2, h3, p, li, dt, dd, summary, caption, figcaption, pre')]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline'
                 || e.getBoundingClientRect().right > document.documentElement.clientWidth)
    .map(e => e.tagName + ': ' + e.textContent.slice(0, 60))
"""
CELLS_BEYOND = """
width => [...document.querySelectorAll('th, td')]
    .filter(e => e.getBoundingClientRect().right > width + 0.5 || e.scrollWidth > e.clientWidth + 1)
    .map(e => e.textContent)
"""
MARGIN = """
() => [...document.styleSheets].flatMap(sheet => [...sheet.cssRules])
    .filter(rule => rule instanceof CSSMediaRule && rule.media.mediaText === 'print')
    .flatMap(rule => [...rule.cssRules]).find(rule => rule instanceof CSSPageRule).style.margin
"""
LINKS = "links => links.map(link => link.href)"
CELLS = "cells => cells.map(cell => cell.textContent)"


@dataclass(frozen=True)
class Opened:
    """A page in a window of one width, and what the browser complained of while loading it."""

    page: Page
    path: Path
    complaints: list[str]
    fetched: list[str]


def named(path: Path) -> str:
    return path.parent.name if path.name == "report.html" else path.stem


def photograph(page: Page, width: int, stem: Path) -> None:
    """The page from top to bottom in numbered pictures: Chromium now and then refuses one of 25,000 pixels."""
    height = page.evaluate(PAGE_HEIGHT)
    page.set_viewport_size({"width": width, "height": min(height, PICTURE)})
    for number, top in enumerate(range(0, height, PICTURE), start=1):
        page.evaluate("top => scrollTo(0, top)", top)
        page.screenshot(path=stem.with_name(f"{stem.name}-{number}.png"))
    page.set_viewport_size({"width": width, "height": WINDOW})


LOOKS = [
    pytest.param((path, width, scheme), id=f"{named(path)}-{width}-{scheme}")
    for path in PAGES
    for width in (DESK, PHONE)
    for scheme in ("light", "dark")
]


@pytest.fixture(scope="module", params=LOOKS)
def opened(request: pytest.FixtureRequest, browser: Browser, pictures: Path) -> Iterator[Opened]:
    """Each page at each width in each colour scheme, photographed as it first appears, then with its folds open."""
    path, width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": WINDOW}, color_scheme=scheme)
    page = context.new_page()
    seen = Opened(page, path, [], [])
    page.on("console", lambda message: seen.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda asked: seen.fetched.append(asked.url))
    page.goto(path.as_uri())
    photograph(page, width, pictures / f"{named(path)}-{width}-{scheme}")
    page.evaluate(OPEN_FOLDS)
    yield seen
    context.close()


@pytest.fixture(scope="module", params=PAGES, ids=named)
def printed(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """Each page as on paper, though the reader's screen is dark, in a window as wide as what A4 leaves of it."""
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(request.param.as_uri())
    page.emulate_media(media="print")
    margin = float(page.evaluate(MARGIN).removesuffix("mm"))
    page.set_viewport_size({"width": int((210 - 2 * margin) * PIXELS_A_MILLIMETRE), "height": 1000})
    yield page
    context.close()


def squeezed(text: str) -> str:
    """Without what typesetting changes: spaces, hyphens where a line ends, and ligatures."""
    return re.sub(r"[\s-]", "", unicodedata.normalize("NFKC", text))


def test_the_browser_has_nothing_to_complain_of_and_fetches_nothing_else(opened: Opened) -> None:
    assert opened.complaints == []
    assert [url for url in opened.fetched if not url.startswith("data:")] == [opened.path.as_uri()]


def test_nobody_scrolls_prose_sideways(opened: Opened) -> None:
    scrolled, window = opened.page.evaluate(PAGE_WIDTHS)
    assert scrolled <= window
    assert opened.page.evaluate(PROSE_BEYOND) == []


def test_axe_finds_no_serious_barrier(opened: Opened) -> None:
    found = Axe().run(opened.page).response["violations"]
    grave = [entry for entry in found if entry["impact"] in ("serious", "critical")]
    assert [(entry["id"], [node["html"] for node in entry["nodes"]]) for entry in grave] == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_link_leads_somewhere(path: Path, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(path.as_uri())
    links = page.eval_on_selector_all("a[href]", LINKS)
    page.close()
    assert links
    for link in links:
        target = urlsplit(link)
        file = Path(unquote(target.path))
        assert target.scheme == "file", link
        assert file.exists(), link
        if target.fragment:
            assert f'id="{target.fragment}"' in file.read_text(encoding="utf-8"), link


def test_paper_has_every_column_of_every_table(printed: Page) -> None:
    width = printed.viewport_size["width"] if printed.viewport_size else 0
    assert printed.evaluate(CELLS_BEYOND, width) == []
    scrolled, window = printed.evaluate(PAGE_WIDTHS)
    assert scrolled <= window
    assert printed.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_a_pdf_on_a4_holds_the_text_of_every_cell(printed: Page, tmp_path: Path) -> None:
    printed.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    sheets = PdfReader(tmp_path / "page.pdf").pages
    assert all(sheet.mediabox[2:] == pytest.approx(A4, abs=1) for sheet in sheets)
    text = squeezed("".join(sheet.extract_text() for sheet in sheets))
    missing = [cell for cell in printed.eval_on_selector_all("th, td", CELLS) if squeezed(cell) not in text]
    assert missing == []
