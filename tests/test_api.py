"""What `from kd_lightning import Enhancer` promises."""

import copy
import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import kd_lightning
from kd_lightning import Enhancer, shipped_students
from kd_lightning.deploy.enhance import enhance, enhance_frames
from kd_lightning.deploy.export import export
from kd_lightning.errors import UserError
from kd_lightning.imageio.images import from_pillow, read_image
from kd_lightning.models.artifact import load_artifact, save_artifact
from kd_lightning.models.interpolate import super_resolve
from kd_lightning.models.pretrained import find_weights
from kd_lightning.models.students import StudentFast
from tests.imageio.cases import CASES

PIXELS = np.random.default_rng(3).integers(0, 256, (17, 23, 3), np.uint8)


def profile(colours: bytes) -> bytes:
    """The beginning of an ICC profile (ICC.1:2022, 7.2)."""
    return bytes(16) + colours + bytes(16) + b"acsp"


@pytest.fixture(scope="module")
def enhancer(fast_weights: Path) -> Enhancer:
    return Enhancer(fast_weights, backend="torch", device="cpu", precision="fp32")


def test_array_comes_out_as_the_command_writes_it(enhancer: Enhancer) -> None:
    assert np.array_equal(enhancer(PIXELS), enhance(enhancer.runner, PIXELS))
    assert enhancer(PIXELS).shape == (34, 46, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_image_keeps_its_mode_and_profile(enhancer: Enhancer, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    image.info["icc_profile"] = profile(b"GRAY" if mode in ("L", "LA", "I;16") else b"RGB ")
    out = enhancer(image)
    assert (out.mode, out.size) == (mode, (46, 34))
    assert out.info["icc_profile"] == image.info["icc_profile"]
    channels = np.asarray(image).reshape(17, 23, -1)
    expected = enhance(enhancer.runner, channels).squeeze()
    assert np.array_equal(np.asarray(out), expected)


@pytest.mark.parametrize(("mode", "expected"), [("P", "RGB"), ("1", "RGB"), ("CMYK", "RGB")])
def test_other_modes_become_rgb(enhancer: Enhancer, mode: str, expected: str) -> None:
    assert enhancer(Image.fromarray(PIXELS).convert(mode)).mode == expected


@pytest.mark.parametrize(
    "name",
    ["png-grey-clear", "png-rgb-clear", "png-rgba", "png-palette-clear", "jpeg-RGB", "tiff-raw-RGB"]
    + [f"tiff-raw-{mode}" for mode in ("I;16", "I;16B", "white-is-zero")],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_pillow_image_of_a_file_comes_out_as_the_command_writes_it(
    enhancer: Enhancer, name: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description"
    content = CASES[name].make(exif)
    read = read_image(io.BytesIO(content), name)
    with Image.open(io.BytesIO(content)) as image:
        out = enhancer(image)
    expected = enhance(enhancer.runner, read.pixels)
    assert np.array_equal(np.asarray(out), expected.squeeze())
    assert dict(out.getexif()) == {0x010E: "a description"}


def test_pillow_image_of_a_deep_pgm_comes_out_as_the_command_writes_it(enhancer: Enhancer) -> None:
    case = CASES["pgm-10"]
    with Image.open(io.BytesIO(case.make(None))) as image:
        out = enhancer(image)
    assert np.array_equal(np.asarray(out), enhance(enhancer.runner, case.pixels).squeeze())


def test_bytes_of_an_array_may_have_any_order(enhancer: Enhancer) -> None:
    deep = PIXELS.astype(np.uint16) * 257
    for dtype in ("<u2", ">u2"):
        out = enhancer(deep.astype(dtype))
        assert out.dtype == np.dtype(dtype)
        assert np.array_equal(out, enhancer(deep))
    assert enhancer(PIXELS.astype(">u1")).dtype == np.uint8


def test_a_profile_of_inks_does_not_stay_with_rgb(enhancer: Enhancer) -> None:
    image = Image.fromarray(PIXELS).convert("CMYK")
    image.info["icc_profile"] = profile(b"CMYK")
    assert "icc_profile" not in enhancer(image).info


def test_grey_array_stays_flat(enhancer: Enhancer) -> None:
    out = enhancer(PIXELS[..., 0])
    assert out.shape == (34, 46)
    assert np.array_equal(out, enhancer(PIXELS[..., :1])[..., 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_tensor_comes_out_as_the_network_gives_it(
    enhancer: Enhancer, fast_weights: Path, dtype: torch.dtype
) -> None:
    x = torch.rand(2, 3, 13, 18).to(dtype)
    network, _ = load_artifact(fast_weights)
    expected = super_resolve(network, x.float()).clamp(0, 1)
    out = enhancer(x)
    assert (out.dtype, out.shape) == (dtype, (2, 3, 26, 36))
    assert (out.float() - expected).abs().max() <= (1e-3 if dtype == torch.float16 else 1e-5)
    assert torch.equal(enhancer(x[0]), enhancer(x[:1])[0])
    assert not out.is_inference()


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_tensors_lie_in_memory_as_torch_expects(backend: str, fast_weights: Path) -> None:
    enhancer = Enhancer(fast_weights, backend=backend)
    for shape in ((3, 9, 11), (2, 3, 9, 11)):
        assert enhancer(torch.rand(shape)).is_contiguous()


def test_a_copy_has_the_tile_of_now_and_finds_its_weights_from_anywhere(
    fast_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fast_weights.parent)
    enhancer = Enhancer(fast_weights.name, backend="torch")
    enhancer.tile = 16
    monkeypatch.chdir(tmp_path)
    other = copy.copy(enhancer)
    assert (other.tile, other.scale) == (16, 2)
    assert np.array_equal(other(PIXELS), enhancer(PIXELS))


def test_tensor_in_tiles_is_the_tensor_in_one(fast_weights: Path, enhancer: Enhancer) -> None:
    small = Enhancer(fast_weights, backend="torch", device="cpu", precision="fp32", tile=16)
    x = torch.rand(1, 3, 40, 50)
    assert (small(x) - enhancer(x)).abs().max() <= 1e-5


def test_frames_are_a_videos(enhancer: Enhancer) -> None:
    video = [PIXELS, PIXELS[..., ::-1]]  # a BGR frame, turned
    for ours, expected in zip(
        enhancer.frames(video), enhance_frames(enhancer.runner, video), strict=True
    ):
        assert np.array_equal(ours, expected)


def test_a_clear_colour_of_16_bits_is_that_of_the_8_that_pillow_has_kept() -> None:
    """Pillow keeps the colour as the file says it, and of the pixels the upper halves."""
    image = Image.new("RGB", (4, 4), (200, 30, 30))
    image.putpixel((1, 2), (255, 0, 0))
    image.info["transparency"] = (65535, 0, 0)
    alpha = from_pillow(image).pixels[..., 3]
    assert alpha[2, 1] == 0 and (alpha == 255).sum() == 15


def test_frames_go_through_in_tiles_where_these_are_asked_for(
    enhancer: Enhancer, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = copy.copy(enhancer)
    small.tile = 16
    widths = []
    given = enhancer.runner.frame
    assert given

    def recorded(frame: torch.Tensor) -> torch.Tensor:
        widths.append(frame.shape[2])
        return given(frame)

    monkeypatch.setattr(Enhancer, "runner", replace(enhancer.runner, frame=recorded))
    (frame,) = small.frames([PIXELS])
    monkeypatch.undo()
    assert len(widths) > 1 and max(widths) < PIXELS.shape[1]
    assert np.array_equal(frame, enhancer(PIXELS))


def test_frames_that_are_read_only_draw_no_warning(enhancer: Enhancer) -> None:
    """As np.asarray makes of a Pillow image; torch would warn of them, once."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (frame,) = enhancer.frames([np.asarray(Image.fromarray(PIXELS))])
    finally:
        torch.set_warn_always(before)
    assert np.array_equal(frame, enhancer(PIXELS))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (PIXELS / 255, r"float64 array \(17, 23, 3\): give"),
        (np.zeros((4, 4, 5), np.uint8), "give"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "of a float dtype"),
        (torch.zeros(4, 4, 3), "give"),
        (Image.new("F", (4, 4)), "mode F: which of its levels is white is not known; give"),
        (Image.new("I", (4, 4)), "mode I: which of its levels is white is not known; give"),
        (Image.new("La", (4, 4)), "mode La: .*; convert it first"),
        ("in.png", "str: give a Pillow image, an array or a tensor"),
        (PIXELS[:, :0], r"an image of shape \(17, 0, 3\) has no pixels"),
        (PIXELS[:0], "no pixels"),
        (PIXELS[..., :0], "no pixels"),
        (torch.zeros(0, 3, 4, 4), "no pixels"),
        (torch.zeros(3, 4, 0), "no pixels"),
        *(
            (Image.new(mode, size), r"an image of shape \(\d, \d\) has no pixels")
            for mode in ("L", "LA", "P", "RGB", "RGBA", "I;16")
            for size in ((0, 5), (5, 0), (0, 0))
        ),
    ],
)
def test_other_things_are_refused_in_one_line(
    enhancer: Enhancer, image: object, message: str
) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        enhancer(image)  # type: ignore[call-overload]
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["scale", "tile"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True])
def test_a_scale_or_tile_of_another_kind_is_refused(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{name}={value}: give a whole number"):
        Enhancer("student_tiny", **{name: value})  # type: ignore[arg-type]


def test_frames_of_another_kind_are_refused(enhancer: Enhancer) -> None:
    with pytest.raises(UserError, match=r"frame 0: Image; give np\.asarray"):
        list(enhancer.frames([Image.fromarray(PIXELS)]))  # type: ignore[list-item]


@pytest.mark.parametrize("shape", [(30, 0, 3), (0, 30, 3), (0, 0, 3)])
def test_frames_without_pixels_are_refused(enhancer: Enhancer, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"frame 0 of shape \(\d+, \d+, 3\) has no pixels"):
        list(enhancer.frames([np.zeros(shape, np.uint8)]))


PROCESSES = """
import multiprocessing, sys
import numpy as np
from kd_lightning import Enhancer, shipped_students

def done(enhancer, queue):
    queue.put(enhancer(PIXELS))

PIXELS = np.random.default_rng(3).integers(0, 256, (60, 90, 3), np.uint8)
if __name__ == "__main__":
    for backend in sys.argv[2:]:
        enhancer = Enhancer("student_tiny", backend=backend, precision="fp32")
        expected = enhancer(PIXELS)
        context = multiprocessing.get_context(sys.argv[1])
        queue = context.Queue()
        context.Process(target=done, args=(enhancer, queue), daemon=True).start()
        assert np.array_equal(queue.get(timeout=60), expected), backend
"""


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_an_enhancer_that_was_used_serves_in_other_processes_too(
    start: str, tmp_path: Path
) -> None:
    """Not in that of the tests, whose threads a fork would leave behind."""
    program = tmp_path / "program.py"
    program.write_text(PROCESSES)
    engines = ["torch", "openvino", "onnx", "ncnn"] if start == "fork" else ["openvino"]
    command = [sys.executable, str(program), start, *engines]
    subprocess.run(command, check=True, timeout=200)


def test_names_of_shipped_students_and_nothing_else() -> None:
    with pytest.raises(UserError, match="no such weights in this installation"):
        Enhancer("student_fats")
    for name in shipped_students():
        _, metadata = load_artifact(find_weights(name))
        assert metadata["recipe"].split("/")[1] in ("students", "call")
    assert {"student_fast", "call_fast_x1"} <= set(shipped_students())


@pytest.mark.parametrize("name", shipped_students())
@pytest.mark.parametrize("wrong", [str.upper, str.title, lambda name: name[:-1]])
def test_a_wrong_name_is_answered_with_the_nearest_student_first(
    name: str, wrong: Callable[[str], str]
) -> None:
    with pytest.raises(UserError, match=f"whose students are {name[:-1]}") as refusal:
        Enhancer(wrong(name))
    assert "swinir" not in str(refusal.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".xml"])
def test_metadata_is_what_the_file_says_of_its_weights(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    _, expected = load_artifact(find_weights("student_tiny"))
    export(find_weights("student_tiny"), tmp_path / f"mine{suffix}")
    enhancer = Enhancer(tmp_path / f"mine{suffix}", device="cpu")
    assert expected.items() <= enhancer.metadata.items()
    assert (enhancer.name, enhancer.metadata["degradation"]) == ("mine", "bicubic")
    enhancer.metadata["metrics"].clear()
    assert enhancer.metadata["metrics"] == expected["metrics"]
    assert repr(enhancer).startswith("Enhancer('mine', scale=2, degradation='bicubic', runner=")


def test_scale_that_was_never_trained_draws_a_warning(fast_weights: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="trained for scale 2, never for 1"):
        same_size = Enhancer(fast_weights, backend="torch", device="cpu", scale=1)
    assert same_size(PIXELS).shape == PIXELS.shape
    assert next(same_size.frames([PIXELS])).shape == PIXELS.shape
    arguments = {"scale": 1, "width": 4, "depth": 2}
    network = StudentFast(**arguments)
    path = save_artifact(tmp_path / "s.safetensors", network, arguments, {"degradation": "call"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Enhancer(path, backend="torch", device="cpu", scale=1).runner.degradation == "call"


def test_scale_of_weights_that_take_the_small_image_is_refused(half_weights: Path) -> None:
    with pytest.raises(UserError, match="these weights only enlarge by 2"):
        Enhancer(half_weights, device="cpu", scale=1)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, kd_lightning\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'lightning', 'hydra'} & set(sys.modules)))\n"
        "from kd_lightning import Enhancer\n"
        "print(sorted({'lightning', 'hydra', 'wandb', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_package_is_typed_and_says_what_it_has_not() -> None:
    assert (Path(kd_lightning.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'Enhancr'"):
        _ = kd_lightning.Enhancr
