"""What a file says about its pixels, carried over by meaning.

The restored image has another size, depth, compression and layout, so nothing that describes those
may travel: of Exif only tags that describe the scene, the device or the author; a colour profile
only where it fits the channels.
"""

from dataclasses import dataclass
from typing import Any

from PIL import Image

ORIENTATION = 0x0112
EXIF_IFD, GPS_IFD = 0x8769, 0x8825
# Of the main directory, which in a TIFF describes the file's layout too: what says something to
# people. Exif 3.0 tables 5 and 6; the last group is Windows' own.
DESCRIPTIVE = (
    *(0x010E, 0x010F, 0x0110),  # description, make, model
    *(0x011A, 0x011B, 0x0128),  # resolution and its unit
    *(0x0131, 0x0132, 0x013B, 0x013C, 0x8298),  # software, time, artist, host, copyright
    *(0x4746, 0x4749, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F),  # rating, title, comment, ...
)
# Of the Exif directory, what does not: layout of components, bits a pixel, width, height, the
# pointer to the directory of interoperability.
STRUCTURAL = (0x9101, 0x9102, 0xA002, 0xA003, 0xA005)
# Beginnings of a TIFF's description with which microscopes' programs lay out the file.
LAYOUT_TEXTS = ("{", "ImageJ=", "<?xml", "<OME")
SRGB_GAMMA = 0.45455
SRGB_CHROMATICITY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


@dataclass
class Metadata:
    """What travels with the pixels.

    Attributes:
        icc: colour profile.
        exif: Exif block that begins with "Exif\\0\\0", without orientation and thumbnail.
        gamma, chromaticity: of a PNG (gAMA, cHRM) without profile that is not sRGB.
        notes: what had to be left out, for people.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    gamma: float | None = None
    chromaticity: tuple[float, ...] | None = None
    notes: tuple[str, ...] = ()


def orientation_of(image: Any) -> int:
    """Exif's orientation of a loaded image, 1 to 8; 1 where there is none that makes sense."""
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # Pillow raises whatever damaged Exif leads to; `metadata_of` says so
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def metadata_of(image: Any, channels: int) -> Metadata:
    """The metadata of a loaded image that fit pixels of 1 to 4 `channels`."""
    notes = []
    icc = image.info.get("icc_profile") or None
    if icc and not fits(icc, channels):
        icc = None
        notes.append("its colour profile does not fit the pixels and is left out")
    try:
        exif = _descriptive(image.getexif())
    except Exception:  # as above
        exif = None
        notes.append("its Exif is unreadable and is left out")
    gamma = chromaticity = None
    if image.format == "PNG" and not icc and "srgb" not in image.info:
        gamma, chromaticity = image.info.get("gamma"), image.info.get("chromaticity")
        if _near((gamma,), (SRGB_GAMMA,)) and _near(chromaticity, SRGB_CHROMATICITY):
            gamma = chromaticity = None
    return Metadata(icc, exif, gamma, chromaticity, tuple(notes))


def fits(icc: bytes, channels: int) -> bool:
    """Whether a profile (ICC.1:2022, 7.2) is one for grey (1, 2 channels) or for RGB (3, 4)."""
    return icc[36:40] == b"acsp" and icc[16:20] == (b"GRAY" if channels < 3 else b"RGB ")


def _descriptive(exif: Image.Exif) -> bytes | None:
    """The block of what describes the scene; raises anything where `exif` is damaged."""
    kept = Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in exif and not str(exif[tag]).startswith(LAYOUT_TEXTS):
            kept[tag] = verbatim(exif[tag])
    for directory, dropped in ((EXIF_IFD, STRUCTURAL), (GPS_IFD, ())):
        values = {k: v for k, v in exif.get_ifd(directory).items() if k not in dropped}
        if values:
            kept[directory] = verbatim(values)
    if not len(kept):
        return None
    content = kept.tobytes()
    again = Image.Exif()
    again.load(content)
    _ = dict(again), again.get_ifd(EXIF_IFD), again.get_ifd(GPS_IFD)
    return content


def verbatim(value: Any) -> Any:
    """`value` of an Exif directory, or such a directory, whose texts Pillow writes as it has read
    them: cameras write Latin-1, UTF-8 and others, and Pillow reads the first and writes ASCII."""
    if isinstance(value, dict):
        return {tag: verbatim(content) for tag, content in value.items()}
    return _Verbatim(value) if isinstance(value, str) else value


class _Verbatim(str):
    # As bytes, texts of tags that Pillow does not know would become numbers.
    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        try:
            return super().encode("latin-1")
        except UnicodeEncodeError:  # no file's, but a program's own
            return super().encode("utf-8")


def _near(values: tuple[float | None, ...] | None, wanted: tuple[float, ...]) -> bool:
    """Whether `values` are those of sRGB, or say nothing."""
    if values is None:
        return True
    return all(v is None or abs(v - w) < 2e-3 for v, w in zip(values, wanted, strict=True))
