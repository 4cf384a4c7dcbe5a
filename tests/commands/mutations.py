"""Image files damaged in every way that a seed leads to: flipped bits, cuts, edited headers, edited
Exif, chunks of a PNG whose checksums are right again."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ODD = (0, 1, 2, 3, 4, 5, 7, 8, 10, 12, 13, 16, 127, 128, 254, 255)  # bytes that mean something
SIZES = (0, 1, 2**15, 2**16 - 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
EXIF_MARK = b"II*\0"


def good_images() -> dict[str, bytes]:
    """Small files of every kind, whole."""
    rng = np.random.default_rng(1)
    smooth = np.add.outer(np.arange(24) * 5, np.arange(32) * 3)[..., None] + [0, 20, 40]
    rgb = (smooth + rng.integers(0, 30, (24, 32, 3))).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(rgb)
    clear = Image.fromarray(np.dstack((rgb, rng.integers(0, 256, (24, 32), np.uint8))))
    deep = Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x0132] = "Maker", 6, "2020:01:01 00:00:00"
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00", 0x927C: b"maker" * 10, 0x829A: (1, 100)}
    exif[0x8825] = {1: "N", 2: (1.0, 2.0, 3.5)}
    turned = Image.Exif()
    turned[0x0112], turned[0x010E] = 6, "a description"
    frames = {"save_all": True, "append_images": [image.rotate(20)]}
    plan: list[tuple[Image.Image, str, dict[str, object]]] = [
        (image, "png", {"exif": exif}),
        (image.quantize(16), "png", {"transparency": 3}),
        (clear, "png", {}),
        (deep, "png", {}),
        (image.convert("1"), "png", {}),
        (image, "png", frames),
        (image, "jpg", {"exif": exif}),
        (image, "jpg", {"progressive": True}),
        (image.convert("CMYK"), "jpg", {}),
        (image, "webp", {"exif": exif}),
        (clear, "webp", {"lossless": True}),
        (image, "webp", frames),
        (image, "tif", {"exif": turned}),
        (image, "tif", {"exif": turned, "compression": "tiff_lzw"}),
        (clear, "tif", {"compression": "tiff_adobe_deflate"}),
        (image, "tif", {"compression": "jpeg"}),
        (deep, "tif", {"exif": turned}),
        (image.quantize(16), "tif", {"compression": "packbits"}),
        (image.convert("1"), "tif", {"compression": "group4"}),
        (image, "tif", frames),
        (image, "bmp", {}),
        (image.quantize(16), "bmp", {}),
        (image.convert("1"), "bmp", {}),
        (image.quantize(16), "gif", {"transparency": 3}),
        (image, "gif", frames),
        (image, "ppm", {}),
        (image.convert("L"), "ppm", {}),
    ]
    kinds = {"jpg": "JPEG", "tif": "TIFF"}
    files = {}
    for number, (content, suffix, options) in enumerate(plan):
        file = io.BytesIO()
        content.save(file, kinds.get(suffix, suffix.upper()), **options)
        files[f"{number:02d}.{suffix}"] = file.getvalue()
    return files


def write_mutations(folder: Path, count: int, seed: int) -> None:
    """`count` files m0000.png, ... that a `seed` leads to."""
    chance = random.Random(seed)
    files = sorted(good_images().items())
    for number in range(count):
        name, content = chance.choice(files)
        mutate = chance.choice((_flip, _flip, _cut, _header, _header, _exif, _chunk, _splice))
        suffix = Path(name).suffix
        (folder / f"m{number:04d}{suffix}").write_bytes(mutate(chance, content))


def _flip(chance: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 2, 8, 40))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _cut(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randrange(len(content))]


def _header(chance: random.Random, content: bytes) -> bytes:
    """A byte, or a number of two or four, near the beginning (of a TIFF: near the end, too)."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(min(len(data), 200))
        if data[:2] in (b"II", b"MM") and chance.random() < 0.5:
            place = len(data) - 1 - place
        value = chance.choice(SIZES)
        order = chance.choice("<>")
        for size, form in ((4, "I"), (2, "H")):
            if chance.random() < 0.4 and place + size <= len(data):
                data[place : place + size] = struct.pack(order + form, value % 256**size)
                break
        else:
            data[place] = chance.choice(ODD)
    return bytes(data)


def _exif(chance: random.Random, content: bytes) -> bytes:
    """Bytes of the Exif block, or of a TIFF's directory."""
    start = content.find(EXIF_MARK)
    if start < 0:
        return _flip(chance, content)
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        data[min(len(data) - 1, start + chance.randrange(4, 250))] = chance.choice(ODD)
    return _checksums(bytes(data))


def _chunk(chance: random.Random, content: bytes) -> bytes:
    """Bytes in a chunk of a PNG, the checksum right; or a chunk twice, or away."""
    if not content.startswith(b"\x89PNG"):
        return _header(chance, content)
    parts = _parts(content)
    place = chance.randrange(len(parts))
    kind, data = parts[place]
    if data and chance.random() < 0.7:
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] = chance.choice(ODD)
        parts[place] = (kind, bytes(damaged))
    elif chance.random() < 0.5:
        parts.insert(chance.randrange(len(parts)), (kind, data))
    else:
        del parts[place]
    return _joined(parts)


def _splice(chance: random.Random, content: bytes) -> bytes:
    """A piece of the file moved, doubled or taken out."""
    start, stop = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    piece = content[start:stop][:500]
    place = chance.randrange(len(content))
    rest = content if chance.random() < 0.5 else content[:start] + content[start + len(piece) :]
    return rest[:place] + piece + rest[place:]


def _parts(png: bytes) -> list[tuple[bytes, bytes]]:
    parts, place = [], 8
    while place + 12 <= len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        parts.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + size]))
        place += size + 12
    return parts


def _joined(parts: list[tuple[bytes, bytes]]) -> bytes:
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _checksums(content: bytes) -> bytes:
    return _joined(_parts(content)) if content.startswith(b"\x89PNG") else content
