"""What is peculiar to single tools, on small files of our own."""

import json

import label_files
import numpy as np
import pytest
import scipy.io

from data_pipelines import skeletons
from data_pipelines.labels import importing, pairing
from data_pipelines.labels.options import Options
from data_pipelines.labels.predicted import mediapipe, openpose
from data_pipelines.labels.published import penn_action


def read(tool, source, **given):
    return importing.read(tool, source, Options(**given))


def notes(labels):
    return "\n".join(map(str, labels.notes))


def yolo_folder(root, rows, yaml="kpt_shape: [2, 3]\nnames: [fish]\n"):
    (root / "labels" / "train").mkdir(parents=True, exist_ok=True)
    (root / "labels" / "train" / "a.txt").write_text(rows)
    if yaml:
        (root / "data.yaml").write_text(yaml)
    return root


ROW = "0 .5 .5 1 1 .25 .5 2 .75 .5 0"


def test_yolo_joints_without_visibility_are_labeled_unless_zero_or_negative(tmp_path):
    row = "0 .5 .5 1 1 0 0 .75 .5"
    labels = read("yolo", yolo_folder(tmp_path, row, "kpt_shape: [2, 2]\nnames: [fish]\n"))
    assert labels.visibility.tolist() == [[0, 2]]
    assert labels.images[0].split == "train"


