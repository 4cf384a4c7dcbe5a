"""Every kind of file, through every reader and every writer, in every orientation, ends as the
array route does: decode, turn, write."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kd_lightning.errors import UserError
from kd_lightning.imageio.images import ImageData, from_pillow, read_image, to_pillow
from kd_lightning.imageio.metadata import DESCRIPTIVE, EXIF_IFD, GPS_IFD, STRUCTURAL
from kd_lightning.imageio.strict import decode_rgb
from kd_lightning.imageio.writing import check_format, write_image
from tests.imageio.cases import CASES, TURNED, Case

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")
ORIENTATION, DESCRIPTION, TAKEN = 0x0112, 0x010E, 0x9003
# Tags that lie about the layout of any file that they are copied into.
LAYOUT = {256: 9999, 257: 1, 258: (16, 16, 16), 259: 7, 262: 0, 273: (1, 2), 277: 9, 278: 2}
LAYOUT |= {279: (5, 5), 284: 2, 317: 3, 322: 16, 323: 16, 338: 0, 339: 3, 513: 8, 514: 4}
TURN = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def exif_of(case: Case, orientation: int) -> Image.Exif:
    exif = Image.Exif()
    if case.suffix != ".tif":  # a TIFF has its own, and libtiff would take these for them
        for tag, value in LAYOUT.items():
            exif[tag] = value
        exif[EXIF_IFD] = {TAKEN: "2020:01:02 03:04:05", 0xA002: 9999, 0xA003: 1, 0x9101: b"1230"}
        exif[GPS_IFD] = {1: "N"}
    exif[ORIENTATION] = orientation
    exif[DESCRIPTION] = "a description"
    return exif


def orientations(case: Case) -> range:
    return range(1, 9) if case.suffix in TURNED else range(1, 2)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal, colours under full transparency aside: those are replaced."""
    if expected.shape[2] % 2 == 0:
        hidden = expected[..., -1] == 0
        found, expected = found.copy(), expected.copy()
        found[hidden, :-1] = expected[hidden, :-1] = 0
    return found.dtype == expected.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize("name", CASES)
def test_the_reader_for_people_turns_every_kind_upright(name: str) -> None:
    case = CASES[name]
    for orientation in orientations(case):
        content = case.make(exif_of(case, orientation))
        found = read_image(io.BytesIO(content), name).pixels
        assert same(found, TURN[orientation](case.pixels)), orientation


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("loaded", [False, True])
def test_an_image_that_pillow_opened_is_read_as_its_file(name: str, loaded: bool) -> None:
    case = CASES[name]
    if loaded and name == "png-grey2-clear":
        pytest.skip("Pillow forgets in which levels the transparent colour is")
    for orientation in orientations(case):
        content = case.make(exif_of(case, orientation))
        expected = read_image(io.BytesIO(content), name)
        with Image.open(io.BytesIO(content)) as image:
            if loaded:
                image.load()
            if name == "png-grey16-clear":
                with pytest.raises(UserError, match="no 16-bit grey with alpha"):
                    from_pillow(image)
                continue
            pixels = as_pillow_holds(expected.pixels, image.mode)
            found = from_pillow(image)
        if not (loaded and name == "png-rgb16-clear"):  # as above
            assert same(found.pixels, pixels), orientation
        assert found.metadata.exif == expected.metadata.exif
        again = to_pillow(found)
        assert np.array_equal(np.asarray(again), found.pixels.squeeze())
        assert dict(again.getexif()).get(ORIENTATION) is None


def as_pillow_holds(pixels: np.ndarray, mode: str) -> np.ndarray:
    if pixels.dtype == np.uint16 and not mode.startswith("I"):
        pixels = (pixels >> 8).astype(np.uint8)
    if mode == "RGBA" and pixels.shape[2] == 2:  # grey and alpha of 16 bits
        return pixels[..., [0, 0, 0, 1]]
    return pixels.repeat(3, axis=2) if mode == "1" else pixels


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I;16N"])
def test_sixteen_bits_in_any_order_are_the_same_levels(mode: str) -> None:
    order = {"I;16B": ">u2", "I;16N": "=u2"}.get(mode, "<u2")
    levels = CASES["png-grey16"].pixels
    image = Image.frombytes(mode, (17, 12), levels.astype(order).tobytes())
    assert same(from_pillow(image).pixels, levels)


