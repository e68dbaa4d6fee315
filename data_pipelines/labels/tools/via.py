"""VGG Image Annotator 2: regions as JSON or CSV, and its projects.

The names of the region attributes are the user's: one says which instance a region belongs to, one
which joint it is. A rectangle is the box of its instance.
"""

import collections
import csv
import json
import pathlib

from data_pipelines import json_files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet

CATEGORY = "object"


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a JSON or CSV export, or of a project file."""
    paths = options.find_files(source, (".json", ".csv"), what="VIA's export as JSON or CSV")
    if len(paths) > 1:
        raise ValueError(
            f"{source} holds {len(paths)} exports; name one of: {paths[0]}, {paths[1]}"
        )
    regions = _csv_regions(paths[0]) if paths[0].suffix.lower() == ".csv" else _regions(paths[0])
    names = given.joints or _seen(paths[0], regions, given)
    collector = columns.Collector()
    if not given.joints:
        what = "joints are in the order in which they are found: no file says it"
        collector.notes.guessed(what, ", ".join(names))
    for name, entries in regions.items():
        _read_image(f"{paths[0]}: {name}", name, entries, names, given, collector)
    return collector.labels()


def _regions(path):
    """The regions of each image as (shape, attributes)."""
    document = json_files.read_json(path, expected=dict)
    document = document.get("_via_img_metadata", document)
    found = {}
    for key, entry in document.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            raise ValueError(
                f"{path}: {columns.shown(key)} has no filename: it is not VIA's export"
            )
        regions = entry.get("regions") or []
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1
        found[entry["filename"]] = [_region(f"{path}: {key}", region) for region in regions]
    return found


def _region(place, region):
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    if not isinstance(shape, dict) or not isinstance(attributes, dict):
        raise ValueError(f"{place} has a region without shape or attributes")
    return shape, attributes


def _csv_regions(path):
    text = json_files.read_bytes(path).decode("utf-8-sig", errors="replace")
    rows = csv.DictReader(text.splitlines())
    found = {}
    for row in rows:
        place = f"{path}: line {rows.line_num}"
        name = row.get("filename") or row.get("#filename")
        if not name:
            raise ValueError(f"{place} has no filename: it is not VIA's CSV")
        found.setdefault(name, [])
        try:
            shape = json.loads(row.get("region_shape_attributes") or "{}")
            attributes = json.loads(row.get("region_attributes") or "{}")
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place}: its attributes are not JSON ({error})") from error
        if shape:
            region = {"shape_attributes": shape, "region_attributes": attributes}
            found[name].append(_region(place, region))
    return found


def _seen(path, regions, given):
    """The values of the joint attribute of all points, in order."""
    points = [x for entries in regions.values() for x in entries if x[0].get("name") == "point"]
    names = dict.fromkeys(str(x[given.joint]) for _, x in points if given.joint in x)
    if not names:
        attributes = sorted({name for _, x in points for name in x})
        raise ValueError(
            f"{path}: no point has the region attribute {given.joint!r}; they have: "
            f"{', '.join(attributes) or 'none'}. Say which of them names the joint, and which the "
            "instance"
        )
    return tuple(names)


def _read_image(place, name, entries, names, given, collector):
    row = collector.add_image(Image(name))
    boxes, instances = {}, collections.defaultdict(dict)
    for shape, attributes in entries:
        owner = str(attributes.get(given.instance, ""))
        kind, joint = shape.get("name"), str(attributes.get(given.joint, ""))
        if kind == "rect":
            sides = ("x", "y", "width", "height")
            boxes[owner] = tuple(columns.number(shape.get(x), place, x) for x in sides)
        elif kind == "point" and joint in names:
            x, y = (columns.number(shape.get(axis), place, axis) for axis in ("cx", "cy"))
            if joint in instances[owner]:
                what = "joints that an instance has twice; the first is kept"
                collector.notes.lost(what, f"{joint}: {place}")
            instances[owner].setdefault(joint, (x, y, columns.VISIBLE))
        else:
            collector.notes.lost("regions that are not joints", f"{kind} {joint}: {place}")
    for owner in boxes.keys() - instances.keys():
        collector.notes.lost("rectangles without points", f"{given.instance} {owner}: {place}")
    joint_set = JointSet(CATEGORY, tuple(names))
    for owner, joints in instances.items():
        joints = columns.named(joint_set, joints)
        collector.add(row, collector.add_set(joint_set), joints, boxes.get(owner))
