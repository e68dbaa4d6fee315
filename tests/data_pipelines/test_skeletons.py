"""The joint sets against the published dataset definitions."""

import json

import pytest

from data_pipelines import skeletons
from data_pipelines.readers import joint_names
from data_pipelines.skeletons import whole_body

SKELETONS = {
    "coco": skeletons.COCO,
    "ochuman": skeletons.COCO,
    "mpii": skeletons.MPII,
    "crowdpose": skeletons.CROWDPOSE,
}


@pytest.mark.parametrize("name", SKELETONS)
def test_skeleton_is_the_published_one(golden, name):
    published = json.loads((golden / "dataset_meta.json").read_text())[name]
    skeleton = SKELETONS[name]
    assert list(skeleton.names) == published["joint_names"]
    assert {frozenset(pair) for pair in skeleton.flip_pairs} == {
        frozenset(pair) for pair in published["flip_pairs"]
    }
    assert list(skeleton.flip_order) == published["flip_indices"]
    assert list(skeleton.upper_body) == published["upper_body_ids"]
    assert {frozenset(limb) for limb in skeleton.limbs} == {
        frozenset(limb) for limb in published["skeleton_zero_based"]
    }
    assert list(skeleton.sigmas) == published["oks_sigmas"]


@pytest.mark.parametrize("name", SKELETONS)
def test_flip_order_exchanges_left_and_right(name):
    names = SKELETONS[name].names
    other = {"left": "right", "right": "left"}
    sides = [name.split("_", 1) for name in names]
    swapped = ["_".join([other.get(side, side), *rest]) for side, *rest in sides]
    assert [names[joint] for joint in SKELETONS[name].flip_order] == swapped


@pytest.mark.parametrize("name", skeletons.__all__)
def test_joint_sets_agree_with_themselves(name):
    joints = getattr(skeletons, name)
    if joints is skeletons.Skeleton:
        return
    count = joints.num_joints
    assert len(set(joints.names)) == len(joints.sigmas) == count
    assert {joint for pair in (*joints.limbs, *joints.flip_pairs) for joint in pair} <= set(
        range(count)
    )
    assert sorted(joints.flip_order) == list(range(count))
    assert all(0 < sigma < 0.2 for sigma in joints.sigmas)
    # The names say the same pairs, where they say any.
    assert joint_names.contradicting_pairs(joints.names, joints.flip_pairs) == ()
    named = set(map(frozenset, joint_names.mirrored_names(joints.names)))
    assert named <= set(map(frozenset, joints.flip_pairs))


def test_mirrored_points_of_a_face_are_on_the_other_side():
    # The tip of the chin, the bridge of the nose and the middle of the lips stay where they are.
    order = skeletons.COCO_WHOLEBODY.flip_order
    first = whole_body.FACE
    stay = [point for point in range(68) if order[first + point] == first + point]
    assert stay == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
