"""What is recommended for a dataset by its size and its joints, and the config that says so."""

import ast
import dataclasses
import importlib.util

import numpy as np
import pytest

from data_pipelines.skeletons import COCO, Skeleton
from data_pipelines.splits import Split, path_column
from hrjax.config import checks, recommendation
from hrjax.config.recommendation import Facts, Start

LITE = Start("lite.npz", "litehrnet_18", {}, 4, True, (256, 192), "rgb", "dark", "dark")
HRNET = dataclasses.replace(LITE, weights="hrnet.npz", variant="hrnet_w32", has_head=False)
UDP = dataclasses.replace(LITE, encoding="udp", decode="udp", color="bgr")
FACTS = Facts(
    people=100,
    images=40,
    held_out=30,
    joints=COCO.names,
    pairs=8,
    upper_body=11,
    sided=(),
    aspect=0.6,
    upright=0.9,
    together=0,
    unlabeled=(),
)


def chosen(facts=FACTS, start=LITE, accelerator=False, **changes):
    facts = dataclasses.replace(facts, **changes)
    choices = recommendation.recommend(facts, start, accelerator=accelerator)
    return {choice.field: choice.value for choice in choices}


def load(text, tmp_path, variant=""):
    file = tmp_path / "mice.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("mice", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def write(facts=FACTS, start=LITE, **fields):
    choices = recommendation.recommend(facts, start, accelerator=False)
    fields = {"data.root": "data/mice", **fields}
    names = {"command": "prepare_data.py recommend --root=data/mice", "path": "configs/mice.py"}
    return recommendation.to_text(facts, start, choices, fields=fields, **names)


