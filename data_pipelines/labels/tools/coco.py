"""COCO's keypoint format as tools and datasets write it: Roboflow, CVAT, Datumaro, converters.

They differ from COCO in what is missing (counts, areas, names), in limbs counted from 0, in joints
beside `keypoints` (COCO-WholeBody's feet, face and hands), in fewer joints than names (Human-Art)
and in coordinates that count from 1 (JHMDB).
"""

import pathlib

from data_pipelines import json_files, skeletons
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Image, JointSet
from data_pipelines.labels.tools.yolo import ROBOFLOW
from data_pipelines.skeletons import whole_body

LISTS = ("images", "annotations", "categories")
PARTS = whole_body.FIELDS[1:]
# Halpe's body and feet, then the face and the hands of COCO-WholeBody.
HALPE_136 = (*skeletons.HALPE_26.names, *skeletons.COCO_WHOLEBODY.names[whole_body.FACE :])
EMPTY = (
    "has annotations of no category with joints. CVAT writes this where labels are points: export "
    '"CVAT for images 1.1" and import its XML, or label skeletons'
)


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a JSON file in COCO's format, or of all such files below a folder."""
    paths = options.find_files(source, (".json",), what="a JSON file in COCO's format")
    collector = columns.Collector()
    found = [(path, _document(path, alone=len(paths) == 1)) for path in paths]
    documents = [(path, document) for path, document in found if document is not None]
    if not documents:
        raise ValueError(f"no file of {source} has {', '.join(LISTS)}, as COCO's format has")
    for path, document in documents:
        split = _split(path.relative_to(source) if source.is_dir() else pathlib.Path(path.name))
        folder = path.parent.relative_to(source).as_posix() if source.is_dir() else ""
        _read_document(path, document, split, folder.removeprefix("."), given, collector)
    if not collector.joint_sets:
        raise ValueError(f"{documents[0][0]} {EMPTY}")
    return collector.labels(upright=False)


def _document(path, *, alone):
    document = json_files.parse(path, json_files.read_bytes(path))
    good = isinstance(document, dict) and all(isinstance(document.get(x), list) for x in LISTS)
    if alone and not good:
        raise ValueError(f"{path} has no lists {', '.join(LISTS)}: it is not in COCO's format")
    return document if good else None


def _split(inner):
    """The split that a folder or a word of the file's name says."""
    words = [*inner.parts[:-1], *inner.stem.replace("-", "_").split("_")]
    splits = [columns.split_name(word.rstrip("0123456789")) for word in words]
    return next(filter(None, splits), "")


def _read_document(path, document, split, folder, given, collector):
    for name in LISTS:
        json_files.require_fields(
            path, name[:-1], document[name], ("id",) if name != "annotations" else ()
        )
    categories = {entry["id"]: entry for entry in document["categories"]}
    rows = {}
    for number, image in enumerate(document["images"]):
        if image.get("is_labeled") is False:
            collector.notes.lost(
                "images that the file calls not labeled", str(image.get("file_name"))
            )
            continue
        place = f"{path}: image {number}"
        rows[image["id"]] = collector.add_image(
            _image(image, split, folder, place, collector.notes)
        )
    _note_mixed_people(path, document, collector.notes)
    sets, known = {}, {image["id"] for image in document["images"]}
    for number, entry in enumerate(document["annotations"]):
        place = f"{path}: annotation {number} (id {entry.get('id')})"
        if entry.get("image_id") not in known:
            raise ValueError(
                f"{place} belongs to image {entry.get('image_id')}, which is not listed"
            )
        category = _category(place, entry, categories, collector.notes)
        if entry["image_id"] in rows:
            row = rows[entry["image_id"]]
            _read_entry(place, entry, row, category, sets, given, collector)


def _category(place, entry, categories, notes):
    """The category of an annotation; the first for an unknown id where all have the same joints."""
    number = entry.get("category_id")
    if number in categories:
        return categories[number]
    all_of_them = list(categories.values())
    if any(one.get("keypoints") != all_of_them[0].get("keypoints") for one in all_of_them):
        listed = ", ".join(map(str, list(categories)[:5]))
        raise ValueError(f"{place} has the category_id {number}; the file lists: {listed}")
    name = all_of_them[0].get("name")
    notes.guessed(f"category_id {number} is not listed and taken for {name!r}", place)
    return all_of_them[0]


def _image(image, split, folder, place, notes):
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{place} has no file_name")
    size = [image.get(side) for side in ("height", "width")]
    known = None
    if any(isinstance(side, str) for side in size):
        notes.guessed("sizes of images that are text are taken for numbers", place)
    if None not in size:
        known = tuple(columns.number(side, place, "the image's size") for side in size)
    stem = pathlib.PurePosixPath(name).stem
    group = str(image.get("vid_id") or image.get("video_id") or "")
    if ROBOFLOW.search(stem):  # several augmented copies of one photograph
        group = ROBOFLOW.sub("", stem)
    return Image(f"{folder}/{name}" if folder else name, size=known, split=split, group=group)