def test_yolo_rows_decide_against_a_wrong_kpt_shape(tmp_path):
    # As in a file of a user: 13 joints of two values by data.yaml, three in the rows.
    yaml = 'kpt_shape: [2, 2]\nflip_idx: [0, "1 2"]\nnames: [fish]\n'
    labels = read("yolo", yolo_folder(tmp_path, ROW, yaml))
    assert labels.visibility.tolist() == [[2, 0]]
    assert "guessed: rows have 3 values of a joint, kpt_shape 2" in notes(labels)
    assert "lost: flip_idx does not pair the 2 joints" in notes(labels)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 .5 .5 1 1 .25 .5 2", r"a\.txt: line 2 has 8 columns; expected 5, or 5 and 3 for each"),
        (ROW.replace("0 .5", "7 .5", 1), r"line 2: the class is 7; .*data\.yaml has: 0 \(fish\)"),
        (ROW.replace(".25", "250"), "line 2: numbers are not fractions of the image's width"),
        (ROW.replace(".25", "nan"), "line 2: a value is 'nan'; expected a finite number"),
        (ROW[:-1] + "0.93", "line 2: a joint's visibility is 0.93; expected 0, 1 or 2"),
    ],
)
def test_yolo_faults_name_their_line(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        read("yolo", yolo_folder(tmp_path, f"{ROW}\n{row}"))


def test_yolo_boxes_of_detection_are_lost(tmp_path):
    labels = read("yolo", yolo_folder(tmp_path, f"{ROW}\n0 .5 .5 1 1"))
    assert len(labels) == 1
    assert "lost: boxes without joints" in notes(labels)


def test_yolo_files_without_yaml_tell_their_joints_by_the_rows(tmp_path):
    labels = read("yolo", yolo_folder(tmp_path, ROW, yaml=""))
    assert labels.joint_sets[0].names == ("joint_0", "joint_1")
    assert "2 joints of 3 values" in notes(labels)


def test_yolo_takes_its_description_from_elsewhere(tmp_path):
    root = yolo_folder(tmp_path / "data", ROW, yaml="")
    (root / "labels" / "classes.txt").write_text("fish")
    (tmp_path / "other.yaml").write_text("kpt_shape: [2, 3]\nnames: [fish]\n")
    labels = read("yolo", root, config=str(tmp_path / "other.yaml"))
    assert labels.joint_sets[0].category == "fish"
    assert len(labels) == 1


def test_copies_that_roboflow_made_of_a_photograph_are_one_group(tmp_path):
    root = yolo_folder(tmp_path, ROW)
    for number in ("0123456789abcdef", "fedcba9876543210"):
        (root / "labels" / "train" / f"cat_jpg.rf.{number}.txt").write_text(ROW)
    groups = [image.group for image in read("yolo", root).images]
    assert groups == ["", "cat_jpg", "cat_jpg"]


def test_cvat_refuses_points_without_names(tmp_path):
    points = '<points label="key_point" points="1,2"/>' * 3
    path = tmp_path / "a.xml"
    path.write_text(
        f'<annotations><image name="a" width="9" height="9">{points}</image></annotations>'
    )
    with pytest.raises(ValueError, match="all points are called 'key_point'"):
        read("cvat", path)


def test_cvat_points_in_a_row_get_the_names_that_are_given(tmp_path):
    path = tmp_path / "a.xml"
    points = (
        '<points label="tool" points="1,2;3,4"/><box label="tool" xtl="0" ytl="0" xbr="5" ybr="6"/>'
    )
    path.write_text(
        f'<annotations><image name="a" width="9" height="9">{points}</image></annotations>'
    )
    labels = read("cvat", path, joints=("tip", "end"))
    assert labels.joint_sets[0].names == ("tip", "end")
    assert labels.keypoints.tolist() == [[[1, 2], [3, 4]]]
    assert labels.boxes.tolist() == [[0, 0, 5, 6]]
    with pytest.raises(ValueError, match="has 2 joints; 3 names are given"):
        read("cvat", path, joints=("a", "b", "c"))


def test_subsets_of_cvat_are_splits_and_nothing_else(tmp_path):
    path = label_files.cvat(tmp_path)
    text = path.read_text()
    for name, subset in zip(label_files.IMAGES, ("Train", "Validation", "../../up"), strict=True):
        text = text.replace(f'name="{name}"', f'name="{name}" subset="{subset}"')
    path.write_text(text)
    assert [image.split for image in read("cvat", path).images] == ["train", "val", ""]


def test_a_box_of_another_kind_is_not_that_of_the_skeleton_inside(tmp_path):
    path = label_files.cvat(tmp_path)
    text = path.read_text()
    for number in range(1, 5):
        text = text.replace(f' group_id="{number}"', "")
    path.write_text(text)
    assert np.isfinite(read("cvat", path).boxes).all()  # all boxes are called person
    path.write_text(text.replace('<box label="person"', '<box label="car"', 1))
    boxes = read("cvat", path).boxes
    assert np.isnan(boxes[0]).all()
    assert np.isfinite(boxes[1:]).all()


def test_frames_of_a_film_are_one_group(tmp_path):
    labels = read("cvat", label_files.cvat_video(tmp_path))
    assert {image.group for image in labels.images} == {"film.avi"}


def test_a_skeleton_with_an_unknown_joint_is_named(tmp_path):
    path = label_files.cvat(tmp_path)
    path.write_text(path.read_text().replace('<points label="nose"', '<points label="tail"', 1))
    with pytest.raises(ValueError, match=r"line 1 \(a.png\): the skeleton has a joint 'tail'"):
        read("cvat", path)


def test_points_in_two_boxes_belong_to_the_one_that_lacks_them():
    boxes = {"left": pairing.rectangle((0, 0, 10, 10)), "right": pairing.rectangle((5, 0, 10, 10))}
    labels = ["nose", "nose", "tail", "ear", "ear"]
    points = [(1, 1), (7, 1), (7, 5), (20, 5), (12, 5)]
    owners = pairing.tie(labels, points, boxes)
    # The first nose is in the left box alone, so the second is the right one's; the tail is in
    # both, and nothing tells which.
    assert owners == ["left", "right", None, None, "right"]


def test_label_studio_takes_the_newest_annotation(tmp_path):
    path = label_files.label_studio(tmp_path)
    tasks = json.loads(path.read_text())
    first = tasks[0]["annotations"][0]
    older = {**first, "result": [], "updated_at": "2024-01-01"}
    cancelled = {**first, "was_cancelled": True, "updated_at": "2030-01-01"}
    tasks[0]["annotations"] = [older, {**first, "updated_at": "2025-01-01"}, cancelled]
    path.write_text(json.dumps(tasks))
    labels = read("labelstudio", path)
    assert len(labels) == len(label_files.PEOPLE)
    assert "guessed: tasks with several annotations, of which the newest is taken" in notes(labels)
    assert "lost: annotations that were skipped by the annotator" in notes(labels)


def test_label_studio_ties_points_by_relations_and_by_containment(tmp_path):
    path = label_files.label_studio(tmp_path)
    tasks = json.loads(path.read_text())
    for task in tasks:
        results = task["annotations"][0]["result"]
        for entry in [entry for entry in results if "parentID" in entry]:
            parent = entry.pop("parentID")
            if entry["id"].startswith("nose"):
                ends = {"from_id": entry["id"], "to_id": parent}
                results += [{"type": "relation", **ends}]
    path.write_text(json.dumps(tasks))
    labels = read("labelstudio", path)
    assert np.count_nonzero(labels.visibility) == 10
    assert len(labels) == len(label_files.PEOPLE)


def test_label_studio_wants_its_full_export(tmp_path):
    path = tmp_path / "min.json"
    path.write_text('[{"id": 1, "image": "a.jpg"}]')
    with pytest.raises(ValueError, match=r"export as JSON \(not JSON-MIN, CSV or COCO\)"):
        read("labelstudio", path)


def test_label_studio_names_of_storage_lead_to_their_files(tmp_path):
    path = label_files.label_studio(tmp_path)
    tasks = json.loads(path.read_text())
    addresses = ("/data/local-files/?d=photos/a%20b.png", "s3://bucket/x/b.png", "/up/c.png")
    for task, address in zip(tasks, addresses, strict=True):
        task["data"] = {"image": address}
        del task["file_upload"]
    path.write_text(json.dumps(tasks))
    names = [image.name for image in read("labelstudio", path).images]
    assert names == ["photos/a b.png", "/x/b.png", "/up/c.png"]


def test_deeplabcut_predictions_are_refused(tmp_path):
    path = tmp_path / "videoDLC_resnet50.csv"
    path.write_text("scorer,DLC,DLC,DLC\nbodyparts,a,a,a\ncoords,x,y,likelihood\n0,1,2,.9\n")
    with pytest.raises(ValueError, match="holds predictions"):
        read("deeplabcut", path)


def test_deeplabcut_faults_name_their_line(tmp_path):
    path = tmp_path / "CollectedData_me.csv"
    header = "scorer,me,me\nbodyparts,a,a\ncoords,x,y\n"
    path.write_text(header + "f/a.png,1,2\nf/b.png,1,two\n")
    with pytest.raises(ValueError, match=r"me\.csv: line 5: a: y is 'two'"):
        read("deeplabcut", path)
    path.write_text(header + "f\\a.png,1,2,3\n")
    with pytest.raises(ValueError, match=r"line 4 has 4 cells; the header has 3"):
        read("deeplabcut", path)


def test_half_a_point_of_deeplabcut_is_not_labeled(tmp_path):
    path = tmp_path / "CollectedData_me.csv"
    header = "scorer,me,me,me,me\nbodyparts,a,a,b,b\ncoords,x,y,x,y\n"
    path.write_text(header + "f/a.png,1,,3,4\nf/b.png,,2,3,4\nf/c.png,1,2\n")
    labels = read("deeplabcut", path)
    assert labels.visibility.tolist() == [[0, 2], [0, 2], [2, 0]]


def test_the_films_of_deeplabcut_are_groups(tmp_path):
    labels = read("deeplabcut", label_files.deeplabcut(tmp_path))
    assert {image.group for image in labels.images} == {"labeled-data/film"}


def test_sleap_predictions_train_only_where_asked_for(tmp_path):
    import h5py

    path = label_files.sleap(tmp_path)
    with h5py.File(path, "a") as file:
        points = file["points"][()]
        del file["pred_points"]
        file["pred_points"] = points
        instances = file["instances"][()]
        instances["instance_type"][-1] = 1
        file["instances"][...] = instances
    labels = read("sleap", path)
    assert len(labels) == len(label_files.PEOPLE) - 1
    assert "lost: frames with predictions alone, which were not asked for" in notes(labels)
    labels = read("sleap", path, predictions=True)
    assert len(labels) == len(label_files.PEOPLE)
    assert "guessed: frames labeled by a network" in notes(labels)


def test_sleap_analysis_in_the_other_order_is_the_same(tmp_path):
    import h5py

    folder = label_files.sleap_analysis(tmp_path)
    first = read("sleapanalysis", folder)
    with h5py.File(folder / "film.analysis.h5", "a") as file:
        tracks = file["tracks"][()].transpose(3, 0, 2, 1)
        del file["tracks"]
        file["tracks"] = tracks
        file["tracks"].attrs["dims"] = '["frame", "track", "node", "xy"]'
    second = read("sleapanalysis", folder)
    np.testing.assert_array_equal(first.keypoints, second.keypoints)


def test_labelme_groups_go_before_places(tmp_path):
    folder = label_files.labelme(tmp_path)
    path = folder / "a.json"
    document = json.loads(path.read_text())
    nose = next(shape for shape in document["shapes"] if shape["label"] == "nose")
    box = [shape for shape in document["shapes"] if shape["label"] == "person"][1]
    nose["group_id"] = box["group_id"] = 4
    document["shapes"] = [nose, box]
    path.write_text(json.dumps(document))
    labels = read("labelme", path)
    assert labels.keypoints.tolist() == [[[10.5, 12.25]]]
    assert labels.boxes.tolist() == [[40, 5, 20, 30]]


def test_the_image_inside_of_a_labelme_file_is_used(tmp_path):
    import base64

    label_files.write_images(tmp_path)
    data = (tmp_path / "a.png").read_bytes()
    path = label_files.labelme(tmp_path / "labels") / "a.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "imageData": base64.b64encode(data).decode()}))
    (image,) = read("labelme", path).images
    assert image.encoded() == data
    path.write_text(json.dumps({**document, "imageData": "not base64!"}))
    with pytest.raises(ValueError, match=r"a\.json: its imageData is damaged"):
        read("labelme", path).images[0].encoded()


def test_coco_files_of_folders_are_splits(tmp_path):
    for folder in ("train", "valid"):
        label_files.coco(tmp_path / folder)
    labels = read("roboflow", tmp_path)
    assert {image.split for image in labels.images} == {"train", "val"}
    assert labels.images[0].name == "train/a.png"


def test_coco_visibility_that_is_a_score_is_labeled(tmp_path):
    path = label_files.coco(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][0]["keypoints"] = [1, 2, 0.087, 3, 4, 0, 5, 6, 1]
    path.write_text(json.dumps(document))
    assert read("coco", path).visibility[0].tolist() == [2, 0, 1]


def test_coco_coordinates_may_count_from_one(tmp_path):
    labels = read("coco", label_files.coco(tmp_path), first_pixel=1.0)
    assert labels.keypoints[0, 0].tolist() == [9.5, 11.25]
    assert labels.keypoints[0, 2].tolist() == [0, 0]  # not labeled
    assert labels.boxes[0].tolist() == [4, 5, 30, 40]


@pytest.mark.parametrize(
    ("skeleton", "limbs", "note"),
    [
        ([[1, 2], [3, 1]], ((0, 1), (2, 0)), ""),  # COCO's own, from 1
        ([[0, 1], [2, 0]], ((0, 1), (2, 0)), "guessed: limbs are counted from 0"),
        ([[16, 14], [1, 2]], (), "lost: limbs of joints that the category lacks"),  # CrowdPose's
        ("none", (), "lost: limbs of joints that the category lacks"),
    ],
)
def test_coco_limbs_count_from_one_or_from_zero(tmp_path, skeleton, limbs, note):
    path = label_files.coco(tmp_path)
    document = json.loads(path.read_text())
    document["categories"][1]["skeleton"] = skeleton
    path.write_text(json.dumps(document))
    labels = read("coco", path)
    assert labels.joint_sets[0].limbs == limbs
    assert note in notes(labels)


def test_coco_names_beyond_the_joints_are_left_out(tmp_path):
    # As in Human-Art: four more names, and limbs of theirs.
    path = label_files.coco(tmp_path)
    document = json.loads(path.read_text())
    person = document["categories"][1]
    document["categories"][1] = {
        **person,
        "keypoints": [*person["keypoints"], "left_toe"],
        "skeleton": [[1, 2], [4, 1]],
    }
    path.write_text(json.dumps(document))
    labels = read("coco", path)
    assert labels.joint_sets[0].names == label_files.NAMES
    assert labels.joint_sets[0].limbs == ((0, 1),)
    assert "lost: names of joints beyond the 3 that annotations have: left_toe" in notes(labels)


def test_coco_with_unnamed_joints_numbers_them(tmp_path):
    path = label_files.coco(tmp_path)
    document = json.loads(path.read_text())
    document["categories"] = [{"id": 1, "name": "person", "keypoints": []}]
    path.write_text(json.dumps(document))
    labels = read("coco", path)
    assert labels.joint_sets[0].names == ("joint_0", "joint_1", "joint_2")
    assert "guessed: the file does not name the joints" in notes(labels)


def test_cvats_coco_export_of_points_says_what_to_export(tmp_path):
    path = tmp_path / "person_keypoints_default.json"
    categories = [{"id": 1, "name": "nose", "keypoints": []}]
    images = [{"id": 1, "file_name": "a.jpg"}]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    with pytest.raises(ValueError, match=r'export "CVAT for images 1\.1" and import its XML'):
        read("coco", path)


def test_joints_of_a_dataset_get_its_limbs(tmp_path):
    source = label_files.yolo(tmp_path)
    labels = read("yolo", source, joints=("nose", "left_eye", "right_eye"))
    whole = importing.complete(labels, np.repeat([[48.0, 64.0]], 3, axis=0), padding=0)
    assert whole.joint_sets[0].limbs == ()
    row = "0 .5 .5 1 1 " + ".4 .4 2 " * 17
    source = yolo_folder(tmp_path / "coco", row, "kpt_shape: [17, 3]\nnames: [person]\n")
    labels = read("yolo", source, joints=skeletons.COCO.names)
    whole = importing.complete(labels, np.array([[48.0, 64.0]]), padding=0)
    assert whole.joint_sets[0].limbs == skeletons.COCO.limbs


def test_faults_of_converters_to_coco_are_reported(tmp_path):
    path = label_files.coco(tmp_path)
    document = json.loads(path.read_text())
    document["images"][0]["width"] = "64"
    document["annotations"][1] |= {"area": 0, "category_id": 8}
    document["categories"] = document["categories"][1:]
    path.write_text(json.dumps(document))
    labels = read("coco", path)
    assert len(labels) == len(label_files.PEOPLE)
    assert "category_id 8 is not listed and taken for 'person'" in notes(labels)
    assert "sizes of images that are text are taken for numbers" in notes(labels)
    assert "areas that are not positive" in notes(labels)
    document["categories"].append({"id": 3, "name": "ball", "keypoints": ["top"]})
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"annotation 1 \(id 1\) has the category_id 8; the file"):
        read("coco", path)


