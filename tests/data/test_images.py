"""Any file either becomes an 8-bit picture or is named in one line; nothing else ever happens."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fermoe.data import images
from fermoe.data.datasets import load_dataset
from fermoe.data.images import MAX_PIXELS, UnreadableImage, map_images, picture, read_image
from fermoe.plots.style import with_palette
from tests.helpers import trees
from tests.helpers.trees import refused

# pytest shows warnings whatever the package says; that a user sees none has its own test.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]

FORMATS = ("jpg", "png", "gif", "bmp", "tiff", "webp")
PILLOW = {"jpg": "JPEG"}


def scene(width: int = 40, height: int = 30) -> np.ndarray:
    """Smooth colours with a little noise: compresses like a photograph, and has something at every place."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 3 % 256], -1)
    noise = np.random.default_rng(0).integers(0, 9, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def encoded(suffix: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = BytesIO()
    image = image or Image.fromarray(scene())
    image.save(buffer, PILLOW.get(suffix, suffix.upper()), **options)
    return buffer.getvalue()


def camera_data(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x9003] = orientation, "a camera", "2025:10:15 12:00:00"
    return exif


def good_files() -> dict[str, bytes]:
    """One file per way in which a format stores pictures."""
    rgb = Image.fromarray(scene())
    deep = Image.fromarray(scene()[..., 0].astype(np.uint16) * 257)
    files = {f"plain.{suffix}": encoded(suffix) for suffix in FORMATS}
    files["progressive.jpg"] = encoded("jpg", progressive=True)
    files["exif.jpg"] = encoded("jpg", exif=camera_data(orientation=1))
    files["exif.png"] = encoded("png", exif=camera_data(orientation=1))
    files["cmyk.jpg"] = encoded("jpg", rgb.convert("CMYK"))
    files["palette.png"] = encoded("png", rgb.convert("P"), transparency=bytes(range(200)))
    files["deep.png"] = encoded("png", deep)
    files["animated.gif"] = encoded("gif", rgb, save_all=True, append_images=[rgb.rotate(90)] * 3)
    files["lzw.tiff"] = encoded("tiff", rgb, compression="tiff_lzw")
    files["deflate.tiff"] = encoded("tiff", rgb, compression="tiff_deflate")
    files["jpeg.tiff"] = encoded("tiff", rgb, compression="jpeg")
    files["float.tiff"] = encoded("tiff", Image.fromarray(scene()[..., 0].astype(np.float32)))
    files["animated.webp"] = encoded("webp", rgb, save_all=True, append_images=[rgb.rotate(90)] * 2)
    return files


def damaged(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Everything that happens to files: cut, flipped, blanked, doubled, filled with something else."""
    rng = np.random.default_rng(sum(name.encode()))
    for share in (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.999):
        yield f"cut to {share:.1%}", content[: int(len(content) * share)]
    for count in (1, 1, 1, 3, 10, 10, 100):
        flipped = np.frombuffer(content, np.uint8).copy()
        flipped[rng.integers(0, len(content), count)] ^= rng.integers(1, 256, count, dtype=np.uint8)
        yield f"{count} bytes flipped", flipped.tobytes()
    for _ in range(12):  # headers are where decoders trust a file
        flipped = np.frombuffer(content, np.uint8).copy()
        flipped[rng.integers(0, min(200, len(content)), 2)] = rng.integers(0, 256, 2, dtype=np.uint8)
        yield "header bytes replaced", flipped.tobytes()
    start = int(rng.integers(0, len(content) // 2))
    yield "a run of zeros", content[:start] + bytes(64) + content[start + 64 :]
    yield "zeros at the end", content[: len(content) // 2] + bytes(len(content) // 2)
    yield "zeros only", bytes(len(content))
    yield "twice in one file", content + content
    yield "text", b"This is a web page, not an image.\n" * 20
    yield "the right first bytes, then noise", content[:12] + rng.bytes(500)


def attempt(path: Path, channels: int) -> tuple[np.ndarray | None, str | None]:
    try:
        return read_image(path, channels), None
    except UnreadableImage as error:
        return None, str(error)


@pytest.mark.parametrize("name", good_files())
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, outcomes = good_files()[name], {"read": 0, "refused": 0}
    for i, (what, damage) in enumerate(damaged(name, content)):
        path = tmp_path / f"{i:03d}-{name}"
        path.write_bytes(damage)
        for channels in (1, 3):
            image, message = attempt(path, channels)
            outcomes["read" if message is None else "refused"] += 1
            if image is not None:
                assert image.dtype == np.uint8, what
                assert image.ndim == (2 if channels == 1 else 3), what
                assert image.size > 0, what
            else:
                assert message is not None
                assert "\n" not in message, what
                assert str(path) in message, what
    assert sum(outcomes.values()) == 66  # 33 damages of each of 18 files, as colour and as grey
    assert outcomes["refused"] >= 16


@pytest.mark.parametrize("name", good_files())
def test_a_whole_file_is_read_whatever_its_suffix_says(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(good_files()[name])
    image, grey = read_image(tmp_path / name), read_image(tmp_path / name, channels=1)
    assert (image.shape, image.dtype) == ((30, 40, 3), np.uint8)
    assert (grey.shape, grey.dtype) == ((30, 40), np.uint8)
    renamed = tmp_path / "wrong.bmp"
    renamed.write_bytes(good_files()[name])
    assert np.array_equal(read_image(renamed), image)


@pytest.mark.parametrize("kind", ["EPS", "PPM", "PCX", "ICO", "SGI", "TGA", "PDF"])
def test_a_file_of_another_format_is_refused_and_no_program_is_started(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow opens a file by its content: an EPS file called .jpg would start Ghostscript."""
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *_, **__: pytest.fail("a program is started"))
    Image.fromarray(scene()).save(tmp_path / "image.jpg", kind)
    with refused("unreadable image", "image.jpg", error=UnreadableImage):
        read_image(tmp_path / "image.jpg")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_lossless_formats_give_the_pixels_that_were_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    path.write_bytes(encoded(suffix))
    assert np.array_equal(read_image(path), scene())
    red, green, blue = (scene()[..., i].astype(float) for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(read_image(path, channels=1) - luma).max() <= 1


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def test_an_animated_file_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 5), colour) for colour in ("red", "blue", "green")]
    for suffix in ("gif", "webp"):
        path = tmp_path / f"animated.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
        assert np.array_equal(read_image(path), np.full((5, 9, 3), (255, 0, 0), np.uint8))


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (20, 30)).astype(np.uint16)
    values[0, :2] = 0, 65535
    for suffix in ("png", "tiff"):
        grey = read_image(saved(tmp_path / f"deep.{suffix}", values), channels=1)
        assert np.array_equal(grey, np.round(values / 257.0).astype(np.uint8))
        assert np.array_equal(read_image(tmp_path / f"deep.{suffix}"), np.stack([grey] * 3, -1))
    dark = saved(tmp_path / "dark.png", np.full((4, 4), 200, np.uint16))
    assert read_image(dark, channels=1).max() == 1  # 200 of 65535, not of 255


