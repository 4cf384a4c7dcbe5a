"""Frames that are refused: FFmpeg runs the remedy, and what comes of it is read."""

import re
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph, filters_available

from kd_lightning.errors import UserError
from kd_lightning.video.formats import frame_color, refuse

ODD = {"FCC": 4, "SMPTE 240M": 7, "YCgCo": 8, "BT.2020": 9}  # FFmpeg's AVCOL_SPC_*
HDR = {"PQ": 16, "HLG": 18}  # FFmpeg's AVCOL_TRC_*


def grey() -> Any:
    """A frame that says nothing of its colours, but what a test sets."""
    frame = av.VideoFrame.from_ndarray(np.full((72, 64), 128, np.uint8), "yuv420p")
    frame.pts, frame.color_range = 0, 1
    return frame


def remedied(frame: Any) -> Any:
    """A refused frame through the filters of its remedy."""
    with pytest.raises(UserError, match=r"^in\.mp4: .* first: ffmpeg -i in\.mp4 -vf ") as refused:
        refuse(frame, "in.mp4")
    (filters,) = re.findall(r"-vf (\S+)", str(refused.value))
    if not all(name.split("=")[0] in filters_available for name in filters.split(",")):
        pytest.skip("this FFmpeg is built without zimg")
    graph = Graph()
    first = last = graph.add_buffer(width=64, height=48, format="yuv420p", time_base="1/30")
    for each in (*filters.split(","), "buffersink"):
        name, _, arguments = each.partition("=")
        after = graph.add(name, arguments)
        last.link_to(after)
        last = after
    graph.configure()
    first.push(frame)
    return last.pull()


@pytest.mark.parametrize("name", ODD)
def test_the_remedy_for_a_matrix_that_is_stated_alone_runs(name: str) -> None:
    frame = grey()
    frame.colorspace = ODD[name]
    result = remedied(frame)
    refuse(result, "out.mp4")
    assert frame_color(result).matrix == "bt709"


@pytest.mark.parametrize("matrix", [2, 9], ids=["", "and matrix"])
@pytest.mark.parametrize("name", HDR)
def test_the_remedy_for_hdr_runs(name: str, matrix: int) -> None:
    frame = grey()
    frame.color_trc, frame.colorspace = HDR[name], matrix
    refuse(remedied(frame), "out.mp4")