def test_areas_of_silhouettes_are_kept(tmp_path):
    path = label_files.coco(tmp_path)
    document = json.loads(path.read_text())
    document["annotations"][0]["area"] = 77.5
    path.write_text(json.dumps(document))
    labels = read("coco", path)
    whole = importing.complete(labels, np.repeat([[48.0, 64.0]], 3, axis=0), padding=0)
    assert whole.areas.tolist() == [77.5, 600, 864, 864]


def test_via_asks_for_the_names_of_its_attributes(tmp_path):
    path = label_files.via(tmp_path)
    with pytest.raises(
        ValueError, match="no point has the region attribute 'joint'; they have: part"
    ):
        read("via", path)


def test_ai_challenger_has_visibility_of_its_own(tmp_path):
    values = [number for place in range(14) for number in (place, 2 * place, 1 + place % 3)]
    entry = {
        "image_id": "abc",
        "keypoint_annotations": {"human2": values, "human1": values},
        "human_annotations": {
            "human1": [1, 2, 11, 22],
            "human2": [0, 0, 5, 6],
            "human3": [0, 0, 1, 1],
        },
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps([entry]))
    labels = read("aic", path)
    assert labels.joint_sets[0].names == skeletons.AI_CHALLENGER.names
    assert labels.visibility[0, :3].tolist() == [2, 1, 0]
    assert labels.boxes.tolist() == [[1, 2, 10, 20], [0, 0, 5, 6]]
    assert "lost: boxes without joints" in notes(labels)
    entry["keypoint_annotations"] = {"human1": [*values[:-1], 4]}
    path.write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match=r"entry 0, human1: .*visibility is 4; expected 1, 2 or 3"):
        read("aic", path)


