"""Leeds Sports Pose and its extension: joints.mat, whose images are images/im0001.jpg, …

Of 14 joints there are x, y and a flag: 3 x 14 x n in LSP, where the flag 1 means hidden, and
14 x 3 x n in its extension, where it means visible (README files of the datasets). MATLAB counts
pixels from 1.
"""

import io
import pathlib

import numpy as np

from data_pipelines import files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet

LARGEST_FILE = 2**26  # bytes
LARGEST_ARRAY = 2**24  # entries
LEG, ARM = ("ankle", "knee", "hip"), ("wrist", "elbow", "shoulder")
NAMES = (
    *(f"right_{part}" for part in LEG),
    *(f"left_{part}" for part in reversed(LEG)),
    *(f"right_{part}" for part in ARM),
    *(f"left_{part}" for part in reversed(ARM)),
    *("neck", "head_top"),
)
JOINTS = JointSet(
    "person",
    NAMES,
    limbs=(
        *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 12), (12, 9), (9, 10)),
        *((10, 11), (12, 13)),
    ),
)
FIRST_PIXEL = 1.0


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a joints.mat."""
    collector = columns.Collector()
    joint_set = collector.add_set(JOINTS)
    for path in options.find_files(source, (".mat",), what="joints.mat of LSP"):
        people, extended = _load(path)
        digits = 5 if extended else 4
        for number, person in enumerate(people, start=1):
            row = collector.add_image(Image(f"im{number:0{digits}d}.jpg"))
            points, flags = person[:, :2] - FIRST_PIXEL, person[:, 2]
            if extended:  # where hidden joints are not labeled
                shown = np.where(flags > 0, columns.VISIBLE, 0)
            else:
                shown = np.where(flags > 0, columns.HIDDEN, columns.VISIBLE)
            joints = np.concatenate([points, shown[:, None]], axis=1)
            collector.add(row, joint_set, joints.tolist())
        what = "a file of the extension (14 x 3 x n)" if extended else "LSP's own (3 x 14 x n)"
        collector.notes.guessed(f"by its shape it is {what}, counted from 1", str(path))
    return collector.labels(upright=False)


def _load(path):
    """The (n, 14, 3) numbers of a .mat, and whether it is of the extension."""
    import scipy.io  # which takes a moment to import

    contents = files.read_bytes(path, limit=LARGEST_FILE)
    try:
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(io.BytesIO(contents))}
        shape = shapes.get("joints", ())
        if np.prod(shape) > LARGEST_ARRAY:
            raise ValueError("too large")
        read = scipy.io.loadmat(io.BytesIO(contents), variable_names=["joints"])
        joints = np.asarray(read.get("joints", ()), float)
    except Exception as error:  # SciPy's reader raises whatever a damaged file leads to
        raise ValueError(f"{path} is damaged or not LSP's ({error})") from error
    extended = joints.shape[:2] == (len(NAMES), 3)
    if joints.ndim != 3 or not (extended or joints.shape[:2] == (3, len(NAMES))):
        raise ValueError(f"{path}: joints is {joints.shape}; expected 3 x 14 x n or 14 x 3 x n")
    if not np.isfinite(joints).all():
        raise ValueError(f"{path}: joints holds NaN or infinite numbers")
    return joints.transpose((2, 0, 1) if extended else (2, 1, 0)), extended
