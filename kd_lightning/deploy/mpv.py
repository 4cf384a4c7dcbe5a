"""Write a student as a GLSL user shader for mpv and libplacebo: NAME.glsl.

`mpv --glsl-shaders=NAME.glsl`, or FFmpeg's libplacebo filter with `custom_shader_path`. Passes are
those of `web/README.md`: the frame interpolated and unshuffled (or, on the LR image, its levels), a
compute shader for each layer with its parameters as literals, the sum. The channels of a layer are
planes of four, side by side in one texture. The shader format:
https://libplacebo.org/custom-shaders.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_lightning.deploy.parity import compare, tolerance_of
from kd_lightning.deploy.plain_body import Layer, PlainBody, plain_body
from kd_lightning.errors import UserError
from kd_lightning.files import write_atomic
from kd_lightning.models.interpolate import upscale
from kd_lightning.models.network import Network

SUFFIX = ".glsl"
LEVEL = 1 / 255  # largest difference from the network, in units of [0, 1]
WORKGROUP = (16, 8)  # LR pixels, across and down
TAPS = 4  # of the interpolation, in each direction


def write_mpv(network: Network, path: Path, target: Path) -> dict[str, float]:
    """Write `network` to `path`, and compare what its literals are with it. (That the shader
    computes it is a test: no GPU is needed to export.)

    Args:
        target: what `path` becomes; names the student, and the file in errors.

    Returns:
        "largest difference" in [0, 1] over `parity.SIZES`.

    Raises:
        UserError: it is no plain body (`plain_body`), or works on other blocks than those of
            its scale.
    """
    body = plain_body(network, target)
    if body.factor != body.info.scale:
        raise UserError(
            f"{target}: a shader for mpv needs an unshuffle_factor that is the scale, not "
            f"{body.factor} at scale {body.info.scale}"
        )
    write_atomic(path, shader(body, target.stem).encode())
    allowed = tolerance_of(network, "fp32") if body.info.int8 else LEVEL
    return compare(network, read_mpv(path, body), allowed, target)


def read_mpv(path: Path, body: PlainBody) -> PlainBody:
    """`body` with the kernels and biases that the literals of a shader have."""
    start = re.compile(r"vec4 sum\d+ = vec4\(([^)]*)\)")
    scaling = re.compile(r"sum\d+ = sum\d+ \* vec4\(([^)]*)\) \+ vec4\(([^)]*)\)")
    fetch = re.compile(r"value = source\(place \+ ivec2\((-?\d), (-?\d)\), (\d+)\)")
    product = re.compile(r"sum(\d+) \+= mat4\(([^)]*)\) \* value")
    passes = path.read_text(encoding="utf-8").split("//!HOOK MAIN")[2:-1]
    layers: list[Layer] = []
    for layer, (unit, result), text in zip(body.layers, _units(body), passes, strict=True):
        fan_out, fan_in = layer.weight.shape[:2]
        weight = torch.zeros(4 * _groups(fan_out), 4 * _groups(fan_in), 3, 3)
        x = y = group = 0
        for line in text.splitlines():
            if found := fetch.search(line):
                x, y, group = map(int, found.groups())
            if found := product.search(line):
                out = 4 * int(found[1])
                block = torch.tensor(_parsed(found[2])).view(4, 4)
                weight[out : out + 4, 4 * group : 4 * group + 4, y + 1, x + 1] = block.T
        biases = start.findall(text)
        if scaled := scaling.findall(text):
            weight *= _joined([step for step, _ in scaled])[:, None, None, None]
            biases = [bias for _, bias in scaled]
        plain = (weight[:fan_out, :fan_in] * result / unit, _joined(biases)[:fan_out] * result)
        layers.append(Layer(*plain, layer.activation, layer.slope, layer.top))
    return PlainBody(body.info, tuple(layers))


def _joined(vectors: list[str]) -> Tensor:
    return torch.tensor([value for four in vectors for value in _parsed(four)])


def _parsed(numbers: str) -> list[float]:
    return [float(number) for number in numbers.split(",")]


def _units(body: PlainBody) -> Iterator[tuple[float, float]]:
    """For each layer, what one means in the map it reads and in the one it writes: a level of 8
    bits of the LR image or after relu8, which the maps' half precision holds exactly; else 1."""
    unit = 1 / 255 if body.info.takes_lr else 1.0
    for layer in body.layers:
        result = 1.0 if layer.top is None else float(layer.top) / 255
        yield unit, result
        unit = result


def _in_units(body: PlainBody) -> Iterator[Layer]:
    """The layers on such maps: weights with a step are whole numbers, whose products are summed
    exactly and multiplied by the step afterwards."""
    for layer, (unit, result) in zip(body.layers, _units(body), strict=True):
        bias, ratio = layer.bias / result, unit / result
        if layer.step is None:
            yield replace(layer, weight=layer.weight * ratio, bias=bias)
        else:
            yield replace(layer, weight=layer.whole, bias=bias, step=layer.step * ratio)


