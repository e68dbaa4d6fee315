"""MediaPipe's Pose Landmarker, saved as JSON: predictions that may serve as first labels.

33 landmarks as fractions of the image's size, perhaps outside of it; visibility from 0 to 1, which
some platforms leave out.
"""

import pathlib

from data_pipelines import json_files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet

FACE = ("eye_inner", "eye", "eye_outer")
BODY = ("shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee", "ankle", "heel")
SIDES = ("left", "right")
NAMES = (
    "nose",
    *(f"{side}_{part}" for side in SIDES for part in FACE),
    *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    *(f"{side}_{part}" for part in (*BODY, "foot_index") for side in SIDES),
)


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The people of a JSON file, or of all below a folder; the image has the file's name."""
    collector = columns.Collector()
    joint_set = collector.add_set(JointSet("person", NAMES))
    for path in options.find_files(source, (".json",), what="MediaPipe's landmarks as JSON"):
        document = json_files.parse(path, json_files.read_bytes(path))
        people = document
        if isinstance(document, dict):
            people = document.get("landmarks", document.get("pose_landmarks"))
        if not isinstance(people, list):
            raise ValueError(f"{path} has no list of landmarks of each person")
        if people and isinstance(people[0], dict):  # a single person's
            people = [people]
        row = collector.add_image(Image(path.stem))
        for number, person in enumerate(people):
            place = f"{path}: person {number}"
            collector.add(row, joint_set, _joints(place, person, given.min_score))
    collector.notes.guessed("labels are MediaPipe's predictions", str(source))
    return collector.labels(relative=True)


def _joints(place, landmarks, least):
    if not isinstance(landmarks, list) or len(landmarks) != len(NAMES):
        count = len(landmarks) if isinstance(landmarks, list) else 0
        raise ValueError(f"{place} has {count} landmarks; expected {len(NAMES)}")
    joints = []
    for landmark in landmarks:
        if not isinstance(landmark, dict):
            raise ValueError(f"{place}: a landmark is {columns.shown(landmark)}")
        x, y = (columns.number(landmark.get(axis), place, axis) for axis in "xy")
        shown = columns.number(landmark.get("visibility", 1), place, "visibility")
        joints.append((x, y, columns.VISIBLE) if shown >= least else (0.0, 0.0, 0))
    return joints
