"""Every recipe for every variant of its family: built for shapes, and the references' numbers."""

import functools
import importlib
import pathlib

import jax
import jax.numpy as jnp
import pytest

from data_pipelines import datasets, skeletons
from data_pipelines.transforms import chains
from hrjax import models
from hrjax.training import optimizers

FOLDER = pathlib.Path(__file__).parent.parent.parent / "configs"
RECIPES = sorted(
    file.stem for file in FOLDER.glob("*.py") if file.stem not in ("__init__", "common")
)


shapes = functools.cache(models.shapes)  # recipes of one family share networks


def load(recipe, variant=""):
    return importlib.import_module(f"configs.{recipe}").get_config(variant)


def family(recipe):
    default = models.VARIANTS[load(recipe).model.name]
    return [name for name, variant in models.VARIANTS.items() if type(variant) is type(default)]


@pytest.mark.parametrize(
    ("recipe", "variant"), [(recipe, name) for recipe in RECIPES for name in family(recipe)]
)
def test_recipe_builds_its_network(recipe, variant):
    config = load(recipe, variant)
    fields = {key: value for key, value in config.model.items() if key != "name"}
    _, params, _ = shapes(variant, **fields)
    # A custom dataset's joints are in its files.
    skeleton = datasets.DATASETS[config.data.dataset].skeleton or skeletons.COCO
    final = jax.tree.leaves(params["final"])
    assert {x.shape[-1] for x in final} == {skeleton.num_joints}
    chains.train_ops(config.augment, skeleton, config.data.input_size, strict=True)
    rate = optimizers.schedule(config.optimizer, batch_size=8, steps_per_epoch=10, epochs=2)
    optimizers.optimizer(config.optimizer, rate)


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_gives_heatmaps_of_its_input(recipe):
    config = load(recipe)
    height, width = config.data.input_size
    fields = {key: value for key, value in config.model.items() if key != "name"}
    graph, params, stats = shapes(config.model.name, **fields)
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    heatmaps, _ = jax.eval_shape(
        lambda params, stats, images: models.apply(graph, params, stats, images),
        params,
        stats,
        images,
    )
    joints = config.model.num_joints
    stride = 2 if config.model.name.startswith("efenet") else 4
    assert heatmaps.shape == (1, height // stride, width // stride, joints)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_locked_and_documents_its_command(recipe):
    config = load(recipe)
    with pytest.raises(AttributeError, match="Did you mean"):
        config.optimizer.lrs = 1.0
    assert f"--config=configs/{recipe}.py" in importlib.import_module(f"configs.{recipe}").__doc__


def test_input_size_follows_the_variant():
    assert load("hrnet_coco", "hrnet_w48_384x288").data.input_size == (384, 288)
    assert load("hrnet_coco").data.input_size == (256, 192)


@pytest.mark.parametrize(
    ("recipe", "variant", "expected"),
    [
        # (lr, batch, scale, rotation, half body, sigma, loss factor, warm-up), from the
        # references' files
        ("resnet_coco", "", (1e-3, 128, 0.3, 40, 0, 2, 0.5, 0)),
        ("resnet_coco", "pose_resnet_101_384x288", (1e-3, 128, 0.3, 40, 0, 3, 0.5, 0)),
        ("resnet_mpii", "", (1e-3, 128, 0.25, 30, 0, 2, 0.5, 0)),
        ("litehrnet_coco", "", (2e-3, 512, 0.25, 30, 0.3, 2, 1, 500)),
        ("litehrnet_coco", "litehrnet_30_384x288", (2e-3, 256, 0.25, 30, 0.3, 3, 1, 500)),
        ("litehrnet_mpii", "naive_litehrnet_18", (2e-3, 256, 0.25, 30, 0, 2, 1, 500)),
        ("ditehrnet_coco", "", (2e-3, 256, 0.25, 30, 0.3, 2, 1, 500)),
        ("ditehrnet_coco", "ditehrnet_30_384x288", (2e-3, 256, 0.25, 30, 0.3, 3, 1, 500)),
        ("ditehrnet_mpii", "", (2e-3, 256, 0.25, 30, 0, 2, 1, 500)),
        ("hrformer_coco", "", (5e-4, 256, 0.5, 40, 0.3, 2, 1, 500)),
        ("hrformer_coco", "hrformer_base_384x288", (5e-4, 64, 0.5, 40, 0.3, 3, 1, 500)),
        ("hrnext_coco", "", (4e-3, 256, 0.5, 40, 0.3, 2, 1, 500)),
        ("hrnext_coco", "hrnext_base_384x288", (4e-3, 256, 0.5, 40, 0.3, 3, 1, 500)),
        ("hrnext_crowdpose", "", (4e-3, 512, 0.5, 40, 0.3, 2, 1, 500)),
        ("hrnext_crowdpose", "hrnext_base_384x288", (4e-3, 512, 0.5, 40, 0.3, 3, 1, 500)),
        ("hrnext_ochuman", "", (4e-3, 256, 0.5, 40, 0.3, 2, 1, 500)),
        ("hrnet_coco_paddle", "", (5e-4, 64, 0.5, 40, 0.3, 2, 0.5, 1000)),
        ("litehrnet_coco_paddle", "", (2e-3, 64, 0.25, 30, 0.3, 2, 1, 500)),
        ("hrnet_mpii_mmpose", "", (5e-4, 64, 0.5, 40, 0, 2, 1, 500)),
        ("hrnet_coco", "", (1e-3, 128, 0.35, 45, 0.3, 2, 0.5, 0)),
        ("hrnet_coco", "hrnet_w48_384x288", (1e-3, 96, 0.35, 45, 0.3, 3, 0.5, 0)),
        ("hrnet_mpii", "", (1e-3, 128, 0.25, 30, 0, 2, 0.5, 0)),
        ("widehrnet_mpii", "", (2e-3, 16, 0.25, 30, 0, 2, 1, 500)),
        ("widehrnet_mpii", "widehrnet_30_se", (5e-4, 16, 0.25, 30, 0, 2, 1, 500)),
        ("widehrnet_coco", "", (5e-4, 256, 0.25, 30, 0.3, 2, 1, 500)),
        ("widehrnet_coco", "widehrnet_18_se_384x288", (5e-4, 256, 0.25, 30, 0.3, 2, 1, 500)),
    ],
)
def test_recipe_has_the_numbers_of_the_reference(recipe, variant, expected):
    config = load(recipe, variant)
    found = (
        *(config.optimizer.lr, config.train.batch_size, config.augment.scale),
        *(config.augment.rotation, config.augment.half_body, config.heatmap.sigma),
        *(config.loss.factor, config.optimizer.warmup_steps),
    )
    assert found == pytest.approx(expected)
    steps, epochs = LENGTHS.get(recipe, ((170, 200), 210))
    assert config.train.epochs == epochs
    if config.optimizer.schedule == "step":
        assert config.optimizer.milestones == steps


LENGTHS = {
    "resnet_coco": ((90, 120), 140),
    "resnet_mpii": ((90, 120), 140),
    "ditehrnet_coco": ((170, 200), 270),
    "ditehrnet_mpii": ((170, 200), 260),
    "hrnext_coco": (None, 300),
    "hrnext_crowdpose": (None, 300),
    "hrnext_ochuman": (None, 300),
}


def test_recipes_have_what_few_share():
    assert load("resnet_coco").data.color == load("resnet_mpii").data.color == "bgr"
    assert load("hrformer_coco", "hrformer_base_384x288").model.drop_path == 0.3
    assert load("hrformer_coco", "hrformer_base").model.drop_path == 0.2
    papers = {recipe for recipe in RECIPES if not recipe.endswith("_v2")}
    shifted = {recipe for recipe in papers if load(recipe).augment.center_shift}
    assert shifted == {
        *("litehrnet_coco", "ditehrnet_coco", "widehrnet_coco", "hrformer_coco", "hrnext_coco"),
        *("hrnext_crowdpose", "hrnext_ochuman"),
    }
    for recipe in ("hrformer_coco", "hrnext_coco", "hrnext_crowdpose", "hrnext_ochuman"):
        settings = load(recipe).optimizer
        assert (settings.name, settings.weight_decay) == ("adamw", 0.01)
    settings = load("hrnext_coco").optimizer
    assert (settings.schedule, settings.final_factor, settings.by_epoch) == ("cosine", 0.01, True)


def test_crowds_are_learnt_from_trainval_and_tested_on_detected_boxes():
    config = load("hrnext_crowdpose")
    assert (config.data.train_split, config.eval.split) == ("trainval", "test")
    assert config.eval.boxes.endswith("det_for_crowd_test_0.1_0.5.json")
    assert (config.model.num_joints, config.augment.half_body_joints) == (14, 6)
    config = load("hrnext_ochuman")
    assert (config.data.dataset, config.eval.dataset, config.eval.boxes) == (
        "coco",
        "ochuman",
        "gt",
    )


def test_unknown_variant_lists_the_family():
    with pytest.raises(ValueError, match=r"unknown variant 'hrnet_w64'.*hrnet_w32, hrnet_w48"):
        load("hrnet_coco", "hrnet_w64")


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe.endswith("_v2")])
def test_second_recipes_take_what_was_learnt_since(recipe):
    config, first = load(recipe), load(recipe.removesuffix("_v2"))
    assert (config.heatmap.encoding, config.eval.decode) == ("udp", "udp")
    assert (config.optimizer.name, config.optimizer.schedule) == ("adamw", "cosine")
    assert config.optimizer.warmup_steps > 0
    assert config.train.ema_decay > 0
    assert config.train.epochs > first.train.epochs
    assert config.augment.scale >= first.augment.scale
    assert config.augment.rotation >= first.augment.rotation
    for field in ("model", "data", "distill"):
        assert config[field] == first[field]


def test_the_distilled_recipe_learns_from_hrnet_as_in_paddle():
    config = load("litehrnet_coco_distilled")
    assert config.model.name == "litehrnet_30"
    assert (config.distill.model, config.distill.weight) == ("hrnet_w32", 0.5)
    assert not config.distill.batch_statistics
    assert (config.loss.factor, config.optimizer.lr, config.train.epochs) == (1.0, 2e-3, 210)
