"""Checks of a config before any file is read: its choices, its numbers, and what belongs together.

`check` is for every run; `check_devices` and `check_length` follow once the devices and the length
of an epoch are known.
"""

import functools
import math
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.messages import choices
from hrjax import heatmaps, inference, models

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("step", "cosine")
DTYPES = ("float32", "bfloat16", "float64")
PRECISIONS = ("default", "high", "highest")
ON_NAN = ("stop", "skip")
BATCH_NORMS = ("batch", "running")
COLORS = ("rgb", "bgr")
DRAWS = ("clipped", "truncated")
NMS_METHODS = ("hard", "soft", "none")
METRICS = ("coco_ap", "crowdpose_ap", "pckh", "keypoints", "jhmdb", "posetrack")

CHOICES = {
    "data.dataset": tuple(datasets.DATASETS),
    "data.color": COLORS,
    "augment.draws": DRAWS,
    "heatmap.encoding": heatmaps.ENCODINGS,
    "optimizer.name": OPTIMIZERS,
    "optimizer.schedule": SCHEDULES,
    "train.dtype": DTYPES,
    "train.matmul_precision": PRECISIONS,
    "train.on_nan": ON_NAN,
    "train.batch_norm": BATCH_NORMS,
    "eval.decode": tuple(heatmaps.DECODERS),
    "eval.dtype": inference.DTYPES,
    "eval.nms": NMS_METHODS,
}
# Choices of fields that may also be empty, and what that means.
OPTIONAL_CHOICES = {
    "eval.dataset": (tuple(datasets.DATASETS), "data.dataset"),
    "eval.metrics": (METRICS, "the dataset's own"),
    "distill.model": (tuple(models.VARIANTS), "the variant that the teacher records"),
}

# Fields by the values that they may have.
FROM_0_TO_1 = (
    *("augment.flip", "augment.half_body", "augment.center_shift", "augment.rotation_probability"),
    *("augment.shift_probability", "augment.color_jitter", "augment.hue", "augment.blur"),
    *("augment.dropout", "data.max_unreadable"),
    *("optimizer.final_factor", "optimizer.warmup_factor", "optimizer.decay"),
    "optimizer.warmup_limit",
)
BELOW_1 = ("augment.scale", "optimizer.momentum", "train.ema_decay")
ABOVE_0 = (
    *("heatmap.sigma", "loss.factor", "optimizer.lr", "train.epochs", "train.batch_size"),
    *("train.accumulate", "eval.batch_size", "eval.oks_threshold", "checkpoint.every_steps"),
    *(
        "optimizer.backbone_factor",
        "checkpoint.keep",
        "log.every_steps",
        "model.num_joints",
        "model.width",
        "data.max_pixels",
    ),
)
NOT_NEGATIVE = (
    *("seed", "data.workers", "data.draw.train_images", "data.draw.val_images", "data.draw.seed"),
    *("augment.half_body_joints", "augment.rotation", "augment.shift", "distill.weight"),
    *("optimizer.lr_base_batch", "optimizer.weight_decay", "optimizer.warmup_steps"),
    *("loss.hard_joints", "train.max_skips", "eval.every_epochs", "eval.max_people"),
    *("train.batch_norm_size", "train.freeze", "train.patience"),
)
LIMITS = (
    (FROM_0_TO_1, "a number from 0 to 1", lambda value: 0 <= value <= 1),
    (BELOW_1, "at least 0 and less than 1", lambda value: 0 <= value < 1),
    (ABOVE_0, "a number above 0", lambda value: 0 < value < math.inf),
    (NOT_NEGATIVE, "0 or more", lambda value: 0 <= value < math.inf),
)

LONG_WARMUP = 1 / 5  # of a run; a warm-up beyond that gets a warning
SHORT_WARMUP = 1 / 20  # of a run, what the warning suggests


def check(config: ConfigDict) -> list[str]:
    """Warnings about `config`; a ValueError lists everything in it that cannot work.

    Opens no file and no device.
    """
    parts = (_choices, _limits, _model, _input_size, _datasets, _joints, _mix, _training)
    _raise_all([problem for part in parts for problem in part(config)])
    return [*_unused(config), *_unreached(config)]


