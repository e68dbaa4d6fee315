"""Fields that a config does not have, and those that were meant."""

import pytest

from configs import hrnet_coco
from hrjax.config import fields


@pytest.fixture
def config():
    return hrnet_coco.get_config()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("optimizer.lrs", ["optimizer.lr"]),
        ("trian.epochs", ["train.epochs"]),
        ("seeds", ["seed"]),
        ("lr", ["optimizer.lr"]),  # without its section
        ("train.lr", ["optimizer.lr"]),  # in another section
        ("train.batchsize", ["train.batch_size", "train.batch_norm_size"]),
        ("data.mix.dataset", ["data.mix.datasets", "data.dataset"]),
        ("optimizer.learning_rate", []),
    ],
)
def test_near_fields_are_the_ones_meant_the_best_first(config, name, near):
    assert fields.near_fields(name, config) == near


def test_fields_sections_and_elements_are_known(config):
    names = ["seed", "optimizer.lr", "data.mix", "data.mix.roots", "data.input_size[0]"]
    assert fields.unknown_fields(names, config) == []


def test_each_unknown_field_has_a_message(config):
    messages = fields.unknown_fields(["optimizer.lrs", "seed", "trian.epochs"], config)
    assert messages == [
        "unknown field config.optimizer.lrs; did you mean config.optimizer.lr?",
        "unknown field config.trian.epochs; did you mean config.train.epochs?",
    ]


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("checkpoint.xyz", "config.checkpoint has: every_steps, keep"),
        ("data.draw.xyz", "config.data.draw has: seed, train_images, val_images"),
        ("log.every_steps.xyz", "config.log has: every_steps"),
        ("xyz", "config has: augment, checkpoint, data"),
    ],
)
def test_a_name_like_no_other_gets_the_list_of_its_section(config, name, listed):
    (message,) = fields.unknown_fields([name], config)
    assert message.startswith(f"unknown field config.{name}; {listed}")
