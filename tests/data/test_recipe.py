"""A cache returns what today's code makes of today's files, or makes it again."""

from __future__ import annotations

import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fermoe.data import arrays, recipe
from fermoe.data.arrays import pixels
from fermoe.data.datasets import load_dataset
from fermoe.data.twins import picture_numbers
from tests.helpers import trees


def test_code_counts_and_comments_docstrings_and_layout_do_not() -> None:
    code = recipe._code('"""Draws."""\nGREY = 127\n"""Of masks."""\n\ndef f(x):\n    """Twice."""\n    return 2 * x\n')
    assert code == recipe._code("# draws\nGREY   = 127\ndef f(x):\n    return (2*x)\n")
    assert code != recipe._code("GREY = 127\ndef f(x):\n    return 3 * x\n")


def test_threads_that_read_code_at_once_all_get_the_same() -> None:
    """Images are hashed in threads; a collection amid a parse, with code to run after it, lets another thread parse."""
    code = Path(recipe.__file__).with_name("images.py").read_text(encoding="utf-8")
    threshold, collected = gc.get_threshold(), lambda *_: sum(range(20))
    gc.callbacks.append(collected)
    gc.set_threshold(50)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert len(set(threads.map(recipe._code, [code] * 24))) == 1
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collected)


def test_pictures_are_made_again_by_other_code(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = load_dataset("synthetic", train=3, test=2)
    pixels(dataset, "none", 32, workers=1, progress=False)
    monkeypatch.setattr(arrays, "recipe", lambda *modules: f"other code of {modules}")
    pixels(dataset, "none", 32, workers=1, progress=False)
    assert len(list((own_cache / "pixels").iterdir())) == 2


def test_drawings_depend_on_the_drawing_and_files_do_not() -> None:
    assert "drawing" in recipe.modules_of(drawn=True)
    assert "drawing" not in recipe.modules_of(drawn=False)
    assert recipe.recipe("images") != recipe.recipe("images", "drawing")


def test_a_changed_image_of_the_same_size_is_seen_by_every_cache(own_cache: Path, tmp_path: Path) -> None:
    root = trees.folder_tree(tmp_path / "data")
    dataset = load_dataset("folder", root)
    before, numbers = np.array(pixels(dataset, "none", 16, progress=False)), picture_numbers(dataset, progress=False)
    first, second = (Path(path) for path in dataset.table["path"][:2])
    first.with_suffix(".bmp").unlink(missing_ok=True)
    content = second.read_bytes()
    first.write_bytes(content.ljust(first.stat().st_size, b"\0")[: max(first.stat().st_size, len(content))])
    os.utime(first, (1, 1))
    changed = load_dataset("folder", root)
    after = pixels(changed, "none", 16, progress=False)
    assert (after[0] != before[0]).any()
    np.testing.assert_array_equal(after[0], before[1])
    assert numbers[0] != numbers[1]
    assert (lambda found: found[0] == found[1])(picture_numbers(changed, progress=False))


def test_of_two_that_want_the_same_array_at_once_one_makes_it(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, made, fill = load_dataset("synthetic", train=3, test=2), [], arrays._fill

    def slowly(*arguments: object) -> None:
        made.append(threading.get_ident())
        time.sleep(0.5)
        fill(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(arrays, "_fill", slowly)
    found: list[np.ndarray] = []
    both = [
        threading.Thread(target=lambda: found.append(pixels(dataset, "none", 32, workers=1, progress=False)))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(made) == 1
    np.testing.assert_array_equal(*found)
