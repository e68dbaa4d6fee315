"""SLEAP: .slp projects, also .pkg.slp with embedded images, and the older .json.

The order of the joints is that of the skeleton's nodes, places in the list of all nodes. Before
format 1.1 coordinates count from the corner of the first pixel, half a pixel less is taken
(talmolab/sleap, sleap/io/format/hdf5.py and labels_json.py).
"""

import pathlib

import numpy as np

from data_pipelines import json_files
from data_pipelines.labels import columns, options
from data_pipelines.labels.columns import Frame, Image, JointSet
from data_pipelines.labels.readers import hdf5_files

USER, PREDICTED = 0, 1
LIMB, MIRRORED = 1, 2  # SLEAP's EdgeType
CENTERED_SINCE = 1.1  # format_id
HALF = 0.5
CATEGORY = "animal"


def read(source: pathlib.Path, given: options.Options) -> columns.Labels:
    """The labels of a .slp or .json file, or of all .slp files of a folder."""
    paths = options.find_files(source, (".slp",), what="a .slp file of SLEAP")
    collector = columns.Collector()
    for path in paths:
        prefix = path.name.split(".")[0] if len(paths) > 1 else ""
        if path.suffix.lower() == ".json":
            _read_json(path, given, collector)
        else:
            _read_slp(path, prefix, given, collector)
    return collector.labels()


def _skeletons(path, metadata):
    """The joint set of every skeleton."""
    nodes, skeletons = metadata.get("nodes"), metadata.get("skeletons")
    if not isinstance(nodes, list) or not isinstance(skeletons, list) or not skeletons:
        raise ValueError(f"{path} has no skeleton; expected a file of SLEAP")
    try:
        names = [str(node["name"]) for node in nodes]
        return [_skeleton(skeleton, names) for skeleton in skeletons]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: its skeleton is damaged ({error!r})") from error


def _skeleton(skeleton, names):
    order = [node["id"] for node in skeleton["nodes"]]
    kinds, pairs = [], {LIMB: [], MIRRORED: []}
    for link in skeleton.get("links", ()):
        kind = _edge_kind(link.get("type"), kinds)
        pair = (order.index(link["source"]), order.index(link["target"]))
        if kind == LIMB or pair[::-1] not in pairs[kind]:  # a symmetry is stored in both directions
            pairs[kind].append(pair)
    joints = tuple(names[place] for place in order)
    options.check_unique(joints, "the skeleton")
    return JointSet(CATEGORY, joints, tuple(pairs[LIMB]), tuple(pairs[MIRRORED]))


def _edge_kind(text, kinds):
    """1 or 2: spelled out where a kind is first met, later by its number among those."""
    if not isinstance(text, dict):
        return LIMB
    if "py/reduce" in text:
        kinds.append(text["py/reduce"][1]["py/tuple"][0])
        return kinds[-1] if kinds[-1] in (LIMB, MIRRORED) else LIMB
    return kinds[text["py/id"] - 1]


def _read_slp(path, prefix, given, collector):
    with hdf5_files.opened(path) as file:
        metadata, shift = _metadata(path, file)
        sets = [collector.add_set(joints) for joints in _skeletons(path, metadata)]
        tables = _tables(file)
        videos = _videos(path, file, metadata)
        notes = collector.notes
        embedded = {number: _embedded(path, file, number, notes) for number in range(len(videos))}
        for frame in tables["frames"]:
            image = _image(path, prefix, frame, videos, embedded)
            _read_frame(path, frame, image, tables, sets, shift, given, collector)


def _metadata(path, file):
    if not hdf5_files.has(file, "metadata") or "json" not in file["metadata"].attrs:
        raise ValueError(f"{path} has no metadata; expected a .slp file of SLEAP")
    attributes = file["metadata"].attrs
    text = attributes["json"]
    contents = text if isinstance(text, bytes) else str(text).encode()
    metadata = json_files.parse(path, bytes(contents))
    if not isinstance(metadata, dict):
        raise ValueError(f"{path}: its metadata is not an object")
    version = columns.number(attributes.get("format_id", 1.0), str(path), "format_id")
    return metadata, 0.0 if version >= CENTERED_SINCE else HALF


def _tables(file):
    span = ("instance_id_start", "instance_id_end")
    return {
        "frames": hdf5_files.array(file, "frames", ("video", "frame_idx", *span)),
        "instances": hdf5_files.array(
            file,
            "instances",
            ("instance_type", "skeleton", "from_predicted", "point_id_start", "point_id_end"),
        ),
        "points": hdf5_files.array(file, "points", ("x", "y", "visible")),
        "pred_points": hdf5_files.array(file, "pred_points", ("x", "y", "visible")),
    }


def _videos(path, file, metadata):
    """The file name of every film; metadata has them in older files."""
    if hdf5_files.has(file, "videos_json"):
        entries = [
            json_files.parse(path, text.encode()) for text in hdf5_files.texts(file, "videos_json")
        ]
    else:
        entries = metadata.get("videos", [])
    return [_film(entry, f"{path}: video {row}") for row, entry in enumerate(entries)]


def _film(entry, place):
    backend = entry.get("backend") if isinstance(entry, dict) else None
    name = backend.get("filename") if isinstance(backend, dict) else None
    if isinstance(name, list) and name:  # an image sequence
        return [str(x).replace("\\", "/") for x in name]
    if backend and isinstance(backend.get("filenames"), list):
        return [str(x).replace("\\", "/") for x in backend["filenames"]]
    if not isinstance(name, str):
        raise ValueError(f"{place} has no file name")
    return name.replace("\\", "/")


