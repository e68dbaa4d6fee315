"""What the <meta> of CVAT's XML says: labels, skeletons with their joints in order, and tasks."""

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import JointSet
from data_pipelines.labels.readers import xml_files


@dataclasses.dataclass(frozen=True)
class Task:
    """A task: its name, its film, the (height, width) of its frames and its subset."""

    name: str = ""
    film: str = ""
    size: tuple[float, float] | None = None
    subset: str = ""


@dataclasses.dataclass(frozen=True)
class Form:
    """The labels of a file in order, its skeletons by label, and its tasks by id."""

    path: str
    labels: tuple[str, ...] = ()
    skeletons: Mapping[str, JointSet] = dataclasses.field(default_factory=dict)
    tasks: Mapping[str, Task] = dataclasses.field(default_factory=dict)

    def joints_of(self, label: str, place: str) -> JointSet:
        """The joints of a skeleton by its label."""
        if label not in self.skeletons:
            known = ", ".join(self.skeletons) or "none (it has no <meta> with labels)"
            raise ValueError(
                f"{place}: a skeleton is called {label!r}; the file describes: {known}"
            )
        return self.skeletons[label]

    def task(self, number: str) -> Task:
        """A task by its id; the only one where a file does not say."""
        return self.tasks.get(number) or next(iter(self.tasks.values()), Task())


def parse(meta: ET.Element, path: str) -> Form:
    """The form that a <meta> describes."""
    labels = [_fields(label) for label in meta.iter("label")]
    parents = {}
    for label in labels:
        if label.get("parent"):
            parents.setdefault(label["parent"], []).append(label.get("name", ""))
    skeletons = {
        label["name"]: _skeleton(label, parents.get(label["name"], []), path)
        for label in labels
        if label.get("type") == "skeleton" and label.get("name")
    }
    tops = tuple(label.get("name", "") for label in labels if not label.get("parent"))
    tasks = {}
    for task in meta.iter("task"):
        number, parsed = _task(task, meta, path)
        tasks[number] = parsed
    return Form(path, tops, skeletons, tasks)


def _fields(element):
    return {child.tag: (child.text or "").strip() for child in element}


def _skeleton(label, names, path):
    """The joints in the order of the drawing's nodes, or, without them, of the sublabels."""
    place = f"{path}: skeleton {label['name']}"
    nodes, edges = {}, []
    for shape in xml_files.parse(label.get("svg", ""), place):
        kind = shape.get("data-type", "")
        if "node" in kind and shape.get("data-label-name") is not None:
            nodes[shape.get("data-node-id")] = shape.get("data-label-name")
        elif kind == "edge":
            edges.append((shape.get("data-node-from"), shape.get("data-node-to")))
    ordered = [nodes[key] for key in sorted(nodes, key=lambda key: (len(str(key)), str(key)))]
    if sorted(ordered) == sorted(names) or not names:
        names = ordered
    options.check_unique(names, place)
    if not names:
        raise ValueError(f"{place} has no joints")
    keys = {key: names.index(name) for key, name in nodes.items() if name in names}
    limbs = tuple((keys[a], keys[b]) for a, b in edges if a in keys and b in keys)
    return JointSet(label["name"], tuple(names), limbs=limbs)


def _task(task, meta, path):
    fields = {**_fields(meta), **_fields(task)}  # older files have size and source in <meta>
    size = task.find("original_size")
    size = meta.find("original_size") if size is None else size
    if size is not None:
        sides = _fields(size)
        size = tuple(
            columns.number(sides.get(side), f"{path}: original_size", side)
            for side in ("height", "width")
        )
    film = fields.get("source", "")
    return fields.get("id", ""), Task(fields.get("name", ""), film, size, fields.get("subset", ""))
