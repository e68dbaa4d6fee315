"""Label Studio: its JSON export, keypoints tied to rectangles.

Numbers are percent of the image's size. A point belongs to the rectangle that is its parentID, or
that a relation names, or around it (HumanSignal/label-studio-sdk, converter/keypoints.py).
"""

import collections
import pathlib
import urllib.parse
from xml.etree import ElementTree as ET

from data_pipelines import json_files
from data_pipelines.labels import columns, options, pairing
from data_pipelines.labels.columns import Image, JointSet
from data_pipelines.labels.readers import xml_files

POINTS, BOXES = "keypointlabels", "rectanglelabels"
LONE = "object"  # the category of points without a rectangle


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a JSON export, with the joints in the order of the labeling configuration."""
    paths = options.find_files(source, (".json",), what="Label Studio's JSON export")
    collector = columns.Collector()
    tasks = [(path, row, task) for path in paths for row, task in enumerate(_tasks(path))]
    names = given.joints or _configured(given, source) or _seen(tasks, collector.notes)
    for path, row, task in tasks:
        _read_task(f"{path}: task {row} (id {task.get('id')})", task, names, collector)
    return collector.labels()


def _tasks(path):
    tasks = json_files.read_json(path, expected=list)
    for row, task in enumerate(tasks):
        if not isinstance(task, dict) or not isinstance(task.get("annotations"), list):
            raise ValueError(
                f"{path}: task {row} has no annotations; export as JSON (not JSON-MIN, CSV or COCO)"
            )
    return tasks


def _configured(given, source):
    """The joints of the labeling configuration, by model_index, else in its order."""
    folder = source if source.is_dir() else source.parent
    path = pathlib.Path(given.config) if given.config else None
    if path is None:
        configs = [file for file in sorted(folder.glob("*.xml")) if _mentions_joints(file)]
        if len(configs) != 1:
            return ()
        path = configs[0]
    joints = {}
    for _, child in xml_files.children(path, root="View"):
        for labels in child.iter():
            if labels.tag in ("KeyPointLabels", "KeyPoint"):
                joints |= {x.get("value", ""): _index(x, path) for x in labels.iter("Label")}
    if not joints:
        raise ValueError(f"{path} has no <KeyPointLabels>; expected the labeling configuration")
    order = sorted(joints, key=lambda name: joints[name]) if None not in joints.values() else joints
    return tuple(order)


def _mentions_joints(path):
    return any(
        child.tag == "KeyPointLabels" or child.find(".//KeyPointLabels") is not None
        for child in _views(path)
    )


def _views(path) -> list[ET.Element]:
    try:
        return [child for _, child in xml_files.children(path, root="View")]
    except ValueError:  # another XML file
        return []


def _index(label, path):
    text = label.get("model_index")
    return None if text is None else columns.number(text, str(path), "model_index")


def _seen(tasks, notes):
    """The labels of all points in the order in which they are found."""
    names = {}
    for path, row, task in tasks:
        for annotation in task["annotations"]:
            for entry in _results(annotation, f"{path}: task {row}"):
                if entry.get("type") == POINTS:
                    names |= dict.fromkeys(_value(entry).get(POINTS) or ())
    if names:
        what = "joints are in the order in which they are found: no labeling configuration says it"
        notes.guessed(what, ", ".join(map(str, names)))
    return tuple(map(str, names))


def _results(annotation, place):
    results = annotation.get("result") if isinstance(annotation, dict) else None
    if not isinstance(results, list) or not all(isinstance(entry, dict) for entry in results):
        raise ValueError(f"{place}: an annotation has no list 'result'")
    return results


def _value(entry):
    value = entry.get("value")
    return value if isinstance(value, dict) else {}


def _read_task(place, task, names, collector):
    annotations = [
        entry
        for entry in task["annotations"]
        if isinstance(entry, dict) and not entry.get("was_cancelled")
    ]
    for _ in range(len(task["annotations"]) - len(annotations)):
        collector.notes.lost("annotations that were skipped by the annotator", place)
    if not annotations:
        collector.add_image(Image(_image_name(task, place)))
        return
    if len(annotations) > 1:
        what = "tasks with several annotations, of which the newest is taken"
        collector.notes.guessed(what, place)
    newest = max(annotations, key=lambda entry: str(entry.get("updated_at", "")))
    results = _results(newest, place)
    size = _size(results, place)
    row = collector.add_image(Image(_image_name(task, place), size=size))
    if size is not None:
        _read_results(place, results, row, size, names, collector)


def _image_name(task, place):
    data = task.get("data") if isinstance(task.get("data"), dict) else {}
    address = task.get("file_upload") or data.get("image") or next(iter(data.values()), "")
    if not isinstance(address, str) or not address:
        raise ValueError(f"{place} does not say which image it is about (file_upload, data.image)")
    parts = urllib.parse.urlsplit(address) if "?" in address or "://" in address else None
    if parts is None:
        return address
    inner = urllib.parse.parse_qs(parts.query).get("d")  # /data/local-files/?d=folder/a.jpg
    return inner[0] if inner else urllib.parse.unquote(parts.path)


def _size(results, place):
    """The (height, width) that the regions state."""
    for entry in results:
        if "original_width" in entry:
            return tuple(
                columns.number(entry.get(f"original_{side}"), place, f"original_{side}")
                for side in ("height", "width")
            )
    return None


def _read_results(place, results, row, size, names, collector):
    boxes, points = {}, {}
    for entry in results:
        kind, value = entry.get("type"), _value(entry)
        label = str((value.get(kind) or [LONE])[0]) if isinstance(kind, str) else LONE
        if kind == BOXES:
            boxes[entry.get("id")] = (label, _box(value, size, place))
            if value.get("rotation"):
                collector.notes.lost("rotations of rectangles", f"{label}: {place}")
        elif kind == POINTS and label in names:
            points[entry.get("id")] = (label, _point(entry, value, size, place), entry)
        elif kind == POINTS:
            collector.notes.lost("points of labels that are not joints", f"{label}: {place}")
        elif kind != "relation":
            collector.notes.lost(
                f"regions of type {kind}, which are not joints", f"{label}: {place}"
            )
    owners = _owners(points, boxes, results)
    labels = [label for label, *_ in points.values()]
    if set(owners.values()) == {None} and len(set(labels)) == len(labels):
        what = "points in no rectangle, which are taken for one instance"
        collector.notes.guessed(what, place)
        owners = dict.fromkeys(owners, LONE)
    instances = collections.defaultdict(dict)
    for key, (label, point, _) in points.items():
        joints = instances[owners[key]] if owners[key] is not None else None
        if joints is None:
            collector.notes.lost("points in no rectangle, or in several", f"{label}: {place}")
        elif label in joints:
            what = "joints that an instance has twice; the first is kept"
            collector.notes.lost(what, f"{label}: {place}")
        else:
            joints[label] = point
    for key, (label, _) in boxes.items():
        if key not in instances:
            collector.notes.lost("rectangles without points", f"{label}: {place}")
    for owner, joints in instances.items():
        label, box = boxes.get(owner, (LONE, None))
        joint_set = JointSet(label, tuple(names))
        collector.add(row, collector.add_set(joint_set), columns.named(joint_set, joints), box)


def _box(value, size, place):
    x, y, w, h = (
        columns.number(value.get(side), place, side) for side in ("x", "y", "width", "height")
    )
    return (x / 100 * size[1], y / 100 * size[0], w / 100 * size[1], h / 100 * size[0])


def _point(entry, value, size, place):
    x, y = (columns.number(value.get(side), place, side) for side in ("x", "y"))
    meta = entry.get("meta") if isinstance(entry.get("meta"), dict) else {}
    hidden = value.get("hidden") or meta.get("hidden")
    v = columns.HIDDEN if hidden else columns.VISIBLE
    return (x / 100 * size[1], y / 100 * size[0], v)


def _owners(points, boxes, results):
    """The rectangle of each point: its parent, one that a relation names, or one around it."""
    related = collections.defaultdict(set)
    for entry in results:
        if entry.get("type") == "relation":
            ends = {entry.get("from_id"), entry.get("to_id")}
            for point in ends & points.keys():
                related[point] |= ends & boxes.keys()
    owners = {}
    for key, (*_, entry) in points.items():
        parent = entry.get("parentID")
        if parent in boxes:
            owners[key] = parent
        elif len(related[key]) == 1:
            (owners[key],) = related[key]
    loose = [key for key in points if key not in owners]
    labels = [points[key][0] for key in loose]
    if not boxes and len(set(labels)) == len(labels):
        return {**owners, **dict.fromkeys(loose, LONE)}
    outlines = {key: pairing.rectangle(box) for key, (_, box) in boxes.items()}
    tied = pairing.tie(labels, [points[key][1] for key in loose], outlines)
    return {**owners, **dict(zip(loose, tied, strict=True))}
