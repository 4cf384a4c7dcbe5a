"""W&B's pages of this project as code: the workspace, and the report of an alpha sweep.

`python experiments/wandb/dashboards.py` makes the objects and checks what can be checked without an
account; with `--save --entity NAME` it saves them, after `wandb login`, and prints their addresses.
"""

import argparse
import json
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

IMAGES = "images"  # the axis of all curves, as `define_axes` of kd_lightning.distill.wandb_logger
STEP = "trainer/global_step"
SETS = ("set5", "valid")
TERMS = [f"train/{target}/{term}" for target in ("hr", "teacher") for term in ("l1", "ssim")]
VALIDATED = {"RGB-SSIM": "ssim", "PSNR-Y (dB)": "psnr_y"}


def curve(title: str, names: list[str], unit: str = "", **options: Any) -> wr.LinePlot:
    """Curves over the training crops seen, which compare between batch sizes."""
    return wr.LinePlot(title=title, x=IMAGES, y=names, title_x="images", title_y=unit, **options)


def sections() -> list[ws.Section]:
    """The workspace from top to bottom: is it good, what does it look like, does it learn, what
    does it cost."""
    validation = [
        curve(f"{label}: student, baselines, teacher", [f"val/{row}{key}" for row in ("", *rows)])
        for label, key in VALIDATED.items()
        for rows in [("bicubic/", "teacher/")]
    ]
    imitation = [
        curve(f"{label} against the teacher", [f"val/to_teacher/{key}"])
        for label, key in VALIDATED.items()
    ]
    best = [
        wr.BarPlot(title="best val/ssim", metrics=["best/val/ssim"]),
        wr.ScalarChart(title="at step", metric=wr.SummaryMetric("best/step")),
    ]
    tests = [
        wr.BarPlot(title=f"{name}: PSNR-Y (dB)", metrics=[f"test/{name}/psnr_y"]) for name in SETS
    ]
    looks = [
        wr.MediaBrowser(title="validation images", media_keys=["val/comparison/*"]),
        wr.MediaBrowser(title="test images", media_keys=["test/comparison/*"]),
    ]
    losses = [
        curve("loss", ["train/loss"], log_y=True, smoothing_factor=0.9),
        curve("loss by term", TERMS, log_y=True, smoothing_factor=0.9),
        wr.LinePlot(title="learning rate", x=STEP, y=["lr-AdamW"], title_x="optimizer steps"),
    ]
    costs = [
        curve("training crops a second", ["speed/images"]),
        curve("share of time that waits for data", ["speed/data_wait"], range_y=(0, 1)),
        curve("memory (MB)", ["memory/process_mb", "memory/gpu_mb"]),
    ]
    named = {
        "Validation": [*validation, *imitation],
        "Best and test": [*best, *tests],
        "Images": looks,
        "Training": losses,
        "Speed and memory": costs,
    }
    return [ws.Section(name=n, panels=panels, is_open=True) for n, panels in named.items()]


def workspace(entity: str, project: str) -> ws.Workspace:
    """The workspace of the project, runs with the best validation first."""
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Distillation",
        sections=sections(),
        settings=ws.WorkspaceSettings(x_axis=IMAGES, smoothing_type="none"),
        runset_settings=ws.RunsetSettings(
            order=[ws.Ordering(ws.Summary("best/val/ssim"), ascending=False)]
        ),
    )


def alpha_report(entity: str, project: str, group: str) -> wr.Report:
    """What a sweep over `loss.alpha` says: both metrics against alpha, the spread over seeds, the
    curves."""
    runs = wr.Runset(  # of the report's own project
        name=f"sweep {group}",
        filters=f"Metric('group') == '{group}'",
        groupby=["config.loss.alpha"],
    )
    scores = [f"test/{name}/{key}" for name in SETS for key in ("ssim", "psnr_y")]
    against = [
        wr.ScatterPlot(title=score, x=wr.Config("loss.alpha"), y=wr.SummaryMetric(score))
        for score in scores
    ]
    columns = [
        *(wr.Config(key) for key in ("loss.alpha", "loss.teacher_weight", "optimizer.lr")),
        *(wr.SummaryMetric(name) for name in ("best/val/ssim", *scores)),
    ]
    coordinates = wr.ParallelCoordinatesPlot(
        title="all jobs", columns=[wr.ParallelCoordinatesPlotColumn(metric=c) for c in columns]
    )
    curves = curve(
        "val/ssim, mean and spread of the seeds",
        ["val/ssim"],
        groupby=wr.Config("loss.alpha"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )
    importance = wr.ParameterImportancePlot(with_respect_to="best/val/ssim")
    return wr.Report(
        entity=entity,
        project=project,
        title=f"alpha: {group}",
        description="L1 against SSIM in the loss: alpha * L1 + (1 - alpha) * (1 - SSIM)",
        blocks=[
            wr.TableOfContents(),
            wr.H1("What alpha changes"),
            wr.P("Alpha is the share of L1. Scores follow docs/protocol.md of kd_lightning."),
            wr.PanelGrid(runsets=[runs], panels=[*against, curves]),
            wr.H1("All jobs"),
            wr.PanelGrid(runsets=[runs], panels=[coordinates, importance]),
            wr.H1("Images"),
            wr.PanelGrid(runsets=[runs], panels=[wr.MediaBrowser(media_keys=["val/comparison/*"])]),
        ],
    )


def specification(page: ws.Workspace | wr.Report) -> dict[str, Any]:
    """What W&B would be sent. Raises what its packages raise for objects that do not fit."""
    content = page._to_model().model_dump_json(by_alias=True, exclude_none=True)
    return dict(json.loads(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entity", default="me", help="user or team of W&B")
    parser.add_argument("--project", default="kd_lightning")
    parser.add_argument("--group", default="alpha", help="group of the sweep's runs: its name=")
    parser.add_argument("--save", action="store_true", help="save them; needs an account")
    options = parser.parse_args()
    pages = (
        workspace(options.entity, options.project),
        alpha_report(options.entity, options.project, options.group),
    )
    for page in pages:
        size = len(json.dumps(specification(page)))
        if options.save:
            page.save()
            print(page.url)
        else:
            print(f"{type(page).__name__}: {size} bytes; --save, with an account, saves it")


if __name__ == "__main__":
    main()
