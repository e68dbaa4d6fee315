"""Small files of every annotation tool with the same people, for tests of their importers.

`TOOLS` has a writer for each tool, which puts its files into a folder; `PEOPLE` is the truth, and
`expected` what of it a tool can say. Images are drawn by `write_images`.
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Callable

import cv2
import numpy as np

from data_pipelines.labels import importing
from data_pipelines.labels.options import Options

NAMES = ("nose", "left_eye", "right_eye")
LIMBS = ((0, 1), (0, 2))
WIDTH, HEIGHT = 64, 48
NONE = (0.0, 0.0, 0)
VISIBLE = 2


@dataclasses.dataclass(frozen=True)
class Person:
    """A person in an image: joints as (x, y, visibility), and the box (x, y, w, h)."""

    image: str
    joints: tuple
    box: tuple


PEOPLE = (
    Person("a.png", ((10.5, 12.25, 2), (20.0, 13.0, 1), NONE), (5.0, 6.0, 30.0, 40.0)),
    Person("a.png", ((50.0, 12.0, 2), NONE, (44.0, 13.0, 2)), (40.0, 5.0, 20.0, 30.0)),
    Person("b.png", ((30.0, 20.0, 2), (34.0, 22.0, 2), (26.0, 22.0, 2)), (20.0, 10.0, 24.0, 36.0)),
    Person("c.png", ((31.0, 21.0, 2), (35.0, 23.0, 2), (27.0, 23.0, 2)), (21.0, 11.0, 24.0, 36.0)),
)
IMAGES = ("a.png", "b.png", "c.png")


def expected(*, hidden: bool, boxes: bool) -> list[tuple]:
    """The truth as a tool can say it: (image, joints, box), without box where it has none."""
    people = []
    for person in PEOPLE:
        joints = tuple((x, y, v if hidden else min(2 * v, VISIBLE)) for x, y, v in person.joints)
        people.append((pathlib.PurePath(person.image).stem, joints, person.box if boxes else None))
    return people


def write_images(folder: pathlib.Path, names: tuple[str, ...] = IMAGES) -> None:
    """Draws the images, each joint as a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        for person in PEOPLE:
            if person.image == name:
                for x, y, _ in person.joints:
                    cv2.circle(image, (round(x), round(y)), 2, (255, 255, 255), cv2.FILLED)
        cv2.imwrite(str(folder / name), image)


def _of(image):
    return [person for person in PEOPLE if person.image == image]


def _json(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(contents))
    return path


def yolo(root: pathlib.Path) -> pathlib.Path:
    (root / "labels").mkdir(parents=True)
    text = "kpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\nnames: {0: person}\n"
    (root / "data.yaml").write_text(text + f"kpt_names: {{0: [{', '.join(NAMES)}]}}\n")
    for image in IMAGES:
        rows = []
        for person in _of(image):
            x, y, w, h = person.box
            row = [0, (x + w / 2) / WIDTH, (y + h / 2) / HEIGHT, w / WIDTH, h / HEIGHT]
            for px, py, v in person.joints:
                row += [px / WIDTH, py / HEIGHT, v]
            rows.append(" ".join(map(str, row)))
        (root / "labels" / f"{image[0]}.txt").write_text("# a comment\n" + "\n".join(rows) + " ")
    return root


def _svg():
    nodes = [
        f'<circle data-type="element node" data-node-id="{n}" data-label-name="{name}"></circle>'
        for n, name in enumerate(NAMES, start=1)
    ]
    edges = [
        f'<line data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in LIMBS
    ]
    return "".join(edges + nodes).replace("<", "&lt;").replace(">", "&gt;")


def _cvat_meta(extra=""):
    parts = "".join(
        f"<label><name>{name}</name><type>points</type><parent>person</parent></label>"
        for name in reversed(NAMES)
    )
    person = f"<label><name>person</name><type>skeleton</type><svg>{_svg()}</svg></label>"
    return f"<meta><task><id>1</id>{extra}<labels>{person}{parts}</labels></task></meta>"


def _cvat_points(joints, more=""):
    # CVAT keeps the coordinates of points that are outside of the image.
    joints = [joint if joint[2] else (33.0, 7.0, 0) for joint in joints]
    return "".join(
        f'<points label="{name}" outside="{int(v == 0)}" occluded="{int(v == 1)}"{more} '
        f'points="{x},{y}"></points>'
        for name, (x, y, v) in zip(reversed(NAMES), reversed(joints), strict=True)
    )


def _cvat_box(person, more=""):
    x, y, w, h = person.box
    return f'<box label="person"{more} xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}"></box>'


