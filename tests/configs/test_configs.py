"""Every recipe with every variant of its family: its network, and the numbers of the reference."""

import ast
import functools
import importlib
import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from configs import common
from data_pipelines import datasets, images, skeletons
from data_pipelines.transforms import chains
from hrjax import models
from hrjax.config import checks
from hrjax.training import optimizers

FOLDER = pathlib.Path(__file__).parent.parent.parent / "configs"
RECIPES = sorted(
    file.stem for file in FOLDER.glob("*.py") if file.stem not in ("__init__", "common")
)
# What defines a recipe: optimizer, learning rate, schedule with its warm-up, epochs, batch, scale,
# rotation and sigma.
NUMBERS = {
    *("optimizer.name", "optimizer.lr", "optimizer.schedule", "optimizer.warmup_steps"),
    *("train.epochs", "train.batch_size"),
    *("augment.scale", "augment.rotation", "heatmap.sigma"),
}
SCHEDULES = {"step": "optimizer.milestones", "cosine": "optimizer.final_factor"}

shapes = functools.cache(models.shapes)  # recipes of one family share networks


def load(recipe, variant=""):
    return importlib.import_module(f"configs.{recipe}").get_config(variant)


def family(recipe):
    default = models.VARIANTS[load(recipe).model.name]
    return [name for name, variant in models.VARIANTS.items() if type(variant) is type(default)]


def assigned(function):
    """The config fields that a function assigns: `config.a.b = …` gives "a.b"."""
    targets = [
        target
        for node in ast.walk(ast.parse(inspect.getsource(function)))
        if isinstance(node, ast.Assign)
        for group in node.targets
        for target in (group.elts if isinstance(group, ast.Tuple) else [group])
    ]
    return {
        ast.unparse(target).removeprefix("config.")
        for target in targets
        if isinstance(target, ast.Attribute)
    }


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_file_sets_the_numbers_that_define_its_recipe(recipe):
    # Even those that equal the default: whoever opens one file reads the whole recipe, and a
    # changed default cannot change what a published recipe does.
    module = importlib.import_module(f"configs.{recipe}")
    expected = NUMBERS | {SCHEDULES[load(recipe).optimizer.schedule]}
    assert expected <= assigned(module.get_config)


def test_helpers_leave_those_numbers_to_the_files():
    helpers = [common.recipe, common.evaluate_on, common.v2]
    hidden = {*NUMBERS, *SCHEDULES.values()}
    assert not [helper.__name__ for helper in helpers if assigned(helper) & hidden]


@pytest.mark.parametrize("recipe", RECIPES)
def test_published_figures_name_their_table_and_boxes(recipe):
    text = " ".join(importlib.import_module(f"configs.{recipe}").__doc__.split())
    for start in re.finditer(r"Published|published figures are", text):
        sentence = text[start.start() :]
        assert re.match(r".{1,160}\bboxes\b.{1,60}\(the table of ", sentence), sentence


@pytest.mark.parametrize(
    ("recipe", "variant"), [(recipe, name) for recipe in RECIPES for name in family(recipe)]
)
def test_recipe_builds_its_network(recipe, variant):
    config = load(recipe, variant)
    fields = {key: value for key, value in config.model.items() if key != "name"}
    _, params, _ = shapes(variant, **fields)
    # The annotation files of a custom dataset define its joints.
    skeleton = datasets.DATASETS[config.data.dataset].skeleton or skeletons.COCO
    final = jax.tree.leaves(params["final"])
    assert {x.shape[-1] for x in final} == {skeleton.num_joints}
    chains.train_ops(config.augment, skeleton, config.data.input_size, strict=True)
    rate = optimizers.schedule(config.optimizer, batch_size=8, steps_per_epoch=10, epochs=2)
    optimizers.optimizer(config.optimizer, rate)


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_heatmaps_have_the_stride_of_the_family(recipe):
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


def test_a_misspelled_field_in_a_recipe_is_an_error():
    config = common.recipe("", default="hrnet_w32", dataset="coco", input_size=(256, 192))
    with pytest.raises(AttributeError, match="Did you mean"):
        config.train.epoch = 1


@pytest.mark.parametrize("dataset", datasets.DATASETS)
def test_dataset_facts_come_from_the_registry(dataset):
    entry = datasets.DATASETS[dataset]
    options = {"default": "hrnet_w32", "input_size": (256, 192)}
    config = common.recipe("", dataset=dataset, **options)
    assert (config.data.dataset, config.data.root) == (dataset, entry.root)
    assert (config.data.train_split, config.eval.split) == (entry.train_split, entry.eval_split)
    joints = (
        entry.skeleton.num_joints if entry.skeleton else models.VARIANTS["hrnet_w32"].num_joints
    )
    assert config.model.num_joints == joints
    other = common.evaluate_on(common.recipe("", dataset="coco", **options), dataset)
    assert (other.eval.dataset, other.eval.root) == (dataset, entry.root)
    assert (other.eval.split, other.data.dataset) == (entry.eval_split, "coco")


def test_unknown_dataset_lists_the_choices():
    with pytest.raises(ValueError, match=r"unknown dataset 'kinetics'.*mpii, coco, crowdpose"):
        common.recipe("", default="hrnet_w32", dataset="kinetics", input_size=(256, 192))


def test_input_size_follows_the_variant():
    assert load("hrnet_coco", "hrnet_w48_384x288").data.input_size == (384, 288)
    assert load("hrnet_coco").data.input_size == (256, 192)


