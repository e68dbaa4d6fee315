"""AI Challenger's keypoints: a list of images with people as human1, human2, …

Visibility is 1 for visible, 2 for hidden and 3 for not labeled, boxes are two corners, image ids
lack the ending .jpg (AI_Challenger_2017, keypoint_eval).
"""

import pathlib

from data_pipelines import json_files, skeletons
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet

JOINTS = JointSet("person", skeletons.AI_CHALLENGER.names, skeletons.AI_CHALLENGER.limbs)
VISIBILITY = {1: columns.VISIBLE, 2: columns.HIDDEN, 3: 0}


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of keypoint_…_annotations_….json."""
    collector = columns.Collector()
    joint_set = collector.add_set(JOINTS)
    for path in options.find_files(source, (".json",), what="keypoint_…_annotations_….json"):
        entries = json_files.read_json(path, expected=list)
        fields = ("image_id", "keypoint_annotations")
        json_files.require_fields(path, "entry", entries, fields)
        for number, entry in enumerate(entries):
            _read_entry(f"{path}: entry {number}", entry, joint_set, collector)
    return collector.labels(upright=False)


def _read_entry(place, entry, joint_set, collector):
    people, boxes = entry["keypoint_annotations"], entry.get("human_annotations")
    if not isinstance(people, dict) or not isinstance(boxes, dict):
        raise ValueError(f"{place} has no people (these are predictions, where there are no boxes)")
    row = collector.add_image(Image(str(entry["image_id"])))
    for name in sorted(people, key=lambda name: (len(name), name)):
        where = f"{place}, {name}"
        values = columns.numbers(people[name], 3 * len(JOINTS.names), where, "its joints")
        flags = values[2::3]
        unknown = [flag for flag in flags if flag not in VISIBILITY]
        if unknown:
            raise ValueError(f"{where}: a joint's visibility is {unknown[0]:g}; expected 1, 2 or 3")
        points = zip(values[::3], values[1::3], map(VISIBILITY.get, flags), strict=True)
        box = boxes.get(name)
        if box is not None:
            x0, y0, x1, y1 = columns.numbers(box, 4, where, "its box")
            box = (x0, y0, x1 - x0, y1 - y0)
        collector.add(row, joint_set, list(points), box)
    for name in boxes.keys() - people.keys():
        collector.notes.lost("boxes without joints", f"{place}, {name}")
