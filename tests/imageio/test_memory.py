"""What reading takes, and that a small file that holds many pixels does not take more."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kd_lightning.errors import UserError
from kd_lightning.imageio.images import read_image

CODE = """
import sys; from pathlib import Path
from kd_lightning.memory import peak_memory
from kd_lightning.imageio.images import read_image
from kd_lightning.imageio.strict import read_rgb
path = Path(sys.argv[2])
read_rgb(path) if sys.argv[1] == "strict" else read_image(path, "a", 10**9)
print(peak_memory())
"""


def peak_of_reading(reader: str, mode: str, height: int, path: Path) -> int:
    """Bytes that a process of its own holds at most, which reads 6000 x `height` pixels."""
    Image.new(mode, (6000, height), 1).save(path, compress_level=1)
    run = [sys.executable, "-c", CODE, reader, str(path)]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="peak_memory() needs Linux")
@pytest.mark.parametrize(
    ("reader", "mode", "most"),
    [("people", "1", 2.5), ("people", "P", 4.5), ("people", "RGB", 7.5), ("strict", "1", 5.5)],
)
def test_bytes_taken_for_a_pixel(tmp_path: Path, reader: str, mode: str, most: float) -> None:
    """A bilevel image of 900 megapixels thus takes 2 GB, and is refused unless asked for."""
    small, large = (peak_of_reading(reader, mode, n, tmp_path / "a.png") for n in (4000, 9000))
    assert (large - small) / 30e6 < most


def test_a_small_file_of_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    Image.new("1", (30_000, 8400)).save(tmp_path / "a.png", compress_level=1)
    assert (tmp_path / "a.png").stat().st_size < 300_000
    with pytest.raises(UserError, match=r"30000x8400 are more than 250,000,000 pixels"):
        read_image(tmp_path / "a.png", "a.png")
