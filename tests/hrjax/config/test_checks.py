"""Each mistake in a config has its message, before any file is read."""

import functools
import importlib
import pathlib
import re

import jax
import jax.numpy as jnp
import pytest

from configs import common, hrnet_coco, hrnet_custom, resnet_mpii
from data_pipelines import skeletons
from data_pipelines.transforms import ops
from hrjax import models
from hrjax.config import checks
from hrjax.evaluation import metrics, nms
from hrjax.training import optimizers, step

CONFIGS = pathlib.Path(__file__).parents[3] / "configs"
SHALLOW = {"modules": (1, 1, 1), "blocks": 1}  # with as many stages as the families have
RECIPES = sorted({file.stem for file in CONFIGS.glob("*.py")} - {"__init__", "common"})


def change(config, **fields):
    """`config` with other values; `a__b` is the field a.b."""
    with config.unlocked():
        for name, value in fields.items():
            section, _, field = name.rpartition("__")
            inside = config
            for key in section.split("__") if section else ():
                inside = inside[key]
            with inside.ignore_type():
                inside[field] = value
    return config


def problem(config):
    """The message of the one problem that a config has."""
    with pytest.raises(ValueError, match=r".") as caught:
        checks.check(config)
    assert "problems" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_have_neither_problems_nor_warnings(recipe):
    module = importlib.import_module(f"configs.{recipe}")
    default = type(models.VARIANTS[module.get_config().model.name])
    for name, variant in models.VARIANTS.items():
        if type(variant) is default:
            assert checks.check(module.get_config(name)) == []


@pytest.mark.parametrize(
    ("field", "value", "choices"),
    [
        (
            *("data__dataset", "kinetics"),
            "mpii, coco, crowdpose, ochuman, custom, ap10k, animalpose, halpe26, coco_wholebody, "
            "aic, humanart, jhmdb, posetrack18",
        ),
        ("data__color", "grb", "rgb, bgr"),
        ("augment__draws", "uniform", "clipped, truncated"),
        ("heatmap__encoding", "megvii", "msra, dark, udp"),
        ("optimizer__name", "lion", "adam, adamw, sgd"),
        ("optimizer__schedule", "linear", "step, cosine"),
        ("train__dtype", "float16", "float32, bfloat16, float64"),
        ("train__matmul_precision", "tf32", "default, high, highest"),
        ("train__on_nan", "ignore", "stop, skip"),
        ("eval__decode", "taylor", "argmax, quarter, dark, udp, paddle_dark"),
        ("eval__nms", "linear", "hard, soft, none"),
        ("eval__dataset", "kinetics", "jhmdb, posetrack18, or leave it empty for data.dataset"),
        (
            "eval__metrics",
            "map",
            "keypoints, jhmdb, posetrack, or leave it empty for the dataset's own",
        ),
        ("distill__model", "vit", "or leave it empty for the variant that the teacher records"),
    ],
)
def test_unknown_choice_lists_the_choices(field, value, choices):
    config = change(hrnet_coco.get_config(), eval__root="x" if field == "eval__dataset" else "")
    message = problem(change(config, **{field: value}))
    assert message.startswith(f"config.{field.replace('__', '.')} is {value!r}; ")
    assert re.search(r"hoose one of: [^?]*$", message)[0].endswith(choices)


def test_an_unknown_choice_gets_the_near_ones_first():
    message = problem(change(hrnet_coco.get_config(), optimizer__name="AdamW "))
    assert message.startswith("config.optimizer.name is 'AdamW '; did you mean adamw or adam? Choo")


