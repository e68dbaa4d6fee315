"""Datumaro: annotations/*.json with skeletons, and their images in images/<subset>."""

import pathlib

from data_pipelines import json_files
from data_pipelines.labels import columns, options, pairing
from data_pipelines.labels.columns import Image, JointSet


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a dataset's folder, or of one of its annotation files."""
    folder = source / "annotations" if (source / "annotations").is_dir() else source
    paths = options.find_files(folder, (".json",), what="Datumaro's annotations/*.json")
    collector = columns.Collector()
    for path in paths:
        document = json_files.read_json(path, expected=dict)
        sets = _joint_sets(path, document)
        items = document.get("items")
        if not isinstance(items, list) or not sets:
            raise ValueError(f"{path} has no items, or no skeletons: it is not Datumaro's")
        for number, item in enumerate(items):
            _read_item(f"{path}: item {number}", path.stem, item, sets, collector)
    return collector.labels()


def _joint_sets(path, document):
    """The joint set of every label that is a skeleton, by the label's number."""
    try:
        labels = [str(label["name"]) for label in document["categories"]["label"]["labels"]]
        sets = {}
        for entry in document["categories"]["points"]["items"]:
            names = tuple(map(str, entry["labels"]))
            options.check_unique(names, str(path))
            limbs = tuple((int(a) - 1, int(b) - 1) for a, b in entry.get("joints", ()))
            if any(not 0 <= joint < len(names) for limb in limbs for joint in limb):
                limbs = ()
            number = int(entry["label_id"])
            sets[number] = JointSet(labels[number], names, limbs=limbs)
        return sets
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its categories are not Datumaro's ({error!r})") from error


def _read_item(place, subset, item, sets, collector):
    image = item.get("image") if isinstance(item, dict) else None
    if not isinstance(image, dict):
        raise ValueError(f"{place} has no image")
    size = image.get("size")
    size = tuple(columns.numbers(size, 2, place, "size")) if size else None
    name = f"{subset}/{image.get('path') or item.get('id')}"
    row = collector.add_image(Image(name, size=size, split=columns.split_name(subset)))
    entries = [entry for entry in item.get("annotations", []) if isinstance(entry, dict)]
    boxes = {
        number: (entry.get("group"), columns.numbers(entry.get("bbox"), 4, place, "bbox"))
        for number, entry in enumerate(entries)
        if entry.get("type") == "bbox"
    }
    for entry in entries:
        if entry.get("type") == "skeleton":
            _read_skeleton(place, row, entry, boxes, sets, collector)
        elif entry.get("type") != "bbox":
            what = f"annotations of type {entry.get('type')}, which are not joints"
            collector.notes.lost(what, place)
    if boxes:
        collector.notes.lost("boxes without joints", place)


def _read_skeleton(place, row, entry, boxes, sets, collector):
    if entry.get("label_id") not in sets:
        raise ValueError(f"{place}: label {entry.get('label_id')} is not a skeleton")
    joint_set = sets[entry["label_id"]]
    values = columns.numbers(entry.get("points"), 3 * len(joint_set.names), place, "points")
    joints = list(zip(values[::3], values[1::3], values[2::3], strict=True))
    wrong = [v for *_, v in joints if v not in (0, 1, 2)]
    if wrong:
        raise ValueError(f"{place}: a joint's visibility is {wrong[0]:g}; expected 0, 1 or 2")
    group = entry.get("group")
    own = {key: box for key, (other, box) in boxes.items() if other == group}
    key = next(iter(own)) if group and len(own) == 1 else pairing.around(joints, own)
    box = boxes.pop(key)[1] if key is not None else None
    collector.add(row, collector.add_set(joint_set), joints, box)
