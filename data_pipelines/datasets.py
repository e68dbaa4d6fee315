"""The registry of datasets: how each is read, and the facts about it that recipes use.

Importing it is cheap: no decoder of images, no grain, no SciPy.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from data_pipelines import skeletons
from data_pipelines.messages import choices
from data_pipelines.readers import coco, crowdpose, custom, mpii, ochuman, published, request
from data_pipelines.readers.request import ANNOTATED, Request
from data_pipelines.splits import Split


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The facts about one dataset.

    `skeleton` is None where the files say which joints there are. `read` gives one of `splits`;
    `metric` is one of `hrjax.evaluation.metrics`; `root` is where the files are by default, and
    `input_size` the usual (height, width) of the crops.
    `detected_boxes` says whether it can be evaluated in a detector's boxes.
    """

    skeleton: skeletons.Skeleton | None
    read: Callable[[Request], Split]
    splits: tuple[str, ...]
    train_split: str
    eval_split: str
    metric: str
    root: str
    input_size: tuple[int, int]
    detected_boxes: bool


DATASETS = {
    "mpii": Dataset(
        skeleton=skeletons.MPII,
        read=mpii.read,
        splits=tuple(mpii.SPLITS),
        train_split="train",
        eval_split="val",
        metric="pckh",
        root="data/mpii",
        input_size=(256, 256),
        detected_boxes=False,
    ),
    "coco": Dataset(
        skeleton=skeletons.COCO,
        read=coco.read,
        splits=coco.SPLITS,
        train_split="train",
        eval_split="val",
        metric="coco_ap",
        root="data/coco",
        input_size=(256, 192),
        detected_boxes=True,
    ),
    "crowdpose": Dataset(
        skeleton=skeletons.CROWDPOSE,
        read=crowdpose.read,
        splits=crowdpose.SPLITS,
        train_split="trainval",
        eval_split="test",
        metric="crowdpose_ap",
        root="data/crowdpose",
        input_size=(256, 192),
        detected_boxes=True,
    ),
    "ochuman": Dataset(
        skeleton=skeletons.COCO,
        read=ochuman.read,
        splits=ochuman.SPLITS,
        train_split="val",
        eval_split="val",
        metric="coco_ap",
        root="data/ochuman",
        input_size=(256, 192),
        detected_boxes=False,
    ),
    "custom": Dataset(
        skeleton=None,
        read=custom.read,
        splits=custom.SPLITS,
        train_split="train",
        eval_split="val",
        metric="keypoints",
        root="data/custom",
        input_size=(256, 192),
        detected_boxes=True,
    ),
}


def _published(name, *, eval_split="val", metric="coco_ap", input_size=(256, 192), boxes=True):
    """The entry of a dataset of `published.LAYOUTS`."""
    layout = published.LAYOUTS[name]
    return Dataset(
        skeleton=layout.skeleton,
        read=published.reader(name),
        splits=tuple(layout.annotations),
        train_split="train",
        eval_split=eval_split,
        metric=metric,
        root=f"data/{name}",
        input_size=input_size,
        detected_boxes=boxes,
    )


# Animals are evaluated in their annotated boxes, in square crops.
DATASETS |= {
    "ap10k": _published("ap10k", input_size=(256, 256), boxes=False),
    "animalpose": _published("animalpose", input_size=(256, 256), boxes=False),
    "halpe26": _published("halpe26"),
    "coco_wholebody": _published("coco_wholebody"),
    "aic": _published("aic"),
    "humanart": _published("humanart"),
    "jhmdb": _published("jhmdb", eval_split="test", metric="jhmdb", input_size=(256, 256)),
    "posetrack18": _published("posetrack18", metric="posetrack"),
}


def find(dataset: str) -> Dataset:
    """The entry of DATASETS."""
    if dataset not in DATASETS:
        raise ValueError(choices.unknown("dataset", dataset, DATASETS))
    return DATASETS[dataset]


def name_of(skeleton: skeletons.Skeleton) -> str:
    """The first dataset whose people have these joints; "" for joints of one's own."""
    return next((name for name, entry in DATASETS.items() if entry.skeleton == skeleton), "")


def with_joints(count: int) -> str:
    """The name of the first dataset whose people have so many joints."""
    counts = {name: entry.skeleton.num_joints for name, entry in DATASETS.items() if entry.skeleton}
    if count not in counts.values():
        known = ", ".join(f"{joints} ({name})" for name, joints in counts.items())
        raise ValueError(f"no known dataset has {count} joints; expected one of: {known}")
    return next(name for name, joints in counts.items() if joints == count)


def read(
    dataset: str, root: str, split: str, *, boxes: str = ANNOTATED, threshold: float = 0.0
) -> Split:
    """One split of a dataset of DATASETS, from the files below `root`.

    `boxes` is "gt" for the annotated people, or a file of detections, of which those with a score
    of at least `threshold` are read.
    """
    return read_request(dataset, Request(root, split, boxes, threshold))


def read_request(dataset: str, request: Request) -> Split:
    """The people of a dataset of DATASETS that a request wants."""
    entry = find(dataset)
    if request.boxes != ANNOTATED and not entry.detected_boxes:
        raise ValueError(
            f"{dataset} is evaluated with its annotated boxes only; got the detections "
            f"{request.boxes}"
        )
    return entry.read(request)


def read_config(data: Any, split: str, *, boxes: str = ANNOTATED, threshold: float = 0.0) -> Split:
    """One split of the dataset that `data`, the config's section of that name, describes.

    `boxes` and `threshold` as in `read`.
    """
    wanted = request.from_config(data, split, boxes=boxes, threshold=threshold)
    people = read_request(data.dataset, wanted)
    if data.records:
        # tensorflow-datasets takes seconds to import, and few need it.
        from data_pipelines import records

        return records.attach(people, data.root)
    _check_folder(people)
    return people


def _check_folder(split: Split) -> None:
    folder = pathlib.Path(split[0]["image_path"]).parent if len(split) else None
    if folder and not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}; if its images are in records, set "
            "config.data.records=True"
        )