def test_choices_are_those_of_the_code_that_reads_them():
    config = hrnet_coco.get_config()
    assert set(checks.DTYPES) == set(step.DTYPES)
    assert checks.PRECISIONS == step.PRECISIONS
    assert checks.ON_NAN == step.ON_NAN
    assert set(checks.METRICS) == set(metrics.METRICS)
    assert set(checks.NMS_METHODS) == set(nms.METHODS)
    for name in checks.OPTIMIZERS:
        optimizers.optimizer(change(config, optimizer__name=name).optimizer, lambda step: 1e-3)
    for name in checks.SCHEDULES:
        settings = change(config, optimizer__schedule=name).optimizer
        optimizers.schedule(settings, batch_size=1, steps_per_epoch=1, epochs=1)
    for name in checks.DRAWS:
        ops.random_crop(change(config, augment__draws=name).augment, (64, 64), udp=False)
    for name in checks.COLORS:
        models.normalize(jnp.zeros((1, 2, 2, 3), jnp.uint8), name)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("augment__flip", 1.5, "a number from 0 to 1"),
        ("augment__half_body", -0.1, "a number from 0 to 1"),
        ("augment__dropout", float("nan"), "a number from 0 to 1"),
        ("data__max_unreadable", 20.0, "a number from 0 to 1"),
        ("augment__scale", 1.0, "at least 0 and less than 1"),
        ("train__ema_decay", 1.0, "at least 0 and less than 1"),
        ("optimizer__lr", 0.0, "a number above 0"),
        ("optimizer__lr", float("inf"), "a number above 0"),
        ("heatmap__sigma", -2.0, "a number above 0"),
        ("train__epochs", 0, "a number above 0"),
        ("train__batch_size", 0, "a number above 0"),
        ("train__accumulate", 0, "a number above 0"),
        ("eval__batch_size", -32, "a number above 0"),
        ("checkpoint__every_steps", 0, "a number above 0"),
        ("log__every_steps", 0, "a number above 0"),
        ("model__width", 0, "a number above 0"),
        ("seed", -1, "0 or more"),
        ("data__workers", -1, "0 or more"),
        ("augment__rotation", -30.0, "0 or more"),
        ("optimizer__warmup_steps", -1, "0 or more"),
        ("eval__every_epochs", -1, "0 or more"),
        ("optimizer__warmup_limit", 1.5, "a number from 0 to 1"),
        ("optimizer__backbone_factor", 0.0, "a number above 0"),
        ("train__patience", -1, "0 or more"),
        ("train__freeze", -1, "0 or more"),
    ],
)
def test_a_number_out_of_range_names_the_range(field, value, expected):
    message = problem(change(hrnet_coco.get_config(), **{field: value}))
    assert message == f"config.{field.replace('__', '.')} is {value}; set it to {expected}"


