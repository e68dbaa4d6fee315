"""The joint sets against the published dataset definitions."""

import json

import pytest

from data_pipelines import skeletons

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
