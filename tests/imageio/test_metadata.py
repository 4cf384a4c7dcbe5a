"""Metadata are carried over by what they mean, and named where they cannot be."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from kd_lightning.imageio.images import ImageData, from_pillow, read_image
from kd_lightning.imageio.metadata import Metadata
from kd_lightning.imageio.writing import check_format, write_image
from tests.imageio.cases import GREY, RGB, png

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR = (b"gAMA", (100_000).to_bytes(4, "big"))
WIDE = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)  # Adobe RGB's green
PRIMARIES = (b"cHRM", b"".join(value.to_bytes(4, "big") for value in WIDE))


def read(content: bytes) -> ImageData:
    return read_image(io.BytesIO(content), "test")


def saved(kind: str, pixels: np.ndarray = RGB, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, kind, **options)
    return file.getvalue()


def notes(image: ImageData, suffix: str) -> list[str]:
    return check_format(suffix, image, image.pixels.shape[:2], "x")


def test_a_gamma_and_primaries_reach_a_png_and_are_missed_elsewhere(tmp_path: Path) -> None:
    image = read(png(8, 2, RGB, LINEAR, PRIMARIES)(None))
    assert notes(image, ".png") == []
    for suffix in (".jpg", ".webp", ".tif", ".bmp"):
        assert "gAMA and cHRM" in notes(image, suffix)[0]
    write_image(tmp_path / "a.png", RGB.shape[:2], [RGB], image)
    with Image.open(tmp_path / "a.png") as written:
        assert written.info["gamma"] == 1.0
        assert written.info["chromaticity"] == tuple(value / 100_000 for value in WIDE)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"gAMA", (45455).to_bytes(4, "big"))],  # sRGB's own says nothing
        [(b"sRGB", b"\0"), LINEAR, PRIMARIES],  # overruled (PNG, 11.3.2)
    ],
)
def test_a_gamma_that_says_nothing_new_is_not_missed(chunks: list[tuple[bytes, bytes]]) -> None:
    image = read(png(8, 2, RGB, *chunks)(None))
    assert image.metadata == Metadata()


@pytest.mark.parametrize(
    ("pixels", "icc"), [(GREY, SRGB), (RGB, b"not a profile"), (RGB, SRGB[:16] + b"CMYK")]
)
def test_a_profile_of_other_channels_is_left_out_with_a_word(
    pixels: np.ndarray, icc: bytes
) -> None:
    image = read(saved("PNG", pixels, icc_profile=icc))
    assert image.metadata.icc is None
    assert "colour profile does not fit" in notes(image, ".png")[0]


def test_a_profile_stays_in_every_format_that_holds_one(tmp_path: Path) -> None:
    image = read(saved("TIFF", icc_profile=SRGB))
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        path = tmp_path / f"a{suffix}"
        write_image(path, RGB.shape[:2], [RGB], image)
        with Image.open(path) as written:
            assert written.info["icc_profile"] == SRGB
    assert "BMP holds neither" in notes(image, ".bmp")[0]


def test_exif_larger_than_a_jpeg_segment_is_left_out_with_a_word(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    image = read(saved("PNG", exif=exif))
    assert "larger than JPEG holds" in notes(image, ".jpg")[0]
    write_image(tmp_path / "a.jpg", RGB.shape[:2], [RGB], image)
    assert notes(image, ".png") == notes(image, ".webp") == notes(image, ".tif") == []
    exif[0x010E] = "x" * 65_000
    assert notes(read(saved("PNG", exif=exif)), ".jpg") == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_that_cannot_be_read_is_left_out_with_a_word_and_the_image_is_not(
    kind: str, tmp_path: Path, no_waiting_for_the_disk: None
) -> None:
    rng = np.random.default_rng(7)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x927C: b"maker" * 10, 0x829A: (1, 100)}
    whole = exif.tobytes()
    left_out = 0
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            damaged[rng.integers(6, len(damaged))] = rng.choice([0, 1, 2, 3, 4, 5, 7, 12, 255])
        image = read(saved(kind, exif=bytes(damaged)))
        assert sorted(image.pixels.shape[:2]) == [12, 17]
        left_out += bool(image.metadata.notes)
        for suffix in (".png", ".jpg", ".webp", ".tif"):
            write_image(tmp_path / f"a{suffix}", image.pixels.shape[:2], [image.pixels], image)
            assert read_image(tmp_path / f"a{suffix}", "again").metadata.notes == ()
    assert left_out


def test_a_microscopes_layout_does_not_pass_for_a_description() -> None:
    exif = Image.Exif()
    exif[0x010E] = '{"shape": [12, 17, 3]}'
    assert read(saved("TIFF", exif=exif)).metadata.exif is None


def test_a_thumbnail_stays_behind() -> None:
    thumbnail = saved("JPEG", RGB[:4, :4])
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    block = exif.tobytes()  # one directory; a second is hung behind it
    first = 6 + 8 + 2 + 12 * len(exif)
    where = len(block) - 6
    second = b"\2\0" if block[6:8] == b"II" else b"\0\2"
    order = "little" if block[6:8] == b"II" else "big"
    for tag, value in ((513, where + 2 + 24 + 4), (514, len(thumbnail))):
        second += tag.to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order)
        second += value.to_bytes(4, order)
    block = block[:first] + where.to_bytes(4, order) + block[first + 4 :]
    content = saved("JPEG", exif=block + second + bytes(4) + thumbnail)
    with Image.open(io.BytesIO(content)) as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[513]
    kept = read(content).metadata.exif
    assert kept is not None and thumbnail not in kept


ARTIST, OWNER, SATELLITES = 0x013B, 0xA430, 0x0008  # texts in the three directories


@pytest.mark.parametrize("name", ["Jürgen".encode("latin-1"), "Jürgen 日本".encode()])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_texts_of_exif_keep_their_bytes_whatever_their_encoding(
    kind: str, name: bytes, tmp_path: Path
) -> None:
    stand_in, text = "x" * len(name), name.decode("latin-1")
    exif = Image.Exif()
    exif[ARTIST], exif[0x8769], exif[0x8825] = stand_in, {OWNER: stand_in}, {SATELLITES: stand_in}
    if kind == "TIFF":  # Pillow writes into it what it reads elsewhere
        content = saved(kind, exif=exif.tobytes()).replace(stand_in.encode(), name)
    else:
        content = saved(kind, exif=exif.tobytes().replace(stand_in.encode(), name))
    image = read(content)
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        path = tmp_path / f"a{suffix}"
        write_image(path, image.pixels.shape[:2], [image.pixels], image)
        with Image.open(path) as written:
            found = written.getexif()
            assert found[ARTIST] == found.get_ifd(0x8769)[OWNER] == text
            assert found.get_ifd(0x8825)[SATELLITES] == text


def test_a_programs_own_text_that_is_no_latin_1_is_written_as_utf_8() -> None:
    picture = Image.fromarray(RGB)
    picture.getexif()[ARTIST] = "日本"
    exif = from_pillow(picture).metadata.exif
    assert exif is not None and "日本".encode() in exif
