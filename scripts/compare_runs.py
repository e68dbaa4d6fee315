"""Trains two or more setups, with several seeds each, and compares their scores.

    python scripts/compare_runs.py --comparison=distill
    python scripts/compare_runs.py --comparison=v2 --seeds=3 --folder=runs/compare
    python scripts/compare_runs.py --comparison=few_pictures --config=data/mice.py --split=test

distill compares a small student with and without a teacher; the teacher is trained first, for twice
as long. v2 compares a recipe with its second version. Both are on drawn people. few_pictures is on
your own: it compares the config that `prepare_data.py recommend` wrote with the same network from
random weights, and with a recipe for many people that starts from the same weights. Nothing ends
early, and the last weights are scored, on the people of --split.

All setups of a comparison see as many people. A run that takes longer than --minutes is reported
and excluded. Finished runs are reused, so the same command resumes a comparison.
"""

import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from data_pipelines import datasets, json_files
from hrjax import recipes
from hrjax.runtime import script_options, terminal

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
SCORES = {"distill": ("AP",), "v2": ("AP",), "few_pictures": ("PCK@0.05", "PCK@0.2", "AP")}
# What `prepare_data.py recommend` sets for few people, as it is in recipes for many.
ALL_LEARNS = (
    *("--config.train.freeze=0", "--config.train.batch_norm=batch"),
    "--config.optimizer.backbone_factor=1.0",
)
# The optimizer, the warm-up and the batch of the published HRNet.
FOR_MANY = (
    *("--config.optimizer.name=adam", "--config.optimizer.weight_decay=0.0"),
    *("--config.optimizer.lr=5e-4", "--config.optimizer.warmup_steps=500"),
    *("--config.optimizer.warmup_limit=1.0", "--config.augment.color_jitter=0.0"),
    *("--config.optimizer.schedule=step", "--config.optimizer.milestones=170,200"),
)
MANY_BATCH = 64


def main() -> None:
    parser = script_options.make(__doc__)
    parser.add_argument("--comparison", **script_options.one_of(SCORES, "NAME"), required=True)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each setup (default: 3)")
    parser.add_argument("--minutes", type=float, default=4, help="time limit of a run (default: 4)")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/compare"))
    parser.add_argument("--config", default="", help="few_pictures: the recommended config")
    parser.add_argument("--split", default="val", help="few_pictures: who is evaluated")
    parser.add_argument("--epochs", type=int, default=0, help="few_pictures: default: the config's")
    options = script_options.parse(parser)
    names = SCORES[options.comparison]
    folder = (options.folder / options.comparison).absolute()
    if options.comparison == "few_pictures":
        if not options.config:
            parser.error("few_pictures needs the --config that `prepare_data.py recommend` wrote")
        setups = few_pictures(options.config, options.split, options.epochs)
    else:
        setups = COMPARISONS[options.comparison]
    if options.comparison == "distill":
        train(folder / "teacher", TEACHER, 0, options.minutes, names)
    runs = {}
    for seed in range(options.seeds):
        for name, command in setups.items():
            command = [part.format(folder=folder) for part in command]
            numbers = train(
                folder / f"{name}_{seed}", command, seed, options.minutes, names, options.split
            )
            runs.setdefault(name, []).extend([] if numbers is None else [numbers])
    for place, score in enumerate(names):
        table = {name: [run[place] for run in own] for name, own in runs.items()}
        print(f"{score}\n{summary(table)}")


def few_pictures(config: str, split: str, epochs: int) -> dict[str, tuple[str, ...]]:
    """The commands of the three setups; `epochs` are those of the config where they are 0."""
    recipe = recipes.read(config)
    epochs, batch = epochs or recipe.train.epochs, recipe.train.batch_size
    people = len(datasets.read_config(recipe.data, recipe.data.train_split))
    steps, other_steps = (max(1, people // size) for size in (batch, MANY_BATCH))
    many_epochs = max(1, round(epochs * steps * batch / (other_steps * MANY_BATCH)))
    common = (f"--config={config}", f"--config.eval.split={split}", "--config.train.patience=0")
    return {
        "recommended": (*common, *_epochs(epochs)),
        "scratch": (*common, *_epochs(epochs), *ALL_LEARNS, "--config.init_from="),
        "for_many": (
            *(*common, *_epochs(many_epochs), *ALL_LEARNS, *FOR_MANY),
            f"--config.train.batch_size={MANY_BATCH}",
        ),
    }


def _epochs(count):
    return f"--config.train.epochs={count}", f"--config.eval.every_epochs={count}"


def train(
    workdir: pathlib.Path,
    command: Sequence[str],
    seed: int,
    minutes: float,
    names: Sequence[str],
    split: str = "val",
) -> list[float] | None:
    """The final scores `names` of a run, or None if it exceeded the time limit."""
    file = workdir / "eval" / split / "metrics.json"
    command = [sys.executable, "-m", "hrjax.main", *command, f"--config.seed={seed}"]
    used, started = _cpu_seconds(), time.monotonic()
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
    scores = [read_score(file, name) for name in names]
    shown = ", ".join(f"{name} {score:.4f}" for name, score in zip(names, scores, strict=True))
    cpu, wall = (_cpu_seconds() - used) / 60, (time.monotonic() - started) / 60
    print(f"{workdir.name}: {shown} ({cpu:.1f} CPU minutes in {wall:.1f})", flush=True)
    return scores


def _cpu_seconds():
    """The time that processors have spent on finished runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_score(file: pathlib.Path, name: str) -> float:
    """A score in the metrics.json of an evaluation."""
    try:
        numbers = json_files.read_json(file, expected=dict)
    except ValueError as error:
        sys.exit(f"error: {error}")
    score = numbers.get(name)
    if type(score) not in (int, float):
        sys.exit(f"error: {name} in {file} is {score!r}; expected a number")
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
