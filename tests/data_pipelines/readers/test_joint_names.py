"""Pairs and upper bodies that the names of joints tell, as tools and datasets really call them."""

import pytest

from data_pipelines.readers import joint_names
from data_pipelines.skeletons import COCO, CROWDPOSE, MPII

OPENPOSE = (
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist"),
    *("MidHip", "RHip", "LHip", "REye", "LEye"),
)
HUMAN36M = (
    *("Pelvis", "RHip", "RKnee", "RFoot", "LHip", "LKnee", "LFoot"),
    *("Spine", "Thorax", "Neck", "Head"),
)
LSP = ("Rankle", "Rknee", "Rhip", "Lhip", "Lknee", "Lankle", "Neck", "Head")
CAMEL = (
    *("nose", "leftEye", "rightEye", "leftShoulder", "rightShoulder"),
    *("leftWrist", "rightWrist"),
)


@pytest.mark.parametrize(
    ("names", "pairs", "upper"),
    [
        (OPENPOSE, {(5, 2), (6, 3), (7, 4), (10, 9), (12, 11)}, {*range(8), 11, 12}),
        (HUMAN36M, {(4, 1), (5, 2), (6, 3)}, {8, 9, 10}),
        (LSP, {(5, 0), (4, 1), (3, 2)}, {6, 7}),
        (CAMEL, {(1, 2), (3, 4), (5, 6)}, set(range(7))),
    ],
)
def test_naming_styles_of_datasets_are_understood(names, pairs, upper):
    assert set(joint_names.mirrored_names(names)) == pairs
    assert set(joint_names.upper_body(names)) == upper
    assert not joint_names.unpaired(names, joint_names.mirrored_names(names))


@pytest.mark.parametrize("skeleton", [COCO, MPII, CROWDPOSE])
def test_published_skeletons_are_told_from_their_names(skeleton):
    pairs = {frozenset(pair) for pair in joint_names.mirrored_names(skeleton.names)}
    assert pairs == {frozenset(pair) for pair in skeleton.flip_pairs}
    assert joint_names.upper_body(skeleton.names) == tuple(sorted(skeleton.upper_body))


@pytest.mark.parametrize(
    "pair",
    [
        *[("left_eye", "right_eye"), ("eye_l", "eye_r"), ("LeftEye", "RightEye")],
        *[("l-eye", "r-eye"), ("r_hip", "l_hip"), ("LShoulder", "RShoulder")],
        *[("leftEye", "rightEye"), ("Lankle", "Rankle"), ("LEYE", "REYE"), ("eyeL", "eyeR")],
        *[("LEFT EYE", "RIGHT EYE"), ("lefteye", "righteye"), ("L1", "R1"), ("l_ohr_ä", "r_ohr_ä")],
    ],
)
def test_mirror_images_are_told_by_name(pair):
    pairs = joint_names.mirrored_names(("tail", *pair, "lower_tail"))
    assert {frozenset(found) for found in pairs} == {frozenset({1, 2})}


def test_left_joints_come_first_in_pairs():
    assert joint_names.mirrored_names(("r_hip", "l_hip")) == ((1, 0),)
    for pair in ((0, 1), (1, 0)):
        assert joint_names.left_first(("Rhip", "Lhip"), pair) == (1, 0)
        assert joint_names.left_first(("hip_r", "hip_l"), pair) == (1, 0)
    assert joint_names.left_first(("a", "b"), (1, 0)) == (1, 0)


@pytest.mark.parametrize("names", [("lip", "chin"), ("rear_paw", "ear"), ("upright", "leg")])
def test_words_that_only_look_like_sides_make_no_pairs(names):
    assert joint_names.mirrored_names(names) == ()


def test_two_joints_of_one_name_do_not_share_a_mirror_image():
    assert joint_names.mirrored_names(("left_eye", "leftEye", "right_eye")) == ((0, 2),)


def test_a_rear_paw_is_not_an_ear():
    assert joint_names.upper_body(("rear_left_paw", "rear_right_paw", "left_ear")) == (2,)


def test_sides_without_a_pair_are_named():
    names = ("left_eye", "right_ear", "tail")
    assert joint_names.unpaired(names, ()) == ("left_eye", "right_ear")
    assert joint_names.unpaired(names, ((0, 1),)) == ()
    assert joint_names.unpaired(("left_eye", "tail"), ()) == ()  # a profile: one side only


def test_pairs_that_contradict_their_names_are_named():
    names = ("left_eye", "right_eye", "left_ear", "right_ear", "tip", "tail")
    assert joint_names.contradicting_pairs(names, ((0, 3), (4, 5))) == ("left_eye-right_ear",)
    assert joint_names.contradicting_pairs(names, ((1, 0), (2, 3))) == ()
