"""Frames of one size through a GPU: one CUDA graph, and copies that overlap with it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.uint8 import Uint8Model

SLOTS = 3  # frames under way: one uploads, one is computed, one downloads
WARM_UP = 3  # calls before the capture: compilation, choice of algorithms, workspaces


class GpuStream:
    """8-bit frames in, 8-bit frames out. The network and what surrounds it, compiled for one size,
    are captured once as a CUDA graph; page-locked buffers let frame n+1 upload and frame n-1
    download while frame n is computed.

    Args:
        whole: on the GPU.
        height, width: of the small frames.
        compiled: fuse with torch.compile, which takes a minute; else only the graph is captured.
    """

    def __init__(self, whole: Uint8Model, height: int, width: int, compiled: bool = True) -> None:
        device = next(whole.parameters()).device
        self._upload, self._compute, self._download = (torch.cuda.Stream(device) for _ in range(3))
        run: Callable[[Tensor], Tensor] = whole
        if compiled:
            run = torch.compile(whole, mode="max-autotune-no-cudagraphs", dynamic=False)
        self._input = torch.zeros(1, height, width, 3, dtype=torch.uint8, device=device)
        self._graph = torch.cuda.CUDAGraph()
        fastest = torch.backends.cudnn.flags(enabled=True, benchmark=True)  # found in the warm-up
        with torch.inference_mode(), torch.cuda.device(device), fastest:
            self._compute.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._compute):
                for _ in range(WARM_UP):
                    run(self._input)
            self._compute.synchronize()
            with torch.cuda.graph(self._graph, stream=self._compute):
                self._output = run(self._input)
        self._slots = [_Slot(self._input, self._output) for _ in range(SLOTS)]

    def __call__(self, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """(h,w,3) uint8 to (h*scale,w*scale,3) uint8, in order. What it yields lies in a buffer
        that is written again once the next frame is asked for: copy it to keep it."""
        free, busy = deque(self._slots), deque[_Slot]()
        for frame in frames:
            if not free:
                yield busy[0].result()
                free.append(busy.popleft())
            slot = free.popleft()
            self._start(slot, frame)
            busy.append(slot)
        for slot in busy:
            yield slot.result()

    def replay(self) -> None:
        """Compute the frame that lies on the GPU, on the current CUDA stream."""
        self._graph.replay()

    def _start(self, slot: "_Slot", frame: np.ndarray) -> None:
        slot.host_input[0].numpy()[...] = frame
        with torch.cuda.stream(self._upload):
            slot.input.copy_(slot.host_input, non_blocking=True)
            slot.uploaded.record()
        with torch.cuda.stream(self._compute):
            slot.uploaded.wait()
            self._input.copy_(slot.input)
            self.replay()
            slot.output.copy_(self._output)
            slot.computed.record()
        with torch.cuda.stream(self._download):
            slot.computed.wait()
            slot.host_output.copy_(slot.output, non_blocking=True)
            slot.downloaded.record()


class _Slot:
    """Buffers of one frame under way, which nothing else writes until its result is taken."""

    def __init__(self, small: Tensor, large: Tensor) -> None:
        self.input, self.output = torch.empty_like(small), torch.empty_like(large)
        self.host_input = torch.empty(small.shape, dtype=torch.uint8, pin_memory=True)
        self.host_output = torch.empty(large.shape, dtype=torch.uint8, pin_memory=True)
        self.uploaded, self.computed, self.downloaded = (torch.cuda.Event() for _ in range(3))

    def result(self) -> np.ndarray:
        self.downloaded.synchronize()
        return self.host_output[0].numpy()
