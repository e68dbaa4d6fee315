"""The registry of datasets."""

import dataclasses
import subprocess
import sys

import pytest

from data_pipelines import datasets


def test_unknown_dataset_lists_the_choices():
    with pytest.raises(ValueError, match="unknown dataset 'lsp'; choose one of: mpii, coco"):
        datasets.read("lsp", "data/lsp", "train")


def test_joints_are_named_by_their_dataset():
    coco = datasets.find("coco").skeleton
    assert datasets.name_of(coco) == "coco"
    assert datasets.name_of(dataclasses.replace(coco, names=coco.names[::-1])) == ""


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_default_splits_are_splits_of_the_dataset(name):
    entry = datasets.DATASETS[name]
    assert {entry.train_split, entry.eval_split} <= set(entry.splits)


@pytest.mark.parametrize("name", ["mpii", "coco", "crowdpose", "ochuman"])
def test_default_splits_are_read_with_the_skeleton_of_the_dataset(shared, name):
    entry = datasets.DATASETS[name]
    root = str(shared / "samples" / name)
    for split in (entry.train_split, entry.eval_split):
        assert datasets.read(name, root, split).skeleton is entry.skeleton


@pytest.mark.parametrize("name", ["mpii", "ochuman"])
def test_a_dataset_without_detections_says_so(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} is evaluated with its annotated boxes only"):
        datasets.read(name, str(tmp_path), "val", boxes="found.json")


@pytest.mark.parametrize(
    ("joints", "name"),
    [(16, "mpii"), (17, "coco"), (14, "crowdpose"), (26, "halpe26"), (133, "coco_wholebody")],
)
def test_a_dataset_is_known_by_its_number_of_joints(joints, name):
    assert datasets.with_joints(joints) == name


def test_an_unknown_number_of_joints_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no known dataset has 3 joints; expected .*17 \(coco\)"):
        datasets.with_joints(3)


def test_the_registry_is_cheap_to_import():
    heavy = "{'cv2', 'grain', 'scipy', 'tensorflow_datasets', 'simplejpeg'} & set(sys.modules)"
    program = f"import sys; import data_pipelines.datasets; print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
