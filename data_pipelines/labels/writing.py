"""Writes labels as a custom dataset: COCO's keypoint format, with the images beside it."""

import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from data_pipelines import files, images
from data_pipelines.labels import films
from data_pipelines.labels.columns import SPLITS, Labels
from data_pipelines.labels.image_search import Place

DIGITS = 4  # after the decimal point of a pixel
REPORT = "import.txt"
CHUNK = 2**20


def documents(
    labels: Labels,
    names: Sequence[str],
    sizes: np.ndarray,
    splits: Sequence[str],
    groups: Sequence[str],
) -> dict[str, dict]:
    """What the annotation file of every split holds, in COCO's format.

    Of every image there are its name in the dataset, its (height, width), its split and its group.
    """
    categories = [_category(number, one) for number, one in enumerate(labels.joint_sets, start=1)]
    found = {name: {"images": [], "annotations": []} for name in dict.fromkeys(sorted(set(splits)))}
    for row, (name, split) in enumerate(zip(names, splits, strict=True)):
        height, width = (int(side) for side in sizes[row])
        entry = {"id": row + 1, "file_name": name, "width": width, "height": height}
        found[split]["images"].append({**entry, "group": groups[row]})
    for row in range(len(labels)):
        split = splits[int(labels.image_rows[row])]
        found[split]["annotations"].append(_annotation(labels, row))
    return {
        split: {"info": {"description": "imported labels"}, **lists, "categories": categories}
        for split, lists in found.items()
    }


def _category(number, joints):
    return {
        "id": number,
        "name": joints.category,
        "keypoints": list(joints.names),
        "skeleton": [[a + 1, b + 1] for a, b in joints.limbs],
        "flip_pairs": [[joints.names[a], joints.names[b]] for a, b in joints.flip_pairs],
    }


def _annotation(labels, row):
    count = len(labels.joint_sets[labels.set_rows[row]].names)
    flags = labels.visibility[row, :count].astype(int).tolist()
    points = np.round(labels.keypoints[row, :count], DIGITS).tolist()
    box = tuple(np.round(labels.boxes[row], DIGITS).tolist())
    joints = [number for (x, y), v in zip(points, flags, strict=True) for number in (x, y, v)]
    return {
        "id": row + 1,
        "image_id": int(labels.image_rows[row]) + 1,
        "category_id": int(labels.set_rows[row]) + 1,
        "bbox": list(box),
        "area": round(float(labels.areas[row]), DIGITS),
        "iscrowd": int(labels.crowds[row]),
        "keypoints": joints,
        "num_keypoints": sum(flag > 0 for flag in flags),
    }


def check_output(folder: pathlib.Path) -> None:
    """Raises ValueError unless the folder is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not empty; name a new folder for the dataset")


def write(
    folder: pathlib.Path,
    contents: dict[str, dict],
    report: str,
    fill_images: Callable[[pathlib.Path], None],
) -> None:
    """Writes the dataset into a new folder, completely or not at all.

    `fill_images` writes the images into the folder that it is given.
    """
    check_output(folder)
    if not contents.keys() <= set(SPLITS.values()):
        raise ValueError(f"unknown splits {', '.join(contents)}")
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    growing = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        (growing / "images").mkdir(parents=True)
        (growing / "annotations").mkdir()
        fill_images(growing / "images")
        for split, document in contents.items():
            text = json.dumps(document, ensure_ascii=False)
            files.write_text(growing / "annotations" / f"{split}.json", text)
        files.write_text(growing / REPORT, report)
        if folder.exists():
            folder.rmdir()
        growing.rename(folder)
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise


def require_space(folder: pathlib.Path, places: Iterable[Place]) -> None:
    """Raises ValueError where copies of the images do not fit onto the disk."""
    needed = sum(os.stat(place.path).st_size for place in places if place.path and not place.frame)
    there = next(x for x in (folder.absolute(), *folder.absolute().parents) if x.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise ValueError(
            f"copies of the images need {needed / 1e9:.1f} GB, and {there} has {free / 1e9:.1f} GB "
            "free; link the images instead, or choose another disk"
        )


def copy(place: Place, target: pathlib.Path) -> None:
    """Copies the file of an image."""
    files.require_regular_file(place.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(place.path, target)


def link(place: Place, target: pathlib.Path) -> None:
    """Makes a symbolic link to the file of an image."""
    files.require_regular_file(place.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(place.path.resolve())


def write_upright(place: Place, target: pathlib.Path) -> None:
    """Writes the pixels of a photograph as they are shown, without loss (PNG)."""
    pixels = images.read_image(place.path, upright=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", pixels[..., ::-1])
    files.write_bytes(target, data.tobytes())


def write_frames(film: pathlib.Path, targets: dict[int, pathlib.Path]) -> None:
    """Writes frames of a film as JPEGs, by their numbers."""
    for number, image in films.frames(film, targets):
        targets[number].parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(targets[number], films.encode(image))


def write_encoded(data: bytes, target: pathlib.Path) -> None:
    """Writes an image that was inside of the labels' file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(target, data)