@pytest.mark.parametrize("name", CASES)
def test_the_strict_reader_turns_nothing(name: str) -> None:
    case = CASES[name]
    for orientation in orientations(case):
        content = case.make(exif_of(case, orientation))
        if not case.strict:
            with pytest.raises(UserError, match="cannot use this image: "):
                decode_rgb(content, Path(name))
            continue
        colours = case.pixels[..., :3] if case.pixels.shape[2] > 2 else case.pixels[..., :1]
        expected = np.broadcast_to(colours, (12, 17, 3))
        assert np.array_equal(decode_rgb(content, Path(name)), expected), orientation


def holds(suffix: str, pixels: np.ndarray) -> bool:
    """What docs/deploy.md says of formats."""
    if pixels.dtype == np.uint16:
        return suffix == ".png" or (suffix == ".tif" and pixels.shape[2] == 1)
    return pixels.shape[2] % 2 == 1 or suffix in (".png", ".webp", ".tif")


def array_route(path: Path, pixels: np.ndarray) -> np.ndarray:
    """What a reader shows of a file that Pillow alone writes from the array."""
    if path.suffix not in (".jpg", ".webp"):
        return pixels
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    options = {"quality": 95} | ({"subsampling": 0} if path.suffix == ".jpg" else {})
    file = io.BytesIO()
    Image.fromarray(flat).save(file, {".jpg": "JPEG", ".webp": "WEBP"}[path.suffix], **options)
    return read_image(file, "array route").pixels


def structure(path: Path) -> dict[int, object]:
    """The tags of a TIFF that say how it is laid out; offsets move with the text."""
    with Image.open(path) as image:
        return {k: v for k, v in image.tag_v2.items() if k not in (*DESCRIPTIVE, 273)}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("name", CASES)
def test_every_writer_gives_back_the_array_and_only_the_meaning_of_metadata(
    name: str, suffix: str, tmp_path: Path
) -> None:
    case = CASES[name]
    path, plain = tmp_path / f"out{suffix}", tmp_path / f"plain{suffix}"
    for orientation in orientations(case):
        image = read_image(io.BytesIO(case.make(exif_of(case, orientation))), name)
        size = image.pixels.shape[:2]
        if not holds(suffix, image.pixels):
            with pytest.raises(UserError, match=r"use \.png|need \.png"):
                check_format(suffix, image, size, name)
            continue
        check_format(suffix, image, size, name)
        write_image(path, size, [image.pixels], image)
        assert same(read_image(path, name).pixels, array_route(path, image.pixels)), orientation
        with Image.open(path) as written:
            assert written.size == size[::-1]
            exif = written.getexif()
            details, place = dict(exif.get_ifd(EXIF_IFD)), dict(exif.get_ifd(GPS_IFD))
            if suffix != ".bmp" and case.suffix in TURNED:
                assert exif[DESCRIPTION] == "a description"
                if case.suffix != ".tif":
                    assert (details[TAKEN], place[1]) == ("2020:01:02 03:04:05", "N")
            assert not set(details) & set(STRUCTURAL)
            if suffix != ".tif":
                assert set(exif) <= {*DESCRIPTIVE, EXIF_IFD, GPS_IFD}
        if suffix == ".tif":
            write_image(plain, size, [image.pixels], ImageData(image.pixels))
            pointers = {EXIF_IFD, GPS_IFD}
            found = {k: v for k, v in structure(path).items() if k not in pointers}
            assert found == structure(plain)


@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if case.pixels.dtype == "u2"]
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_opencv_reads_the_same_sixteen_bits(name: str, suffix: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = CASES[name].pixels
    if not holds(suffix, pixels) or pixels.shape[2] == 2:
        pytest.skip("no such file, or a kind that OpenCV converts")
    write_image(tmp_path / f"a{suffix}", pixels.shape[:2], [pixels], ImageData(pixels))
    found = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_UNCHANGED).reshape(pixels.shape)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    assert np.array_equal(found[..., order], pixels)
