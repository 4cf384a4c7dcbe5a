"""Images of every kind survive reading and writing."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from kd_lightning.errors import UserError
from kd_lightning.imageio.images import ImageData, read_image
from kd_lightning.imageio.metadata import Metadata
from kd_lightning.imageio.png import write_png
from kd_lightning.imageio.writing import check_format, write_image

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (12, 17, 3), np.uint8)


def png(pixels: np.ndarray, split: int = 5) -> bytes:
    file = io.BytesIO()
    height, width, channels = pixels.shape
    bands = [pixels[top : top + split] for top in range(0, height, split)]
    bits = pixels.dtype.itemsize * 8
    write_png(file, (height, width), channels, bits, bands, Metadata())
    return file.getvalue()


def read(content: bytes) -> ImageData:
    return read_image(io.BytesIO(content), "test")


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 20),
    channels=st.integers(1, 4),
    split=st.integers(1, 50),
    smooth=st.booleans(),
)
def test_pillow_reads_the_png_that_we_write(
    height: int, width: int, channels: int, split: int, smooth: bool
) -> None:
    pixels = RNG.integers(0, 256, (height, width, channels), np.uint8)
    if smooth:
        pixels = np.cumsum(pixels // 64, axis=1).astype(np.uint8)
    with Image.open(io.BytesIO(png(pixels, split))) as image:
        assert image.mode == ["L", "LA", "RGB", "RGBA"][channels - 1]
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_comes_back(channels: int) -> None:
    pixels = RNG.integers(0, 65536, (9, 7, channels), np.uint16)
    assert np.array_equal(read(png(pixels)).pixels, pixels)


def test_opencv_reads_our_sixteen_bit_png() -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = RNG.integers(0, 65536, (9, 7, 3), np.uint16)
    other = cv2.imdecode(np.frombuffer(png(pixels), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(other[..., ::-1], pixels)


def test_rows_that_are_missing_are_noticed() -> None:
    with pytest.raises(ValueError, match="11 rows written, 12 announced"):
        write_png(io.BytesIO(), (12, 17), 3, 8, [RGB[:11]], Metadata())


def save(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4)],
)
def test_modes_become_grey_or_colour_with_or_without_alpha(mode: str, channels: int) -> None:
    image = Image.fromarray(RGB).convert(mode)
    pixels = read(save(image)).pixels
    assert pixels.shape == (12, 17, channels)
    expected = np.asarray(image.convert(["L", "LA", "RGB", "RGBA"][channels - 1]))
    assert np.array_equal(pixels.reshape(expected.shape), expected)


def test_palette_with_a_transparent_colour_has_alpha() -> None:
    image = Image.fromarray(RGB).quantize(16)
    clear = int(np.asarray(image)[0, 0])
    image_data = read(save(image, transparency=clear))
    assert image_data.pixels.shape[2] == 4
    assert np.array_equal(image_data.pixels[..., 3] == 0, np.asarray(image) == clear)


def test_colour_hidden_under_transparency_does_not_leak() -> None:
    """A red square on transparent green: after reading, the green is no longer near the red."""
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[...] = (0, 255, 0, 0)
    rgba[10:20, 10:20] = (255, 0, 0, 255)
    pixels = read(save(Image.fromarray(rgba))).pixels
    assert np.array_equal(pixels[..., 3], rgba[..., 3])
    assert (pixels[8:22, 8:22, 0] >= 254).all()
    assert (pixels[8:22, 8:22, 1] == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_forgotten(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description"
    content = save(Image.fromarray(RGB), exif=exif)
    image_data = read(content)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(image_data.pixels, expected)
    kept = Image.Exif()
    kept.load(image_data.metadata.exif)
    assert dict(kept) == {0x010E: "a description"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_exif_travel_along(tmp_path: Path, suffix: str) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image_data = read(save(Image.fromarray(RGB), icc_profile=icc, exif=exif))
    path = tmp_path / f"out{suffix}"
    write_image(path, RGB.shape[:2], [image_data.pixels], image_data)
    with Image.open(path) as image:
        assert image.info["icc_profile"] == icc
        assert image.getexif()[0x010E] == "a description"
        if suffix != ".jpg" and suffix != ".webp":
            assert np.array_equal(np.asarray(image), RGB)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_cmyk_becomes_rgb_without_its_profile() -> None:
    content = save(Image.fromarray(RGB).convert("CMYK"), "JPEG", icc_profile=b"x" * 200)
    image_data = read(content)
    assert image_data.pixels.shape == (12, 17, 3)
    assert image_data.metadata.icc is None


def test_half_a_file_is_named(tmp_path: Path) -> None:
    content = png(RNG.integers(0, 256, (50, 50, 3), np.uint8))
    for part in (content[: len(content) // 2], content[:20], b"", b"not an image"):
        path = tmp_path / "broken.png"
        path.write_bytes(part)
        with pytest.raises(UserError, match=r"broken\.png: "):
            read_image(path, str(path))
    with pytest.raises(UserError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png", "none.png")


def test_what_would_lose_information_is_refused() -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    with pytest.raises(UserError, match="has 2 frames"):
        read(save(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    with pytest.raises(UserError, match="F pixels"):
        read(save(Image.fromarray(RGB[..., 0].astype(np.float32)), "TIFF"))
    deep = ImageData(np.zeros((2, 2, 3), np.uint16))
    clear = ImageData(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(UserError, match=r"16 bits per channel need \.png"):
        check_format(".tif", deep, (2, 2), "x")
    with pytest.raises(UserError, match=r"\.jpg holds no transparency"):
        check_format(".jpg", clear, (2, 2), "x")
    with pytest.raises(UserError, match=r"cannot write \.xyz"):
        check_format(".xyz", clear, (2, 2), "x")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.write_bytes(b"old")

    def bands() -> object:
        yield RGB[:5]
        raise MemoryError

    with pytest.raises(MemoryError):
        write_image(path, RGB.shape[:2], bands(), ImageData(RGB))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_a_tiff_that_holds_fewer_rows_than_it_says_shows_no_foreign_memory(
    compression: str,
) -> None:
    content = bytearray(save(Image.fromarray(RGB), "TIFF", compression=compression))
    start = int.from_bytes(content[4:8], "little")
    for entry in range(start + 2, len(content) - 11, 12):
        if content[entry : entry + 2] == (257).to_bytes(2, "little"):  # image length
            content[entry + 8 : entry + 12] = (5000).to_bytes(4, "little")
            content[entry + 2 : entry + 4] = (4).to_bytes(2, "little")
            break
    with pytest.raises(UserError, match=r"rows are missing|truncated"):
        read(bytes(content))
