"""Where drawings go, so that none replaces an input, another drawing or a file of the user's."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from data_pipelines import files
from hrjax.prediction import media

WRITTEN = (".jpg", ".jpeg", ".png")


def check_folder(output: pathlib.Path, source: str) -> None:
    """Raises ValueError if the output is the folder of the source."""
    folder = media.image_folder(source)
    if not media.is_camera(source) and files.is_same(folder, output):
        raise ValueError(
            f"the output would overwrite the images in {folder}; choose another output folder"
        )


def plan(output: pathlib.Path, names: Sequence[str]) -> dict[str, pathlib.Path]:
    """Where the drawing of each image goes, by the name of its frame."""
    planned = {}
    for name in names:
        path = output / name
        if path.suffix.lower() not in WRITTEN:
            path = path.with_name(f"{path.name}.jpg")
        planned[name] = path
    return planned


def check(
    planned: Mapping[str, pathlib.Path],
    results: pathlib.Path,
    others: Iterable[pathlib.Path],
    inputs: Iterable[str | os.PathLike],
) -> None:
    """Raises ValueError if a drawing, or another output, would replace what it must not.

    It must not replace an input or another output, nor a picture in a folder without the `results`
    of an earlier prediction.
    """
    by_path = {}
    for name, path in planned.items():
        if path in by_path:
            raise ValueError(
                f"{by_path[path]} and {name} would both be drawn into {path}; rename one of them"
            )
        by_path[path] = name
    files.require_different(by_path)
    files.require_no_input([*by_path, *others], inputs)
    there = [path for path in by_path if os.path.lexists(path)]
    if there and not results.exists():
        raise ValueError(
            f"{there[0]} is there already, and {results.parent} holds no earlier predictions that "
            "could be replaced; choose another output folder"
        )


def check_heatmaps(planned: Mapping[str, pathlib.Path]) -> None:
    """Raises ValueError if an image is called like the heatmaps of another."""
    drawn = set(planned.values())
    for name, path in planned.items():
        stem, heatmaps, number = path.stem.rpartition("_heatmaps")
        if heatmaps and number.isdigit() and path.with_name(stem + path.suffix) in drawn:
            raise ValueError(f"{name} is called like the heatmaps of another image; rename it")