def _note_mixed_people(path, document, notes):
    info = document.get("info")
    by_label_studio = isinstance(info, dict) and info.get("contributor") == "Label Studio"
    if by_label_studio:
        what = (
            "Label Studio's COCO export makes one person of all people of an image: import its JSON"
        )
        notes.lost(what, str(path))


def _read_entry(place, entry, row, category, sets, given, collector):
    values = _values(entry, place)
    labeled = [joint for joint in values if joint[2]]
    name = str(category.get("name", "object"))
    if not labeled and not category.get("keypoints"):
        collector.notes.lost("annotations without joints", f"{name}: {place}")
        return
    if category["id"] not in sets:
        joint_set = _joint_set(place, category, name, len(values), given, collector.notes)
        sets[category["id"]] = collector.add_set(joint_set)
    count = len(collector.joint_sets[sets[category["id"]]].names)
    if len(values) not in (0, count):
        raise ValueError(f"{place} has {len(values)} joints; others of {name!r} have {count}")
    box = entry.get("bbox") or None
    box = columns.numbers(box, 4, place, "bbox") if box else None
    if not labeled:
        collector.notes.lost("boxes without a labeled joint, which train nothing", place)
    if not labeled and box is None:
        return
    area = columns.number(entry.get("area") or 0, place, "area")
    if entry.get("area") is not None and area <= 0:
        collector.notes.guessed(
            "areas that are not positive, replaced by those of the boxes", place
        )
    shift = given.first_pixel
    joints = [(x - shift, y - shift, v) if v else (0.0, 0.0, 0) for x, y, v in values]
    if box and shift:
        box = [box[0] - shift, box[1] - shift, *box[2:]]
    crowd = bool(columns.number(int(bool(entry.get("iscrowd"))), place, "iscrowd"))
    collector.add(row, sets[category["id"]], joints, box, area=area, crowd=crowd)


def _values(entry, place):
    """The joints as (x, y, visibility); any visibility above 0, also a score, is labeled."""
    values = list(entry.get("keypoints") or ())
    if entry.get("foot_kpts") is not None:
        for part in PARTS:
            values += entry.get(part) or ()
    if len(values) % 3:
        raise ValueError(f"{place}: keypoints has {len(values)} numbers; expected x, y, v of each")
    joints = []
    for x, y, v in zip(values[::3], values[1::3], values[2::3], strict=True):
        flag = columns.number(0 if v is None else v, place, "a visibility")
        if flag <= 0:
            joints.append((0.0, 0.0, 0))
            continue
        point = [columns.number(side, place, "a joint") for side in (x, y)]
        joints.append((*point, 1 if flag == 1 else 2))
    return joints


def _joint_set(place, category, name, count, given, notes):
    names = _names(category, count, place, notes)
    if not names:
        names = options.name_joints(given.joints, count, f"{place} ({name})")
        if not given.joints:
            notes.guessed("the file does not name the joints: they are numbered", name)
    options.check_unique(names, f"{place}: category {name}")
    return JointSet(name, tuple(names), limbs=_limbs(category, len(names), name, notes))


def _names(category, count, place, notes):
    names = category.get("keypoints") or ()
    if isinstance(names, dict):  # Animal Kingdom's
        names = list(names.values())
    names = tuple(map(str, names))
    if count == len(skeletons.COCO_WHOLEBODY.names) and len(names) == 17:
        return skeletons.COCO_WHOLEBODY.names
    if count == len(HALPE_136) and not names:
        notes.guessed("the file does not name its 136 joints: they are taken for Halpe's", place)
        return HALPE_136
    if count and len(names) > count:
        what = f"names of joints beyond the {count} that annotations have"
        notes.lost(what, ", ".join(names[count:]))
        return names[:count]
    if count and names and len(names) < count:
        raise ValueError(f"{place} has {count} joints; the category names {len(names)}")
    return names


def _limbs(category, count, name, notes):
    """The limbs counted from 0; none where the file's are of another joint set."""
    limbs = category.get("skeleton") or []
    good = isinstance(limbs, list) and all(
        isinstance(limb, list) and len(limb) == 2 and all(type(x) is int for x in limb)
        for limb in limbs
    )
    numbers = {joint for limb in limbs for joint in limb} if good else {-1}
    if not limbs:
        return ()
    if len(category.get("keypoints") or ()) > count > 0 not in numbers:
        limbs = [limb for limb in limbs if max(limb) <= count]  # of joints that are left out
        numbers = {joint for limb in limbs for joint in limb} | {1}
    if min(numbers) < 0 or max(numbers) > count or {0, count} <= numbers:
        notes.lost("limbs of joints that the category lacks", name)
        return ()
    if 0 in numbers:
        notes.guessed("limbs are counted from 0, since one has a joint 0", name)
        return tuple((a, b) for a, b in limbs)
    return tuple((a - 1, b - 1) for a, b in limbs)
