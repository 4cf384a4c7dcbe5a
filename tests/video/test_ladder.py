"""A stream on a machine that is too slow: what the rungs are, and when they change."""

from pathlib import Path

import numpy as np
import pytest

from kd_lightning import Enhancer
from kd_lightning.models.interpolate import KERNEL_RADIUS
from kd_lightning.video.enhancing import interpolated
from kd_lightning.video.frame import Frame
from kd_lightning.video.ladder import Ladder, Way, middle_alone, ways
from kd_lightning.video.live import stream
from tests.video.live_parts import RATE, Clock, Eye, Student, camera, frame

SIZE = (12, 16)
FRAME = 1 / RATE


@pytest.fixture(scope="module")
def enhancer(fast_weights: Path) -> Enhancer:
    return Enhancer(fast_weights, backend="torch", precision="fp32")


@pytest.mark.parametrize(("large", "expected"), [(0.5, "large"), (2.0, "small")])
def test_the_largest_student_that_keeps_the_rate_is_taken(large: float, expected: str) -> None:
    clock = Clock()
    students = [
        Way("large", Student(large * FRAME, clock.spend)),
        Way("small", Student(0.2 * FRAME, clock.spend)),
    ]
    ladder = Ladder(students, SIZE, FRAME, clock=clock)
    assert ladder.rung.name == expected
    assert [rung.cost for rung in ladder.rungs] == pytest.approx([large * FRAME, 0.2 * FRAME])


def test_a_way_that_costs_no_less_than_a_better_one_is_left_out() -> None:
    clock, used = Clock(), list[str]()

    def way(name: str, seconds: float, every: int = 1) -> Way:
        student = Student(seconds, clock.spend)

        def restore(frame: Frame) -> Frame | None:
            used.append(name)
            return student(frame)

        return Way(name, restore, every)

    ways = [way("large", 0.04), way("small", 0.06), way("half", 0.05, 2), way("last", 0.01)]
    ladder = Ladder(ways, SIZE, 0.03, clock=clock)
    assert [rung.name for rung in ladder.rungs] == ["large", "half", "last"]
    assert ladder.rung.name == "half"
    used.clear()
    while clock.now < 4:
        ladder(frame(0))
    assert used[0] == "half" and set(used) == {"half"}, "the rung that is named is the one used"


def test_the_benchmark_takes_half_a_second() -> None:
    clock = Clock()
    students = [Way(str(n), Student(0.001, clock.spend)) for n in range(4)]
    Ladder(students, SIZE, FRAME, clock=clock)
    assert 0.5 <= clock.now < 0.52


def test_a_student_that_becomes_ten_times_too_slow_is_left_and_comes_back() -> None:
    clock, lines = Clock(), list[str]()
    large, small = Student(0.5 * FRAME, clock.spend), Student(0.2 * FRAME, clock.spend)
    ladder = Ladder([Way("large", large), Way("small", small)], SIZE, FRAME, lines.append, clock)
    large.seconds = 10 * FRAME
    start = clock.now
    while not lines:
        ladder(frame(0))
    assert clock.now - start < 3
    assert ladder.rung.name == "small"
    large.seconds = 0.5 * FRAME
    start = clock.now
    while len(lines) < 2:
        ladder(frame(0))
        clock.spend(0.8 * FRAME)
    assert clock.now - start == pytest.approx(10, abs=0.5)
    assert ladder.rung.name == "large"


def test_every_second_frame_is_passed_over_where_the_rung_says_so() -> None:
    clock = Clock()
    ladder = Ladder([Way("half", Student(FRAME, clock.spend), every=2)], SIZE, FRAME, clock=clock)
    kept = [ladder(frame(number)) is not None for number in range(8)]
    assert kept == [False, True] * 4


def test_in_real_time_too_slow_a_student_is_left_in_three_seconds_and_latency_is_bounded() -> None:
    lines, eye = list[str](), Eye()
    large, small = Student(0.3 * FRAME), Student(0.1 * FRAME)
    ladder = Ladder([Way("large", large), Way("small", small)], SIZE, FRAME, lines.append)
    assert ladder.rung.name == "large"
    large.seconds = 10 * FRAME
    total = stream(camera(5), ladder, eye)
    assert [line.split(":")[0] for line in lines] == ["large -> small"]
    small_from = next(
        n for n, a, b in zip(eye.seen, eye.seen, eye.seen[1:], strict=False) if b - a == 1
    )
    assert small_from * FRAME < 3 + 10 * FRAME
    assert total.latency.longest < 22 * FRAME, "it waits for one frame, and takes the next"
    after = [n for n in eye.seen if n > small_from + 2]
    assert len(after) > 0.9 * (5 * RATE - small_from - 2), "the rate is kept again"


def test_the_rungs_are_the_students_and_then_cheaper_uses_of_the_last(enhancer: Enhancer) -> None:
    rungs = ways({"large": enhancer, "small": enhancer}, enhancer)
    assert [(rung.name, rung.every) for rung in rungs] == [
        ("large", 1),
        ("small", 1),
        ("small on the middle quarter", 1),
        ("small on the middle quarter, every second frame", 2),
        ("interpolation", 1),
    ]
    shapes = {rung.restore(frame(3)).pixels.shape for rung in rungs}  # type: ignore[union-attr]
    assert shapes == {(24, 32, 3)}


@pytest.mark.parametrize("size", [(90, 121), (61, 80)])
def test_the_middle_is_as_in_the_whole_image_and_the_rest_is_interpolated(
    enhancer: Enhancer, photo: np.ndarray, size: tuple[int, int]
) -> None:
    pixels = np.ascontiguousarray(photo[: size[0], : size[1]])
    restored = middle_alone(enhancer, 0.5)(frame(0).with_image(pixels))
    assert isinstance(restored, Frame)
    whole, around = enhancer(pixels), interpolated(pixels, 2)
    is_around = (restored.pixels == around).all(axis=2)
    rows, columns = np.flatnonzero(~is_around.all(axis=1)), np.flatnonzero(~is_around.all(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    inside = restored.pixels[top:bottom, left:right].astype(int) - whole[top:bottom, left:right]
    assert np.abs(inside).max() <= 1
    share = (bottom - top) * (right - left) / (4 * size[0] * size[1])
    assert 0.45 < share < 0.56
    assert (~is_around).mean() > 0.3, "the student changes most of the middle"
    assert KERNEL_RADIUS < top < bottom < 2 * size[0] - KERNEL_RADIUS
