"""LabelMe and X-AnyLabeling: a JSON per image with points, rectangles and polygons.

Shapes of one group_id are one instance; without it, points belong to the rectangle or polygon
around them. LabelMe has no visibility; X-AnyLabeling marks hidden joints as difficult.
"""

import base64
import binascii
import collections
import functools
import pathlib

from data_pipelines import json_files, skeletons
from data_pipelines.labels import columns, options, pairing
from data_pipelines.labels.columns import Image, JointSet

OUTLINES = ("rectangle", "polygon", "rotation")
LONE = "object"  # the category of points without an outline


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a JSON file, or of all JSON files below a folder."""
    paths = options.find_files(source, (".json",), what="LabelMe's JSON files")
    documents = [(path, _document(path)) for path in paths]
    collector = columns.Collector()
    for path, document in documents:
        if document is None:
            collector.notes.lost("JSON files without shapes, which are not LabelMe's", str(path))
    documents = [(path, document) for path, document in documents if document is not None]
    if not documents:
        raise ValueError(f"no file of {source} has shapes, as LabelMe's JSON has")
    names = given.joints or _seen([document for _, document in documents], collector.notes)
    for path, document in documents:
        folder = path.parent.relative_to(source) if source.is_dir() else pathlib.Path()
        _read_document(path, folder, document, names, collector)
    return collector.labels()


def _document(path):
    document = json_files.parse(path, json_files.read_bytes(path))
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        return None
    for row, shape in enumerate(document["shapes"]):
        if not isinstance(shape, dict) or not isinstance(shape.get("points"), list):
            raise ValueError(f"{path}: shape {row} has no points")
    return {**document, "imageData": bool(document.get("imageData"))}


def _seen(documents, notes):
    """The labels of all points: in the order of COCO, or in which they are found."""
    names = dict.fromkeys(
        str(shape.get("label"))
        for document in documents
        for shape in document["shapes"]
        if shape.get("shape_type") == "point"
    )
    if not names:
        return ()
    if names.keys() <= set(skeletons.COCO.names):
        return tuple(name for name in skeletons.COCO.names if name in names)
    what = "joints are in the order in which they are found: no file says it"
    notes.guessed(what, ", ".join(names))
    return tuple(names)


def _read_document(path, folder, document, names, collector):
    name = str(document.get("imagePath") or path.stem).replace("\\", "/")
    size = [document.get("imageHeight"), document.get("imageWidth")]
    known = None
    if None not in size:
        known = tuple(columns.number(side, str(path), "the image's size") for side in size)
    encoded = functools.partial(_embedded, path) if document.get("imageData") else None
    inner = (folder / pathlib.PurePosixPath(name).name).as_posix()
    row = collector.add_image(Image(inner, size=known, encoded=encoded))
    points, outlines = _shapes(path, document, names, collector.notes)
    owners = _owners(points, outlines)
    instances = collections.defaultdict(dict)
    for (label, joint, _), owner in zip(points, owners, strict=True):
        place = f"{label}: {path}"
        if owner is None:
            collector.notes.lost("points in no rectangle or polygon, or in several", place)
        elif label in instances[owner]:
            collector.notes.lost("joints that an instance has twice; the first is kept", place)
        else:
            instances[owner][label] = joint
    for key, (label, *_) in outlines.items():
        if key not in instances and names:
            collector.notes.lost("rectangles and polygons without points", f"{label}: {path}")
    for owner, joints in instances.items():
        label, corners, _ = outlines.get(owner, (LONE, None, None))
        joint_set = JointSet(label, tuple(names))
        box = pairing.bounds(corners) if corners else None
        collector.add(row, collector.add_set(joint_set), columns.named(joint_set, joints), box)


def _embedded(path):
    """The image inside of a file, which is read again: all of them may not fit into memory."""
    data = json_files.read_json(path, expected=dict)["imageData"]
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{path}: its imageData is damaged ({error})") from error


def _shapes(path, document, names, notes):
    """Points as (label, joint, group), and outlines by number as (label, corners, group)."""
    points, outlines = [], {}
    for row, shape in enumerate(document["shapes"]):
        place, kind = f"{path}: shape {row}", shape.get("shape_type", "polygon")
        label, group = str(shape.get("label")), shape.get("group_id")
        corners = [columns.numbers(point, 2, place, "a point") for point in shape["points"]]
        if kind == "point" and corners and label in names:
            v = columns.HIDDEN if shape.get("difficult") is True else columns.VISIBLE
            points.append((label, (*corners[0], v), group))
        elif kind == "point":
            notes.lost("points of labels that are not joints", f"{label}: {path}")
        elif kind in OUTLINES and len(corners) > 1:
            if kind == "rectangle":
                corners = pairing.rectangle(pairing.bounds(corners))
            if kind == "polygon":
                notes.lost("outlines of polygons, of which the box is kept", f"{label}: {path}")
            outlines[row] = (label, corners, group)
        else:
            notes.lost(f"shapes of type {kind}, which are not joints", f"{label}: {path}")
    return points, outlines


def _owners(points, outlines):
    """The outline (its number), or the group, of every point."""
    groups = {group: row for row, (*_, group) in outlines.items() if group is not None}
    owners = [
        None if group is None else groups.get(group, f"group {group}") for *_, group in points
    ]
    loose = [place for place, (*_, group) in enumerate(points) if group is None]
    labels = [points[place][0] for place in loose]
    if not outlines and len(set(labels)) == len(labels):
        tied = ["the only one"] * len(loose)
    else:
        free = {row: corners for row, (_, corners, group) in outlines.items() if group is None}
        tied = pairing.tie(labels, [points[place][1] for place in loose], free)
    for place, owner in zip(loose, tied, strict=True):
        owners[place] = owner
    return owners