def _cvat_images(root, shapes):
    images = "".join(
        f'<image id="{n}" name="{name}" width="{WIDTH}" height="{HEIGHT}">'
        f"{''.join(map(shapes, _of(name)))}</image>"
        for n, name in enumerate(IMAGES)
    )
    root.mkdir(parents=True, exist_ok=True)
    text = f"<annotations><version>1.1</version>{_cvat_meta()}{images}</annotations>"
    (root / "annotations.xml").write_text(text)
    return root / "annotations.xml"


def cvat(root: pathlib.Path) -> pathlib.Path:
    def shapes(person):
        points = _cvat_points(person.joints)
        group = f' group_id="{PEOPLE.index(person) + 1}"'
        return f'<skeleton label="person"{group}>{points}</skeleton>{_cvat_box(person, group)}'

    return _cvat_images(root, shapes)


def cvat_points(root: pathlib.Path) -> pathlib.Path:
    def shapes(person):
        labeled = [
            f'<points label="{name}" occluded="{int(v == 1)}" points="{x},{y}"></points>'
            for name, (x, y, v) in zip(NAMES, person.joints, strict=True)
            if v
        ]
        return "".join([*labeled, _cvat_box(person)])

    return _cvat_images(root, shapes)


def cvat_video(root: pathlib.Path) -> pathlib.Path:
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    tracks = ""
    for number, person in enumerate(PEOPLE):
        frame = IMAGES.index(person.image)
        skeleton = (
            f'<skeleton frame="{frame}" keyframe="1">{_cvat_points(person.joints)}</skeleton>'
        )
        gone = f'<skeleton frame="{frame + 1}" keyframe="1">{_cvat_points((NONE,) * 3)}</skeleton>'
        tracks += f'<track id="{number}" label="person">{skeleton}{gone}</track>'
    meta = _cvat_meta(f"<source>film.avi</source>{size}")
    root.mkdir(parents=True, exist_ok=True)
    (root / "annotations.xml").write_text(f"<annotations>{meta}{tracks}</annotations>")
    return root / "annotations.xml"


def label_studio(root: pathlib.Path) -> pathlib.Path:
    labels = "".join(
        f'<Label value="{name}" model_index="{NAMES.index(name)}"/>' for name in sorted(NAMES)
    )
    root.mkdir(parents=True, exist_ok=True)
    config = f'<View><KeyPointLabels name="k" toName="image">{labels}</KeyPointLabels></View>'
    (root / "config.xml").write_text(config)
    tasks = []
    for number, image in enumerate(IMAGES):
        results = []
        for row, person in enumerate(_of(image)):
            results += _label_studio_regions(f"{number}{row}", person)
        task = {"id": number, "annotations": [{"result": results}], "data": {}}
        tasks.append({**task, "file_upload": f"0123abcd-{image}"})
    return _json(root / "export.json", tasks)


def _label_studio_regions(key, person):
    shared = {"original_width": WIDTH, "original_height": HEIGHT}
    scale = (100 / WIDTH, 100 / HEIGHT)
    x, y, w, h = (side * scale[place % 2] for place, side in enumerate(person.box))
    value = {"x": x, "y": y, "width": w, "height": h, "rectanglelabels": ["person"]}
    regions = [{"id": f"box{key}", "type": "rectanglelabels", "value": value, **shared}]
    for name, (px, py, v) in zip(NAMES, person.joints, strict=True):
        if v:
            value = {"x": px * scale[0], "y": py * scale[1], "keypointlabels": [name]}
            value |= {"hidden": True} if v == 1 else {}
            point = {"id": f"{name}{key}", "type": "keypointlabels", "value": value}
            regions.insert(0, {**point, "parentID": f"box{key}", **shared})
    return regions


