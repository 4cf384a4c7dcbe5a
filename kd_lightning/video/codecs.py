"""The encoders that write videos."""

from dataclasses import dataclass

from kd_lightning.errors import UserError


@dataclass(frozen=True)
class Codec:
    """An encoder, and its settings that suit restored frames.

    Attributes:
        encoder: FFmpeg's name.
        crf: constant quality, as the encoder counts it; None where it is lossless.
        worst: the largest crf.
        options: of the encoder.
        even: whether it codes even sizes only.
        aspect: whether its stream says which aspect a pixel has.
    """

    encoder: str
    crf: int | None
    worst: int
    options: dict[str, str]
    even: bool = False
    aspect: bool = False


CODECS = {
    # The fastest preset with CABAC and deblocking, 15 % smaller: half the time of "superfast".
    "h264": Codec(
        "libx264",
        18,
        51,
        {"preset": "ultrafast", "x264-params": "cabac=1:no-deblock=0"},
        even=True,
        aspect=True,
    ),
    "hevc": Codec(
        "libx265",
        20,
        51,
        {"preset": "superfast", "x265-params": "log-level=error"},
        even=True,
        aspect=True,
    ),
    "vp9": Codec(
        "libvpx-vp9", 24, 63, {"b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"}
    ),
    "av1": Codec("libsvtav1", 26, 63, {"preset": "10"}),
    "ffv1": Codec("ffv1", None, 0, {"level": "3", "slicecrc": "1", "g": "1"}),
}
DEFAULT_CODECS = {"webm": "vp9"}  # where h264 is not allowed


def check_quality(codec: str, crf: int | None) -> None:
    """Raises UserError where the codec has no such quality."""
    wanted = CODECS[codec]
    if crf is None:
        return
    if wanted.crf is None:
        raise UserError(f"--crf {crf}: {codec} is lossless; leave it out")
    if not 0 <= crf <= wanted.worst:
        raise UserError(f"--crf {crf}: {codec} takes 0 (best) to {wanted.worst}")