def check_devices(
    config: ConfigDict, device_count: int, *, sections: Sequence[str] = ("train", "eval")
) -> None:
    """Raises ValueError unless `device_count` devices can share the batches of `sections` evenly.

    Where training splits a batch into microbatches, each of them is shared.
    """
    problems = []
    for section in sections:
        batch_size = config[section].batch_size
        parts = config.train.accumulate if section == "train" else 1
        if parts < 1:
            raise ValueError(f"config.train.accumulate is {parts}; set it to 1 or more")
        unit = device_count * parts
        if batch_size % unit:
            near = max(1, round(batch_size / unit)) * unit
            split = f" in each of {parts} microbatches (config.train.accumulate)"
            problems.append(
                f"config.{section}.batch_size is {batch_size}, which {device_count} devices cannot "
                f"share evenly{split if parts > 1 else ''}; set it to a multiple of {unit}, e.g. "
                f"--config.{section}.batch_size={near}"
            )
    _raise_all(problems)


def check_length(config: ConfigDict, steps_per_epoch: int) -> list[str]:
    """Warnings about a warm-up that takes too much of the run, with what to set instead."""
    epochs = config.train.epochs
    total = epochs * steps_per_epoch
    warmup = warmup_steps(config.optimizer, total)
    if warmup <= LONG_WARMUP * total:
        return []
    run = f"{total} steps ({_epochs(epochs)} of {steps_per_epoch})"
    trouble = f"is more than a fifth of the run's {run}"
    if warmup >= total:
        trouble = f"does not end within the run's {run}: lr never reaches its value"
    return [
        f"the warm-up of {warmup} steps (config.optimizer.warmup_steps) {trouble}; set "
        f"--config.optimizer.warmup_steps={round(SHORT_WARMUP * total)}, or train for more epochs"
    ]


def warmup_steps(settings: ConfigDict, total_steps: int) -> int:
    """The steps of warm-up in a run of `total_steps`, by the config's section `optimizer`."""
    return min(settings.warmup_steps, round(settings.warmup_limit * total_steps))


def backbone_parts(model: ConfigDict) -> int:
    """How many parts, the stem and stages, the backbone of the config's section `model` has."""
    return 1 + len(model.modules if "modules" in model else model.blocks)


def size_factor(model: ConfigDict) -> int:
    """The number that the input's height and width must be multiples of, the largest stride.

    `model` is the config's section of that name.
    """
    return 2 ** (len(model.modules) + 2 if "modules" in model else len(model.blocks) + 1)


def _choices(config):
    for field, known in CHOICES.items():
        if _value(config, field) not in known:
            yield _wrong_choice(field, config, known)
    for field, (known, default) in OPTIONAL_CHOICES.items():
        if _value(config, field) not in ("", *known):
            yield f"{_wrong_choice(field, config, known)}, or leave it empty for {default}"


def _wrong_choice(field, config, known):
    value = _value(config, field)
    return f"config.{field} is {value!r}; {choices.advice(value, known)}"


def _limits(config):
    for fields, expected, holds in LIMITS:
        for field in fields:
            # Some networks lack some of the fields of config.model.
            value = _value(config, field, default=None)
            if value is not None and not holds(value):
                yield f"config.{field} is {value}; set it to {expected}"


def _model(config):
    fields = {key: value for key, value in config.model.items() if key != "name"}
    try:
        models.configure(config.model.name, **fields)
    except ValueError as error:
        yield f"config.model: {error}"
    for key in ("modules", "blocks"):
        numbers = fields.get(key, (1,))
        if isinstance(numbers, tuple) and (not numbers or not all(map(_is_count, numbers))):
            yield f"config.model.{key} is {numbers}; set it to one or more numbers above 0"


def _input_size(config):
    size, factor = config.data.input_size, size_factor(config.model)
    if len(size) != 2 or not all(map(_is_count, size)):
        yield (
            f"config.data.input_size is {size}; set it to a height and a width in pixels, e.g. "
            "--config.data.input_size=256,192"
        )
    elif any(side % factor for side in size):
        near = ",".join(str(max(1, round(side / factor)) * factor) for side in size)
        yield (
            f"config.data.input_size is {size[0]},{size[1]} (height, width); {config.model.name} "
            f"needs multiples of {factor}, e.g. --config.data.input_size={near}"
        )


