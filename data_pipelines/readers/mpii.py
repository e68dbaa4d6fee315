"""MPII Human Pose: people by annotated center and scale, and the ground truth of PCKh.

    root/annotations/mpii_{train,val,trainval,test}.json, mpii_gt_val.mat     (mmpose's names)
    root/annot/{train,valid,trainval,test}.json, gt_valid.mat                 (the official HRNet's)
    root/images/*.jpg

The people of the split test have boxes only: their joints are not public, none is visible here.

Columns beside the example's, for PCKh, float64, in 0-based pixels: head_size (), 0.6 times the
diagonal of the head box; truth_keypoints (16, 2); truth_visible (16,). They come from the .mat,
which covers the validation split only; without it head_size is NaN and the truth is the example's.
"""

import io
import os
import pathlib

import numpy as np

from data_pipelines import coco_json, files, geometry, json_files, splits
from data_pipelines.messages import choices
from data_pipelines.readers.request import Request
from data_pipelines.skeletons import MPII

SPLITS = {"train": "train", "val": "valid", "trainval": "trainval", "test": "test"}
HELP = """MPII wants, below its root, the folder images, annotations/mpii_{train,val,trainval}.json
and annotations/mpii_gt_val.mat (or annot/{train,valid,trainval}.json and annot/gt_valid.mat). Get
the images from human-pose.mpi-inf.mpg.de and the annotation files from where the documentation of
the official HRNet or of mmpose says, and unpack all of them into the root."""
BOX_FIELDS = ("image", "center", "scale")
LARGEST_MAT = 2**28  # bytes; the file has 3 MB
FIELDS = (*BOX_FIELDS, "joints", "joints_vis")
NO_PLACE = "people are left out: their scale is not positive or their center is not a number"


def read(request: Request) -> splits.Split:
    """The people of one split, in the order of the file, which is the order of the .mat.

    Those whose scale is not positive or whose center is not a number are dropped.
    """
    split = request.split
    if split not in SPLITS:
        raise ValueError(choices.unknown("MPII split", split, SPLITS))
    names = [f"annotations/mpii_{split}.json", f"annot/{SPLITS[split]}.json"]
    path = splits.find(request.root, names, HELP)
    folder = splits.find_images(request.root, ["images"], HELP)
    people = json_files.read_json(path, expected=list)
    json_files.require_fields(path, "person", people, BOX_FIELDS if split == "test" else FIELDS)
    if not people:
        raise ValueError(f"{path} is an empty list: there are no people to use")
    centers, scales = _numbers(path, people, "center", (2,)), _numbers(path, people, "scale", ())
    usable = (np.abs(centers) < geometry.LARGEST).all(axis=1)
    usable &= (scales > 0) & (scales < geometry.LARGEST)
    if not usable.any():
        raise ValueError(f"{path} has no people to use: no scale is above 0 at a finite center")
    placed = np.where(usable[:, None], centers, 0), np.where(usable, scales, 0)
    columns = _boxes(path, folder, people, *placed)
    columns |= _joints(path, people) if split != "test" else _no_joints(len(people))
    columns |= _truth(path, split, columns)
    places = [
        f"person {row} in {people[row]['image']} (scale {scales[row]:g}, center "
        f"{centers[row, 0]:g}, {centers[row, 1]:g})"
        for row in np.flatnonzero(~usable).tolist()
    ]
    return splits.Split(
        split,
        MPII,
        str(path),
        {name: column[usable] for name, column in columns.items()},
        dropped={"without scale or center": len(places)},
        defects={NO_PLACE: tuple(places)} if places else {},
    )


def _boxes(path, folder, people, centers, scales):
    center, size = geometry.mpii_center_size(centers, scales)
    return {
        "image_path": splits.path_column([str(folder / name) for name in _images(path, people)]),
        "center": center.astype(np.float32),
        "size": size.astype(np.float32),
    }


def _images(path, people):
    names = [person["image"] for person in people]
    for row, name in enumerate(names):
        problem = files.name_problem(name)
        if problem or os.path.isabs(name):
            problem = problem or "expected the name of a file in the folder of images"
            raise ValueError(f"{path}: image of person {row} is {coco_json.shown(name)}; {problem}")
    return names


def _joints(path: pathlib.Path, people: list[dict]) -> dict:
    joints = _numbers(path, people, "joints", (MPII.num_joints, 2)) - 1
    visible = _numbers(path, people, "joints_vis", (MPII.num_joints,)) > 0
    lost = ~(np.abs(joints) < geometry.LARGEST).all(axis=-1)
    if (lost & visible).any():
        row, joint = (int(axis[0]) for axis in np.nonzero(lost & visible))
        raise ValueError(
            f"{path}: joints of person {row} holds NaN or an infinite number for "
            f"{MPII.names[joint]}, which is visible "
            "by joints_vis"
        )
    joints[lost] = 0
    return {"keypoints": joints.astype(np.float32), "visible": visible.astype(np.float32)}


def _no_joints(count: int) -> dict:
    return {
        "keypoints": np.zeros((count, MPII.num_joints, 2), np.float32),
        "visible": np.zeros((count, MPII.num_joints), np.float32),
    }


def _numbers(path: pathlib.Path, people: list[dict], field: str, shape: tuple) -> np.ndarray:
    return json_files.number_array(path, field, [person[field] for person in people], shape)


def _truth(path: pathlib.Path, split: str, columns: dict) -> dict:
    """The three columns of PCKh, from the .mat beside `path` where there is one."""
    count = len(columns["image_path"])
    mat = path.with_name("mpii_gt_val.mat" if path.name.startswith("mpii_") else "gt_valid.mat")
    if split != "val" or not mat.exists():
        return {
            "head_size": np.full(count, np.nan),
            "truth_keypoints": columns["keypoints"].astype(np.float64),
            "truth_visible": columns["visible"].astype(np.float64),
        }
    boxes, joints, missing = _read_mat(mat, path, count)
    return {
        "head_size": 0.6 * np.linalg.norm(boxes[1] - boxes[0], axis=0),
        "truth_keypoints": np.moveaxis(joints, -1, 0) - 1.0,
        "truth_visible": 1.0 - missing.T,
    }


def _read_mat(mat, path, count):
    """The head boxes, the joints and which of them are missing, of `count` people, as float64."""
    import scipy.io  # which only MPII's ground truth needs

    expected = {
        "headboxes_src": (2, 2, count),
        "pos_gt_src": (MPII.num_joints, 2, count),
        "jnt_missing": (MPII.num_joints, count),
    }
    contents = files.read_bytes(mat, limit=LARGEST_MAT)
    try:
        # Before any array is unpacked: a few bytes can claim gigabytes.
        shapes = {name: tuple(shape) for name, shape, _ in scipy.io.whosmat(io.BytesIO(contents))}
        shapes = {name: shapes[name] for name in expected}
        if shapes == expected:
            truth = scipy.io.loadmat(io.BytesIO(contents), variable_names=[*expected])
            return [np.asarray(truth[name], np.float64) for name in expected]
    except Exception as error:  # SciPy's reader raises whatever a damaged file leads to
        raise ValueError(f"{mat} is damaged or not MPII's ground truth ({error!r})") from error
    people = shapes["jnt_missing"][-1]
    raise ValueError(
        f"{mat} is about {people} people and {path} about {count}: they must be of the same split"
    )
