"""The panel of notebook 12 in JupyterLab: a slider moved by its key changes the bars, and a snapshot is looked at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import lab as labs
from tests.browser.conftest import NAMES

pytestmark = pytest.mark.browser

PATIENCE = 1000 * labs.PATIENCE  # milliseconds
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def panel(browser: Browser, lab: labs.Lab, pictures: Path) -> Iterator[Page]:
    """The notebook, run whole in a Chromium whose camera shows a test picture."""
    executable = next(filter(None, map(shutil.which, NAMES)))
    with browser.browser_type.launch(executable_path=executable, args=FAKE_CAMERA) as chromium:
        page = chromium.new_context(viewport={"width": 1400, "height": 1000}).new_page()
        lab.open(page, "12_try_a_face")
        expect(page.get_by_text("(ipykernel) | Idle")).to_be_visible(timeout=PATIENCE)  # else JupyterLab asks for one
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        expect(page.get_by_role("slider")).to_have_count(3, timeout=PATIENCE)
        yield page
        page.screenshot(path=pictures / "lab-12_try_a_face-panel.png", full_page=True)


def figures(page: Page) -> list[str]:
    """The addresses of the panel's two figures: each picture has one of its own."""
    found = page.locator(".jupyter-widgets.widget-image")
    expect(found).to_have_count(2, timeout=PATIENCE)
    return [str(found.nth(place).get_attribute("src")) for place in range(2)]


def test_a_slider_moved_by_its_key_changes_the_bars_and_moved_back_restores_them(panel: Page) -> None:
    said = panel.locator("p[role=status]")
    expect(said).to_contain_text("drawn face, happy: ", timeout=PATIENCE)
    before, drawn = said.inner_text(), figures(panel)
    slider = panel.get_by_role("slider").last
    slider.focus()
    slider.press("ArrowRight")
    expect(said).not_to_have_text(before, timeout=PATIENCE)
    assert all(now != then for now, then in zip(figures(panel), drawn, strict=True))
    slider.press("ArrowLeft")
    expect(said).to_have_text(before, timeout=PATIENCE)


def test_a_snapshot_of_the_camera_is_looked_at(panel: Page) -> None:
    panel.get_by_role("button", name="Open the camera").click()
    panel.get_by_role("button", name="Take the picture").click(timeout=PATIENCE)
    expect(panel.locator("p[role=status]")).to_contain_text("the camera's picture: ", timeout=PATIENCE)
    expect(panel.get_by_role("button", name="Open the camera")).to_be_visible()


def test_an_unreadable_upload_is_one_line(panel: Page) -> None:
    with panel.expect_file_chooser() as chooser:
        panel.get_by_role("button", name="Upload a picture").click()
    chooser.value.set_files({"name": "mine.png", "mimeType": "image/png", "buffer": b"no image"})
    expect(panel.locator("p[role=status]")).to_contain_text("mine.png: unreadable image", timeout=PATIENCE)
    assert panel.locator(labs.ERROR).all_inner_texts() == []