def test_floating_point_pictures_are_stretched_whatever_they_hold(tmp_path: Path) -> None:
    ramp = np.linspace(-3, 7, 50, dtype=np.float32).reshape(5, 10)
    grey = read_image(saved(tmp_path / "ramp.tiff", ramp), channels=1)
    assert (grey.min(), grey.max()) == (0, 255)
    for odd in (np.nan, np.inf, -np.inf):
        ramp[2, 3] = odd
        grey = read_image(saved(tmp_path / "odd.tiff", ramp), channels=1)
        assert (grey.min(), grey.max()) == (0, 255)
    assert not read_image(saved(tmp_path / "flat.tiff", np.full((3, 3), 9.0, np.float32))).any()


def test_cmyk_palette_and_transparency_become_plain_colours(tmp_path: Path) -> None:
    red = np.full((8, 8, 3), (204, 51, 0), np.uint8)  # one of the web palette's colours
    cmyk = saved(tmp_path / "cmyk.jpg", red, "CMYK", quality=95)
    assert np.abs(read_image(cmyk).astype(int) - red).max() <= 6
    palette = saved(tmp_path / "palette.png", red, "P", transparency=0)
    assert np.array_equal(read_image(palette), red)
    assert read_image(palette, channels=1).ndim == 2
    rgba = saved(tmp_path / "rgba.png", np.dstack([red, np.zeros((8, 8), np.uint8)]))
    assert np.array_equal(read_image(rgba), red)  # alpha is dropped, as OpenCV drops it
    la = saved(tmp_path / "la.png", np.full((8, 8), 99, np.uint8), "LA")
    assert np.array_equal(read_image(la), np.full((8, 8, 3), 99))
    one_bit = saved(tmp_path / "bits.png", np.eye(8, dtype=np.uint8) * 255, "1")
    assert np.array_equal(read_image(one_bit, channels=1), np.eye(8) * 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = scene()
    undo: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # how a camera stores what it should show upright
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    stored = np.ascontiguousarray(undo[orientation](upright))
    path = saved(tmp_path / "turned.png", stored, exif=camera_data(orientation))
    assert np.array_equal(read_image(path), upright)


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    for suffix in FORMATS:
        path = tmp_path / f"dot.{suffix}"
        path.write_bytes(encoded(suffix, Image.new("RGB", (1, 1), (200, 200, 200))))
        assert np.abs(read_image(path).astype(int) - 200).max() <= 5
        assert read_image(path, channels=1).shape == (1, 1)


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than its data holds."""
    small = encoded("png", Image.new("L", (4, 4)))
    header = b"IHDR" + struct.pack(">II", width, height) + small[24:29]
    return small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]


def test_the_largest_image_is_read_and_larger_ones_are_refused_undecoded(tmp_path: Path) -> None:
    largest = tmp_path / "largest.png"
    Image.new("1", (8000, 8000)).save(largest)
    assert read_image(largest, channels=1).shape == (8000, 8000)
    assert MAX_PIXELS == 8000 * 8000
    for width, height in ((8000, 8001), (10_000, 10_000), (13_000, 13_000), (100_000, 100_000)):
        bomb = tmp_path / "bomb.png"
        bomb.write_bytes(png_that_claims(width, height))
        with refused("pixels", "bomb.png", error=UnreadableImage):
            read_image(bomb)


def test_pillow_does_not_chatter_about_odd_files(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_that_claims(10_000, 10_000))
    (tmp_path / "palette.png").write_bytes(good_files()["palette.png"])
    (tmp_path / "cut.tiff").write_bytes(good_files()["plain.tiff"][:-30])
    program = (
        "import sys\n"
        "from fermoe.data.images import UnreadableImage, read_image\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_image(path)\n"
        "    except UnreadableImage: pass\n"
    )
    paths = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert len(paths) == 3
    assert done.stdout + done.stderr == ""


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with refused("not found", "absent.jpg", "--skip-unreadable", error=UnreadableImage):
        read_image(tmp_path / "absent.jpg")
    with refused("unreadable image", str(tmp_path), error=UnreadableImage):
        read_image(tmp_path)
    for name, content in (("empty.png", b""), ("page.jpg", b"<html></html>"), ("archive.gif", b"PK\3\4" + bytes(99))):
        (tmp_path / name).write_bytes(content)
        with refused("unreadable image", name, "replace it", error=UnreadableImage):
            read_image(tmp_path / name)


def test_the_message_survives_the_way_back_from_a_worker_process(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage) as caught:
        read_image(tmp_path / "absent.jpg")
    error = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(error, UnreadableImage)
    assert str(error) == str(caught.value)
    assert (error.what, error.where, error.fix) == (caught.value.what, caught.value.where, caught.value.fix)


def test_a_row_is_read_from_its_file_or_drawn(tmp_path: Path) -> None:
    path = saved(tmp_path / "image.png", scene())
    assert np.array_equal(picture({"path": str(path)}, 3), scene())
    for framing, shape in (("scene", (128, 128, 3)), ("tight", (48, 48))):
        row = load_dataset("synthetic", train=1, test=1, framing=framing).table.to_dict("records")[0]
        assert picture(row, len(shape)).shape == shape
        assert np.array_equal(picture(row, 3), picture(row, 3))


def brightness(row: dict[str, object], channels: int) -> tuple[object, float]:
    return row["image"], float(picture(row, channels).mean())


@pytest.mark.parametrize("source", ["files", "drawings"])
def test_images_are_mapped_in_their_order_by_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr(images, "CHUNK", 2)
    dataset = load_dataset("synthetic", train=4, test=3, framing="tight")
    if source == "files":
        dataset = load_dataset("folder", trees.folder_tree(tmp_path))
    expected = [(name, dataset.read(i).mean()) for i, name in enumerate(dataset.table["image"])]
    for workers in (1, 3):
        one = partial(brightness, channels=dataset.channels)
        found = list(map_images(one, dataset.table, "reading", workers=workers, progress=False))
        assert found == expected


def test_the_first_unreadable_image_ends_the_mapping(tmp_path: Path) -> None:
    dataset = load_dataset("folder", trees.folder_tree(tmp_path))
    for i in (9, 5):
        Path(dataset.table["path"][i]).write_text("no image")
    seen = []
    with refused(dataset.table["path"][5], error=UnreadableImage):
        for name, _ in map_images(partial(brightness, channels=3), dataset.table, "reading", progress=False):
            seen.append(name)
    assert seen == dataset.table["image"][:5].tolist()


def test_no_images_give_no_results() -> None:
    none = load_dataset("synthetic", train=1, test=0).subset([])
    assert list(map_images(len, none.table, "reading", progress=False)) == []


def test_a_picture_of_few_colours_keeps_every_pixel_and_one_of_many_its_look() -> None:
    few = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8), np.ones((9, 9), np.uint8))[..., None] * np.uint8(
        [1, 2, 3]
    )
    x, y = np.meshgrid(np.linspace(0, 255, 200), np.linspace(0, 255, 200))
    many = np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)
    for pixels, off in ((few, 0), (many, 20)):
        content = BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        small = with_palette(content.getvalue())
        again = np.asarray(Image.open(BytesIO(small)).convert("RGB")).astype(int)
        assert again.shape == pixels.shape
        assert np.abs(again - pixels).max() <= off
        assert with_palette(content.getvalue()) == small