def _datasets(config):
    data, evaluation, joints = config.data, config.eval, config.model.num_joints
    for name in dict.fromkeys([data.dataset, evaluation.dataset]):
        entry = datasets.DATASETS.get(name)
        if entry and entry.skeleton and entry.skeleton.num_joints != joints:
            count = entry.skeleton.num_joints
            yield (
                f"config.model.num_joints is {joints}, but people in {name} have {count} joints; "
                f"set --config.model.num_joints={count}"
            )
    if not data.root:
        yield "config.data.root is empty; set it to the folder of the dataset"
    if evaluation.dataset and not evaluation.root:
        yield (
            f"config.eval.dataset is {evaluation.dataset!r} and config.eval.root is empty; set it "
            f"to the folder of {evaluation.dataset}"
        )
    if evaluation.root and not evaluation.dataset:
        yield (
            f"config.eval.root is {evaluation.root!r}, but config.eval.dataset is empty; name the "
            "dataset in that folder, or set --config.data.root to evaluate on the same dataset"
        )
    entry = datasets.DATASETS.get(evaluation.dataset or data.dataset)
    if entry:
        yield from _protocol(evaluation, evaluation.dataset or data.dataset, entry)


def _protocol(evaluation, name, entry):
    """Problems with the boxes and the metric of the dataset that is evaluated."""
    if evaluation.boxes != "gt" and not entry.detected_boxes:
        yield (
            f"config.eval.boxes is {evaluation.boxes!r}, but {name} is evaluated with ground-truth "
            "boxes only; set --config.eval.boxes=gt"
        )
    # PCKh needs the head boxes that only MPII has; what the others need, MPII lacks. JHMDB's and
    # PoseTrack's metrics have groups of their own joints.
    wrong = "pckh" in {evaluation.metrics} ^ {entry.metric}
    wrong |= evaluation.metrics in ("jhmdb", "posetrack") and evaluation.metrics != entry.metric
    if evaluation.metrics in METRICS and wrong:
        yield (
            f"config.eval.metrics is {evaluation.metrics!r}, which {name} cannot be scored by; "
            f"leave it empty for its own, {entry.metric}"
        )


def _joints(config):
    count, skeleton = config.model.num_joints, config.data.skeleton
    lists = {
        "loss.joint_weights": config.loss.joint_weights,
        "data.skeleton.names": skeleton.names,
        "data.skeleton.sigmas": skeleton.sigmas,
    }
    for field, values in lists.items():
        if len(values) not in (0, count):
            yield (
                f"config.{field} has {len(values)} values, but config.model.num_joints is {count}; "
                "set one per joint, or none"
            )
    if not all(_is_number(weight) and weight >= 0 for weight in config.loss.joint_weights):
        yield f"config.loss.joint_weights is {config.loss.joint_weights}; set numbers of 0 or more"
    if not all(_is_number(sigma) and sigma > 0 for sigma in skeleton.sigmas):
        yield f"config.data.skeleton.sigmas is {skeleton.sigmas}; set numbers above 0"
    if config.loss.hard_joints > count:
        yield (
            f"config.loss.hard_joints is {config.loss.hard_joints}, but config.model.num_joints is "
            f"{count}; set it to a number from 0 to {count}"
        )


def _mix(config):
    mix = config.data.mix
    for name in mix.datasets:
        if name not in datasets.DATASETS:
            advice = choices.advice(name, datasets.DATASETS)
            yield f"config.data.mix.datasets names {name!r}; {advice}"
    if len(mix.roots) not in (0, len(mix.datasets)):
        yield (
            f"config.data.mix.roots is {mix.roots}, but config.data.mix.datasets is "
            f"{mix.datasets}; set one folder per dataset, or none for their default folders"
        )
    if len(mix.weights) not in (0, 1 + len(mix.datasets)):
        yield (
            f"config.data.mix.weights is {mix.weights}; set {1 + len(mix.datasets)} numbers, for "
            f"{', '.join((config.data.dataset, *mix.datasets))} in this order, or none"
        )
    if not all(_is_number(weight) and weight > 0 for weight in mix.weights):
        yield f"config.data.mix.weights is {mix.weights}; set numbers above 0"
    if mix.datasets and config.data.group_images:
        yield (
            "config.data.group_images cannot be combined with config.data.mix.datasets; set "
            "--config.data.group_images=False"
        )