def test_penn_action_counts_from_one(tmp_path):
    joints = len(penn_action.NAMES)
    film = {
        "x": np.full((2, joints), 11.0),
        "y": np.full((2, joints), 21.0),
        "visibility": np.eye(2, joints),
        "bbox": np.array([[2.0, 3, 12, 23]]),
        "dimensions": np.array([[48, 64, 2]]),
        "train": np.array([[-1]]),
    }
    scipy.io.savemat(tmp_path / "0007.mat", film)
    labels = read("pennaction", tmp_path)
    assert labels.keypoints[0, 0].tolist() == [10, 20]
    assert labels.visibility[0, :2].tolist() == [2, 1]
    assert labels.boxes[0].tolist() == [1, 2, 10, 20]
    assert np.isnan(labels.boxes[1]).all()
    assert (labels.images[0].name, labels.images[0].split) == ("0007/000001.jpg", "val")
    assert labels.images[0].size == (48, 64)
    scipy.io.savemat(tmp_path / "0007.mat", {**film, "x": film["x"][:, :5]})
    with pytest.raises(ValueError, match="expected frames x 13 finite numbers"):
        read("pennaction", tmp_path)


def test_hands_of_interhand_are_where_their_camera_sees_them(tmp_path):
    # The camera looks along z from (10, 0, 0), turned by a quarter: its x is the world's y.
    world = [[10.0 + k, 2.0 * k, 100.0] for k in range(42)]
    camera = {"campos": {"c": [10, 0, 0]}, "camrot": {"c": [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]}}
    camera |= {"focal": {"c": [50, 200]}, "princpt": {"c": [30, 40]}}
    valid = [[int(k != 5)] for k in range(42)]
    image = {"id": 4, "file_name": "a.jpg", "width": 64, "height": 48, "capture": 3}
    image |= {"camera": "c", "seq_name": "wave", "frame_idx": 9}
    entry = {"image_id": 4, "bbox": [1, 2, 3, 4], "joint_valid": valid}
    contents = {
        "camera": {"3": camera},
        "joint_3d": {"3": {"9": {"world_coord": world, "joint_valid": valid}}},
        "data": {"images": [image], "annotations": [entry]},
    }
    for name, value in contents.items():
        (tmp_path / f"InterHand2.6M_train_{name}.json").write_text(json.dumps(value))
    labels = read("interhand", tmp_path)
    assert labels.joint_sets[0].names[20::21] == ("right_wrist", "left_wrist")
    assert labels.keypoints[0, 10].tolist() == [30 + 50 * 20 / 100, 40 - 200 * 10 / 100]
    assert labels.visibility[0, 4:7].tolist() == [2, 0, 2]
    assert (labels.images[0].split, labels.images[0].group) == ("train", "3/wave")
    contents["data"]["images"][0]["camera"] = "d"
    (tmp_path / "InterHand2.6M_train_data.json").write_text(json.dumps(contents["data"]))
    with pytest.raises(ValueError, match="is damaged, or not a file of interhand"):
        read("interhand", tmp_path)


