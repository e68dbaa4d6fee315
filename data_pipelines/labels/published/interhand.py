"""InterHand2.6M: both hands in 3D, put into the images by their cameras.

Three files belong together: …_data.json (images and boxes), …_camera.json and …_joint_3d.json. A
joint is where its camera sees it: rotation (world - position), divided by the depth, times the
focal length, plus the principal point.
"""

import itertools
import pathlib

import numpy as np

from data_pipelines import json_files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
HAND = (*(f"{finger}{place}" for finger in FINGERS for place in (4, 3, 2, 1)), "wrist")
SIDES = ("right", "left")
NAMES = tuple(f"{side}_{joint}" for side in SIDES for joint in HAND)
WRIST = len(HAND) - 1


def _limbs(first):
    """The limbs of a hand: from the tip of every finger to the wrist."""
    chains = [(*range(4 * f, 4 * f + 4), WRIST) for f in range(len(FINGERS))]
    pairs = [pair for chain in chains for pair in itertools.pairwise(chain)]
    return [(first + a, first + b) for a, b in pairs]


JOINTS = JointSet("hands", NAMES, limbs=(*_limbs(0), *_limbs(len(HAND))))


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a folder with the three files of every split, or of one …_data.json."""
    found = options.find_files(source, (".json",), what="InterHand2.6M's …_data.json")
    paths = [path for path in found if path.name.endswith("_data.json")]
    if not paths:
        raise FileNotFoundError(f"there is no …_data.json in {source}")
    collector = columns.Collector()
    joint_set = collector.add_set(JOINTS)
    for path in paths:
        stem = path.name.removesuffix("data.json")
        cameras, worlds = (
            json_files.read_json(path.with_name(f"{stem}{name}.json"), expected=dict)
            for name in ("camera", "joint_3d")
        )
        document = json_files.read_json(path, expected=dict)
        images = {image["id"]: image for image in document["images"]}
        splits = [columns.split_name(word) for word in stem.split("_")]
        for number, entry in enumerate(document["annotations"]):
            place = f"{path}: annotation {number}"
            image = images[entry["image_id"]]
            joints = _joints(place, entry, image, cameras, worlds)
            size = tuple(columns.number(image[side], place, side) for side in ("height", "width"))
            group = f"{image['capture']}/{image['seq_name']}"
            split = next(filter(None, splits), "")
            known = Image(str(image["file_name"]), size=size, split=split, group=group)
            box = columns.numbers(entry["bbox"], 4, place, "bbox")
            collector.add(collector.add_image(known), joint_set, joints, box)
    return collector.labels(upright=False)


def _joints(place, entry, image, cameras, worlds):
    """The joints of both hands in pixels of an image, (x, y, visibility)."""
    capture, frame = str(image["capture"]), str(image["frame_idx"])
    camera, world = cameras[capture], worlds[capture][frame]
    own = {name: _array(place, name, camera[name][str(image["camera"])]) for name in camera}
    points = _array(place, "world_coord", world["world_coord"])
    if points.shape != (len(NAMES), 3) or own["camrot"].shape != (3, 3):
        raise ValueError(f"{place}: world_coord is {points.shape}; expected {(len(NAMES), 3)}")
    seen = (points - own["campos"]) @ own["camrot"].T
    depth = seen[:, 2:]
    pixels = seen[:, :2] / np.where(depth > 0, depth, np.nan) * own["focal"] + own["princpt"]
    valid = [_array(place, "joint_valid", x["joint_valid"]).ravel() > 0 for x in (entry, world)]
    if any(len(flags) != len(NAMES) for flags in valid):
        raise ValueError(f"{place}: joint_valid is not of {len(NAMES)} joints")
    shown = valid[0] & valid[1] & np.isfinite(pixels).all(axis=1)
    rows = np.concatenate([np.nan_to_num(pixels), columns.VISIBLE * shown[:, None]], axis=1)
    return rows.tolist()


def _array(place, name, values):
    try:
        array = np.array(values, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {name} holds something that is not a number") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{place}: {name} holds NaN or infinite numbers")
    return array
