"""What an Enhancer holds does not grow with the number of sizes that it has met."""

import subprocess
import sys

import pytest

CODE = """
import sys
import numpy as np
from kd_lightning import Enhancer
from kd_lightning.memory import peak_memory
enhancer, rng = Enhancer(sys.argv[1], backend="openvino"), np.random.default_rng(0)
for number in range(400):
    if number == 100:
        before = peak_memory()
    enhancer(rng.integers(0, 256, (*rng.integers(20, 120, 2), 3), sys.argv[2]))
print(peak_memory() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak_memory() needs Linux")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("student_tiny", "uint8"), ("student_tiny", "uint16"), ("student_mini", "uint8")],
)
def test_memory_stays_bounded_over_hundreds_of_sizes(name: str, dtype: str) -> None:
    """A kernel for each layer and size, kept for good, took 200 MB."""
    pytest.importorskip("openvino")
    run = [sys.executable, "-c", CODE, name, dtype]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert grown < 40e6