def test_flags_of_lsp_and_its_extension_mean_the_opposite(tmp_path):
    people = np.zeros((2, 14, 3))
    people[..., 0], people[..., 1] = 11, 21
    people[:, 0, 2] = 1
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": people.transpose(2, 1, 0)})
    labels = read("lsp", tmp_path)
    assert labels.joint_sets[0].names[::13] == ("right_ankle", "head_top")
    assert labels.keypoints[0, 0].tolist() == [10, 20]
    assert labels.visibility[0, :2].tolist() == [1, 2]
    assert labels.images[1].name == "im0002.jpg"
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": people.transpose(1, 2, 0)})
    labels = read("lsp", tmp_path)
    assert labels.visibility[0, :2].tolist() == [2, 0]
    assert labels.images[1].name == "im00002.jpg"
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": people})
    with pytest.raises(ValueError, match=r"joints is \(2, 14, 3\); expected 3 x 14 x n"):
        read("lsp", tmp_path)


@pytest.mark.parametrize("names", [openpose.BODY_25, openpose.COCO_18, openpose.MPI_15])
def test_openpose_joints_are_named_by_their_number(tmp_path, names):
    values = [number for place in range(len(names)) for number in (place, 1, 0.5)]
    values[:3] = [0, 0, 0]
    values[5] = 0.2
    people = [{"pose_keypoints_2d": values}]
    (tmp_path / "walk_000000000001_keypoints.json").write_text(json.dumps({"people": people}))
    labels = read("openpose", tmp_path)
    assert labels.joint_sets[0].names == names
    assert labels.visibility[0, :3].tolist() == [0, 0, 2]
    assert labels.images[0].name == "walk_000000000001"
    assert "guessed: labels are OpenPose's predictions" in notes(labels)


def test_mediapipe_landmarks_are_fractions_and_may_lie_outside(tmp_path):
    assert len(mediapipe.NAMES) == 33
    landmarks = [{"x": 1.5, "y": 0.5, "visibility": place / 33} for place in range(33)]
    (tmp_path / "a.json").write_text(json.dumps({"landmarks": [landmarks]}))
    labels = read("mediapipe", tmp_path, min_score=0.5)
    whole = importing.complete(labels, np.array([[100.0, 200.0]]), padding=0)
    assert np.count_nonzero(whole.visibility) == 16
    assert whole.keypoints[0, 32].tolist() == [300, 50]
