"""What reading takes, and that a small file that holds many pixels does not take more."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kd_lightning.errors import UserError
from kd_lightning.imageio.images import read_image

CODE = """
import resource, sys; from pathlib import Path
from kd_lightning.imageio.images import read_image
from kd_lightning.imageio.strict import read_rgb
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
path = Path(sys.argv[2])
read_rgb(path) if sys.argv[1] == "strict" else read_image(path, "a", 10**9)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
@pytest.mark.parametrize(
    ("reader", "mode", "most"),
    [("people", "1", 2.5), ("people", "P", 4.5), ("people", "RGB", 7.5), ("strict", "1", 5.5)],
)
def test_bytes_taken_for_a_pixel(tmp_path: Path, reader: str, mode: str, most: float) -> None:
    """A bilevel image of 900 megapixels thus takes 2 GB, and is refused unless asked for."""
    Image.new(mode, (6000, 5000), 1).save(tmp_path / "a.png", compress_level=1)
    run = [sys.executable, "-c", CODE, reader, str(tmp_path / "a.png")]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert int(done.stdout) / 30e6 < most


def test_a_small_file_of_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    Image.new("1", (30_000, 8400)).save(tmp_path / "a.png", compress_level=1)
    assert (tmp_path / "a.png").stat().st_size < 300_000
    with pytest.raises(UserError, match=r"30000x8400 are more than 250,000,000 pixels"):
        read_image(tmp_path / "a.png", "a.png")
