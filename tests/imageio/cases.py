"""Image files of every kind that the project reads, each with the array that it must become."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (12, 17, 3), np.uint8)
GREY = RGB[..., :1]
BILEVEL = np.where(GREY > 127, 255, 0).astype(np.uint8)
ALPHA = RNG.integers(1, 256, (12, 17, 1), np.uint8)  # no 0: colours under it are replaced
DEEP = RNG.integers(0, 65536, (12, 17, 4), np.uint16)
DEEP[..., 3] |= 1
PALETTE = RNG.integers(0, 256, (16, 3), np.uint8)
INDEX = RNG.integers(0, 16, (12, 17), np.uint8)
TURNED = {".png", ".jpg", ".webp", ".tif"}  # kinds that know an orientation

Make = Callable[[Image.Exif | None], bytes]


@dataclass(frozen=True)
class Case:
    """`make(exif)` is the file; `pixels` what it shows, not turned; `strict` whether training
    takes it."""

    suffix: str
    make: Make
    pixels: np.ndarray
    strict: bool


def png(depth: int, colour: int, lines: np.ndarray, *chunks: tuple[bytes, bytes]) -> Make:
    """A PNG put together by hand: `lines` are the packed rows (H, bytes)."""
    return _png(depth, colour, [lines], *chunks)


def interlaced(depth: int, colour: int, pixels: np.ndarray) -> Make:
    """The same in the seven passes of Adam7; `pixels` (H,W,bytes)."""
    places = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    return _png(depth, colour, [pixels[y::dy, x::dx] for x, y, dx, dy in (*places, (0, 1, 1, 2))])


def _png(depth: int, colour: int, passes: list[np.ndarray], *chunks: tuple[bytes, bytes]) -> Make:

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    def make(exif: Image.Exif | None) -> bytes:
        header = struct.pack(">IIBBBBB", 17, 12, depth, colour, 0, 0, len(passes) > 1)
        rows = zlib.compress(b"".join(b"\0" + r.tobytes() for lines in passes for r in lines))
        extra = [] if exif is None else [(b"eXIf", exif.tobytes()[6:])]
        parts = [(b"IHDR", header), *chunks, *extra, (b"IDAT", rows), (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)

    return make


def saved(image: Image.Image, kind: str, **options: object) -> Make:
    def make(exif: Image.Exif | None) -> bytes:
        file = io.BytesIO()
        extra = {} if exif is None else {"exif": exif}
        image.save(file, kind, **extra, **options)
        return file.getvalue()

    return make


def packed(levels: np.ndarray, depth: int) -> np.ndarray:
    """Levels below 2**depth, (H,W), as rows of bytes."""
    bits = (levels[..., None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.reshape(len(levels), -1), axis=1)


def big(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values.reshape(12, -1).astype(">u2"))


def image_of(pixels: np.ndarray, mode: str) -> Image.Image:
    rgb = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return rgb if rgb.mode == mode else rgb.convert(mode)


def indexed() -> Image.Image:
    image = Image.fromarray(INDEX)
    image.putpalette(PALETTE.tobytes())
    return image


def keyed(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """With alpha that is 0 where a pixel is `colour`."""
    full = np.iinfo(pixels.dtype).max
    alpha = np.where((pixels == colour).all(-1, keepdims=True), 0, full).astype(pixels.dtype)
    return np.concatenate((pixels, alpha), axis=-1)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=2)


def shown(make: Make, mode: str) -> np.ndarray:
    """What Pillow's own conversion makes of a file without orientation."""
    with Image.open(io.BytesIO(make(None))) as image:
        pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def _cases() -> dict[str, Case]:
    two, four = GREY[..., 0] >> 6, GREY[..., 0] >> 4
    two_wide, four_wide = (two * 85)[..., None], (four * 17)[..., None]
    clear = INDEX[0, 0]
    by_index = np.where(clear == INDEX, 0, 255).astype(np.uint8)[..., None]
    colour = PALETTE[INDEX]
    plte = (b"PLTE", PALETTE.tobytes())
    shades = bytes(range(1, 17))
    cases = {
        "png-1": Case(".png", png(1, 0, packed(BILEVEL[..., 0] >> 7, 1)), BILEVEL, True),
        "png-grey2": Case(".png", png(2, 0, packed(two, 2)), two_wide, True),
        "png-grey4": Case(".png", png(4, 0, packed(four, 4)), four_wide, True),
        "png-grey2-clear": Case(
            ".png",
            png(2, 0, packed(two, 2), (b"tRNS", struct.pack(">H", 1))),
            keyed(two_wide, np.uint8([85])),
            False,
        ),
        "png-grey": Case(".png", png(8, 0, GREY[..., 0]), GREY, True),
        "png-grey-clear": Case(
            ".png",
            png(8, 0, GREY[..., 0], (b"tRNS", struct.pack(">H", GREY[3, 3, 0]))),
            keyed(GREY, GREY[3, 3]),
            False,
        ),
        "png-grey-alpha": Case(".png", png(8, 4, joined(GREY, ALPHA)), joined(GREY, ALPHA), False),
        "png-palette": Case(".png", png(8, 3, INDEX, plte), colour, True),
        "png-palette4": Case(".png", png(4, 3, packed(INDEX, 4), plte), colour, True),
        "png-palette-shades": Case(
            ".png",
            png(8, 3, INDEX, plte, (b"tRNS", shades)),
            joined(colour, (INDEX + 1)[..., None]),
            False,
        ),
        "png-palette-clear": Case(
            ".png",
            png(8, 3, INDEX, plte, (b"tRNS", b"\xff" * clear + b"\0")),
            joined(colour, by_index),
            False,
        ),
        "png-rgb": Case(".png", png(8, 2, RGB), RGB, True),
        "png-rgb-clear": Case(
            ".png",
            png(8, 2, RGB, (b"tRNS", struct.pack(">3H", *RGB[2, 5]))),
            keyed(RGB, RGB[2, 5]),
            False,
        ),
        "png-rgb-clear-unused": Case(
            ".png",
            png(8, 2, RGB | 1, (b"tRNS", struct.pack(">3H", 0, 0, 0))),
            keyed(RGB | 1, np.uint8([0, 0, 0])),
            True,
        ),
        "png-rgb-interlaced": Case(".png", interlaced(8, 2, RGB), RGB, True),
        "png-rgb16-interlaced": Case(
            ".png",
            interlaced(16, 2, big(DEEP[..., :3]).view("u1").reshape(12, 17, 6)),
            DEEP[..., :3],
            False,
        ),
        "png-rgba": Case(".png", png(8, 6, joined(RGB, ALPHA)), joined(RGB, ALPHA), False),
        "png-grey16": Case(".png", png(16, 0, big(DEEP[..., :1])), DEEP[..., :1], False),
        "png-grey16-clear": Case(
            ".png",
            png(16, 0, big(DEEP[..., :1]), (b"tRNS", struct.pack(">H", DEEP[4, 4, 0]))),
            keyed(DEEP[..., :1], DEEP[4, 4, :1]),
            False,
        ),
        "png-grey16-alpha": Case(".png", png(16, 4, big(DEEP[..., 2:])), DEEP[..., 2:], False),
        "png-rgb16": Case(".png", png(16, 2, big(DEEP[..., :3])), DEEP[..., :3], False),
        "png-rgb16-clear": Case(
            ".png",
            png(16, 2, big(DEEP[..., :3]), (b"tRNS", struct.pack(">3H", *DEEP[1, 7, :3]))),
            keyed(DEEP[..., :3], DEEP[1, 7, :3]),
            False,
        ),
        "png-rgba16": Case(".png", png(16, 6, big(DEEP)), DEEP, False),
    }
    for mode, strict in (("L", True), ("RGB", True), ("CMYK", False)):
        make = saved(image_of(RGB, mode), "JPEG", quality=95)
        wide = "L" if mode == "L" else "RGB"
        cases[f"jpeg-{mode}"] = Case(".jpg", make, shown(make, wide), strict)
    for name, pixels in (("RGB", RGB), ("RGBA", joined(RGB, ALPHA))):
        make = saved(Image.fromarray(pixels), "WEBP", lossless=True, exact=True)
        cases[f"webp-{name}"] = Case(".webp", make, pixels, name == "RGB")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate"):
        for mode, pixels in (
            ("1", BILEVEL),
            ("L", GREY),
            ("LA", joined(GREY, ALPHA)),
            ("RGB", RGB),
            ("RGBA", joined(RGB, ALPHA)),
        ):
            make = saved(image_of(pixels, mode), "TIFF", compression=compression)
            cases[f"tiff-{compression}-{mode}"] = Case(".tif", make, pixels, "A" not in mode)
        make = saved(indexed(), "TIFF", compression=compression)
        cases[f"tiff-{compression}-P"] = Case(".tif", make, colour, True)
        for mode in ("CMYK", "YCbCr"):
            make = saved(image_of(RGB, mode), "TIFF", compression=compression)
            # libtiff gives YCbCr as RGB where it decompresses
            strict = mode == "YCbCr" and compression != "raw"
            cases[f"tiff-{compression}-{mode}"] = Case(".tif", make, shown(make, "RGB"), strict)
        deep = DEEP[..., :1]
        for order, kind in (("<u2", "I;16"), (">u2", "I;16B")):
            image = Image.frombytes(kind, (17, 12), deep.astype(order).tobytes())
            make = saved(image, "TIFF", compression=compression)
            cases[f"tiff-{compression}-{kind}"] = Case(".tif", make, deep, False)
        make = _white_is_zero(deep, compression)
        cases[f"tiff-{compression}-white-is-zero"] = Case(".tif", make, 65535 - deep, False)
    fax = saved(image_of(BILEVEL, "1"), "TIFF", compression="group4")
    cases["tiff-group4"] = Case(".tif", fax, BILEVEL, True)
    for mode, pixels in (("1", BILEVEL), ("L", GREY), ("RGB", RGB)):
        make = _no_exif(saved(image_of(pixels, mode), "BMP"))
        cases[f"bmp-{mode}"] = Case(".bmp", make, pixels, True)
        make = _no_exif(saved(image_of(pixels, mode), "PPM"))
        cases[f"ppm-{mode}"] = Case(".ppm", make, pixels, True)
    whole = b"P5 17 12 65535\n" + big(DEEP[..., :1]).tobytes()
    cases["pgm-16"] = Case(".pgm", lambda exif: whole, DEEP[..., :1], False)
    ten = DEEP[..., :1] >> 6
    scaled = np.rint(ten / 1023 * 65535).astype(np.uint16)
    some = b"P5 17 12 1023\n" + big(ten).tobytes()
    cases["pgm-10"] = Case(".pgm", lambda exif: some, scaled, False)
    plain = "P2 17 12 1023 " + " ".join(map(str, ten.ravel()))
    cases["pgm-plain"] = Case(".pgm", lambda exif: plain.encode(), scaled, False)
    cases["bmp-P"] = Case(".bmp", _no_exif(saved(indexed(), "BMP")), colour, True)
    cases["gif-P"] = Case(".gif", _no_exif(saved(indexed(), "GIF")), colour, True)
    clear_gif = _no_exif(saved(indexed(), "GIF", transparency=int(clear)))
    cases["gif-clear"] = Case(".gif", clear_gif, joined(colour, by_index), False)
    return cases


def _white_is_zero(pixels: np.ndarray, compression: str) -> Make:
    def make(exif: Image.Exif | None) -> bytes:
        file = io.BytesIO()
        tags = {262: 0, **(exif or {})}
        Image.fromarray(pixels[..., 0]).save(file, "TIFF", compression=compression, tiffinfo=tags)
        return file.getvalue()

    return make


def _no_exif(make: Make) -> Make:
    """For files that carry no orientation."""
    return lambda exif: make(None)


CASES = _cases()
