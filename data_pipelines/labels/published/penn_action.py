"""Penn Action: labels/NNNN.mat of a film each, whose frames are frames/NNNN/FFFFFF.jpg.

Joints are 13 by the dataset's README; MATLAB counts pixels from 1. A joint that is not visible is
hidden, since its place is labeled nevertheless.
"""

import io
import pathlib

import numpy as np

from data_pipelines import files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet

LARGEST_FILE = 2**26  # bytes
LARGEST_ARRAY = 2**24  # entries
SIDES = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
NAMES = ("head", *(f"{side}_{part}" for part in SIDES for side in ("left", "right")))
JOINTS = JointSet(
    "person",
    NAMES,
    limbs=(
        *((0, 1), (0, 2), (1, 2), (1, 3), (3, 5), (2, 4), (4, 6), (1, 7), (2, 8), (7, 8)),
        *((7, 9), (9, 11), (8, 10), (10, 12)),
    ),
)
FIRST_PIXEL = 1.0


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of one .mat, or of all below a folder."""
    collector = columns.Collector()
    joint_set = collector.add_set(JOINTS)
    for path in options.find_files(source, (".mat",), what="labels/*.mat of Penn Action"):
        _read_film(path, joint_set, collector)
    collector.notes.guessed(
        "pixels are counted from 1, as MATLAB does; no file says it", str(source)
    )
    return collector.labels(upright=False)


def _read_film(path, joint_set, collector):
    film = _load(path)
    count = film["x"].shape[0]
    size = tuple(film["dimensions"].reshape(-1)[:2].tolist())
    split = "train" if film["train"].reshape(-1)[0] > 0 else "val"
    for frame in range(count):
        name = f"{path.stem}/{frame + 1:06d}.jpg"
        row = collector.add_image(Image(name, size=size, split=split, group=path.stem))
        points = np.stack([film["x"][frame], film["y"][frame]], axis=-1) - FIRST_PIXEL
        shown = np.where(film["visibility"][frame] > 0, columns.VISIBLE, columns.HIDDEN)
        joints = np.concatenate([points, shown[:, None]], axis=-1)
        box = None
        if frame < len(film["bbox"]):
            x0, y0, x1, y1 = (film["bbox"][frame] - [FIRST_PIXEL] * 4).tolist()
            box = (x0, y0, x1 - x0, y1 - y0)
        else:
            collector.notes.lost("frames without a box", f"{path}: frame {frame + 1}")
        collector.add(row, joint_set, joints.tolist(), box)


def _load(path):
    """The arrays of a .mat, checked before they are unpacked."""
    import scipy.io  # which takes a moment to import

    names = ("x", "y", "visibility", "bbox", "dimensions", "train")
    contents = files.read_bytes(path, limit=LARGEST_FILE)
    try:
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(io.BytesIO(contents))}
        missing = [name for name in names if name not in shapes]
        if missing or any(np.prod(shapes[name]) > LARGEST_ARRAY for name in names):
            raise ValueError(f"it lacks {', '.join(missing)}" if missing else "too large")
        film = scipy.io.loadmat(io.BytesIO(contents), variable_names=[*names])
        film = {name: np.asarray(film[name], float) for name in names}
    except Exception as error:  # SciPy's reader raises whatever a damaged file leads to
        raise ValueError(f"{path} is damaged or not Penn Action's ({error})") from error
    joints = len(NAMES)
    good = film["x"].shape == film["y"].shape == film["visibility"].shape
    good = good and film["x"].ndim == 2 and film["x"].shape[1] == joints
    good = good and film["bbox"].ndim == 2 and film["bbox"].shape[1] == 4
    finite = all(np.isfinite(film[name]).all() for name in names)
    if not good or not finite or film["dimensions"].size < 2:
        raise ValueError(f"{path}: expected frames x {joints} finite numbers x, y and visibility")
    return film
