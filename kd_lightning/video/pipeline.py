"""A video through a student: reading, enhancing and writing at the same time, in flat memory."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from kd_lightning.stages import Stage, end
from kd_lightning.video.frame import Frame

DEPTH = 4  # frames that wait between two stages
PATIENCE = 0.2  # seconds after which a waiting stage looks whether it is still wanted
Enhance = Callable[[Iterable[Frame]], Iterator[Frame]]


class Source(Protocol):
    """What `kd_lightning.video.reader.Reader` is."""

    def items(self) -> Iterable[Any]:
        """Frames, and packets to pass on."""


class Sink(Protocol):
    """What `kd_lightning.video.writer.Writer` is."""

    def write(self, frame: Frame) -> None: ...
    def copy(self, packet: Any) -> None: ...


@dataclass
class Report:
    """How it went.

    Attributes:
        frames: written.
        seconds: it took.
        waited: seconds that each stage ("read", "enhance", "write") waited for its neighbours. The
            one that waited least set the pace.
        position: time, in seconds of the video, of the last frame that was written.
    """

    frames: int = 0
    seconds: float = 0.0
    waited: dict[str, float] = field(default_factory=dict)
    position: float = 0.0


def process(
    source: Source,
    enhance: Enhance,
    sink: Sink,
    on_frame: Callable[[Report], None] = lambda report: None,
    stop: threading.Event | None = None,
    prepare: Callable[[Frame], object] = lambda frame: frame.pixels,
) -> Report:
    """Enhance all frames of `source` into `sink`, and pass its packets on. Reading and writing have
    a thread each; `enhance` runs in the caller's.

    Args:
        enhance: frames to as many frames, in order, each made from the one at its place.
        on_frame: called after each frame is enhanced.
        stop: once set, nothing more is read; what was read is finished.
        prepare: called with each frame in the reader's thread; by itself the conversion to RGB,
            which the frame keeps beside its planes.

    Raises:
        Whatever a stage raises; the other two end first, but where they wait for a stream: see
        `kd_lightning.stages.leave`.
    """
    stop = stop or threading.Event()
    broken = threading.Event()
    read, written = _Channel(broken), _Channel(broken)
    report, start = Report(), time.monotonic()

    def reading() -> None:
        for item in source.items():
            if isinstance(item, Frame):
                prepare(item)
            read.put(item)
            if stop.is_set():
                return

    def writing() -> None:
        for item in written.items():
            if isinstance(item, Frame):
                sink.write(item)
                report.frames += 1
                report.position = item.seconds
            else:
                sink.copy(item)

    stages = [_Stage(reading, broken, then=read.end), _Stage(writing, broken)]
    try:
        for stage in stages:
            stage.start()
        frames = _frames(read, written, stop)
        for frame in enhance(frames):
            written.put(frame)
            report.seconds = time.monotonic() - start
            on_frame(report)
        for _ in frames:
            raise RuntimeError("enhance gave fewer frames than it was given")
        written.end()
        stages[1].join()
    except _Broken:
        pass  # the stage that broke says why
    except BaseException:
        broken.set()
        raise
    finally:
        end(stages)
    for stage in stages:
        if stage.error:
            raise stage.error
    report.seconds = time.monotonic() - start
    report.waited = {
        "read": read.waited_to_put,
        "enhance": read.waited_to_get + written.waited_to_put,
        "write": written.waited_to_get,
    }
    return report


def _frames(read: _Channel, written: _Channel, stop: threading.Event) -> Iterator[Frame]:
    """The frames; packets overtake those that are being enhanced."""
    for item in read.items(stop):
        if isinstance(item, Frame):
            yield item
        else:
            written.put(item)


class _Broken(Exception):
    """Another stage failed."""


class _Stage(Stage):
    """Runs a function; an error of it breaks the other stages."""

    def __init__(
        self,
        run: Callable[[], None],
        broken: threading.Event,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(self._guard)
        self._work, self._broken, self._then = run, broken, then
        self.error: BaseException | None = None

    def _guard(self) -> None:
        try:
            self._work()
            self._then()
        except _Broken:
            pass
        except BaseException as error:
            self.error = error
            self._broken.set()


class _Channel:
    """A bounded queue with one end at each of two threads, which notes how long each waited."""

    _END = object()

    def __init__(self, broken: threading.Event) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(DEPTH)
        self._broken = broken
        self.waited_to_put = self.waited_to_get = 0.0

    def put(self, item: Any) -> None:
        start = time.monotonic()
        while not self._broken.is_set():
            try:
                self._queue.put(item, timeout=PATIENCE)
            except queue.Full:
                continue
            self.waited_to_put += time.monotonic() - start
            return
        raise _Broken

    def end(self) -> None:
        self.put(self._END)

    def items(self, stop: threading.Event | None = None) -> Iterator[Any]:
        """What is put, until its end; once `stop` is set, until there is nothing more."""
        while True:
            start = time.monotonic()
            try:
                item = self._queue.get(timeout=PATIENCE)
            except queue.Empty:
                self.waited_to_get += time.monotonic() - start
                if self._broken.is_set():
                    raise _Broken from None
                if stop and stop.is_set():
                    return
                continue
            self.waited_to_get += time.monotonic() - start
            if item is self._END:
                return
            yield item