def deeplabcut(root: pathlib.Path) -> pathlib.Path:
    folder = root / "labeled-data" / "film"
    folder.mkdir(parents=True)
    skeleton = [[NAMES[a], NAMES[b]] for a, b in LIMBS]
    (root / "config.yaml").write_text(json.dumps({"skeleton": skeleton}))
    animals = ("one", "two")
    cells = [(animal, name, axis) for animal in animals for name in NAMES for axis in "xy"]
    rows = [["scorer", "", "", *["me"] * len(cells)]]
    for place, title in enumerate(("individuals", "bodyparts", "coords")):
        rows.append([title, "", "", *(cell[place] for cell in cells)])
    for image in IMAGES:
        values = []
        for person in (*_of(image), *[Person(image, (NONE,) * 3, ())] * 2)[:2]:
            for x, y, v in person.joints:
                values += [x, y] if v else ["", "nan"]
        rows.append(["labeled-data", "film", image, *values])
    with open(folder / "CollectedData_me.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def _sleap_metadata():
    # Nodes are listed the other way round; the skeleton gives their order.
    nodes = [{"name": name} for name in reversed(NAMES)]
    last = len(NAMES) - 1
    first = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [1]}]}
    mirrored = {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [2]}]}
    kinds = [first, {"py/id": 1}]
    links = [
        {"source": last - a, "target": last - b, "type": kind}
        for (a, b), kind in zip(LIMBS, kinds, strict=True)
    ]
    links.append({"source": last - 1, "target": last - 2, "type": mirrored})
    links.append({"source": last - 2, "target": last - 1, "type": {"py/id": 2}})
    order = [{"id": last - place} for place in range(len(NAMES))]
    return {"nodes": nodes, "skeletons": [{"nodes": order, "links": links}]}


def sleap(root: pathlib.Path, *, version: float = 1.2, embedded: bool = True) -> pathlib.Path:
    """A .slp; legacy ones, before format 1.1, count from the corner of the first pixel."""
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    shift = 0.5 if version < 1.1 else 0.0
    frames, instances, points = [], [], []
    for number, image in enumerate(IMAGES):
        start = len(instances)
        for person in _of(image):
            first = len(points)
            points += [(x + shift, y + shift, v > 0, False) for x, y, v in person.joints]
            instances.append((len(instances), 0, number, 0, -1, -1, first, len(points)))
        frames.append((number, 0, 10 * number, start, len(instances)))
    names = ("instance_id", "instance_type", "frame_id", "skeleton", "track", "from_predicted")
    instance = np.dtype([(name, "i8") for name in (*names, "point_id_start", "point_id_end")])
    span = ("instance_id_start", "instance_id_end")
    frame = np.dtype([(name, "i8") for name in ("frame_id", "video", "frame_idx", *span)])
    point = np.dtype([("x", "f8"), ("y", "f8"), ("visible", "?"), ("complete", "?")])
    with h5py.File(root / "labels.slp", "w") as file:
        metadata = file.create_group("metadata")
        metadata.attrs["json"] = np.bytes_(json.dumps(_sleap_metadata()).encode())
        metadata.attrs["format_id"] = version
        file["frames"] = np.array(frames, frame)
        file["instances"] = np.array(instances, instance)
        file["points"] = np.array(points, point)
        file["pred_points"] = np.array([], point)
        backend = {"filename": "." if embedded else "D:\\films\\film.avi"}
        file["videos_json"] = np.array([json.dumps({"backend": backend}).encode()])
        if embedded:
            _embed(file, root)
    return root / "labels.slp"


def _embed(file, root):
    import h5py

    write_images(root / "drawn")
    kind = h5py.vlen_dtype(np.int8)
    video = file.create_dataset("video0/video", (len(IMAGES),), dtype=kind)
    video.attrs["format"] = "png"
    for row, name in enumerate(IMAGES):
        video[row] = np.frombuffer((root / "drawn" / name).read_bytes(), np.int8)
    file["video0/frame_numbers"] = 10 * np.arange(len(IMAGES))


def sleap_film(root: pathlib.Path) -> pathlib.Path:
    return sleap(root, version=1.0, embedded=False)


def sleap_json(root: pathlib.Path) -> pathlib.Path:
    labels = []
    for number, image in enumerate(IMAGES):
        instances = [
            {
                "skeleton": 0,
                "_points": {
                    str(place): {"x": x, "y": y, "visible": True}
                    for place, (x, y, v) in enumerate(person.joints)
                    if v
                },
            }
            for person in _of(image)
        ]
        labels.append({"video": 0, "frame_idx": 10 * number, "_instances": instances})
    videos = [{"backend": {"filename": "films/film.avi"}}]
    return _json(root / "labels.json", {**_sleap_metadata(), "videos": videos, "labels": labels})


def sleap_analysis(root: pathlib.Path) -> pathlib.Path:
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    tracks = np.full((21, 2, len(NAMES), 2), np.nan)
    for number, image in enumerate(IMAGES):
        for row, person in enumerate(_of(image)):
            for place, (x, y, v) in enumerate(person.joints):
                if v:
                    tracks[10 * number, row, place] = x, y
    with h5py.File(root / "film.analysis.h5", "w") as file:
        file["tracks"] = tracks.transpose(1, 3, 2, 0)  # MATLAB's order, without dims
        file["node_names"] = np.array(NAMES, "S20")
        file["edge_inds"] = np.array(LIMBS)
        file["video_path"] = np.bytes_(b"D:\\films\\film.avi")
    return root


