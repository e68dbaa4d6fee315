"""CVAT: the XML of "CVAT for images 1.1" and "CVAT for video 1.1", skeletons or points.

Elements of a skeleton are found by their label; outside means not labeled, whatever coordinates
are there, and occluded means hidden (CVAT's documentation of its XML format).
"""

import collections
import pathlib

from data_pipelines.labels import columns, options, pairing
from data_pipelines.labels.columns import Frame, Image, JointSet
from data_pipelines.labels.readers import xml_files
from data_pipelines.labels.tools import cvat_labels

NO_TASK = ""


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of an annotations.xml, or of all XML files of a folder."""
    paths = options.find_files(source, (".xml",), what="the annotations.xml of a CVAT export")
    collector = columns.Collector()
    for path in paths:
        _read_file(path, path.stem if len(paths) > 1 else "", given, collector)
    return collector.labels()


def _read_file(path, prefix, given, collector):
    form, images, tracks = cvat_labels.Form(str(path)), [], []
    for line, element in xml_files.children(path, root="annotations"):
        if element.tag == "meta":
            form = cvat_labels.parse(element, str(path))
        elif element.tag == "image":
            images.append((line, element))
        elif element.tag == "track":
            tracks.append((line, element))
    if not images and not tracks:
        raise ValueError(f"{path} has no images and no tracks: it is not CVAT's XML, or empty")
    reader = _reader(path, [element for _, element in images], form, given, collector)
    for line, element in images:
        _read_image(f"{path}: line {line}", element, form, reader, collector)
    if tracks:
        _read_tracks(path, prefix, tracks, form, collector)


def _read_image(place, element, form, reader, collector):
    name = element.get("name", "")
    if len(form.tasks) > 1 and element.get("task_id"):  # whose images may have the same names
        name = f"{form.task(element.get('task_id')).name}/{name}"
    size = tuple(
        columns.number(element.get(side), place, f"{side} of the image")
        for side in ("height", "width")
    )
    split = columns.split_name(element.get("subset", ""))
    row = collector.add_image(Image(name, size=size, split=split))
    boxes = {
        number: (box.get("label"), box.get("group_id"), _box(box, place))
        for number, box in enumerate(element.findall("box"))
    }
    used = set(reader(f"{place} ({name})", row, element, boxes))
    for number, (label, *_) in boxes.items():
        if number not in used:
            collector.notes.lost("boxes without joints", f"{label} in {name}")
    others = {child.tag for child in element} - {"box", "points", "skeleton", "tag", "attribute"}
    for tag in sorted(others):
        collector.notes.lost(f"{tag}s, which are not joints", name)


def _box(element, place):
    x0, y0, x1, y1 = (
        columns.number(element.get(side), place, f"{side} of a box")
        for side in ("xtl", "ytl", "xbr", "ybr")
    )
    return (min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))


def _reader(path, images, form, given, collector):
    """What reads an image's joints: skeletons, points of one label each, or points in order."""
    skeletons = any(image.find("skeleton") is not None for image in images)
    if skeletons or not any(image.find("points") is not None for image in images):
        kinds = {box.get("label", "") for image in images for box in image.findall("box")}
        return lambda *image: _skeletons(*image, kinds, form, collector)
    counts = collections.Counter(
        len(points.get("points", "").split(";"))
        for image in images
        for points in image.findall("points")
    )
    count = counts.most_common(1)[0][0]
    if count > 1:
        names = options.name_joints(given.joints, count, f"{path}: most <points>")
        if not given.joints:
            what = "CVAT's points have no names: joints are numbered; name them"
            collector.notes.guessed(what, f"joint_0 to joint_{count - 1}")
        return lambda *image: _ordered_points(*image, names, collector)
    labels = dict.fromkeys(
        points.get("label") for image in images for points in image.findall("points")
    )
    if len(labels) == 1:
        raise ValueError(
            f"{path}: all points are called {next(iter(labels))!r}, so that nothing says which "
            "joint is which; label them as a skeleton, or each joint with a label of its own"
        )
    known = [name for name in form.labels if name in labels] or list(labels)
    names = given.joints or tuple(known)
    return lambda *image: _named_points(*image, names, collector)


def _skeletons(place, row, image, boxes, kinds, form, collector):
    for points in image.findall("points"):
        collector.notes.lost(
            "points beside skeletons", f"{points.get('label')} in {image.get('name')}"
        )
    used = set()
    for skeleton in image.findall("skeleton"):
        joints = form.joints_of(skeleton.get("label", ""), place)
        values = _elements(skeleton, joints, place, collector.notes)
        group = skeleton.get("group_id")
        unused = {number: box for number, box in boxes.items() if number not in used}
        grouped = {n: box for n, (_, own, box) in unused.items() if group and own == group}
        loose = {
            number: box
            for number, (label, own, box) in unused.items()
            if not own and _may_hold(label or "", joints.category, kinds)
        }
        number = next(iter(grouped)) if len(grouped) == 1 else pairing.around(values, loose)
        used |= {number} - {None}
        _add(collector, place, row, joints, values, {**loose, **grouped}.get(number))
    return used


def _may_hold(label, skeleton, kinds):
    """Whether a box may be that of a skeleton: by its label, or because all boxes share one."""
    label, skeleton = label.casefold(), skeleton.casefold()
    return len(kinds) == 1 or (label != "" and (label in skeleton or skeleton in label))


def _elements(skeleton, joints, place, notes):
    found = {}
    for element in skeleton.findall("points"):
        name = element.get("label", "")
        if name not in joints.names:
            raise ValueError(
                f"{place}: the skeleton has a joint {name!r}; its label lists: "
                f"{', '.join(joints.names)}"
            )
        if name in found:
            notes.lost("joints that an instance has twice; the first is kept", f"{name}: {place}")
            continue
        found[name] = _point(element, element.get("points", ""), place)
    return columns.named(joints, found)


