"""One damaged file ends itself, never the batch."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from kd_lightning.commands import enhance
from tests.commands.mutations import good_images, write_mutations

SEED = 20261125
MEMORY = 1.5e9  # bytes; importing torch takes a third of it
ENHANCE = """
import sys; from kd_lightning.memory import peak_memory
from kd_lightning.commands.enhance import main
status = main(sys.argv[1:])
print(peak_memory())
sys.exit(status)
"""


@pytest.fixture
def memory_disk(tmp_path: Path) -> Iterator[Path]:
    """Where waiting for the disk, which each written image does, costs nothing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak_memory() needs Linux")
def test_five_hundred_damaged_images_leave_twenty_good_ones_unharmed(
    memory_disk: Path, fast_weights: Path
) -> None:
    folder, out, alone = (memory_disk / name for name in ("in", "out", "alone"))
    folder.mkdir()
    alone.mkdir()
    write_mutations(folder, 500, SEED)
    still = {n: c for n, c in good_images().items() if frames(c, memory_disk / "one") == 1}
    good = {f"good{number}": item for number, item in enumerate(list(still.items())[:20])}
    assert len(good) == 20
    for stem, (name, content) in good.items():
        for place in (folder, alone):
            (place / f"{stem}{Path(name).suffix}").write_bytes(content)
    options = ["--weights", str(fast_weights), "--backend", "torch", "--precision", "fp32"]
    command = [sys.executable, "-c", ENHANCE, folder, "-o", out]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr and "unforeseen" not in done.stderr, done.stderr
    skipped = re.findall(r"^kd-enhance: skipped .*/(\w+\.\w+)", done.stderr, re.M)
    written = {path.stem for path in out.iterdir()}
    assert len(skipped) == len(set(skipped))
    assert len(written) + len(skipped) == 520
    assert not any(name.startswith("good") for name in skipped)
    assert enhance.main([*map(str, (alone, "-o", alone / "out")), *options]) == 0
    for path in (alone / "out").iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()
    assert int(done.stdout.splitlines()[-1]) < MEMORY


def frames(content: bytes, path: Path) -> int:
    path.write_bytes(content)
    with Image.open(path) as image:
        return getattr(image, "n_frames", 1)