def test_unknown_variant_lists_the_family():
    with pytest.raises(ValueError, match=r"unknown variant 'hrnet_w64'.*hrnet_w32, hrnet_w48"):
        load("hrnet_coco", "hrnet_w64")


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
    numbers = (
        *(config.optimizer.lr, config.train.batch_size, config.augment.scale),
        *(config.augment.rotation, config.augment.half_body, config.heatmap.sigma),
        *(config.loss.factor, config.optimizer.warmup_steps),
    )
    assert numbers == pytest.approx(expected)
    milestones, epochs = LENGTHS.get(recipe, ((170, 200), 210))
    assert config.train.epochs == epochs
    if config.optimizer.schedule == "step":
        assert config.optimizer.milestones == milestones


# People per GPU without synchronized batch norm in the references; 0: synchronized, or our own.
GROUPS = {
    "hrnet_coco": 32,
    "hrnet_coco:hrnet_w48_384x288": 24,
    "hrnet_coco_v2": 32,
    "hrnet_coco_v2:hrnet_w48_384x288": 24,
    "hrnet_coco_paddle": 64,
    "hrnet_mpii": 32,
    "hrnet_mpii_mmpose": 64,
    "hrnet_custom": 0,
    "resnet_coco": 32,
    "resnet_mpii": 32,
    "litehrnet_coco": 64,
    "litehrnet_coco:litehrnet_18_384x288": 32,
    "litehrnet_coco_distilled": 64,
    "litehrnet_coco_paddle": 64,
    "litehrnet_coco_quantized": 0,  # its batch norms are folded
    "litehrnet_coco_v2": 64,
    "litehrnet_mpii": 32,
    "ditehrnet_coco": 32,
    "ditehrnet_mpii": 32,
    "widehrnet_coco": 32,
    "widehrnet_mpii": 16,
    "widehrnet_mpii_v2": 0,
    "hrformer_coco": 0,
    "hrnext_coco": 0,
    "hrnext_crowdpose": 0,
    "hrnext_ochuman": 0,
    "efenet_coco": 0,
    "efenet_mpii": 0,
    "quickstart": 0,
}


def test_batch_norm_groups_are_the_shares_of_the_references_gpus():
    assert {recipe.partition(":")[0] for recipe in GROUPS} == {*RECIPES}
    loaded = {recipe: load(*recipe.split(":")) for recipe in GROUPS}
    assert {recipe: config.train.batch_norm_size for recipe, config in loaded.items()} == GROUPS
    assert not [recipe for recipe in RECIPES if [*checks._batch_norm_groups(loaded[recipe])]]


LENGTHS = {
    "resnet_coco": ((90, 120), 140),
    "resnet_mpii": ((90, 120), 140),
    "ditehrnet_coco": ((170, 200), 270),
    "ditehrnet_mpii": ((170, 200), 260),
    "hrnext_coco": (None, 300),
    "hrnext_crowdpose": (None, 300),
    "hrnext_ochuman": (None, 300),
}


def test_recipes_keep_the_peculiarities_of_their_references():
    assert load("resnet_coco").data.color == load("resnet_mpii").data.color == "bgr"
    assert load("hrformer_coco", "hrformer_base_384x288").model.drop_path == 0.3
    assert load("hrformer_coco", "hrformer_base").model.drop_path == 0.2
    published = {recipe for recipe in RECIPES if not recipe.endswith("_v2")}
    shifted = {recipe for recipe in published if load(recipe).augment.center_shift}
    assert shifted == {
        *("litehrnet_coco", "ditehrnet_coco", "widehrnet_coco", "hrformer_coco", "hrnext_coco"),
        *("hrnext_crowdpose", "hrnext_ochuman"),
    }
    for recipe in ("hrformer_coco", "hrnext_coco", "hrnext_crowdpose", "hrnext_ochuman"):
        settings = load(recipe).optimizer
        assert (settings.name, settings.weight_decay) == ("adamw", 0.01)
    settings = load("hrnext_coco").optimizer
    assert (settings.schedule, settings.final_factor, settings.by_epoch) == ("cosine", 0.01, True)


def test_crowdpose_trains_on_trainval_and_is_tested_on_detected_boxes():
    config = load("hrnext_crowdpose")
    assert (config.data.train_split, config.eval.split) == ("trainval", "test")
    assert config.eval.boxes.endswith("det_for_crowd_test_0.1_0.5.json")
    assert (config.model.num_joints, config.augment.half_body_joints) == (14, 6)


def test_ochuman_is_evaluated_on_ground_truth_boxes_after_training_on_coco():
    config = load("hrnext_ochuman")
    assert (config.data.dataset, config.eval.dataset) == ("coco", "ochuman")
    assert (config.eval.split, config.eval.boxes) == ("val", "gt")


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if recipe.endswith("_v2")])
def test_v2_recipes_train_longer_with_newer_techniques(recipe):
    config, first = load(recipe), load(recipe.removesuffix("_v2"))
    assert (config.heatmap.encoding, config.eval.decode) == ("udp", "udp")
    assert (config.optimizer.name, config.optimizer.schedule) == ("adamw", "cosine")
    assert config.optimizer.warmup_steps > 0
    assert config.train.ema_decay > 0
    assert config.train.epochs > first.train.epochs
    assert config.augment.scale >= first.augment.scale
    assert config.augment.rotation >= first.augment.rotation
    for section in ("model", "data", "distill"):
        assert config[section] == first[section]


def test_the_distilled_recipe_has_paddles_teacher_and_schedule():
    config = load("litehrnet_coco_distilled")
    assert config.model.name == "litehrnet_30"
    assert (config.distill.model, config.distill.weight) == ("hrnet_w32", 0.5)
    assert not config.distill.batch_statistics
    assert (config.loss.factor, config.optimizer.lr, config.train.epochs) == (1.0, 2e-3, 210)


def test_the_default_limit_on_pixels_is_that_of_decoding():
    config = common.recipe("", default="hrnet_w32", dataset="coco", input_size=(64, 48))
    assert config.data.max_pixels == images.MAX_PIXELS