@pytest.mark.parametrize("people", [2, 9, 49, 100, 199, 209, 999, 3000, 20_000, 150_000])
@pytest.mark.parametrize("start", [LITE, HRNET, UDP])
@pytest.mark.parametrize("accelerator", [False, True])
def test_every_recommendation_is_a_config_that_can_train(people, start, accelerator, tmp_path):
    facts = dataclasses.replace(FACTS, people=people)
    choices = recommendation.recommend(facts, start, accelerator=accelerator)
    options = {"fields": {"data.root": "data/mice"}, "command": "c", "path": "configs/mice.py"}
    config = load(recommendation.to_text(facts, start, choices, **options), tmp_path)
    assert checks.check(config) == []
    steps = max(1, people // config.train.batch_size)
    assert checks.check_length(config, steps) == []
    assert checks.warmup_steps(config.optimizer, config.train.epochs * steps) >= 1
    assert config.train.batch_size <= max(2, people // 2)
    assert config.train.epochs / config.eval.every_epochs > config.train.patience


def test_the_fewer_people_the_less_may_change():
    assert chosen(people=100)["train.freeze"] == 4
    assert chosen(people=100, start=HRNET)["train.freeze"] == 3
    assert chosen(people=500)["train.freeze"] == 1
    assert chosen(people=20_000)["train.freeze"] == 0
    factors = [chosen(people=n)["optimizer.backbone_factor"] for n in (100, 500, 2000, 20_000)]
    assert factors == sorted(factors)
    norms = [chosen(people=n)["train.batch_norm"] for n in (100, 500, 2000, 20_000)]
    assert norms == ["running", "running", "running", "batch"]


def test_small_runs_have_enough_steps():
    for people in (8, 30, 100, 500):
        fields = chosen(people=people)
        steps = max(1, people // fields["train.batch_size"]) * fields["train.epochs"]
        assert steps >= 150, people


def test_weights_are_used_as_they_were_trained():
    fields = chosen(start=dataclasses.replace(UDP, fields={"width": 24}))
    assert fields["model.width"] == 24
    assert (fields["heatmap.encoding"], fields["eval.decode"]) == ("udp", "udp")
    assert (fields["init_from"], fields["data.color"]) == ("lite.npz", "bgr")


@pytest.mark.parametrize(
    ("aspect", "upright", "size", "rotation"),
    [
        (0.5, 0.9, (256, 192), 30.0),
        (1.0, 0.9, (224, 224), 30.0),
        (2.0, 0.9, (192, 256), 30.0),
        (0.5, 0.2, (224, 224), 90.0),
    ],
)
def test_crops_and_rotation_follow_the_poses(aspect, upright, size, rotation):
    fields = chosen(aspect=aspect, upright=upright)
    assert (fields["data.input_size"], fields["augment.rotation"]) == (size, rotation)


def test_mirror_images_and_half_bodies_need_joints_that_allow_them():
    assert (chosen()["augment.flip"], chosen()["augment.half_body"]) == (0.5, 0.3)
    assert chosen(sided=("left_ear",))["augment.flip"] == 0
    assert chosen(upper_body=0)["augment.half_body"] == 0
    assert chosen(joints=COCO.names[:5])["augment.half_body"] == 0


def test_uprightness_is_one_for_the_same_direction_and_small_for_any():
    rng = np.random.default_rng(0)
    pose = rng.normal(size=(6, 2))
    shown = np.ones((200, 6))
    same = pose * rng.uniform(0.5, 2, (200, 1, 1)) + rng.normal(size=(200, 1, 2))
    assert recommendation.uprightness(same, shown) == pytest.approx(1)
    angles = rng.uniform(0, 2 * np.pi, 200)
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=1)
    turned = np.einsum("nij,kj->nki", turn.reshape(-1, 2, 2), pose)
    # The mean of 200 unit vectors of random directions is about 1 / sqrt(200) long.
    assert recommendation.uprightness(turned, shown) < 0.2
    assert recommendation.uprightness(turned, np.zeros((200, 6))) == 1


def test_facts_are_those_of_the_splits():
    skeleton = Skeleton(("snout", "paw_left", "paw_right", "tail"), ((1, 2),), (), (0.05,) * 4, ())

    def people(paths, visible):
        count = len(paths)
        columns = {
            "image_path": path_column(paths),
            "box": np.tile([0.0, 0, 60, 120], (count, 1)),
            "keypoints": np.tile(np.arange(8.0).reshape(4, 2), (count, 1, 1)),
            "visible": np.tile(visible, (count, 1)),
        }
        return Split("train", skeleton, "train.json", columns, {})

    train = people(["a.jpg", "a.jpg", "b.jpg"], [1.0, 1, 1, 0])
    facts = recommendation.describe(train, people(["b.jpg", "c.jpg"], [1.0, 1, 1, 1]))
    assert (facts.people, facts.images, facts.held_out, facts.together) == (3, 2, 2, 1)
    assert (facts.aspect, facts.upright, facts.pairs) == (0.5, pytest.approx(1), 1)
    assert facts.unlabeled == ("tail",)
    warnings = "\n".join(recommendation.warnings(facts))
    assert "3 people are very few" in warnings
    assert "2 people are held out, so that scores vary" in warnings
    assert "1 images are both trained on and held out" in warnings
    assert "no person has the joints tail" in warnings
    assert recommendation.warnings(FACTS) == []


def test_joints_without_a_pair_turn_mirror_images_off_with_a_word():
    (warning,) = recommendation.warnings(dataclasses.replace(FACTS, sided=("ear_l",)))
    assert warning.startswith("mirrored images are off, because these joints have a side and no")


def test_names_from_files_are_never_code(tmp_path):
    hostile = ('"""\nimport os', "back\\", "a'b", "new\rline", "{braces}", "Ä\u2028", "\0")
    facts = dataclasses.replace(FACTS, joints=hostile, sided=hostile)
    root = "data/\"''\"\\\n"
    text = write(facts, **{"data.root": root, "data.skeleton.names": hostile})
    (docstring, imported, function) = ast.parse(text).body
    assert isinstance(docstring, ast.Expr)
    assert (imported.module, function.name) == ("configs", "get_config")
    config = load(text, tmp_path)
    assert config.data.root == root.replace("\n", "?")
    assert config.data.skeleton.names[1:3] == hostile[1:3]
    assert config.model.num_joints == 7


def test_a_config_takes_another_variant_of_the_family(tmp_path):
    config = load(write(), tmp_path, "litehrnet_30")
    assert (config.model.name, config.model.num_joints) == ("litehrnet_30", 17)


def test_the_table_says_every_field_and_reason():
    choices = recommendation.recommend(FACTS, LITE, accelerator=False)
    lines = recommendation.table(choices).split("\n")
    assert len(lines) == len(choices)
    assert lines[0].split() == ["config.init_from", '"lite.npz"', *choices[0].reason.split()]
