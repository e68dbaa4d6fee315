"""Trains two or more setups on drawn people, with several seeds each, and compares their scores.

    python scripts/compare_runs.py --comparison=distill
    python scripts/compare_runs.py --comparison=v2 --seeds=3 --folder=runs/compare

distill compares a small student with and without a teacher; the teacher is trained first, for twice
as long. v2 compares a recipe with its second version. All setups of a comparison take the same
number of steps on the same people. A run that takes longer than --minutes is reported and excluded.
Finished runs are reused, so the same command resumes a comparison.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Sequence

from data_pipelines import json_files
from hrjax.runtime import terminal

ROOT = pathlib.Path(__file__).parent.parent

# Small networks, small crops and few people, so that a run takes a few minutes on two cores.
DRAWN = (
    *("--config.data.root=data/compare", "--config.data.draw.train_images=1000"),
    *("--config.data.draw.val_images=200", "--config.data.input_size=96,96"),
    *("--config.heatmap.sigma=1.5", "--config.train.batch_size=16", "--config.eval.batch_size=16"),
    *("--config.augment.half_body=0.0", "--config.optimizer.warmup_steps=50"),
    *("--config.optimizer.lr_base_batch=0", "--config.checkpoint.every_steps=500"),
)
EPOCHS = 12
SCHEDULE = (
    *(f"--config.train.epochs={EPOCHS}", f"--config.eval.every_epochs={EPOCHS}"),
    "--config.optimizer.milestones=10,11",
)
STUDENT = (
    *("--config.model.width=20", "--config.model.stem_width=16"),
    *("--config.model.modules=1,1", "--config.model.blocks=1"),
)
# A larger network that trains for longer, so that it outperforms the student.
TEACHER = (
    *("--config=configs/widehrnet_coco.py", *DRAWN),
    *("--config.model.width=32", "--config.model.stem_width=16", "--config.model.expansion=2"),
    *("--config.model.modules=1,1,1", "--config.model.blocks=1"),
    *("--config.optimizer.lr=8e-3", "--config.optimizer.schedule=cosine"),
    *(f"--config.train.epochs={2 * EPOCHS}", f"--config.eval.every_epochs={2 * EPOCHS}"),
)
V2 = ("--config.train.ema_decay=0.99", "--config.optimizer.lr=4e-3")
COMPARISONS = {
    "distill": {
        "alone": ("--config=configs/litehrnet_coco.py", *DRAWN, *SCHEDULE, *STUDENT),
        "taught": (
            *("--config=configs/litehrnet_coco_distilled.py:litehrnet_18", *DRAWN, *SCHEDULE),
            *(*STUDENT, "--config.augment.center_shift=0.3"),
            "--config.distill.teacher={folder}/teacher",
        ),
    },
    "v2": {
        "first": ("--config=configs/litehrnet_coco.py", *DRAWN, *SCHEDULE, *STUDENT),
        "second": ("--config=configs/litehrnet_coco_v2.py", *DRAWN, *SCHEDULE, *STUDENT, *V2),
    },
}
SCORE = "AP"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparison", choices=COMPARISONS, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each setup (default: 3)")
    parser.add_argument("--minutes", type=float, default=4, help="time limit of a run (default: 4)")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/compare"))
    options = parser.parse_args()
    folder = (options.folder / options.comparison).absolute()
    if options.comparison == "distill":
        score = train(folder / "teacher", TEACHER, 0, options.minutes)
        print(f"teacher: {SCORE} {score}")
    scores = {}
    for name, command in COMPARISONS[options.comparison].items():
        command = [part.format(folder=folder) for part in command]
        all_scores = [
            train(folder / f"{name}_{seed}", command, seed, options.minutes)
            for seed in range(options.seeds)
        ]
        scores[name] = [score for score in all_scores if score is not None]
    print(summary(scores))


def train(workdir: pathlib.Path, command: Sequence[str], seed: int, minutes: float) -> float | None:
    """The final score of a run, or None if it exceeded the time limit."""
    file = workdir / "eval" / "val" / "metrics.json"
    command = [sys.executable, "-m", "hrjax.main", *command, f"--config.seed={seed}"]
    if not file.is_file():
        try:
            subprocess.run(
                [*command, f"--workdir={workdir}"],
                cwd=ROOT,
                check=True,
                timeout=60 * minutes,
            )
        except subprocess.CalledProcessError as error:
            sys.exit(
                f"error: {workdir.name} exited with {error.returncode}; its own message is above"
            )
        except subprocess.TimeoutExpired:
            print(f"{workdir.name} took more than {minutes:g} minutes and is excluded")
            return None
    score = read_score(file)
    print(f"{workdir.name}: {SCORE} {score:.4f}", flush=True)
    return score


def read_score(file: pathlib.Path) -> float:
    """The score in the metrics.json of an evaluation."""
    try:
        numbers = json_files.read_json(file, expected=dict)
    except ValueError as error:
        sys.exit(f"error: {error}")
    score = numbers.get(SCORE)
    if type(score) not in (int, float):
        sys.exit(f"error: {SCORE} in {file} is {score!r}; expected a number")
    return score


def summary(scores: dict[str, list[float]]) -> str:
    """A table of the mean, the sample standard deviation and all scores of each setup."""
    rows = [("", "mean", "std", "runs")]
    for name, values in scores.items():
        if not values:
            rows.append((name, "-", "-", "none finished"))
            continue
        std = f"{statistics.stdev(values):.4f}" if len(values) > 1 else "-"
        runs = " ".join(f"{score:.4f}" for score in values)
        rows.append((name, f"{statistics.mean(values):.4f}", std, runs))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


if __name__ == "__main__":
    terminal.run(main)
