"""SLEAP's analysis files (.h5), tracked predictions that may serve as first labels.

`tracks` is stored as MATLAB reads it (track, xy, node, frame) or the other way round, which its
attribute dims says; without it the order is MATLAB's. Joints that are NaN were not found.
"""

import pathlib

import numpy as np

from data_pipelines import json_files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Frame, Image, JointSet
from data_pipelines.labels.readers import hdf5_files

MATLAB = ("track", "xy", "node", "frame")
STANDARD = ("frame", "track", "node", "xy")


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The instances of an analysis file, or of all below a folder."""
    collector = columns.Collector()
    for path in options.find_files(source, (".h5", ".hdf5"), what="SLEAP's analysis file, .h5"):
        with hdf5_files.opened(path) as file:
            _read_file(path, file, collector)
    collector.notes.guessed(
        "labels are SLEAP's predictions, also where they were corrected", str(source)
    )
    return collector.labels()


def _read_file(path, file, collector):
    names = tuple(hdf5_files.texts(file, "node_names"))
    options.check_unique(names, str(path))
    tracks, film = _tracks(path, file, len(names)), _film(file)
    limbs = ()
    if hdf5_files.has(file, "edge_inds"):
        pairs = hdf5_files.array(file, "edge_inds").reshape(-1, 2).tolist()
        limbs = tuple((int(a), int(b)) for a, b in pairs if max(a, b) < len(names) > min(a, b) >= 0)
    joint_set = collector.add_set(JointSet("animal", names, limbs=limbs))
    for number, frame in enumerate(tracks):
        shown = np.isfinite(frame).all(axis=-1)
        if not shown.any():
            continue
        image = Image(
            f"{path.name.split('.')[0]}/frame_{number:06d}", group=film, frame=Frame(film, number)
        )
        row = collector.add_image(image)
        for points, labeled in zip(frame, shown, strict=True):
            if labeled.any():
                values = np.where(labeled[:, None], points, 0)
                joints = np.concatenate([values, columns.VISIBLE * labeled[:, None]], axis=-1)
                collector.add(row, joint_set, joints.tolist())


def _tracks(path, file, joints):
    """The tracks as (frame, track, joint, xy)."""
    found = hdf5_files.dataset(file, "tracks")
    order = MATLAB
    if "dims" in found.attrs:
        text = found.attrs["dims"]
        order = json_files.parse(path, text if isinstance(text, bytes) else str(text).encode())
    tracks = np.asarray(found[()], float)
    if tracks.ndim != 4 or sorted(map(str, order)) != sorted(STANDARD):
        raise ValueError(f"{path}: tracks has the axes {columns.shown(order)}; expected {STANDARD}")
    tracks = tracks.transpose([list(order).index(axis) for axis in STANDARD])
    if tracks.shape[2:] != (joints, 2):
        raise ValueError(f"{path}: tracks has the shape {tracks.shape} for {joints} joints")
    return tracks


def _film(file):
    if not hdf5_files.has(file, "video_path"):
        return "video"
    names = hdf5_files.texts(file, "video_path")
    return (names[0] if names else "").replace("\\", "/") or "video"