def shader(body: PlainBody, name: str) -> str:
    """The text of the shader."""
    scale, takes_lr = body.info.scale, body.info.takes_lr
    when = "//!WHEN OUTPUT.w HOOKED.w 1.2 * > OUTPUT.h HOOKED.h 1.2 * > *\n" if scale > 1 else ""
    groups = 1 if takes_lr else _groups(3 * scale**2)
    total = len(body.layers) + 2
    first = _LEVELS_PASS if takes_lr else _image_pass(scale)
    texts = [_head(f"{name} 1/{total}", [], "KD_IMAGE", groups, when) + first]
    source = "KD_IMAGE"
    for index, layer in enumerate(_in_units(body)):
        target = ("KD_A", "KD_B")[index % 2]
        outputs = _groups(len(layer.weight))
        label = f"{name} {index + 2}/{total}"
        texts.append(
            _head(label, [source], target, outputs, when) + _layer_pass(layer, source, groups)
        )
        source, groups = target, outputs
    bound = "" if takes_lr else "//!BIND KD_IMAGE\n"
    texts.append(
        f"//!HOOK MAIN\n//!DESC {name} {total}/{total}\n//!BIND HOOKED\n{bound}"
        f"//!BIND {source}\n//!WIDTH HOOKED.w {scale} *\n//!HEIGHT HOOKED.h {scale} *\n{when}"
        + _sum_pass(scale, source, takes_lr)
    )
    return f"// {name}, written by kd-export.\n\n" + "\n".join(texts)


