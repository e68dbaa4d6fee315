"""mmpose's predictions, of its inferencer or its demos, that may serve as first labels.

A box is two corners in a list within a list (mmpose, structures/utils.py, split_instances).
"""

import pathlib

from data_pipelines import json_files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet
from data_pipelines.labels.predicted.openpose import predicted


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The instances of a JSON file, or of all below a folder; a file is of an image or a film."""
    collector = columns.Collector()
    for path in options.find_files(source, (".json",), what="mmpose's JSON of predictions"):
        document = json_files.parse(path, json_files.read_bytes(path))
        names, frames = _frames(path, document)
        name = path.stem.removeprefix("results_")
        several = len(frames) > 1
        for frame, instances in frames:
            film = columns.Frame(name, frame) if several else None
            image = Image(f"{name}/frame_{frame:06d}" if several else name, frame=film, group=name)
            row = collector.add_image(image)
            for number, instance in enumerate(instances):
                place = f"{path}: frame {frame}, instance {number}"
                _read_instance(place, instance, names, row, given, collector)
    collector.notes.guessed("labels are mmpose's predictions", str(source))
    return collector.labels()


def _frames(path, document):
    """The joints' names, where the file has them, and the instances of every frame."""
    if isinstance(document, list) and all(isinstance(x, dict) for x in document):
        if document and all("instances" in entry for entry in document):
            return (), [(int(entry.get("frame_id", 0)), entry["instances"]) for entry in document]
        return (), [(0, document)]
    try:
        names = document["meta_info"].get("keypoint_id2name", {})
        ordered = tuple(str(names[key]) for key in sorted(names, key=int))
        entries = document["instance_info"]
        return ordered, [(int(entry.get("frame_id", 0)), entry["instances"]) for entry in entries]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a file of mmpose's predictions ({error!r})") from error


def _read_instance(place, instance, names, row, given, collector):
    points = instance.get("keypoints") if isinstance(instance, dict) else None
    if not isinstance(points, list) or not points:
        raise ValueError(f"{place} has no keypoints")
    points = [columns.numbers(point, 2, place, "a joint") for point in points]
    scores = columns.numbers(instance.get("keypoint_scores"), len(points), place, "keypoint_scores")
    names = given.joints or names
    if not names:
        collector.notes.guessed("the file does not name the joints: they are numbered", place)
    names = options.name_joints(names, len(points), place)
    joints = predicted(*zip(*points, strict=True), scores, given.min_score)
    box = instance.get("bbox")
    if box:
        inner = box[0] if isinstance(box, list) and isinstance(box[0], list) else box
        x0, y0, x1, y1 = columns.numbers(inner, 4, place, "bbox")
        box = (x0, y0, x1 - x0, y1 - y0)
    if any(joint[2] for joint in joints):
        joint_set = collector.add_set(JointSet("person", names))
        collector.add(row, joint_set, joints, box or None)
    else:
        collector.notes.lost("instances without a joint of enough score", place)
