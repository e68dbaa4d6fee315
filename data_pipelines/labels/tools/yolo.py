"""YOLO pose (Ultralytics), also as Roboflow, CVAT, Label Studio and X-AnyLabeling export it.

A folder with data.yaml and, for every image, a text file with a row per instance: class, center x,
center y, width, height, then x, y and perhaps the visibility of every joint, all as fractions of
the image's width and height (Ultralytics' documentation of pose datasets).
"""

import dataclasses
import pathlib
import re

from data_pipelines import files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet
from data_pipelines.labels.readers import yaml_files

LARGEST_FILE = 2**26  # bytes of a label file
NEVER_LABELS = re.compile(r"(classes|notes|readme.*)\.txt", re.IGNORECASE)
LISTS = re.compile(r"(train|val|valid|test|labels)\.txt", re.IGNORECASE)  # of images
ROBOFLOW = re.compile(r"\.rf\.[0-9a-f]{8,}$")
FARTHEST = 10.0  # image sizes; farther points are not fractions


@dataclasses.dataclass(frozen=True)
class Format:
    """What data.yaml says: classes, joints, values per joint, mirror order, limbs."""

    place: str
    classes: dict[int, str]
    joints: int
    values: int
    names: tuple[str, ...]
    flip: tuple[int, ...]
    limbs: tuple[tuple[int, int], ...]


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a YOLO dataset: its folder, its data.yaml, or a folder of label files."""
    root = options.folder_of(source, what="a YOLO dataset")
    found = options.find_files(root, (".txt", ".yaml", ".yml"), what="a YOLO dataset")
    collector = columns.Collector()
    described = [source] if source.suffix in (".yaml", ".yml") else found
    described = [pathlib.Path(given.config)] if given.config else described
    form = _format(described, given, collector.notes)
    labels = [path for path in found if path.suffix.lower() == ".txt"]
    labels = [path for path in labels if not NEVER_LABELS.fullmatch(path.name)]
    in_labels = [path for path in labels if "labels" in path.relative_to(root).parts[:-1]]
    labels = in_labels or [path for path in labels if not LISTS.fullmatch(path.name)]
    if not labels:
        raise FileNotFoundError(f"there are no label files (labels/…/*.txt) in {root}")
    if not form.joints:
        form = _told_from_rows(form, labels, collector.notes)
    form = dataclasses.replace(form, names=_names(form, given, collector.notes))
    sets = {key: collector.add_set(_joint_set(form, name)) for key, name in form.classes.items()}
    for path in labels:
        _read_file(path, root, form, sets, collector)
    return collector.labels(relative=True)


def _format(paths, given, notes):
    """The format by the first YAML file that describes joints or classes."""
    for path in paths:
        if path.suffix.lower() not in (".yaml", ".yml"):
            continue
        fields = yaml_files.read(path)
        if "kpt_shape" in fields or "keypoint" in path.name:
            return _parse(path, fields, notes)
        if isinstance(fields.get("classes"), dict):  # X-AnyLabeling's pose_classes.yaml
            return _parse_classes(path, fields["classes"])
    return Format("the dataset", {0: "object"}, len(given.joints), 0, (), (), ())


def _parse(path, fields, notes):
    shape = fields.get("kpt_shape")
    good = isinstance(shape, list) and len(shape) == 2 and all(type(x) is int for x in shape)
    if not good or not 1 <= shape[0] <= 1000 or shape[1] not in (2, 3):
        raise ValueError(
            f"{path}: kpt_shape is {columns.shown(shape)}; expected [joints, 2] or [joints, 3]"
        )
    classes = fields.get("names", {0: "object"})
    if isinstance(classes, list):
        classes = dict(enumerate(classes))
    if not isinstance(classes, dict) or not classes:
        raise ValueError(f"{path}: names is {columns.shown(classes)}; expected the classes")
    return Format(
        place=str(path),
        classes={
            int(columns.number(key, str(path), "a class")): str(x) for key, x in classes.items()
        },
        joints=shape[0],
        values=shape[1],
        names=_kpt_names(path, fields.get("kpt_names"), shape[0]),
        flip=_flip(path, fields.get("flip_idx"), shape[0], notes),
        limbs=_limbs(path, fields.get("skeleton"), shape[0], notes),
    )


def _parse_classes(path, classes):
    joints = next(iter(classes.values()), None)
    if not isinstance(joints, list) or any(other != joints for other in classes.values()):
        raise ValueError(f"{path}: expected one list of joints that all classes share")
    names = tuple(map(str, joints))
    return Format(str(path), dict(enumerate(map(str, classes))), len(names), 0, names, (), ())


def _kpt_names(path, names, count):
    """The joints' names, which newer files have for every class."""
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    if names is None:
        return ()
    if not isinstance(names, list) or len(names) != count:
        raise ValueError(f"{path}: kpt_names is {columns.shown(names)}; expected {count} names")
    return tuple(map(str, names))


def _flip(path, flip, count, notes):
    """For every joint the one it is after mirroring; () where the file has no usable list."""
    if flip is None:
        return ()
    good = isinstance(flip, list) and all(type(joint) is int for joint in flip)
    good = good and sorted(flip) == list(range(count))
    if not good or any(flip[flip[joint]] != joint for joint in range(count)):
        what = f"flip_idx does not pair the {count} joints with each other and is not used"
        notes.lost(what, f"{path}: {columns.shown(flip)}")
        return ()
    return tuple(flip)