def _groups(channels: int) -> int:
    return -(-channels // 4)


def _columns(groups: int) -> int:
    """Planes side by side: about as many as below each other, so that large frames fit."""
    return next(n for n in range(1, groups + 1) if n * n >= groups and groups % n == 0)


def _head(label: str, bound: list[str], target: str, groups: int, when: str) -> str:
    columns = _columns(groups)
    across, down = WORKGROUP
    binds = "".join(f"//!BIND {name}\n" for name in ("HOOKED", *bound))
    return (
        f"//!HOOK MAIN\n//!DESC {label}\n{binds}//!SAVE {target}\n"
        f"//!WIDTH HOOKED.w {columns} *\n//!HEIGHT HOOKED.h {groups // columns} *\n"
        f"//!COMPONENTS 4\n{when}"
        f"//!COMPUTE {across * columns} {down * (groups // columns)} {across} {down}\n"
    )


def _numbers(values: np.ndarray | Tensor, digits: int = 6) -> str:
    return ", ".join(f"{float(value):.{digits}g}" for value in np.asarray(values).ravel())


def _vector(values: Tensor, group: int) -> str:
    four = np.zeros(4)
    part = values[4 * group : 4 * group + 4]
    four[: len(part)] = part
    return f"vec4({_numbers(four, digits=9)})"


def _plane(name: str, groups: int) -> str:
    """GLSL: the value of a plane at a pixel of the frame, zero outside."""
    columns = _columns(groups)
    return f"""vec4 source(ivec2 place, int group) {{
    ivec2 size = ivec2(HOOKED_size);
    if (any(lessThan(place, ivec2(0))) || any(greaterThanEqual(place, size))) return vec4(0.0);
    place += ivec2(group % {columns}, group / {columns}) * size;
    return {name}_tex((vec2(place) + 0.5) * {name}_pt);
}}
"""


_BEGIN = """void hook() {
    ivec2 size = ivec2(HOOKED_size);
    ivec2 place = ivec2(gl_GlobalInvocationID.xy);
    if (any(greaterThanEqual(place, size))) return;
"""


def _store(groups: int, value: str) -> str:
    columns = _columns(groups)
    return "".join(
        f"    imageStore(out_image, place + ivec2({n % columns}, {n // columns}) * size, "
        f"{value.format(n=n)});\n"
        for n in range(groups)
    )


def _interpolation(scale: int) -> tuple[list[int], list[Tensor]]:
    """For each pixel of a block: the first of the frame's pixels that it depends on, relative to
    the block's own, and the weights of the four from there, as `upscale` has them."""
    places = 2 * TAPS
    responses = torch.stack(
        [upscale(row.expand(1, 3, 1, -1), scale)[0, 0, 0] for row in torch.eye(places)]
    )
    block = responses[:, TAPS * scale : (TAPS + 1) * scale]
    firsts = [math.floor((phase + 0.5) / scale - 1.5) for phase in range(scale)]
    return firsts, [block[TAPS + first :][:TAPS, phase] for phase, first in enumerate(firsts)]


def _interpolated(scale: int) -> str:
    """GLSL: `pixel` of the interpolated frame, by the pixel of the frame and the place within its
    block."""
    firsts, taps = _interpolation(scale)
    table = ", ".join(f"vec4({_numbers(four)})" for four in taps)
    return f"""const int FIRST[{scale}] = int[{scale}]({", ".join(map(str, firsts))});
const vec4 TAPS[{scale}] = vec4[{scale}]({table});

vec4 inside(vec4 taps, int first, int size) {{
    ivec4 at = first + ivec4(0, 1, 2, 3);
    vec4 kept = taps * vec4(greaterThanEqual(at, ivec4(0))) * vec4(lessThan(at, ivec4(size)));
    return kept / dot(kept, vec4(1.0));
}}

vec3 pixel(ivec2 base, ivec2 phase, ivec2 size) {{
    ivec2 first = base + ivec2(FIRST[phase.x], FIRST[phase.y]);
    vec4 across = inside(TAPS[phase.x], first.x, size.x);
    vec4 down = inside(TAPS[phase.y], first.y, size.y);
    vec3 sum = vec3(0.0);
    for (int y = 0; y < 4; y++) {{
        vec3 row = vec3(0.0);
        for (int x = 0; x < 4; x++) {{
            ivec2 at = clamp(first + ivec2(x, y), ivec2(0), size - 1);
            row += across[x] * HOOKED_tex((vec2(at) + 0.5) * HOOKED_pt).rgb;
        }}
        sum += down[y] * row;
    }}
    return clamp(sum, 0.0, 1.0);
}}
"""


def _image_pass(scale: int) -> str:
    groups = _groups(3 * scale**2)
    channel = [
        f"pixels[{n % scale**2}].{'rgb'[n // scale**2]}" if n < 3 * scale**2 else "0.0"
        for n in range(4 * groups)
    ]
    pixels = "".join(
        f"    pixels[{n}] = pixel(place, ivec2({n % scale}, {n // scale}), size);\n"
        for n in range(scale**2)
    )
    vectors = "".join(
        f"    vec4 sum{n} = vec4({', '.join(channel[4 * n : 4 * n + 4])});\n" for n in range(groups)
    )
    return f"""{_interpolated(scale)}
{_BEGIN}    vec3 pixels[{scale**2}];
{pixels}{vectors}{_store(groups, "sum{n}")}}}
"""


_LEVELS_PASS = f"""{_BEGIN}    vec3 color = HOOKED_tex((vec2(place) + 0.5) * HOOKED_pt).rgb;
{_store(1, "vec4(color * 255.0, 0.0)")}}}
"""


def _layer_pass(layer: Layer, source: str, inputs: int) -> str:
    fan_out, fan_in = layer.weight.shape[:2]
    outputs = _groups(fan_out)
    padded = np.zeros((4 * outputs, 4 * inputs, 3, 3))
    padded[:fan_out, :fan_in] = layer.weight.numpy()
    starts = torch.zeros(fan_out) if layer.step is not None else layer.bias
    lines = [f"    vec4 sum{n} = {_vector(starts, n)};\n" for n in range(outputs)]
    lines.append("    vec4 value;\n")
    for y in range(3):
        for x in range(3):
            for group in range(inputs):
                lines.append(f"    value = source(place + ivec2({x - 1}, {y - 1}), {group});\n")
                for n in range(outputs):
                    block = padded[4 * n : 4 * n + 4, 4 * group : 4 * group + 4, y, x]
                    lines.append(f"    sum{n} += mat4({_numbers(block.T)}) * value;\n")
    for n in range(outputs):
        if layer.step is not None:
            step, bias = _vector(layer.step, n), _vector(layer.bias, n)
            lines.append(f"    sum{n} = sum{n} * {step} + {bias};\n")
        if layer.activation == "relu8":
            lines.append(f"    sum{n} = roundEven(clamp(sum{n}, 0.0, 255.0));\n")
        elif layer.activation == "relu":
            lines.append(f"    sum{n} = max(sum{n}, vec4(0.0));\n")
        elif layer.slope is not None:
            slope = _vector(layer.slope.expand(fan_out), n)
            lines.append(
                f"    sum{n} = max(sum{n}, vec4(0.0)) + {slope} * min(sum{n}, vec4(0.0));\n"
            )
    return f"{_plane(source, inputs)}\n{_BEGIN}{''.join(lines)}{_store(outputs, 'sum{n}')}}}\n"


def _sum_pass(scale: int, source: str, takes_lr: bool) -> str:
    columns = _columns(_groups(3 * scale**2))
    image, detail = (f"{name}_tex(from * {name}_pt)[channel % 4]" for name in ("KD_IMAGE", source))
    if takes_lr:  # nothing else needs the interpolated frame
        image = "image[c]"
    return f"""{_interpolated(scale) if takes_lr else ""}vec4 hook() {{
    ivec2 size = ivec2(HOOKED_size);
    ivec2 at = ivec2(HOOKED_pos * HOOKED_size * {scale}.0);
    ivec2 place = at / {scale};
    ivec2 within = at - place * {scale};
{"    vec3 image = pixel(place, within, size);" if takes_lr else ""}
    vec3 color;
    for (int c = 0; c < 3; c++) {{
        int channel = c * {scale**2} + within.y * {scale} + within.x;
        int group = channel / 4;
        vec2 from = vec2(place + ivec2(group % {columns}, group / {columns}) * size) + 0.5;
        color[c] = {image} + {detail};
    }}
    return vec4(clamp(color, 0.0, 1.0), 1.0);
}}
"""
