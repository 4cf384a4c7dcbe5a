"""Training steps a second beside BasicSR's own training loop: `<width>.json`.

The same student, images and crops (16 of 128x128). BasicSR: its `train_pipeline` with
`SRModel`, 480-pixel sub-images on disk, one loader process, EMA, L1, Adam. Ours: `train.py
experiment=kd_photos`, with L1 against the ground truth (the same work) and with its own loss: L1
and SSIM, each against the ground truth and a teacher. All take turns, `--rounds` times; of each
the medians over all steps after the first WARM ones: of the time, and of the CPU time of the
training process, which other work on the machine hardly changes (loader processes not counted).
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

Moment = tuple[float, float]  # seconds, CPU seconds of the training process

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
BATCH, CROP, SCALE = 16, 128, 2
WARM = 20  # steps of each turn that do not count
SAME_WORK = ["teacher=none", "loss.alpha=1", "loss.teacher_weight=0"]
OURS = {
    "ours, L1": SAME_WORK,
    "ours, kd_photos": [],
    "ours, L1, fp32": [*SAME_WORK, "precision=fp32"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of photos/")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rep", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=160, help="of ours; BasicSR makes a third")
    parser.add_argument("--fp32", action="store_true", help="ours in fp32 as well")
    parser.add_argument("--before", type=Path, help="an earlier checkout, measured as well")
    args = parser.parse_args()
    steps: dict[str, list[Moment]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sub_images(args.data, folder)
        for _ in range(args.rounds):
            took = basicsr(folder, args.width, args.rep, args.steps // 3 + WARM)
            steps.setdefault("BasicSR", []).extend(took)
            for name, overrides in OURS.items():
                if "fp32" in name and not args.fp32:
                    continue
                for prefix, code in (("", REPOSITORY), ("before: ", args.before)):
                    if code is not None:
                        took = ours(code, folder, args, overrides)
                        steps.setdefault(prefix + name, []).extend(took)
    wall, cpu = (
        {name: statistics.median(step[kind] for step in took) for name, took in steps.items()}
        for kind in (0, 1)
    )
    result = {
        "student": f"student_fast, width {args.width}, rep {str(args.rep).lower()}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "steps": {name: len(took) for name, took in steps.items()},
        "steps_per_second": {name: round(1 / time, 2) for name, time in wall.items()},
        "times_basicsr": {name: round(wall["BasicSR"] / time, 2) for name, time in wall.items()},
        "cpu_ms": {name: round(1000 * time, 1) for name, time in cpu.items()},
        "times_basicsr_cpu": {name: round(cpu["BasicSR"] / time, 2) for name, time in cpu.items()},
    }
    name = f"{args.width}{'_rep' if args.rep else ''}.json"
    (HERE / name).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def ours(
    code: Path, folder: Path, args: argparse.Namespace, overrides: Sequence[str]
) -> list[Moment]:
    """What each step of `train.py` in the checkout `code` takes."""
    run = folder / "run"
    command = [
        *(sys.executable, "train.py", "experiment=kd_photos", "data=photos"),
        *(f"data.root={(args.data / 'photos').absolute()}", "student=student_fast"),
        *(f"student.width={args.width}", f"student.rep={str(args.rep).lower()}"),
        *(f"data.crop_size={CROP}", f"data.batch_size={BATCH}", "logger=csv"),
        *(f"data.samples_per_epoch={BATCH * args.steps}", "trainer.max_epochs=1"),
        *("trainer.check_val_every_n_epoch=1", "+trainer.limit_val_batches=1"),
        *("+trainer.limit_test_batches=1", "callbacks.pictures=null", f"run_folder={run}"),
        "+callbacks.clock._target_=experiments.training_speed.clock.Clock",
        *overrides,
    ]
    ends = folder / "ends.json"
    path = os.pathsep.join(str(place.absolute()) for place in (code, REPOSITORY))
    environment = {**os.environ, "PYTHONPATH": path, "CLOCK": str(ends)}
    quiet = subprocess.DEVNULL
    subprocess.run(command, check=True, cwd=code, env=environment, stdout=quiet)
    return steps_between(ends)


def basicsr(folder: Path, width: int, rep: bool, steps: int) -> list[Moment]:
    """What each step of BasicSR's training loop takes, in a process of its own."""
    (folder / "options.yml").write_text(yaml.safe_dump(options(folder, width, rep, steps)))
    command = [sys.executable, str(HERE / "basicsr_loop.py"), "-opt", str(folder / "options.yml")]
    quiet = subprocess.DEVNULL
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY.absolute())}
    subprocess.run(command, check=True, cwd=folder, env=environment, stdout=quiet, stderr=quiet)
    return steps_between(folder / "ends.json")


def steps_between(file: Path) -> list[Moment]:
    """Seconds and CPU seconds of each step after the first WARM ones."""
    ends = json.loads(file.read_text())[WARM:]
    return [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(ends)]


def options(folder: Path, width: int, rep: bool, steps: int) -> dict[str, Any]:
    """BasicSR's options of the same training."""
    train = {
        "name": "photos",
        "type": "PairedImageDataset",
        "dataroot_gt": str(folder / "HR"),
        "dataroot_lq": str(folder / "LR"),
        "io_backend": {"type": "disk"},
        "gt_size": CROP,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": 1,
        "batch_size_per_gpu": BATCH,
        "dataset_enlarge_ratio": 100,
    }
    return {
        "name": "speed",
        "model_type": "TimedSRModel",
        "scale": SCALE,
        "num_gpu": 0,
        "manual_seed": 0,
        "datasets": {"train": train},
        "network_g": {"type": "OurStudent", "width": width, "rep": rep},
        "path": {},
        "train": {
            "ema_decay": 0.999,
            "optim_g": {"type": "Adam", "lr": 2e-3, "weight_decay": 0, "betas": [0.9, 0.99]},
            "scheduler": {"type": "MultiStepLR", "milestones": [100000], "gamma": 0.5},
            "total_iter": steps,
            "warmup_iter": -1,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
        },
        "logger": {"print_freq": 10, "save_checkpoint_freq": 100000, "use_tb_logger": False},
    }


def sub_images(data: Path, folder: Path) -> None:
    """The training photos as BasicSR wants them: parts of 480x480, HR and bicubic LR."""
    from kd_lightning.benchmark.data_peers import SUB_IMAGE
    from kd_lightning.imageio.strict import read_rgb, write_png
    from kd_lightning.models.interpolate import downscale

    for path in sorted((data / "photos" / "train_HR").iterdir()):
        hr = read_rgb(path)
        for y in range(0, hr.shape[0] - SUB_IMAGE + 1, SUB_IMAGE):
            for x in range(0, hr.shape[1] - SUB_IMAGE + 1, SUB_IMAGE):
                part = hr[y : y + SUB_IMAGE, x : x + SUB_IMAGE]
                channels_first = torch.from_numpy(part.copy()).permute(2, 0, 1)[None]
                lr = downscale(channels_first, SCALE)[0].permute(1, 2, 0).contiguous().numpy()
                write_png(folder / "HR" / f"{path.stem}_{y}_{x}.png", part)
                write_png(folder / "LR" / f"{path.stem}_{y}_{x}.png", lr)


if __name__ == "__main__":
    main()
