"""Small generated clips of every kind, by PyAV alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from kd_lightning.video.scheduling import ordinary_scheduling
from kd_lightning.yuv import Matrix, rgb_to_yuv

BARS = np.array(
    [
        *((235, 235, 235), (180, 180, 16), (16, 180, 180), (16, 180, 16)),
        *((180, 16, 180), (180, 16, 16), (16, 16, 180), (60, 120, 200)),
    ],
    np.uint8,
)
SPACE = {"bt601": 6, "bt709": 1}
REACH = {False: 1, True: 2}
TICK = Fraction(1, 600)  # seconds


@dataclass(frozen=True)
class Clip:
    """What a clip is made of; `times` are those of its frames, in TICK."""

    codec: str = "libx264"
    format: str = "yuv420p"
    height: int = 24
    width: int = 32
    times: Sequence[int] = tuple(range(0, 200, 20))
    matrix: Matrix | None = None
    full_range: bool = False
    options: dict[str, str] = field(default_factory=dict)
    audio: int = 0  # tracks: the first mono, others stereo
    sound: str = ""  # their codec; what the container usually has
    rotation: int = 0
    aspect: Fraction | None = None
    transfer: int = 2  # FFmpeg's AVCOL_TRC_UNSPECIFIED
    timecode: str = ""


def bars(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: eight bars of even width, as far as that goes."""
    columns = np.minimum(np.arange(width) // max(2, width // 16 * 2), 7)
    return np.broadcast_to(BARS[columns], (height, width, 3)).copy()


def picture(clip: Clip, number: int) -> Any:
    """Frame `number` of a clip: the bars, with a grey square that moves down."""
    rgb = bars(clip.height, clip.width)
    top = number % max(1, clip.height - 4)
    rgb[top : top + 4, 12:18] = 128
    if clip.format not in ("yuv420p", "yuvj420p"):
        return av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=clip.format)
    frame = av.VideoFrame(clip.width, clip.height, clip.format)
    planes = rgb_to_yuv(rgb, clip.matrix or "bt601", clip.full_range)
    for plane, values in zip(frame.planes, planes, strict=True):
        lines = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        lines[:, : plane.width] = values
    return frame


def write(path: Path, clip: Clip = Clip(), container: str | None = None) -> Path:
    """The clip in a file; audio lies between its frames."""
    with ordinary_scheduling(), av.open(str(path), "w", format=container) as file:
        video = file.add_stream(clip.codec, rate=30, options=clip.options)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, clip.format
        context = video.codec_context
        context.time_base = video.time_base = TICK
        if clip.matrix:
            context.colorspace = SPACE[clip.matrix]
            context.color_range = REACH[clip.full_range]
        context.color_trc = clip.transfer
        if clip.aspect:
            context.sample_aspect_ratio = clip.aspect
        if clip.timecode:
            video.metadata["timecode"] = clip.timecode
        if clip.rotation:
            video.set_display_rotation(clip.rotation)
        tracks = [Track(file, number, clip.sound) for number in range(clip.audio)]
        for number, time in enumerate(clip.times):
            frame = picture(clip, number)
            frame.pts, frame.time_base = time, TICK
            file.mux(video.encode(frame))
            for track in tracks:
                file.mux(track.until(float((time + 20) * TICK)))
        for stream in (video, *(track.stream for track in tracks)):
            file.mux(stream.encode(None))
    return path


def browser_clip(path: Path, times: Sequence[int]) -> Path:
    """As browsers record: WebM that does not say its rate, of frames at these milliseconds."""
    content = write(path, Clip("libvpx", times=[round(t * 0.6) for t in times])).read_bytes()
    at = content.index(b"\x23\xe3\x83\x84")  # the duration of a frame, which becomes a gap
    path.write_bytes(content[:at] + b"\xec\x86" + bytes(6) + content[at + 8 :])
    return path


class Track:
    """A tone in a stream of its own: mono the first, stereo the others."""

    def __init__(self, file: Any, number: int, codec: str = "") -> None:
        usual = "libopus" if file.format.name in ("webm", "mpegts") else "aac"
        codec = codec or usual
        self.stream = file.add_stream(codec, rate=48000, layout="stereo" if number else "mono")
        self.stream.metadata["language"] = ("eng", "deu", "fra")[number]
        self._rows = 2 if number else 1
        self._done = 0

    def until(self, seconds: float) -> list[Any]:
        """Packets up to this time."""
        packets = []
        while self._done < seconds * 48000:
            tone = 0.2 * np.sin(np.arange(self._done, self._done + 1024) * 0.05 * self._rows)
            samples = np.tile(tone, (self._rows, 1)).astype(np.float32)
            layout = "stereo" if self._rows == 2 else "mono"
            frame = av.AudioFrame.from_ndarray(samples, "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, self._done, Fraction(1, 48000)
            packets += self.stream.encode(frame)
            self._done += 1024
        return packets


def packets(path: Path, kind: str) -> list[list[tuple[float, bytes]]]:
    """Of each stream of this kind: time in seconds and content of each packet."""
    with av.open(str(path)) as file:
        streams = [stream for stream in file.streams if stream.type == kind]
        found: dict[int, list[tuple[float, bytes]]] = {stream.index: [] for stream in streams}
        for packet in file.demux(streams):
            if packet.size and packet.stream.index in found:
                found[packet.stream.index].append(
                    (float(packet.pts * packet.time_base), bytes(packet))
                )
    return list(found.values())


def times(path: Path) -> list[float]:
    """Of the frames, in seconds."""
    with av.open(str(path)) as file:
        return [float(frame.time) for frame in file.decode(video=0)]
