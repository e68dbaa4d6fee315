"""The registry of datasets: how each is read, and what is usual for it."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from data_pipelines import skeletons
from data_pipelines.readers import coco, crowdpose, custom, mpii, ochuman
from data_pipelines.splits import Split


@dataclasses.dataclass(frozen=True)
class Dataset:
    """How to read one dataset: its joints, its reader `read(root, split)` and usual choices.

    `skeleton` is None where it is the files that say it. `metric` is "pckh", "coco_ap",
    "crowdpose_ap" or "keypoints", COCO's AP for any joints; `root` is where the files are looked
    for by default; `read_detections(root, split, file, threshold)` reads a detector's boxes where
    there are such.
    """

    skeleton: skeletons.Skeleton | None
    read: Callable[[str, str], Split]
    train_split: str
    eval_split: str
    metric: str
    root: str
    read_detections: Callable[[str, str, str, float], Split] | None = None


DATASETS = {
    "mpii": Dataset(skeletons.MPII, mpii.read, "train", "val", "pckh", "data/mpii"),
    "coco": Dataset(
        *(skeletons.COCO, coco.read, "train", "val", "coco_ap", "data/coco"),
        read_detections=coco.read_detections,
    ),
    "crowdpose": Dataset(
        *(skeletons.CROWDPOSE, crowdpose.read, "trainval", "test", "crowdpose_ap"),
        root="data/crowdpose",
        read_detections=crowdpose.read_detections,
    ),
    "ochuman": Dataset(skeletons.COCO, ochuman.read, "val", "val", "coco_ap", "data/ochuman"),
    "custom": Dataset(
        *(None, custom.read, "train", "val", "keypoints", "data/custom"),
        read_detections=custom.read_detections,
    ),
}


def find(dataset: str) -> Dataset:
    """The entry of DATASETS."""
    if dataset not in DATASETS:
        raise ValueError(f"unknown dataset {dataset!r}; choose one of: {', '.join(DATASETS)}")
    return DATASETS[dataset]


def read(
    dataset: str, root: str, split: str, *, boxes: str = "gt", threshold: float = 0.0
) -> Split:
    """One split of a dataset of DATASETS, from the files below `root`.

    `boxes` is "gt" for the annotated people, or a file of detections, of which those with a score
    of at least `threshold` are read.
    """
    entry = find(dataset)
    if boxes == "gt":
        return entry.read(root, split)
    if entry.read_detections is None:
        raise ValueError(
            f"{dataset} is evaluated with its annotated boxes only; got the detections {boxes}"
        )
    return entry.read_detections(root, split, boxes, threshold)


def read_config(data: Any, split: str, *, boxes: str = "gt", threshold: float = 0.0) -> Split:
    """One split of the dataset that `data`, the config's section of that name, describes.

    `boxes` and `threshold` as in `read`.
    """
    if data.dataset != "custom":
        found = read(data.dataset, data.root, split, boxes=boxes, threshold=threshold)
    elif boxes == "gt":
        found = custom.read(data.root, split, **custom.options(data, split))
    else:
        chosen = custom.options(data, split)
        found = custom.read_detections(data.root, split, boxes, threshold, **chosen)
    if data.records:
        # tensorflow-datasets takes seconds to import, so only those who need it do.
        from data_pipelines import records

        return records.attach(found, data.root)
    _check_folder(found)
    return found


def _check_folder(split: Split) -> None:
    folder = pathlib.Path(split[0]["image_path"]).parent if len(split) else None
    if folder and not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}; if its images are in records, add "
            "--config.data.records=True"
        )