def test_every_number_of_the_base_recipe_has_its_range():
    config = common.recipe("", default="hrnet_w32", dataset="coco", input_size=(256, 192))
    known = {field for fields, *_ in checks.LIMITS for field in fields}
    # What only has to be a number, and the network's fields, which `models` checks.
    free = {"eval.box_threshold", "eval.joint_threshold"}
    sections = {f"{name}.": config[name] for name in config if hasattr(config[name], "items")}
    sections |= {"": config, "data.draw.": config.data.draw}
    numbers = {
        prefix + key
        for prefix, section in sections.items()
        for key, value in section.items()
        if type(value) in (int, float) and prefix != "model."
    }
    assert numbers - free == {field for field in known if not field.startswith("model.")}


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (
            (250, 190),
            "is 250,190 (height, width); hrnet_w32 needs multiples of 32, e.g. {flag}=256",
        ),
        (
            (256, 200),
            "is 256,200 (height, width); hrnet_w32 needs multiples of 32, e.g. {flag}=256",
        ),
        ((8, 8), "is 8,8 (height, width); hrnet_w32 needs multiples of 32, e.g. {flag}=32,32"),
        ((96,), "is (96,); set it to a height and a width in pixels, e.g. {flag}=256,192"),
        ((), "is (); set it to a height and a width in pixels, e.g. {flag}=256,192"),
        ((256, 0), "is (256, 0); set it to a height and a width in pixels, e.g. {flag}=256,192"),
        ((256.0, 192), "is (256.0, 192); set it to a height and a width in pixels"),
    ],
)
def test_input_size_must_fit_the_network(size, message):
    message = message.format(flag="--config.data.input_size")
    config = change(hrnet_coco.get_config(), data__input_size=size)
    assert problem(config).startswith(f"config.data.input_size {message}")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *[(name, SHALLOW) for name in ("hrnet_w32", "litehrnet_18", "ditehrnet_18")],
        *[(name, SHALLOW) for name in ("widehrnet_18", "hrformer_small", "hrnext_small")],
        ("efenet_small", SHALLOW),
        ("hrnet_tiny", {"modules": (1,)}),
        ("pose_resnet_50", {"blocks": (1, 1, 1, 1)}),
        ("pose_resnet_50", {"blocks": (1, 1), "deconvs": 1}),
    ],
)
def test_size_factor_is_the_one_that_the_network_asks_for(name, fields):
    graph, params, stats = models.shapes(name, **fields)
    config = common.recipe("", default=name, dataset="coco", input_size=(256, 192))
    factor = checks.size_factor(change(config.model, **fields))

    def run(side):
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        return jax.eval_shape(functools.partial(models.apply, graph), params, stats, images)[0]

    with pytest.raises(ValueError, match=rf"multiples of {factor}\n"):
        run(factor // 2 * 3)
    assert run(2 * factor).shape[0] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__name": "hrnet_w64"}, "config.model: unknown model 'hrnet_w64'; did you mean hrn"),
        ({"model__width": 32.5}, "config.model: hrnet_w32 cannot take width=32.5; its fields are "),
        ({"model__modules": (1, 0)}, "config.model.modules is (1, 0); set it to one or more "),
        ({"model__modules": ()}, "config.model.modules is (); set it to one or more numbers"),
        (
            {"model__num_joints": 21},
            "config.model.num_joints is 21, but people in coco have 17 joints; "
            "set --config.model.num_joints=17",
        ),
        ({"data__root": ""}, "config.data.root is empty; set it to the folder of the dataset"),
        (
            {"eval__dataset": "ochuman"},
            "config.eval.dataset is 'ochuman' and config.eval.root is empty; set it to the folder",
        ),
        (
            {"eval__root": "data/ochuman"},
            "config.eval.root is 'data/ochuman', but config.eval.dataset is empty; name",
        ),
        (
            {"eval__dataset": "mpii", "eval__root": "data/mpii"},
            "config.model.num_joints is 17, but people in mpii have 16 joints",
        ),
        (
            {"eval__dataset": "ochuman", "eval__root": "x", "eval__boxes": "boxes.json"},
            "config.eval.boxes is 'boxes.json', but ochuman is evaluated with ground-truth boxes "
            "only; set --config.eval.boxes=gt",
        ),
        (
            {"eval__metrics": "pckh"},
            "config.eval.metrics is 'pckh', which coco cannot be scored by; leave it empty for its "
            "own, coco_ap",
        ),
        (
            {"loss__joint_weights": (1.0, 2.0)},
            "config.loss.joint_weights has 2 values, but config.model.num_joints is 17; set one "
            "per joint, or none",
        ),
        (
            {"loss__joint_weights": (1.0,) * 16 + (-1.0,)},
            "config.loss.joint_weights is (1.0, 1.0",
        ),
        (
            {"loss__hard_joints": 18},
            "config.loss.hard_joints is 18, but config.model.num_joints is 17; set it to a number "
            "from 0 to 17",
        ),
        (
            {"data__mix__datasets": ("mpii", "kinetics")},
            "config.data.mix.datasets names 'kinetics'; choose one of: mpii, coco",
        ),
        (
            {"data__mix__datasets": ("mpii",), "data__mix__roots": ("a", "b")},
            "config.data.mix.roots is ('a', 'b'), but config.data.mix.datasets is ",
        ),
        (
            {"data__mix__datasets": ("mpii",), "data__mix__weights": (1.0,)},
            "config.data.mix.weights is (1.0,); set 2 numbers, for coco, mpii in this order",
        ),
        (
            {"data__mix__datasets": ("mpii",), "data__mix__weights": (1.0, 0.0)},
            "config.data.mix.weights is (1.0, 0.0); set numbers above 0",
        ),
        (
            {"data__mix__datasets": ("mpii",), "data__group_images": True},
            "config.data.group_images cannot be combined with config.data.mix.datasets; set "
            "--config.data.group_images=False",
        ),
        (
            {"optimizer__milestones": (200, 170)},
            "config.optimizer.milestones is (200, 170); set epochs in rising order, e.g. "
            "--config.optimizer.milestones=170,200",
        ),
        ({"optimizer__milestones": (1.5, 2.0)}, "config.optimizer.milestones is (1.5, 2.0); set"),
        ({"optimizer__milestones": ("a",)}, "config.optimizer.milestones is ('a',); set epochs"),
    ],
)
def test_what_does_not_belong_together_has_a_message(changes, message):
    assert problem(change(hrnet_coco.get_config(), **changes)).startswith(message)


def test_mpii_is_scored_by_pckh_alone():
    message = problem(change(resnet_mpii.get_config(), eval__metrics="coco_ap"))
    assert message.endswith("which mpii cannot be scored by; leave it empty for its own, pckh")
    assert checks.check(change(resnet_mpii.get_config(), eval__metrics="pckh")) == []