def _limbs(path, limbs, count, notes):
    if limbs is None:
        return ()
    good = isinstance(limbs, list) and all(
        isinstance(limb, list) and len(limb) == 2 and all(type(x) is int for x in limb)
        for limb in limbs
    )
    joints = {joint for limb in limbs for joint in limb} if good else set()
    if not good or not joints <= set(range(count + 1)) or {0, count} <= joints:
        notes.lost("skeleton is not pairs of joints and is not used", str(path))
        return ()
    first = 1 if count in joints else 0
    return tuple((a - first, b - first) for a, b in limbs)


def _told_from_rows(form, paths, notes):
    """The number of joints, told from the length of the longest row, where no file says it."""
    rows = (line.split() for path in paths[:100] for _, line in _rows(path))
    longest = max(rows, key=len, default=())
    values, most = longest[5:], len(longest) - 5
    flags = {"0", "1", "2"}
    three = most > 0 and most % 3 == 0 and {x.split(".")[0] for x in values[2::3]} <= flags
    per_joint = 3 if three else 2
    if most < 2 or most % per_joint:
        raise ValueError(
            f"{paths[0].parent} has rows without joints or of unclear length (the longest has "
            f"{len(longest)} columns); add a data.yaml with kpt_shape: [joints, 2 or 3]"
        )
    notes.guessed(
        "there is no data.yaml: the number of joints is told from the rows",
        f"{most // per_joint} joints of {per_joint} values",
    )
    return dataclasses.replace(form, joints=most // per_joint, values=per_joint)


def _names(form, given, notes):
    if form.names and not given.joints:
        return form.names
    if not given.joints:
        what = "no file names the joints; name them, since left and right are told by names"
        notes.guessed(what, f"joint_0 to joint_{form.joints - 1}")
    return options.name_joints(given.joints, form.joints, form.place)


def _joint_set(form, category):
    pairs = tuple((a, b) for a, b in enumerate(form.flip) if a < b)
    return JointSet(category, form.names, limbs=form.limbs, flip_pairs=pairs)


def _read_file(path, root, form, sets, collector):
    inner = path.relative_to(root)
    row = collector.add_image(
        Image(
            _image_name(inner),
            split=_split(inner),
            group=ROBOFLOW.sub("", inner.stem) if ROBOFLOW.search(inner.stem) else "",
        )
    )
    for number, line in _rows(path):
        place = f"{path}: line {number}"
        values = [columns.number(x, place, "a value") for x in line.split()]
        joints = _joints(values, form, place, collector.notes)
        if joints is None:
            collector.notes.lost("boxes without joints", place)
            continue
        if values[0] not in sets:
            known = ", ".join(f"{key} ({name})" for key, name in form.classes.items())
            raise ValueError(f"{place}: the class is {values[0]:g}; {form.place} has: {known}")
        x, y, w, h = values[1:5]
        box = (x - w / 2, y - h / 2, w, h)
        collector.add(row, sets[int(values[0])], joints, box)


def _rows(path):
    """The rows of a label file with their line numbers, without comments."""
    contents = files.read_bytes(path, limit=LARGEST_FILE)
    try:
        text = contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8 ({error})") from error
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.split("#")[0].strip()
        if line:
            yield number, line


def _joints(values, form, place, notes):
    """The joints of a row as (x, y, visibility); None for a row with a box alone."""
    count = len(values) - 5
    if count == 0:
        return None
    per_joint = next((n for n in (form.values, 3, 2) if n and count == n * form.joints), 0)
    if not per_joint:
        raise ValueError(
            f"{place} has {len(values)} columns; expected 5, or 5 and {form.values or 3} for each "
            f"of {form.joints} joints ({form.place})"
        )
    if form.values and per_joint != form.values:
        notes.guessed(f"rows have {per_joint} values of a joint, kpt_shape {form.values}", place)
    rows = [values[5 + n * per_joint :][:per_joint] for n in range(form.joints)]
    far = [row for row in rows if max(abs(row[0]), abs(row[1])) > FARTHEST]
    if far or max(map(abs, values[1:5])) > FARTHEST:
        raise ValueError(f"{place}: numbers are not fractions of the image's width and height")
    if per_joint == 2:
        # Ultralytics calls 0, 0 labeled; tools write it where nothing is.
        return [(x, y, 0 if x < 0 or y < 0 or (x, y) == (0, 0) else 2) for x, y in rows]
    wrong = [v for *_, v in rows if v not in (0, 1, 2)]
    if wrong:
        raise ValueError(
            f"{place}: a joint's visibility is {wrong[0]:g}; expected 0, 1 or 2 (predictions have "
            "a score there, and are not labels)"
        )
    return rows


def _image_name(inner):
    """The image's path without ending: that of the label file with images instead of labels."""
    parts = list(inner.with_suffix("").parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "labels"]
    if places:
        parts[places[-1]] = "images"
    return "/".join(parts)


def _split(inner):
    splits = [split for split in map(columns.split_name, inner.parts[:-1]) if split]
    return splits[-1] if splits else ""
