"""Plots the curves of one or several runs from their metrics.jsonl.

    python scripts/plot_run.py --run=runs/quickstart --save_path=curves.png
    python scripts/plot_run.py --run=runs/a --run=runs/b --save_path=compared.svg

The panels show the loss, the fraction of correct joints in training, the learning rate, the score
on held-out people, images per second, and the fraction of time spent waiting for data. The suffix
of --save_path selects the format. Requires matplotlib (extra `plots`).
"""

from __future__ import annotations

import io
import pathlib
import sys
from typing import TYPE_CHECKING

from data_pipelines import files
from data_pipelines.messages import choices, written
from hrjax.runtime import script_options, terminal
from hrjax.training.logs import run_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Titles of the panels, and their names in metrics.jsonl; of several names, the first one logged.
PANELS = {
    "loss": ("loss",),
    "correct joints in training": ("pck",),
    "learning rate": ("lr",),
    "held-out score": ("eval/AP", "eval/PCKh@0.5"),
    "images per second": ("images_per_second",),
    "time waiting for data": ("waiting",),
}
LOGARITHMIC = ("loss", "learning rate")


def main() -> None:
    parser = script_options.make(__doc__)
    parser.add_argument("--run", action="append", required=True, help="a work directory")
    parser.add_argument("--save_path", default="curves.png", help="default: curves.png")
    options = script_options.parse(parser)
    try:
        print(plot(options.run, options.save_path))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def plot(names: list[str], path: str) -> str:
    """Draws runs into a file; returns what was written, and what it shows."""
    runs = {name: read(name) for name in names}
    files.require_no_input([path], [pathlib.Path(name, "metrics.jsonl") for name in names])
    figure, said = draw(runs), written.wrote(path)
    save(figure, path)
    steps = ", ".join(f"{name} to step {rows[-1]['step']}" for name, rows in runs.items())
    return f"{said}: {steps}"


def read(run: str) -> list[dict]:
    """The rows of a run's metrics.jsonl."""
    if not pathlib.Path(run, "metrics.jsonl").is_file():
        meant = "" if pathlib.Path(run).exists() else choices.instead_of(run)
        raise FileNotFoundError(f"{run} is not a run: it contains no metrics.jsonl{meant}")
    rows = run_log.read(pathlib.Path(run))
    if not rows:
        raise ValueError(f"{run}/metrics.jsonl is empty: nothing has been logged yet")
    for row in rows:
        check(f"{run}/metrics.jsonl: step {row['step']}", row)
    return rows


def check(place: str, row: dict) -> None:
    """Raises ValueError unless a row has numbers for what is drawn."""
    for name in (name for names in PANELS.values() for name in names if name in row):
        if type(row[name]) not in (int, float):
            raise ValueError(f"{place}: {name} is {row[name]!r}; expected a number")


def save(figure: Figure, path: str) -> None:
    """Writes a figure in the format of the suffix of `path`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=pathlib.Path(path).suffix[1:] or "png", dpi=120)
    files.write_bytes(path, buffer.getvalue())


def draw(runs: dict[str, list[dict]]) -> Figure:
    """A figure with all PANELS, each with one curve per run."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("plotting requires matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for axes, (title, names) in zip(panels, PANELS.items(), strict=True):
        logged = {name for rows in runs.values() for row in rows for name in row}
        name = next((name for name in names if name in logged), names[0])
        axes.set_title(f"{title} ({name})" if len(names) > 1 else title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        for run, rows in runs.items():
            points = [(row["step"], row[name]) for row in rows if name in row]
            steps, values = zip(*points, strict=True) if points else ((), ())
            axes.plot(steps, values, label=run, marker="o" if len(points) < 30 else None, ms=3)
            if title in LOGARITHMIC and any(value > 0 for value in values):
                axes.set_yscale("log")
    if len(runs) > 1:
        panels[0].legend(fontsize="small")
    return figure


if __name__ == "__main__":
    terminal.run(main)
