"""trainer=profile: where the time of a step goes."""

import json
import re
from pathlib import Path

from kd_lightning.distill.profiler import PARTS
from kd_lightning.distill.run import train
from tests.distill.test_resume import SMALL
from tests.runs import tiny_run


def test_the_page_names_the_parts_of_a_step_and_the_trace_holds_operators(
    tmp_path: Path, photos: Path
) -> None:
    options = (*SMALL, "trainer=profile", "data.samples_per_epoch=32", "trainer.max_epochs=1")
    train(tiny_run(tmp_path, photos, *options))
    page = (tmp_path / "fit-profile.txt").read_text()
    found = re.search(r"A training step: ([\d.]+) ms", page)
    assert found is not None
    whole = float(found[1])
    rows = re.findall(r"^(\S.*?) {2,}([\d.]+) ms", page, re.MULTILINE)
    parts = {name: float(ms) for name, ms in rows}
    assert parts.keys() == {*PARTS, "everything else"}
    for name in ("student", "loss", "backward", "optimizer"):
        assert 0 < parts[name] < whole
    assert sum(parts.values()) < 1.5 * whole  # medians of each, so not to the dot
    assert "aten::convolution" in page or "mkldnn_convolution" in page
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert any("convolution" in str(event.get("name")) for event in events)
