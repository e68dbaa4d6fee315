"""Supervisely: meta.json with the joints of a graph, and a JSON of objects per image.

Nodes are found by the keys that meta.json gives them; the rectangle of an instance is its box. A
disabled node counts as hidden (docs.supervisely.com, key points).
"""

import pathlib

from data_pipelines import json_files
from data_pipelines.labels import columns, options, pairing
from data_pipelines.labels.columns import Image, JointSet


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a project's folder, or of its meta.json's."""
    root = options.folder_of(source, what="a Supervisely project")
    found = options.find_files(root, (".json",), what="a Supervisely project")
    metas = [path for path in found if path.name == "meta.json"]
    if len(metas) != 1:
        raise ValueError(f"{root} has {len(metas)} files meta.json; expected a Supervisely project")
    meta = json_files.read_json(metas[0], expected=dict)
    graphs = _graphs(metas[0], meta)
    collector = columns.Collector()
    for path in found:
        if path.parent.name == "ann":
            _read_file(path, root, graphs, collector)
    return collector.labels()


def _graphs(path, meta):
    """The joint set of every graph by its title, with the place of each node's key."""
    graphs = {}
    try:
        for entry in meta["classes"]:
            if entry.get("shape") != "graph":
                continue
            nodes = entry["geometry_config"]["nodes"]
            names = tuple(str(node["label"]) for node in nodes.values())
            options.check_unique(names, f"{path}: {entry['title']}")
            places = {key: place for place, key in enumerate(nodes)}
            edges = entry["geometry_config"].get("edges", [])
            limbs = tuple((places[edge["src"]], places[edge["dst"]]) for edge in edges)
            graphs[entry["title"]] = (JointSet(entry["title"], names, limbs), places)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: its classes are damaged ({error!r})") from error
    if not graphs:
        raise ValueError(f"{path} has no class of shape 'graph', which holds joints")
    return graphs


def _read_file(path, root, graphs, collector):
    document = json_files.read_json(path, expected=dict)
    size = document.get("size") if isinstance(document.get("size"), dict) else {}
    sides = tuple(columns.number(size.get(x), str(path), x) for x in ("height", "width"))
    name = path.name.removesuffix(".json")
    folder = path.parent.parent.relative_to(root).as_posix()
    row = collector.add_image(Image(f"{folder}/img/{name}", size=sides, group=""))
    objects = [entry for entry in document.get("objects", []) if isinstance(entry, dict)]
    boxes = _boxes(path, objects)
    used = set()
    for number, entry in enumerate(objects):
        place = f"{path}: object {number}"
        kind, title = entry.get("geometryType"), str(entry.get("classTitle"))
        if kind == "graph":
            if title not in graphs:
                raise ValueError(f"{place} is a {title!r}; meta.json has: {', '.join(graphs)}")
            joint_set, places = graphs[title]
            joints = _joints(entry, joint_set, places, place, collector.notes)
            key = entry.get("instance")
            key = key if key in boxes else pairing.around(joints, _free(boxes, used))
            used.add(key)
            collector.add(row, collector.add_set(joint_set), joints, boxes.get(key))
        elif kind != "rectangle":
            collector.notes.lost(f"objects of type {kind}, which are not joints", place)
    for _ in boxes.keys() - used:
        collector.notes.lost("rectangles without joints", str(path))


def _free(boxes, used):
    return {key: box for key, box in boxes.items() if key not in used}


def _boxes(path, objects):
    """The boxes by their instance, or by number where they have none."""
    boxes = {}
    for number, entry in enumerate(objects):
        if entry.get("geometryType") == "rectangle":
            points = entry.get("points") if isinstance(entry.get("points"), dict) else {}
            corners = points.get("exterior") or []
            place = f"{path}: object {number}"
            if len(corners) != 2:
                raise ValueError(f"{place} has {len(corners)} corners; expected two")
            corners = [columns.numbers(corner, 2, place, "a corner") for corner in corners]
            boxes[entry.get("instance") or number] = pairing.bounds(corners)
    return boxes


def _joints(entry, joint_set, places, place, notes):
    joints = [(0.0, 0.0, 0)] * len(joint_set.names)
    nodes = entry.get("nodes")
    if not isinstance(nodes, dict):
        raise ValueError(f"{place} has no nodes")
    for key, node in nodes.items():
        if key not in places or not isinstance(node, dict):
            notes.lost("nodes that meta.json does not have", place)
            continue
        x, y = columns.numbers(node.get("loc"), 2, place, "loc")
        joints[places[key]] = (x, y, columns.HIDDEN if node.get("disabled") else columns.VISIBLE)
    return joints