def labelme(root: pathlib.Path) -> pathlib.Path:
    """Without group_id: points belong to the box around them; hidden ones are difficult."""
    for image in IMAGES:
        shapes = []
        for person in _of(image):
            for name, (x, y, v) in zip(NAMES, person.joints, strict=True):
                point = {"label": name, "points": [[x, y]], "shape_type": "point"}
                if v:
                    shapes.append({**point, "group_id": None, "difficult": v == 1})
            x, y, w, h = person.box
            corners = [[x + w, y + h], [x, y]]  # any two
            box = {"label": "person", "points": corners, "shape_type": "rectangle"}
            shapes.append({**box, "group_id": None})
        document = {"shapes": shapes, "imagePath": f"..\\images\\{image}", "imageData": None}
        document |= {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        _json(root / f"{image[0]}.json", document)
    return root


def coco(root: pathlib.Path) -> pathlib.Path:
    """As Roboflow writes it: no counts, ids from 0, a category without joints in front."""
    annotations = [
        {
            "id": row,
            "image_id": IMAGES.index(person.image),
            "category_id": 1,
            "bbox": list(person.box),
            "keypoints": [number for joint in person.joints for number in joint],
        }
        for row, person in enumerate(PEOPLE)
    ]
    images = [
        {"id": row, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for row, name in enumerate(IMAGES)
    ]
    limbs = [list(limb) for limb in LIMBS]  # from 0
    person = {"id": 1, "name": "person", "keypoints": NAMES, "skeleton": limbs}
    categories = [{"id": 0, "name": "project"}, person]
    lists = {"images": images, "annotations": annotations, "categories": categories}
    return _json(root / "_annotations.coco.json", lists)


def datumaro(root: pathlib.Path) -> pathlib.Path:
    joints = [[a + 1, b + 1] for a, b in LIMBS]
    labels = [{"name": name} for name in ("person", *NAMES)]
    points = {"items": [{"label_id": 0, "labels": NAMES, "joints": joints}]}
    items = []
    for image in IMAGES:
        annotations = []
        for group, person in enumerate(_of(image), start=1):
            numbers = [number for joint in person.joints for number in joint]
            skeleton = {"type": "skeleton", "label_id": 0, "group": group, "points": numbers}
            box = {"type": "bbox", "label_id": 0, "group": group, "bbox": list(person.box)}
            annotations += [box, skeleton]
        size = {"path": image, "size": [HEIGHT, WIDTH]}
        items.append({"id": image[0], "annotations": annotations, "image": size})
    categories = {"label": {"labels": labels}, "points": points}
    _json(root / "annotations" / "default.json", {"categories": categories, "items": items})
    return root


def supervisely(root: pathlib.Path) -> pathlib.Path:
    nodes = {f"key-{name}": {"label": name, "loc": [0, 0]} for name in NAMES}
    edges = [{"src": f"key-{NAMES[a]}", "dst": f"key-{NAMES[b]}"} for a, b in LIMBS]
    graph = {
        "title": "person",
        "shape": "graph",
        "geometry_config": {"nodes": nodes, "edges": edges},
    }
    _json(root / "meta.json", {"classes": [graph, {"title": "box", "shape": "rectangle"}]})
    for image in IMAGES:
        objects = []
        for number, person in enumerate(_of(image)):
            own = {
                f"key-{name}": {"loc": [x, y], **({"disabled": True} if v == 1 else {})}
                for name, (x, y, v) in zip(NAMES, person.joints, strict=True)
                if v
            }
            x, y, w, h = person.box
            shared = {"instance": f"i{number}"}
            points = {"exterior": [[x, y], [x + w, y + h]], "interior": []}
            objects.append({"geometryType": "rectangle", "points": points, **shared})
            objects.append(
                {"geometryType": "graph", "classTitle": "person", "nodes": own, **shared}
            )
        size = {"height": HEIGHT, "width": WIDTH}
        _json(root / "ds0" / "ann" / f"{image}.json", {"size": size, "objects": objects})
    return root


def _via_regions(image):
    regions = []
    for number, person in enumerate(_of(image)):
        x, y, w, h = person.box
        shapes = [("", {"name": "rect", "x": x, "y": y, "width": w, "height": h})]
        shapes += [
            (name, {"name": "point", "cx": px, "cy": py})
            for name, (px, py, v) in zip(NAMES, person.joints, strict=True)
            if v
        ]
        regions += [
            {"shape_attributes": shape, "region_attributes": {"who": str(number), "part": name}}
            for name, shape in shapes
        ]
    return regions


def via(root: pathlib.Path) -> pathlib.Path:
    images = {
        f"{image}99": {"filename": image, "size": 99, "regions": _via_regions(image)}
        for image in IMAGES
    }
    return _json(root / "project.json", {"_via_img_metadata": images})


def via_csv(root: pathlib.Path) -> pathlib.Path:
    root.mkdir(parents=True, exist_ok=True)
    with open(root / "regions.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["#filename", "region_shape_attributes", "region_attributes"])
        for image in IMAGES:
            for region in _via_regions(image):
                rows.writerow([image, *map(json.dumps, region.values())])
    return root / "regions.csv"


def mmpose(root: pathlib.Path) -> pathlib.Path:
    names = {str(place): name for place, name in enumerate(NAMES)}
    for image in IMAGES:
        instances = []
        for person in _of(image):
            x, y, w, h = person.box
            instances.append(
                {
                    "keypoints": [[x, y] for x, y, _ in person.joints],
                    "keypoint_scores": [0.9 if v else 0.1 for *_, v in person.joints],
                    "bbox": [[x, y, x + w, y + h]],
                }
            )
        info = [{"frame_id": 0, "instances": instances}]
        document = {"meta_info": {"keypoint_id2name": names}, "instance_info": info}
        _json(root / f"results_{image[0]}.json", document)
    return root


@dataclasses.dataclass(frozen=True)
class Tool:
    """How a tool's files are written and read, and what they can say."""

    write: Callable[[pathlib.Path], pathlib.Path]
    tool: str
    hidden: bool = False
    boxes: bool = False
    limbs: bool = False
    pairs: bool = False
    film: bool = False
    own_images: bool = False


TOOLS = {
    "yolo": Tool(yolo, "yolo", hidden=True, boxes=True, pairs=True),
    "cvat": Tool(cvat, "cvat", hidden=True, boxes=True, limbs=True),
    "cvat_points": Tool(cvat_points, "cvat", hidden=True, boxes=True),
    "cvat_video": Tool(cvat_video, "cvat", hidden=True, limbs=True, film=True),
    "label_studio": Tool(label_studio, "labelstudio", hidden=True, boxes=True),
    "deeplabcut": Tool(deeplabcut, "deeplabcut", limbs=True),
    "sleap": Tool(sleap, "sleap", limbs=True, pairs=True, own_images=True),
    "sleap_film": Tool(sleap_film, "sleap", limbs=True, pairs=True, film=True),
    "sleap_json": Tool(sleap_json, "sleap", limbs=True, pairs=True, film=True),
    "sleap_analysis": Tool(sleap_analysis, "sleapanalysis", limbs=True, film=True),
    "labelme": Tool(labelme, "labelme", hidden=True, boxes=True),
    "coco": Tool(coco, "roboflow", hidden=True, boxes=True, limbs=True),
    "datumaro": Tool(datumaro, "datumaro", hidden=True, boxes=True, limbs=True),
    "supervisely": Tool(supervisely, "supervisely", hidden=True, boxes=True, limbs=True),
    "via": Tool(via, "via", boxes=True),
    "via_csv": Tool(via_csv, "via", boxes=True),
    "mmpose": Tool(mmpose, "mmpose", boxes=True),
}


def options(**given: object) -> Options:
    """The options that the files of all tools can be read with."""
    return Options(instance="who", joint="part", **given)


def write_film(path: pathlib.Path, every: int = 10) -> pathlib.Path:
    """A film whose frames 0, 10 and 20 are the drawn images."""
    write_images(path.parent / "frames")
    size = (WIDTH, HEIGHT)
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, size)
    for name in IMAGES:
        image = cv2.imread(str(path.parent / "frames" / name))
        for _ in range(every):
            film.write(image)
            image = np.zeros_like(image)
    film.release()
    return path


def make_plan(root: pathlib.Path, name: str, **changes: object) -> importing.Plan:
    """The import of a tool's files, which are written below `root` with their images."""
    tool = TOOLS[name]
    source, images = tool.write(root / "labels"), root / "images"
    if tool.film:
        images.mkdir(parents=True)
        write_film(images / "film.avi", every=1 if tool.tool == "cvat" else 10)
    elif tool.own_images:
        images.mkdir(parents=True)
    else:
        write_images(images)
    given = {"given": options(), "padding": 0.0, **changes}
    return importing.Plan(tool.tool, source, images, root / "dataset", **given)
