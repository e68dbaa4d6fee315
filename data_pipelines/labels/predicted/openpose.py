"""OpenPose's output: a JSON of people per image, predictions that may serve as first labels.

Joints that were not found are 0, 0, 0 (OpenPose, doc/02_output.md); the image has the file's name
without _keypoints.json.
"""

import pathlib

from data_pipelines import json_files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet

BODY_25 = (
    *("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder"),
    *("left_elbow", "left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip"),
    *("left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear"),
    *("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe"),
    "right_heel",
)
COCO_18 = (*BODY_25[:8], *BODY_25[9:19])
MPI_15 = ("head", *BODY_25[1:8], *BODY_25[9:15], "chest")
KNOWN = {len(names): names for names in (BODY_25, COCO_18, MPI_15)}


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The people of a JSON file, or of all below a folder."""
    collector = columns.Collector()
    for path in options.find_files(source, (".json",), what="OpenPose's …_keypoints.json"):
        document = json_files.read_json(path, expected=dict)
        people = document.get("people")
        if not isinstance(people, list):
            raise ValueError(f"{path} has no list 'people': it is not OpenPose's output")
        row = collector.add_image(Image(path.stem.removesuffix("_keypoints")))
        for number, person in enumerate(people):
            _read_person(f"{path}: person {number}", person, row, given, collector)
    collector.notes.guessed("labels are OpenPose's predictions", str(source))
    return collector.labels()


def _read_person(place, person, row, given, collector):
    values = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
    if not isinstance(values, list) or not values or len(values) % 3:
        raise ValueError(f"{place} has no pose_keypoints_2d of x, y and score of every joint")
    count = len(values) // 3
    names = given.joints or KNOWN.get(count)
    if names is None:
        known = ", ".join(map(str, KNOWN))
        raise ValueError(f"{place} has {count} joints; known are {known}: name the joints")
    values = columns.numbers(values, 3 * len(names), place, "pose_keypoints_2d")
    joints = predicted(values[::3], values[1::3], values[2::3], given.min_score)
    if any(person.get(part) for part in ("face_keypoints_2d", "hand_left_keypoints_2d")):
        collector.notes.lost("faces and hands", place)
    if any(joint[2] for joint in joints):
        joint_set = collector.add_set(JointSet("person", tuple(names)))
        collector.add(row, joint_set, joints)
    else:
        collector.notes.lost("people without a joint of enough score", place)


def predicted(
    xs: list[float], ys: list[float], scores: list[float], least: float
) -> list[tuple[float, float, int]]:
    """Joints (x, y, visibility) of predictions: labeled where the score is at least `least`."""
    rows = zip(xs, ys, scores, strict=True)
    return [
        (x, y, columns.VISIBLE) if score >= least and score > 0 else (0.0, 0.0, 0)
        for x, y, score in rows
    ]