def _embedded(path, file, number, notes):
    """The images inside of the file by their frame numbers: bytes of image files."""
    name = f"video{number}"
    if not hdf5_files.has(file, name) or not hdf5_files.has(file, f"{name}/video"):
        return {}
    images = hdf5_files.dataset(file, f"{name}/video")
    if hdf5_files.has(file, f"{name}/frame_numbers"):
        numbers = hdf5_files.array(file, f"{name}/frame_numbers").reshape(-1).tolist()
    else:
        numbers = list(range(len(images)))
    if len(numbers) != len(images) or images.attrs.get("format") not in (
        "png",
        "jpg",
        "jpeg",
        b"png",
    ):
        return {}
    if images.attrs.get("channels", 1) == 3:
        what = "colors of embedded images, of which some versions exchange red and blue"
        notes.guessed(what, f"{path}: {name}")
    return {int(frame): row for row, frame in enumerate(numbers)}


def _image(path, prefix, frame, videos, embedded):
    video, number = int(frame["video"]), int(frame["frame_idx"])
    if video >= len(videos):
        raise ValueError(f"{path}: frame {number} is of video {video}; the file has {len(videos)}")
    film = videos[video]
    if isinstance(film, list):
        if number >= len(film):
            raise ValueError(
                f"{path}: frame {number} of video {video}, which has {len(film)} images"
            )
        return Image(film[number], group=f"{prefix}video{video}")
    row = embedded[video].get(number)
    encoded = None if row is None else lambda: _read_embedded(path, video, row)
    folder = f"{prefix}_video{video}" if prefix else f"video{video}"
    group = film if film != "." else folder
    source = None if row is not None else Frame(film, number)
    return Image(f"{folder}/frame_{number:06d}", group=group, encoded=encoded, frame=source)


def _read_embedded(path, video, row):
    with hdf5_files.opened(path) as file:
        values = np.asarray(hdf5_files.dataset(file, f"video{video}/video")[row])
        return values.astype(np.uint8, copy=False).tobytes()


def _read_frame(path, frame, image, tables, sets, shift, given, collector):
    place = f"{path}: video {int(frame['video'])}, frame {int(frame['frame_idx'])}"
    start, end = int(frame["instance_id_start"]), int(frame["instance_id_end"])
    instances = tables["instances"]
    if not 0 <= start <= end <= len(instances):
        raise ValueError(f"{place}: instances {start} to {end} of {len(instances)}")
    own = instances[start:end]
    user = own[own["instance_type"] == USER]
    predicted = own[own["instance_type"] == PREDICTED]
    row = collector.add_image(image)
    for instance in user:
        _add(place, instance, "points", row, tables, sets, shift, collector)
    if len(predicted) and len(user):
        replaced = "predictions beside instances of the annotator, which count"
        collector.notes.lost(replaced, place)
    elif len(predicted) and given.predictions:
        collector.notes.guessed("frames labeled by a network", place)
        for instance in predicted:
            _add(place, instance, "pred_points", row, tables, sets, shift, collector)
    elif len(predicted):
        collector.notes.lost("frames with predictions alone, which were not asked for", place)


def _add(place, instance, kind, row, tables, sets, shift, collector):
    start, end = int(instance["point_id_start"]), int(instance["point_id_end"])
    points, number = tables[kind], int(instance["skeleton"])
    if number >= len(sets):
        raise ValueError(f"{place}: an instance of skeleton {number}; the file has {len(sets)}")
    count = len(collector.joint_sets[sets[number]].names)
    if not 0 <= start <= end <= len(points) or end - start != count:
        raise ValueError(f"{place}: points {start} to {end} of {len(points)} for {count} joints")
    table = points[start:end]
    x, y = np.asarray(table["x"], float) - shift, np.asarray(table["y"], float) - shift
    shown = np.asarray(table["visible"], bool) & np.isfinite(x) & np.isfinite(y)
    joints = [
        (a, b, columns.VISIBLE) if labeled else (0.0, 0.0, 0)
        for a, b, labeled in zip(x.tolist(), y.tolist(), shown.tolist(), strict=True)
    ]
    if not shown.any():
        collector.notes.lost("instances without a labeled joint", place)
        return
    collector.add(row, sets[number], joints)


def _read_json(path, given, collector):
    """The older format: the same objects spelled out."""
    document = json_files.read_json(path, expected=dict)
    sets = [collector.add_set(joints) for joints in _skeletons(path, document)]
    entries = document.get("videos", [])
    videos = [_film(entry, f"{path}: video {row}") for row, entry in enumerate(entries)]
    for number, entry in enumerate(document.get("labels", [])):
        place = f"{path}: label {number}"
        try:
            frame = {"video": int(entry["video"]), "frame_idx": int(entry["frame_idx"])}
            image = _image(path, "", frame, videos, {frame["video"]: {}})
            row = collector.add_image(image)
            for instance in entry["_instances"]:
                _add_json(place, instance, row, sets, given, collector)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"{place} is damaged ({error!r})") from error


def _add_json(place, instance, row, sets, given, collector):
    if "score" in instance and not given.predictions:
        collector.notes.lost("predictions, which were not asked for", place)
        return
    joint_set = sets[int(instance["skeleton"])]
    joints = [(0.0, 0.0, 0)] * len(collector.joint_sets[joint_set].names)
    for key, point in instance["_points"].items():
        if point.get("visible", True) and None not in (point["x"], point["y"]):
            x, y = (columns.number(point[axis], place, axis) for axis in "xy")
            joints[int(key)] = (x, y, columns.VISIBLE)
    collector.add(row, joint_set, joints)
