"""Image files: what is read, what is converted, what is refused by name."""

import errno
import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_lightning.errors import UserError
from kd_lightning.imageio.images import read_image
from kd_lightning.imageio.strict import pixel_count, read_rgb, write_png
from tests.data.small_data import picture
from tests.imageio.cases import CASES


def refused(path: Path, why: str) -> None:
    with pytest.raises(UserError, match=why) as error:
        read_rgb(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff", "webp"])
def test_an_rgb_image_is_read_exactly(tmp_path: Path, extension: str) -> None:
    pixels = picture(30, 41, 1)
    path = tmp_path / f"größe 猫.{extension}"
    Image.fromarray(pixels).save(path, lossless=True)
    np.testing.assert_array_equal(read_rgb(path), pixels)


def test_a_written_png_is_read_back_exactly(tmp_path: Path) -> None:
    pixels = picture(30, 41, 1)
    write_png(tmp_path / "new" / "folder" / "a.png", pixels)
    np.testing.assert_array_equal(read_rgb(tmp_path / "new" / "folder" / "a.png"), pixels)


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_and_palette_images_are_converted(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(picture(30, 41, 1)).convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), np.array(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(picture(30, 41, 1)).convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), np.array(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_transparent_image_is_refused(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(picture(30, 41, 1)).convert(mode)
    if mode == "P":
        image.save(tmp_path / "a.png", transparency=int(np.array(image)[0, 0]))
    else:
        image.putalpha(Image.fromarray(np.full((30, 41), 128, np.uint8)))
        image.save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "transparent")


def test_a_16_bit_grey_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.arange(900, dtype=np.uint16).reshape(30, 30)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "16 bits")


def test_a_16_bit_rgb_png_is_refused_although_pillow_would_cut_it_to_8_bit(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(24)) * 4)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    assert Image.open(tmp_path / "a.png").mode == "RGB"
    refused(tmp_path / "a.png", "16 bits")


def test_a_float_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "a.tif")
    refused(tmp_path / "a.tif", "more than 8 bits")


def test_a_cmyk_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(picture(30, 41, 1)).convert("CMYK").save(tmp_path / "a.jpg")
    refused(tmp_path / "a.jpg", "CMYK")


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_a_truncated_image_is_refused(tmp_path: Path, extension: str, keep: float) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(60, 61, 1)).save(buffer, {"jpg": "JPEG"}.get(extension, extension))
    data = buffer.getvalue()
    (tmp_path / f"a.{extension}").write_bytes(data[: int(len(data) * keep)])
    refused(tmp_path / f"a.{extension}", "truncated")


def test_a_damaged_png_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(60, 61, 1)).save(buffer, "png")
    data = bytearray(buffer.getvalue())
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    refused(tmp_path / "a.png", "damaged")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "no such image")


def test_a_full_disk_leaves_no_part_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"a\.png: cannot write \(No space left"):
        write_png(tmp_path / "a.png", picture(9, 9, 1))
    assert list(tmp_path.iterdir()) == []


def test_a_forged_size_is_refused_before_memory_is_taken_and_does_not_stop_the_estimate(
    tmp_path: Path,
) -> None:
    data = bytearray(CASES["png-rgb"].make(None))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    refused(tmp_path / "a.png", "60000x60000 are more than 250,000,000 pixels; cut it into parts")
    assert pixel_count(tmp_path / "a.png") == 0


def test_the_limit_of_pixels_is_ours_and_pillows_is_left_alone(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", picture(30, 41, 1))
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = 10
    try:
        assert read_rgb(tmp_path / "a.png").shape == (30, 41, 3)
        assert Image.MAX_IMAGE_PIXELS == 10
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_animated_image_is_refused(tmp_path: Path, name: str) -> None:
    frames = [Image.fromarray(picture(30, 41, seed)) for seed in range(2)]
    frames[0].save(tmp_path / name, "PNG", save_all=True, append_images=frames[1:])
    refused(tmp_path / name, "has 2 frames")


def test_a_cut_png_gives_all_its_pixels_or_none(tmp_path: Path) -> None:
    """Without the last chunk, IEND, it is whole: the pixels come before it."""
    pixels = picture(30, 41, 1)
    path = tmp_path / "a.png"
    write_png(path, pixels)
    data = path.read_bytes()
    read = []
    for cut in range(60):
        path.write_bytes(data[: len(data) - cut])
        try:
            np.testing.assert_array_equal(read_rgb(path), pixels)
            np.testing.assert_array_equal(read_image(path, "a").pixels, pixels)
            read.append(cut)
        except UserError as error:
            assert "truncated" in str(error)
    assert set(range(13)) <= set(read) and max(read) < 30


def test_a_message_names_the_file_and_not_the_programs_own_objects(tmp_path: Path) -> None:
    for content in (b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n"):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError) as error:
            read_rgb(tmp_path / "a.png")
        assert "object at 0x" not in str(error.value)
