"""Real files of annotation tools give the joints that were worked out from them by hand.

The files and the expected joints are ../shared/samples_labelling, which a clone does not have.
"""

import dataclasses
import re

import numpy as np
import pytest

from data_pipelines import skeletons
from data_pipelines.labels import importing
from data_pipelines.labels.options import Options

SALMON = (
    *("Head", "Lateral", "Tail", "Eye", "Dorsal_fin", "Pelvic_fin", "Adipose_fin", "Anal_fin"),
    *("Caudal_fin_up", "Caudal_fin_down", "Dorsal_joint"),
)
PARTS = ("head", "neck", "center", "tail_base", "tail_tip")
COCO = skeletons.COCO.names
NONE = (0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Case:
    """An instance of a file: which image (by the end of its name), which of its instances."""

    tool: str
    path: str
    joints: dict
    box: tuple = ()
    image: str = ""
    instance: int = 0
    count: int | None = None
    size: tuple = (1000, 1000)
    given: Options = dataclasses.field(default_factory=Options)
    total: int | None = None
    category: str = ""

    def __str__(self):
        return f"{self.path}-{self.image}{self.instance}"


FORKLIFT = "cvat/for_images_1.1_points/forklift_annotations"
FORKLIFT_JOINTS = {
    "LFrontWheel": (2510.54, 701, 1),
    "RFrontWheel": (2492.33, 778.39, 2),
    "LBackWheel": (2200.98, 701, 1),
    "RBackWheel": (2155.46, 796.60, 2),
    "LBlade": (2688.08, 764.73, 2),
    "RBlade": (2683.52, 796.60, 2),
    "LFrontRoof": (2373.97, 314.05, 2),
    "RFrontRoof": (2337.55, 355.02, 2),
    "LBackRoof": (2173.67, 309.50, 2),
    "RBackRoof": (2141.80, 359.58, 2),
}
HUMAN_POSE = {
    "nose": (263, 299, 2),
    "left_eye": (270, 292, 2),
    "right_eye": (258, 292, 2),
    "left_ear": (288, 293, 2),
    "right_ear": NONE,
    "left_shoulder": (303, 337, 2),
    "right_shoulder": (242, 327, 2),
    "right_ankle": (238, 586, 2),
}
HUMAN_POSE_BOX = (202.58, 262.78, 118.76, 364.28)
FLIES = {"A": (92.652, 202.726, 2), "B": (152.342, 158.424, 2)}
SECOND_FLY = {"A": (205.930, 187.890, 2), "B": (278.635, 203.366, 2)}
AIC = {
    "right_shoulder": (313, 201, 2),
    "right_elbow": (312, 313, 1),
    "right_wrist": (320, 424, 2),
    "left_shoulder": (406, 197, 1),
    "left_elbow": (431, 286, 1),
    "left_wrist": (459, 269, 2),
    "right_hip": (375, 447, 1),
    "right_knee": NONE,
    "right_ankle": NONE,
    "left_hip": (416, 441, 2),
    "left_knee": NONE,
    "left_ankle": NONE,
    "head_top": (395, 74, 2),
    "neck": (372, 170, 2),
}
MADE_XML = "cvat/for_images_1.1_skeleton/made_three_visibilities.xml"
AA = "deeplabcut/sleap_fixtures/labeled-data/video"
MMPOSE = {"joint_0": (250, 90, 2), "joint_1": (280.5, 152.25, 2)}

CASES = (
    Case(
        *("yolo", "yolo_pose/cvat_ultralytics_export"),
        {"Head": (1569.29, 857.73, 2), "Dorsal_joint": (1449.35, 745.55, 2)},
        (1171.25, 696.59, 398.04, 161.14),
        image="frame_000360",
        count=11,
        size=(1080, 1920),
        given=Options(joints=SALMON),
    ),
    Case(
        *("yolo", "yolo_pose/cvat_ultralytics_export"),
        {
            "Head": (622.42, 201.16, 2),
            "Lateral": (476.62, 42.45, 2),
            "Eye": (612.32, 178.89, 2),
            **dict.fromkeys(set(SALMON) - {"Head", "Lateral", "Eye"}, NONE),
        },
        (476.62, 42.45, 145.80, 158.71),
        image="frame_000360",
        instance=1,
        count=3,
        size=(1080, 1920),
        given=Options(joints=SALMON),
    ),
    Case(
        *("yolo", "yolo_pose/x_anylabeling_export", HUMAN_POSE, HUMAN_POSE_BOX),
        count=16,
        size=(750, 500),
        category="person",
    ),
    Case(
        *("yolo", "yolo_pose/sleap_io_fixture"),
        {
            "head": (416, 264, 2),
            "neck": (435.2, 288, 2),
            "center": (448, 336, 2),
            "tail_base": (460.8, 384, 1),
            "tail_tip": NONE,
        },
        (320, 192, 256, 288),
        image="image_002",
        instance=1,
        size=(480, 640),
        given=Options(joints=PARTS),
    ),
    Case(
        *("yolo", "yolo_pose/datumaro_yolov8_pose_two_values_per_point"),
        {"joint_0": (1.5, 2, 2), "joint_1": (4.5, 4, 2), "joint_2": (7.5, 6, 2)},
        (0, 2, 4, 2),
        size=(10, 15),
    ),
    Case(
        *("yolo", "yolo_pose/datumaro_yolov8_pose"),
        {"joint_0": (1.5, 2, 2), "joint_1": (4.5, 4, 2), "joint_2": (7.5, 6, 2)},
        (0, 2, 4, 2),
        size=(10, 15),
    ),
    Case(
        *("yolo", "yolo_pose/roboflow_export"),
        {"nose": (279.59, 71.02, 2), "right_ankle": (306.16, 540.95, 2)},
        (160.75, 3.75, 273.5, 622.5),
        image="53222656250000_jpg.rf.ec6cfdb87bfb2f9b79c8528276fbd5ba",
        size=(640, 640),
        given=Options(joints=COCO),
        total=6,
    ),
    Case(
        *("yolo", "label_studio/made_yolo_export"),
        {"nose": (139.2, 68.366, 2), "left_eye": (126.119, 53.557, 2), "left_ear": NONE},
        (83.915, 13.328, 102.179, 88.604),
        size=(174, 216),
        given=Options(joints=COCO),
    ),
    Case(
        *("cvat", "cvat/for_video_1.1_skeleton/annotations.xml"),
        {
            "1": (711.95, 325.60, 2),
            "2": (824.01, 328.71, 2),
            "3": (842.08, 372.31, 2),
            "4": (893.89, 490.66, 2),
            "5": (767.38, 407.61, 2),
            "6": (820.29, 466.14, 2),
            "7": (702.31, 412.80, 2),
            "8": (677.01, 503.12, 2),
            "9": (742.07, 381.66, 2),
        },
        (677.01, 325.60, 216.88, 177.52),
        image="frame_000000",
        total=7,
        category="driver_skilaton",
    ),
    Case(
        *("cvat", MADE_XML),
        {"left_shoulder": (100.5, 120.25, 2), "left_elbow": (150, 180, 1), "left_wrist": NONE},
        (80, 60, 140, 340),
        image="a.jpg",
        count=2,
        total=2,
    ),
    Case(
        *("cvat", MADE_XML),
        {"left_shoulder": (400, 100, 2), "left_elbow": (420, 160, 2), "left_wrist": (440, 220, 2)},
        (400, 100, 40, 120),
        image="a.jpg",
        instance=1,
    ),
    Case("cvat", f"{FORKLIFT}.xml", FORKLIFT_JOINTS, (2014.34, 273.08, 769.33, 587.25), count=10),
    Case("coco", f"{FORKLIFT}.converted_coco.json", {}, total=3),
    Case(
        *("cvat", "cvat/for_images_1.1_points/keytool_annotations.xml"),
        {
            "joint_0": (346.06, 1519.62, 2),
            "joint_1": (389.85, 1480.21, 2),
            "joint_2": (753.30, 1686.02, 2),
            "joint_3": (424.88, 503.70, 2),
            "joint_4": (411.75, 315.41, 2),
        },
        (57.05, 21.58, 910.82, 1865.87),
        image="testimage10.jpg",
        total=33,
    ),
    Case(
        *("cvat", "cvat/for_images_1.1_skeleton/documentation_example.xml"),
        {},
        count=3,
        category="s1",
    ),
    Case(
        *("coco", "cvat/coco_keypoints_1.0/person_keypoints_default.json"),
        {"1": (440.1, 347.25, 2), "13": (1145.36, 473.8, 2)},
        (106.34, 140.36, 1039.02, 423.83),
        image="Frame_0.jpg",
        count=13,
    ),
    Case(
        *("labelstudio", "label_studio/data_keypoints.json"),
        {
            "nose": (139.200, 68.366, 2),
            "left_eye": (126.119, 53.557, 2),
            "right_eye": (152.281, 56.026, 2),
            **dict.fromkeys(COCO[3:], NONE),
        },
        (83.915, 13.328, 102.179, 88.604),
        image="image1.jpg",
        count=3,
        given=Options(config="label_studio/label_config_keypoints.xml"),
        category="person",
    ),
    Case("labelstudio", "label_studio/mixed_rect_polygon_keypoint.json", {}, count=2),
    Case(
        *("coco", "label_studio/made_coco_export/result.json"),
        {"nose": (139, 68, 2), "left_eye": (126, 54, 2), "right_eye": (152, 56, 2)},
        (126, 54, 26, 14),
        count=3,
    ),
    Case(
        *("deeplabcut", "deeplabcut/single_reaching"),
        {
            "Hand": (185.252, 610.362, 2),
            "Finger1": (208.259, 638.482, 2),
            "Tongue": NONE,
            "Joystick1": (368.030, 463.373, 2),
            "Joystick2": (364.195, 623.144, 2),
        },
        (185.252, 463.373, 182.778, 175.109),
        image="img005.png",
        count=4,
        total=55,
    ),
    Case("deeplabcut", "deeplabcut/single_openfield", {}, total=116),
    Case(
        *("deeplabcut", f"{AA}/CollectedData_AA.csv"),
        {"A": (12, 13, 2), "B": NONE, "C": (15, 16, 2)},
        image="video/img001.png",
        category="animal",
        total=7,
    ),
    Case(
        *("deeplabcut", f"{AA}/CollectedData_AA.csv"),
        {"A": (17, 18, 2), "B": NONE, "C": (20, 21, 2)},
        image="img001.png",
        instance=1,
    ),
    Case(
        *("deeplabcut", f"{AA}/CollectedData_AA.csv"),
        {"D": (22, 23, 2), "E": (24, 25, 2)},
        image="img001.png",
        instance=2,
        category="single",
    ),
    Case(
        *("deeplabcut", f"{AA}/CollectedData_AA.csv"),
        {"A": (0, 1, 2), "B": (2, 3, 2), "C": (4, 5, 2)},
        image="img000.png",
    ),
    *(
        Case(
            *("deeplabcut", f"{AA}/{name}.csv"),
            {"A": (12, 13, 2), "B": NONE, "C": (15, 16, 2)},
            image="labeled-data/video/img001.png",
            total=total,
        )
        for name, total in (
            *(("dlc_testdata", 3), ("dlc_testdata_v2", 3), ("madlc_testdata", 5)),
            *(("madlc_testdata_v2", 5), ("maudlc_testdata", 7)),
        )
    ),
    Case(
        *("lightningpose", "lightning_pose/CollectedData.csv"),
        {"paw1LH_top": (77.25, 36.25, 2), "tailBase_top": NONE},
        image="img01.png",
        total=90,
    ),
    *(
        Case("sleap", f"sleap/minimal_instance.{ending}", joints, box, instance=row, total=2)
        for ending in ("slp", "pkg.slp", "json")
        for row, joints, box in (
            (0, FLIES, (92.652, 158.424, 59.690, 44.302)),
            (1, SECOND_FLY, ()),
        )
    ),
    Case("sleap", "sleap/typical.slp", FLIES, total=2),
    Case("sleap", "sleap/small_robot_minimal.slp", {"A": (316.490, 47.692, 2)}, total=2),
    Case(
        *("sleap", "sleap/test_grid_labels.legacy.slp"),
        {"(-0.5, -0.5)": (-1, -1, 2), "(0, 0)": (-0.5, -0.5, 2), "(-0.5, 0.5)": (-1, 0, 2)},
    ),
    Case(
        *("sleap", "sleap/test_grid_labels.midpoint.slp"),
        {"(-0.5, -0.5)": (-0.5, -0.5, 2), "(0, 0)": (0, 0, 2), "(-0.5, 0.5)": (-0.5, 0.5, 2)},
    ),
    Case(
        *("sleapanalysis", "sleap/analysis/small_robot.analysis.h5"),
        {"top": (322.876, 60.308, 2), "front": (382.747, 243.015, 2), "rear": (143.41, 181.866, 2)},
        image="frame_000000",
    ),
    Case(
        *("sleapanalysis", "sleap/analysis/multi_matlab.analysis.h5"),
        {"head": (300, 400, 2)},
        image="frame_000000",
        instance=1,
        total=6,
    ),
    Case("sleapanalysis", "sleap/analysis/simple_standard.analysis.h5", {}, total=3),
    Case("sleapanalysis", "sleap/analysis/untracked_multi_standard.analysis.h5", {}, total=10),
    Case(
        *("labelme", "labelme/kkimgaug/img_dog_cat.json"),
        {
            "eye_left": NONE,
            "eye_right": (288.57, 124.77, 2),
            "nose": (346.85, 146.24, 2),
            "mouth": (341.94, 166.48, 2),
        },
        count=3,
    ),
    Case(
        *("labelme", "labelme/kkimgaug/img_dog_cat.json"),
        {
            "eye_left": (452.99, 140.10, 2),
            "eye_right": (415.56, 151.76, 2),
            "nose": (440.72, 147.47, 2),
            "mouth": (444.40, 159.12, 2),
        },
        instance=1,
    ),
    Case(
        *("xanylabeling", "labelme/x_anylabeling/human-pose.json", HUMAN_POSE, HUMAN_POSE_BOX),
        count=16,
        given=Options(joints=COCO),
    ),
    Case(
        *("roboflow", "roboflow_coco"),
        {
            "Hips": (1676, 1055.207, 2),
            "RHip": (1646.667, 1069.199, 2),
            "LKnee": (1719.333, 1143.155, 1),
        },
        (1504, 883, 360.5, 472.363),
        count=18,
        total=4,
        image="out8_frame_0009",
        instance=0,
    ),
    Case(
        *("datumaro", "datumaro/with_skeleton"),
        {
            "point1-label": (0.9, 3.53, 2),
            "point3-label": (2.45, 7.6, 2),
            "point2-label": (5.2, 2.5, 2),
        },
        image="100.jpg",
    ),
    Case("coco", "datumaro/coco_person_keypoints", {}, total=3),
    Case(
        *("openpose", "openpose/openpose_A-pose_keypoints_GT.json"),
        {"nose": NONE, "neck": (683.964, 238.692, 2), "right_shoulder": (787.153, 238.843, 2)},
    ),
    Case(
        *("supervisely", "supervisely"),
        {
            "nose": (250, 90, 2),
            "left_shoulder": (280, 152, 1),
            "right_shoulder": (220, 150, 2),
            "left_hip": NONE,
        },
        (200, 60, 100, 340),
        image="a.jpg",
        category="person",
    ),
    *(
        case
        for ending in ("json", "csv")
        for case in (
            Case(
                *("via", f"via/via_region_data.{ending}"),
                {"nose": (250, 90, 2), "left_shoulder": (280, 152, 2)},
                (200, 60, 100, 340),
                image="a.jpg",
            ),
            Case(
                "via", f"via/via_region_data.{ending}", {"nose": (420, 95, 2)}, instance=1, total=2
            ),
        )
    ),
    Case("mmpose", "mmpose_predictions/inferencer_a.json", MMPOSE, (200, 60, 100, 340)),
    Case(
        *("mmpose", "mmpose_predictions/topdown_demo_results_a.json"),
        {"nose": (250, 90, 2), "left_shoulder": (280.5, 152.25, 2)},
        (200, 60, 100, 340),
    ),
    Case(
        *("mediapipe", "mediapipe"),
        {"nose": (250, 90, 2), "left_foot_index": (680, 499.2, 2)},
        size=(480, 640),
        given=Options(min_score=0),
    ),
    Case(
        *("aic", "datasets/ai_challenger/keypoint_annotations_example.json", AIC),
        (279, 55, 213, 544),
        image="054d9ce9201beffc76e5ff2169d2af2f027002ca",
        count=10,
        total=12,
    ),
    Case(
        *("coco", "datasets/ap10k/test_ap10k.json"),
        {"left_eye": (134, 415, 2), "right_eye": NONE, "nose": (94, 475, 2)},
        (66, 192, 1092, 512),
        count=16,
        size=(867, 1200),
    ),
    Case(
        *("coco", "datasets/animalpose/test_animalpose.json", {"L_Eye": (117, 95, 2)}),
        (13, 36, 284, 192),
        count=17,
    ),
    Case(
        *("coco", "datasets/jhmdb/test_jhmdb_sub1.json"),
        {"neck": (97.852, 91.599, 2), "belly": (100.382, 132.489, 2)},
        (78, 61, 54, 159),
        given=Options(first_pixel=1),
    ),
    Case(
        *("coco", "datasets/posetrack18/009473_mpii_test.json"),
        {
            "nose": (750, 297.5, 1),
            "head_bottom": (734.19, 371.20, 1),
            "head_top": (704.10, 254.48, 1),
            "left_ear": NONE,
            "right_ear": NONE,
        },
        (631.5, 167.77, 351, 751.43),
        count=14,
    ),
    Case(
        *("coco", "datasets/humanart/test_humanart.json"),
        {"nose": (715.431, 970.020, 2)},
        (468.619, 828.959, 355.629, 811.904),
        count=13,
    ),
    Case(
        *("coco", "datasets/halpe/test_halpe.json"),
        {
            "head": (370, 52, 2),
            "neck": NONE,
            "hip": NONE,
            "left_big_toe": (431, 378, 2),
            "right_big_toe": (364, 366, 2),
        },
        (280.79, 44.73, 218.7, 346.68),
    ),
    Case(
        *("pennaction", "penn_action/0001.mat"),
        {"head": (135.5, 70.25, 2), "right_shoulder": (101.75, 98, 1)},
        (85.25, 44.75, 82.5, 304.5),
        image="0001/000001.jpg",
        total=151,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_files_give_the_expected_joints(shared, case):
    root = shared / "samples_labelling"
    given = case.given
    if given.config:
        given = dataclasses.replace(given, config=str(root / given.config))
    labels = importing.read(case.tool, root / case.path, given)
    if case.total is not None:
        assert len(labels) == case.total
    sizes = np.array([image.size or case.size for image in labels.images], float)
    whole = importing.complete(labels, sizes, padding=0)
    names = [labels.images[row].name for row in labels.image_rows]
    row = [row for row, name in enumerate(names) if case.image in name][case.instance]
    joint_set = whole.joint_sets[whole.set_rows[row]]
    joints = dict(zip(joint_set.names, _joints(whole, row), strict=False))
    assert {name: joints[name] for name in case.joints} == {
        name: pytest.approx(expected, abs=6e-3) for name, expected in case.joints.items()
    }
    if case.box:
        assert whole.boxes[row].tolist() == pytest.approx(case.box, abs=6e-3)
    if case.count is not None:
        assert np.count_nonzero(whole.visibility[row]) == case.count
    if case.category:
        assert joint_set.category == case.category


def _joints(labels, row):
    table = np.concatenate([labels.keypoints[row], labels.visibility[row][:, None]], axis=-1)
    return map(tuple, table.tolist())


def test_ai_challenger_and_its_conversion_by_mmpose_agree(shared):
    root = shared / "samples_labelling" / "datasets"
    path = root / "ai_challenger" / "keypoint_annotations_example.json"
    original = importing.read("aic", path, Options())
    converted = importing.read("coco", root / "aic_mmpose_coco" / "test_aic.json", Options())
    known = {image.name for image in converted.images}
    own = {
        (original.images[image].name + ".jpg", *map(tuple, joints))
        for image, joints in zip(original.image_rows, _table(original), strict=True)
    }
    theirs = {
        (converted.images[image].name, *map(tuple, joints))
        for image, joints in zip(converted.image_rows, _table(converted), strict=True)
    }
    assert theirs == {person for person in own if person[0] in known}


def _table(labels):
    shown = labels.visibility[..., None]
    return np.concatenate([labels.keypoints * (shown > 0), shown], axis=-1).tolist()


def test_faults_of_a_converter_are_reported(shared):
    path = shared / "samples_labelling" / f"{FORKLIFT}.converted_coco.json"
    notes = "\n".join(map(str, importing.read("coco", path, Options()).notes))
    assert "category_id 1 is not listed and taken for 'Forklift' (3)" in notes
    assert "sizes of images that are text are taken for numbers (7)" in notes
    assert "areas that are not positive, replaced by those of the boxes (3)" in notes


LIMBS = {
    "cvat/for_images_1.1_skeleton/made_three_visibilities.xml": ("cvat", ((0, 1), (1, 2))),
    "deeplabcut/single_reaching": ("deeplabcut", ((0, 1), (3, 4))),
    "datumaro/with_skeleton": ("datumaro", ((1, 2), (0, 1))),
    "sleap/minimal_instance.pkg.slp": ("sleap", ((0, 1),)),
    "yolo_pose/sleap_io_fixture": ("yolo", ((0, 1), (1, 2), (2, 3), (2, 4))),
}


@pytest.mark.parametrize("path", LIMBS)
def test_limbs_are_those_of_the_files(shared, path):
    tool, limbs = LIMBS[path]
    labels = importing.read(tool, shared / "samples_labelling" / path, Options())
    assert labels.joint_sets[0].limbs == limbs


def test_hands_of_interhand_are_projected_into_their_boxes(shared):
    labels = importing.read(
        "interhand", shared / "samples_labelling/datasets/interhand2.6m", Options()
    )
    assert len(labels) == 4
    for points, shown, box in zip(labels.keypoints, labels.visibility, labels.boxes, strict=True):
        assert np.count_nonzero(shown) >= 21
        inside = (points[shown > 0] >= box[:2]) & (points[shown > 0] <= box[:2] + box[2:])
        assert inside.all()


def test_a_crop_of_lsp_is_read(shared):
    labels = importing.read("lsp", shared / "samples_labelling" / "lsp", Options())
    assert len(labels) == 400


REFUSED = {
    "yolo_pose/user_broken_yaml": ("yolo", "data.yaml: line 1: it is not YAML"),
    "cvat/for_images_1.1_points/anonymous_points_cut.xml": ("cvat", "called 'key_point'"),
    "cvat/coco_keypoints_1.0/empty_export_points_instead_of_skeletons.json": (
        "coco",
        "CVAT writes this where labels are points",
    ),
    "deeplabcut/single_reaching/labeled-data/reachingvideo1/CollectedData_Annotator.h5": (
        "deeplabcut",
        "import the CSV with the same numbers",
    ),
    "labelme/wkentaro/primitives.json": ("labelme", "no labeled joints"),
    "labelme/wkentaro/video_00000100.json": ("labelme", "no labeled joints"),
    "datasets/ai_challenger/keypoint_predictions_example.json": ("aic", "predictions"),
    "datasets/posetrack18/test_posetrack18_human_detections.json": ("coco", "not in COCO's format"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_files_without_usable_labels_say_so(shared, path):
    tool, message = REFUSED[path]
    with pytest.raises(ValueError, match=re.escape(message)):
        importing.read(tool, shared / "samples_labelling" / path, Options())


def test_every_json_of_a_dataset_in_cocos_format_is_read(shared):
    folder = shared / "samples_labelling" / "datasets"
    skipped = {"ai_challenger", "interhand2.6m"}
    paths = [path for path in sorted(folder.glob("*/*.json")) if path.parent.name not in skipped]
    paths = [path for path in paths if "detections" not in path.name]
    assert len(paths) == 21
    for path in paths:
        labels = importing.read("coco", path, Options())
        sizes = np.array([image.size for image in labels.images])
        whole = importing.complete(labels, sizes, padding=0)
        assert np.isfinite(whole.boxes).all()
        assert np.isin(whole.visibility, (0, 1, 2)).all()
