"""Datasets in COCO's format that need no more than their joints and the places of their files.

The places are those of mmpose's documentation. Columns beside the example's: those of `people`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from data_pipelines import ground_truth, skeletons, splits
from data_pipelines.coco_columns import COCO_FORM, JointForm
from data_pipelines.messages import choices
from data_pipelines.readers import people
from data_pipelines.readers.request import Request
from data_pipelines.skeletons import Skeleton, whole_body


@dataclasses.dataclass(frozen=True)
class Layout:
    """A dataset: its joints, and where the annotations and the images of every split are.

    `images` are tried in turn; the empty name is the root. `page` says where to get the files. The
    other fields are those of `people.read`.
    """

    title: str
    page: str
    skeleton: Skeleton
    annotations: Mapping[str, tuple[str, ...]]
    images: Mapping[str, tuple[str, ...]]
    category: str = "person"
    trust_areas: bool = True
    form: JointForm = COCO_FORM


def read(layout: Layout, request: Request) -> splits.Split:
    """The people or animals of one split, in annotated boxes or in a detector's."""
    if request.split not in layout.annotations:
        what = f"{layout.title} split"
        raise ValueError(choices.unknown(what, request.split, layout.annotations))
    files, folders = layout.annotations[request.split], layout.images[request.split]
    path = splits.find(request.root, files, _help(layout))
    folder = splits.find_images(request.root, folders, _help(layout))
    return people.read(request, path, folder, layout.skeleton, **rules(layout))


def rules(layout: Layout) -> dict[str, Any]:
    """How an annotation file of a dataset is read: arguments of `ground_truth.read`."""
    return {
        "category": layout.category,
        "trust_areas": layout.trust_areas,
        "form": layout.form,
    }


def reader(name: str) -> Callable[[Request], splits.Split]:
    """The reader of a dataset of LAYOUTS."""
    return functools.partial(read, LAYOUTS[name])


def _help(layout):
    wanted = ", ".join(names[0] for names in layout.annotations.values())
    images = ", ".join(dict.fromkeys(n[0] or "the images" for n in layout.images.values()))
    return f"""{layout.title} wants, below its root, {wanted}
and {images}. Get them from {layout.page}; mmpose's documentation has links to the annotations in
COCO's format."""


def _annotations(pattern: str, *names: str, **renamed: str) -> dict[str, tuple[str, ...]]:
    """A file for every split, named by it or, where `renamed` says so, by another word."""
    words = {**{name: name for name in names}, **renamed}
    return {split: (pattern.format(word),) for split, word in words.items()}


def _everywhere(annotations: Mapping, *folders: str) -> dict[str, tuple[str, ...]]:
    """The same folders of images for every split."""
    return dict.fromkeys(annotations, folders)


_AP10K = _annotations("annotations/ap10k-{}-split1.json", "train", "val", "test")
_ANIMAL_POSE = _annotations("annotations/animalpose_{}.json", "train", "val", "trainval", "test")
_JHMDB = _annotations("annotations/Sub1_{}.json", "train", "test")
_JHMDB |= {
    f"sub{number}_{split}": (f"annotations/Sub{number}_{split}.json",)
    for number in (2, 3)
    for split in ("train", "test")
}
_POSETRACK18 = _annotations("annotations/posetrack18_{}.json", "train", "val")
_HUMAN_ART = {
    split: tuple(f"{folder}annotations/{word}_humanart.json" for folder in ("HumanArt/", ""))
    for split, word in (("train", "training"), ("val", "validation"))
}
_AIC_FOLDERS = {
    "train": "ai_challenger_keypoint_train_20170902/keypoint_train_images_20170902",
    "val": "ai_challenger_keypoint_validation_20170911/keypoint_validation_images_20170911",
}

LAYOUTS = {
    # One joint set for 54 species, each a category of its own.
    "ap10k": Layout(
        title="AP-10K",
        page="github.com/AlexTheBad/AP-10K",
        skeleton=skeletons.AP10K,
        annotations=_AP10K,
        images=_everywhere(_AP10K, "data", "images"),
        category=ground_truth.EVERY,
    ),
    "animalpose": Layout(
        title="Animal-Pose",
        page="sites.google.com/view/animal-pose",
        skeleton=skeletons.ANIMAL_POSE,
        annotations=_ANIMAL_POSE,
        images=_everywhere(_ANIMAL_POSE, "images", ""),
        category=ground_truth.EVERY,
    ),
    # The files name no joints; the body and the feet are the first of 136.
    "halpe26": Layout(
        title="Halpe",
        page="github.com/Fang-Haoshu/Halpe-FullBody",
        skeleton=skeletons.HALPE_26,
        annotations=_annotations("annotations/halpe_{}_v1.json", "train", "val"),
        images={"train": ("hico_20160224_det/images/train2015",), "val": ("val2017",)},
        form=JointForm(leading=True),
    ),
    # Visibility of hands is a score, such as 0.087, for a part of the people.
    "coco_wholebody": Layout(
        title="COCO-WholeBody",
        page="github.com/jin-s13/COCO-WholeBody",
        skeleton=skeletons.COCO_WHOLEBODY,
        annotations=_annotations("annotations/coco_wholebody_{}_v1.0.json", "train", "val"),
        images={name: (f"{name}2017", f"images/{name}2017") for name in ("train", "val")},
        form=JointForm(fields=whole_body.FIELDS, scores=True),
    ),
    # There are no areas; mmpose evaluates with CrowdPose's, and so does this.
    "aic": Layout(
        title="AI Challenger",
        page="github.com/AIChallenger/AI_Challenger_2017",
        skeleton=skeletons.AI_CHALLENGER,
        annotations=_annotations("annotations/aic_{}.json", "train", "val"),
        images={split: (folder, "images") for split, folder in _AIC_FOLDERS.items()},
        trust_areas=False,
    ),
    # The category names 21 joints, of which `keypoints` has COCO's 17.
    "humanart": Layout(
        title="Human-Art",
        page="idea-research.github.io/HumanArt",
        skeleton=skeletons.COCO,
        annotations=_HUMAN_ART,
        images=_everywhere(_HUMAN_ART, ""),
    ),
    # MATLAB's coordinates: the first pixel is 1 (mmpose's jhmdb_dataset.py subtracts it, too).
    "jhmdb": Layout(
        title="JHMDB",
        page="jhmdb.is.tue.mpg.de",
        skeleton=skeletons.JHMDB,
        annotations=_JHMDB,
        images=_everywhere(_JHMDB, "Rename_Images", ""),
        form=JointForm(first_pixel=1.0),
    ),
    "posetrack18": Layout(
        title="PoseTrack18",
        page="posetrack.net",
        skeleton=skeletons.POSETRACK18,
        annotations=_POSETRACK18,
        images=_everywhere(_POSETRACK18, ""),
        form=JointForm(heads=True),
    ),
}