def test_jhmdbs_metric_is_of_its_own_joints():
    message = problem(change(hrnet_coco.get_config(), eval__metrics="jhmdb"))
    assert message.endswith("which coco cannot be scored by; leave it empty for its own, coco_ap")


def test_float64_needs_jax_to_have_it():
    config = change(hrnet_coco.get_config(), train__dtype="float64")
    assert "JAX_ENABLE_X64=1" in problem(config)
    with jax.enable_x64(True):
        assert checks.check(config) == []


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("names", ("a", "b"), "names has 2 values, but config.model.num_joints is 5; set one per"),
        ("sigmas", (0.05,) * 4, "sigmas has 4 values, but config.model.num_joints is 5"),
        ("sigmas", (0.05,) * 4 + (0.0,), "sigmas is (0.05, 0.05, 0.05, 0.05, 0.0); set numbers"),
        ("sigmas", (float("nan"),) * 5, "sigmas is (nan, nan, nan, nan, nan); set numbers above 0"),
    ],
)
def test_the_skeleton_has_the_networks_joints(field, values, message):
    config = change(hrnet_custom.get_config(), model__num_joints=5)
    assert checks.check(config) == []
    message = f"config.data.skeleton.{message}"
    assert problem(change(config, **{f"data__skeleton__{field}": values})).startswith(message)


def test_all_problems_are_told_at_once():
    config = change(hrnet_coco.get_config(), optimizer__name="lion", augment__flip=2.0)
    with pytest.raises(ValueError, match=r"^the config has 2 problems:\n  ") as caught:
        checks.check(config)
    assert [line.split()[0] for line in str(caught.value).splitlines()[1:]] == [
        "config.optimizer.name",
        "config.augment.flip",
    ]


def test_a_weight_decay_that_adam_ignores_is_a_warning():
    (warning,) = checks.check(change(hrnet_coco.get_config(), optimizer__weight_decay=1e-4))
    assert warning == (
        "config.optimizer.weight_decay is 0.0001, but adam does not use it; for weight decay set "
        "--config.optimizer.name=adamw"
    )


def test_a_skeleton_for_a_known_dataset_is_a_warning():
    config = change(hrnet_coco.get_config(), data__skeleton__sigmas=skeletons.COCO.sigmas)
    (warning,) = checks.check(config)
    assert warning.startswith("config.data.skeleton (sigmas) has no effect: the joints of coco")


@pytest.mark.parametrize(
    ("epochs", "late", "advice"),
    [
        (100, "170, 200", "80,95"),
        (200, "200", "160,190"),
        (3, "170, 200", "2"),
        (2, "170, 200", ""),
    ],
)
def test_milestones_after_the_last_epoch_are_a_warning(epochs, late, advice):
    (warning,) = checks.check(change(hrnet_coco.get_config(), train__epochs=epochs))
    assert warning.startswith(f"config.optimizer.milestones {late} are not reached in {epochs} ")
    assert re.findall(r"milestones=([\d,]+)", warning) == ([advice] if advice else [])
    assert warning.endswith("--config.optimizer.schedule=cosine")


@pytest.mark.parametrize("epochs", [100, 200, 5, 3])
def test_the_suggested_milestones_are_reached(epochs):
    config = change(hrnet_coco.get_config(), train__epochs=epochs)
    (warning,) = checks.check(config)
    (numbers,) = re.findall(r"milestones=([\d,]+)", warning)
    milestones = tuple(int(number) for number in numbers.split(","))
    assert checks.check(change(config, optimizer__milestones=milestones)) == []


def test_batches_are_shared_evenly_by_devices():
    config = change(hrnet_coco.get_config(), train__batch_size=60, eval__batch_size=32)
    checks.check_devices(config, 1)
    checks.check_devices(config, 4)
    with pytest.raises(ValueError, match=r"^config\.train\.batch_size is 60, which 8 devices") as e:
        checks.check_devices(config, 8)
    assert str(e.value).endswith("a multiple of 8, e.g. --config.train.batch_size=64")
    checks.check_devices(config, 8, sections=("eval",))
    with pytest.raises(ValueError, match=r"(?s)2 problems:.*train\.batch_size.*eval\.batch_size"):
        checks.check_devices(config, 7)


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "size"),
    [(64, 1, 32), (64, 2, 32), (32, 1, 32), (16, 1, 32), (64, 4, 32), (60, 1, 0)],
)
def test_batches_are_split_into_groups_for_batch_norm(batch_size, accumulate, size):
    fields = {"batch_size": batch_size, "accumulate": accumulate, "batch_norm_size": size}
    fields = {f"train__{name}": value for name, value in fields.items()}
    checks.check(change(hrnet_coco.get_config(), **fields))