def _training(config):
    milestones = config.optimizer.milestones
    if not all(map(_is_count, milestones)) or list(milestones) != sorted(set(milestones)):
        yield (
            f"config.optimizer.milestones is {milestones}; set epochs in rising order, e.g. "
            "--config.optimizer.milestones=170,200"
        )
    if config.train.dtype == "float64" and not jax.config.jax_enable_x64:
        yield (
            "config.train.dtype is float64, which JAX computes only with JAX_ENABLE_X64=1 in the "
            "environment; set that, or --config.train.dtype=float32"
        )
    yield from _batch_norm_groups(config)
    yield from _fine_tuning(config)


def _fine_tuning(config):
    """Problems with what keeps its weights, and with an end of the run by its score."""
    freeze, parts = config.train.freeze, backbone_parts(config.model)
    if freeze > parts:
        yield (
            f"config.train.freeze is {freeze}, but the backbone of {config.model.name} has {parts} "
            f"parts: the stem and {parts - 1} stages; set it to a number from 0 to {parts}"
        )
    if config.train.patience and not config.eval.every_epochs:
        yield (
            f"config.train.patience is {config.train.patience}, but nothing is evaluated during "
            "the run; set --config.eval.every_epochs=1 or more, or --config.train.patience=0"
        )


def _batch_norm_groups(config):
    size, accumulate = config.train.batch_norm_size, config.train.accumulate
    if not (_is_count(size) and size and _is_count(accumulate) and accumulate):
        return
    people = config.train.batch_size // accumulate
    if people > size and people % size:
        parts = f" in each of {accumulate} microbatches" if accumulate > 1 else ""
        near = round(people / size) * size * accumulate
        yield (
            f"config.train.batch_norm_size is {size}, but the {people} people{parts} of "
            f"config.train.batch_size={config.train.batch_size} make no whole groups of that many; "
            f"set --config.train.batch_size={near}, or --config.train.batch_norm_size=0 for "
            "statistics of the whole batch"
        )


def _unused(config):
    """Warnings about values that have no effect."""
    if config.optimizer.name == "adam" and config.optimizer.weight_decay:
        yield (
            f"config.optimizer.weight_decay is {config.optimizer.weight_decay}, but adam does not "
            "use it; for weight decay set --config.optimizer.name=adamw"
        )
    usual = {"train.freeze": 0, "train.batch_norm": "batch", "optimizer.backbone_factor": 1}
    changed = [f"config.{name}" for name, value in usual.items() if _value(config, name) != value]
    if changed and not config.init_from:
        yield (
            f"{' and '.join(changed)}: what the run starts from is kept, but that is random, since "
            "config.init_from is empty; name the weights to start from there"
        )
    given = [key for key, value in config.data.skeleton.items() if value]
    if given and "custom" not in (config.data.dataset, config.eval.dataset):
        yield (
            f"config.data.skeleton ({', '.join(given)}) has no effect: the joints of "
            f"{config.data.dataset} are known; it is for config.data.dataset=custom"
        )


def _epochs(count):
    return f"{count} epoch{'s' * (count != 1)}"


def _unreached(config):
    """A warning about milestones after the end of the run."""
    settings, epochs = config.optimizer, config.train.epochs
    late = [epoch for epoch in settings.milestones if epoch >= epochs]
    if settings.schedule == "step" and late:
        what = ", ".join(map(str, late))
        # The references lower the rate after about 80% and 95% of the epochs.
        near = sorted({max(1, round(share * epochs)) for share in (0.8, 0.95)} - {epochs})
        advice = f"set --config.optimizer.milestones={','.join(map(str, near))} or " if near else ""
        yield (
            f"config.optimizer.milestones {what} are not reached in {_epochs(epochs)} "
            f"(config.train.epochs), so lr does not fall there; {advice}"
            "--config.optimizer.schedule=cosine"
        )


def _value(config, field, **default):
    """The value of a dotted field."""
    section, _, key = field.rpartition(".")
    inside = functools.reduce(getattr, section.split("."), config) if section else config
    return inside.get(key, **default) if default else inside[key]


def _is_count(value):
    return type(value) is int and value > 0


def _is_number(value):
    return isinstance(value, int | float) and math.isfinite(value)


def _raise_all(problems):
    """One ValueError with all problems, if there are any."""
    if len(problems) == 1:
        raise ValueError(problems[0])
    if problems:
        raise ValueError("\n  ".join([f"the config has {len(problems)} problems:", *problems]))