def _point(element, text, place):
    x, y = columns.numbers(text.split(","), 2, place, "a point")
    if element.get("outside") == "1":
        return x, y, 0
    return x, y, columns.HIDDEN if element.get("occluded") == "1" else columns.VISIBLE


def _add(collector, place, row, joints, values, box):
    if not any(value[2] for value in values):
        collector.notes.lost("skeletons without a labeled joint", place)
        return
    collector.add(row, collector.add_set(joints), values, box)


def _ordered_points(place, row, image, boxes, names, collector):
    free = {number: box for number, (*_, box) in boxes.items()}
    used = set()
    for points in image.findall("points"):
        parts = points.get("points", "").split(";")
        if len(parts) != len(names):
            collector.notes.lost(f"points that are not {len(names)} in a row", place)
            continue
        values = [_point(points, part, place) for part in parts]
        number = pairing.around(values, {key: box for key, box in free.items() if key not in used})
        used |= {number} - {None}
        joints = JointSet(points.get("label", "object"), names)
        _add(collector, place, row, joints, values, free.get(number))
    return used


def _named_points(place, row, image, boxes, names, collector):
    """Joints as single points, tied to boxes by group_id, else by containment."""
    found = image.findall("points")
    kept = [point for point in found if point.get("label") in names]
    for point in found:
        if point not in kept:
            collector.notes.lost(
                "points of labels that are not joints", f"{point.get('label')}: {place}"
            )
    values = [_point(point, point.get("points", ""), place) for point in kept]
    labels = [point.get("label") for point in kept]
    owners = _owners(kept, labels, values, boxes)
    instances = collections.defaultdict(dict)
    for label, value, owner in zip(labels, values, owners, strict=True):
        if owner is None:
            collector.notes.lost("points in no box, or in several", f"{label}: {place}")
        elif label in instances[owner]:
            what = "joints that an instance has twice; the first is kept"
            collector.notes.lost(what, f"{label}: {place}")
        else:
            instances[owner][label] = value
    for owner, joints in instances.items():
        label, _, box = boxes.get(owner, ("object", None, None))
        joint_set = JointSet(label, tuple(names))
        _add(collector, place, row, joint_set, columns.named(joint_set, joints), box)
    return instances.keys() & boxes.keys()


def _owners(points, labels, values, boxes):
    """The box (its place), or the group, that each point belongs to."""
    groups = {group: number for number, (_, group, _) in boxes.items() if group}
    if any(point.get("group_id") for point in points):
        owners = [point.get("group_id") for point in points]
        return [groups.get(owner, f"group {owner}") if owner else None for owner in owners]
    if not boxes and len(set(labels)) == len(labels):
        return ["the only one"] * len(labels)
    outlines = {number: pairing.rectangle(box) for number, (*_, box) in boxes.items()}
    return pairing.tie(labels, values, outlines)


def _read_tracks(path, prefix, tracks, form, collector):
    """Skeletons of tracks, frame by frame, with the boxes of other tracks around them."""
    boxes = _track_boxes(path, tracks, form, collector.notes)
    kinds = {label for of_frame in boxes.values() for label, _ in of_frame.values()}
    rows, between = {}, 0
    for line, track in tracks:
        task = form.task(track.get("task_id", NO_TASK))
        for skeleton in track.findall("skeleton"):
            frame = int(columns.number(skeleton.get("frame"), f"{path}: line {line}", "frame"))
            place = f"{path}: line {line}, frame {frame}"
            joints = form.joints_of(track.get("label", ""), place)
            values = _elements(skeleton, joints, place, collector.notes)
            if not any(value[2] for value in values):
                continue  # the object has left the picture
            if (task.name, frame) not in rows:
                image = _frame_image(prefix, task, frame, len(form.tasks) > 1)
                rows[task.name, frame] = collector.add_image(image)
            box = _take_box(values, joints, boxes.get((task.name, frame), {}), kinds)
            _add(collector, place, rows[task.name, frame], joints, values, box)
            between += all(element.get("keyframe") == "0" for element in skeleton.iter())
    if between:
        what = "skeletons of frames between keyframes, which CVAT interpolated"
        collector.notes.guessed(f"{between} {what}", str(path))


def _take_box(values, joints, boxes, kinds):
    """Removes the box around a skeleton from those of a frame; None without one."""
    loose = {
        key: box for key, (label, box) in boxes.items() if _may_hold(label, joints.category, kinds)
    }
    key = pairing.around(values, loose)
    boxes.pop(key, None)
    return loose.get(key)


def _track_boxes(path, tracks, form, notes):
    boxes = collections.defaultdict(dict)
    for line, track in tracks:
        task = form.task(track.get("task_id", NO_TASK))
        for number, box in enumerate(track.findall("box")):
            place = f"{path}: line {line}"
            frame = int(columns.number(box.get("frame"), place, "frame"))
            if box.get("outside") != "1":
                entry = (track.get("label", ""), _box(box, place))
                boxes[task.name, frame][track.get("id"), number] = entry
        others = {child.tag for child in track} - {"box", "skeleton"}
        for tag in sorted(others):
            notes.lost(
                f"tracks of {tag}, which are not skeletons", f"{track.get('label')}: {place}"
            )
    return boxes


def _frame_image(prefix, task, frame, several):
    folder = "/".join(part for part in (prefix, task.name if several else "") if part)
    name = f"{folder}/frame_{frame:06d}" if folder else f"frame_{frame:06d}"
    film = Frame(task.film, frame)
    split = columns.split_name(task.subset)
    group = "/".join(part for part in (prefix, task.name, task.film or "film") if part)
    return Image(name, size=task.size, split=split, group=group, frame=film)