def test_groups_for_batch_norm_must_be_whole():
    config = change(hrnet_coco.get_config(), train__batch_size=80)
    assert problem(config).startswith(
        "config.train.batch_norm_size is 32, but the 80 people of config.train.batch_size=80 make "
        "no whole groups of that many; set --config.train.batch_size=64, or"
    )
    config = change(config, train__accumulate=2)
    assert "the 40 people in each of 2 microbatches of config.train.ba" in problem(config)
    assert "set --config.train.batch_size=64, or" in problem(config)


def test_microbatches_are_shared_evenly_by_devices():
    config = change(hrnet_coco.get_config(), train__batch_size=32, train__accumulate=4)
    checks.check_devices(config, 8)
    config = change(config, train__batch_size=24)
    with pytest.raises(ValueError, match=r"in each of 4 microbatches \(config\.train\.acc") as e:
        checks.check_devices(config, 8)
    assert str(e.value).endswith("a multiple of 32, e.g. --config.train.batch_size=32")


@pytest.mark.parametrize(
    ("warmup", "trouble", "advice"),
    [
        (201, "is more than a fifth of the run's 1000 steps (10 epochs of 100)", 50),
        (1000, "does not end within the run's 1000 steps (10 epochs of 100)", 50),
    ],
)
def test_a_long_warmup_is_a_warning(warmup, trouble, advice):
    config = change(hrnet_coco.get_config(), optimizer__warmup_steps=warmup, train__epochs=10)
    (warning,) = checks.check_length(config, steps_per_epoch=100)
    assert warning.startswith(f"the warm-up of {warmup} steps (config.optimizer.warmup_steps) ")
    assert trouble in warning
    assert f"set --config.optimizer.warmup_steps={advice}, or train for more epochs" in warning


def test_a_warmup_that_is_cut_short_is_fine():
    settings = {"optimizer__warmup_steps": 500, "optimizer__warmup_limit": 0.05}
    config = change(hrnet_coco.get_config(), **settings)
    assert checks.check_length(config, steps_per_epoch=3) == []
    assert checks.warmup_steps(config.optimizer, 630) == 32


@pytest.mark.parametrize(
    ("variant", "freeze", "parts"),
    [("hrnet_w32", 5, 4), ("pose_resnet_50", 6, 5), ("litehrnet_18", 5, 4)],
)
def test_no_more_is_frozen_than_there_is(variant, freeze, parts):
    config = common.recipe("", default=variant, dataset="coco", input_size=(256, 192))
    config.train.freeze = freeze
    message = problem(config)
    assert message.startswith(f"config.train.freeze is {freeze}, but the backbone of {variant} has")
    assert message.endswith(f"{parts - 1} stages; set it to a number from 0 to {parts}")
    config.train.freeze = parts
    config.init_from = "weights.npz"
    assert checks.check(config) == []


def test_patience_needs_evaluations():
    config = change(hrnet_coco.get_config(), train__patience=3, eval__every_epochs=0)
    assert "nothing is evaluated during the run" in problem(config)


def test_to_spare_random_weights_is_a_warning():
    settings = {"train__freeze": 1, "optimizer__backbone_factor": 0.1}
    config = change(hrnet_coco.get_config(), **settings, train__batch_norm="running")
    (warning,) = checks.check(config)
    names = "config.train.freeze and config.train.batch_norm and config.optimizer.backbone_factor"
    assert warning.startswith(f"{names}: what the run starts from is kept, but that is random")
    assert "config.init_from is empty" in warning
    config.init_from = "weights.npz"
    assert checks.check(config) == []


def test_a_warmup_of_a_fifth_of_the_run_is_fine():
    config = change(hrnet_coco.get_config(), optimizer__warmup_steps=200, train__epochs=10)
    assert checks.check_length(config, steps_per_epoch=100) == []


def test_nothing_is_read(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a file was opened")

    config = hrnet_coco.get_config()
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert checks.check(config) == []
