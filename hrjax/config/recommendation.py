"""A recipe for a dataset of one's own: what to set by how many people, images and joints it has.

The rules are for fine-tuning: a network that was trained on many people learns the joints of a few.
docs/few_pictures.md has the measurements behind them.
"""

import dataclasses
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.readers import joint_names
from data_pipelines.splits import Split

FEW, SOME, SEVERAL, MANY = 50, 200, 1000, 5000  # people to train on
EPOCHS, MOST_EPOCHS = 30, 150
STEPS = 200  # of a run, at least
UPRIGHT = 0.5  # of `Facts.upright`, from 0 to 1
PORTRAIT, LANDSCAPE = 0.85, 1.18  # widths of boxes over their heights
EVALUATIONS, PATIENCE = 8, 4
HALF_BODY_JOINTS = 8
CELLS = 32  # the sides of inputs are multiples of it


@dataclasses.dataclass(frozen=True)
class Start:
    """The weights to start from: where they are, and how their network was trained.

    `fields` are those of the network that differ from the variant's. The backbone has `parts` parts
    (`models.backbone_parts`), and `has_head` says whether layers besides the last one follow it.
    """

    weights: str
    variant: str
    fields: Mapping[str, Any]
    parts: int
    has_head: bool
    input_size: tuple[int, int]
    color: str
    encoding: str
    decode: str


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a recipe depends on, of the people to train on (and of those held out).

    `aspect` is the median width of their boxes over the height. `upright` is how alike the
    directions between joints are, from 0 (any, as of animals from above) to 1. `sided` names joints
    that are left or right by their names and have no pair.
    """

    people: int
    images: int
    held_out: int
    joints: tuple[str, ...]
    pairs: int
    upper_body: int
    sided: tuple[str, ...]
    aspect: float
    upright: float
    together: int
    unlabeled: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A field of the config, dotted, with its value and the reason in a few words."""

    field: str
    value: Any
    reason: str


def describe(train: Split, held_out: Split) -> Facts:
    """The facts about the people of two splits."""
    skeleton, columns = train.skeleton, train.columns
    paths, other = (set(split.columns["image_path"].tolist()) for split in (train, held_out))
    boxes = columns["box"]
    labeled = columns["visible"].sum(axis=0)
    unlabeled = [name for name, count in zip(skeleton.names, labeled, strict=True) if not count]
    return Facts(
        people=len(train),
        images=len(paths),
        held_out=len(held_out),
        joints=skeleton.names,
        pairs=len(skeleton.flip_pairs),
        upper_body=len(skeleton.upper_body),
        sided=joint_names.unpaired(skeleton.names, skeleton.flip_pairs),
        aspect=float(np.median(boxes[:, 2] / np.maximum(boxes[:, 3], 1))),
        upright=uprightness(columns["keypoints"], columns["visible"]),
        together=len(paths & other),
        unlabeled=tuple(unlabeled),
    )


def uprightness(keypoints: np.ndarray, visible: np.ndarray) -> float:
    """How alike the directions between two joints are in all people, 0 to 1.

    It is the largest resultant length of the directions (n) over the pairs of joints that at least
    half of the people show. `keypoints` are (n, k, 2), `visible` (n, k). 1 where no pair is shown.
    """
    first, second = np.triu_indices(keypoints.shape[1], 1)
    shown = (visible[:, first] > 0) & (visible[:, second] > 0)  # (n, pairs)
    common = shown.sum(axis=0) >= max(2, len(keypoints) / 2)
    if not common.any():
        return 1.0
    apart = keypoints[:, second[common]] - keypoints[:, first[common]]
    length = np.linalg.norm(apart, axis=-1, keepdims=True)
    direction = apart / np.maximum(length, 1e-9) * shown[:, common, None]
    resultant = np.linalg.norm(direction.sum(axis=0), axis=-1) / shown[:, common].sum(axis=0)
    return float(resultant.max())


def recommend(facts: Facts, start: Start, *, accelerator: bool) -> list[Choice]:
    """The fields of a recipe for the dataset; the reason of each stands beside it."""
    batch = _batch_size(facts.people, accelerator=accelerator)
    steps = max(1, facts.people // batch)
    epochs = min(MOST_EPOCHS, max(EPOCHS, math.ceil(STEPS / steps)))
    every = max(1, round(epochs / EVALUATIONS))
    return [
        Choice("init_from", start.weights, "a network that has seen many people"),
        *_network(facts, start),
        *_fine_tuning(facts.people, start),
        Choice("optimizer.name", "adamw", "little weight decay, for little data"),
        Choice("optimizer.weight_decay", 0.01, ""),
        Choice("optimizer.schedule", "cosine", ""),
        Choice("optimizer.final_factor", 0.01, ""),
        Choice("optimizer.warmup_steps", 500, "cut to a twentieth of the run"),
        Choice("optimizer.warmup_limit", 0.05, ""),
        Choice("train.epochs", epochs, f"{epochs * steps} steps, {steps} an epoch"),
        Choice("train.batch_size", batch, f"of {facts.people} people"),
        *_augmentation(facts),
        Choice("heatmap.sigma", 2.0, ""),
        Choice("heatmap.encoding", start.encoding, "joints are not rounded to cells"),
        Choice("eval.decode", start.decode, "fits the encoding"),
        Choice("loss.factor", 1.0, ""),
        Choice("eval.every_epochs", every, f"about {EVALUATIONS} evaluations in a run"),
        Choice("train.patience", PATIENCE, f"{PATIENCE} of them without a better score end it"),
        Choice("log.every_steps", max(1, min(50, steps)), ""),
    ]


def _batch_size(people, *, accelerator):
    """A power of two of which there are several in an epoch."""
    largest = 32 if people < MANY else 64
    largest = largest if accelerator or people >= MANY else 16
    return max(2, min(largest, 2 ** int(math.log2(max(people, 8) / 4))))


def _network(facts, start):
    height, width = sorted(start.input_size, reverse=True)
    free = facts.upright < UPRIGHT
    if free or PORTRAIT < facts.aspect < LANDSCAPE:
        side = round(math.sqrt(height * width) / CELLS) * CELLS
        size, shape = (side, side), "lie in any direction" if free else "are about square"
    elif facts.aspect <= PORTRAIT:
        size, shape = (height, width), "are higher than wide"
    else:
        size, shape = (width, height), "are wider than high"
    for name, value in start.fields.items():
        yield Choice(f"model.{name}", value, "as these weights have it")
    yield Choice("data.input_size", size, f"boxes {shape}")
    yield Choice("data.color", start.color, "as these weights were trained")


def _fine_tuning(people, start):
    """How much of what the network knows may change."""
    lr, factor, freeze, frozen = 2e-3, 0.1, 1, "the stem stays"
    if people < SOME and start.has_head:
        freeze, frozen = start.parts, "the backbone stays, the head learns"
    elif people < SOME:
        freeze, frozen = start.parts - 1, "the backbone stays, but for its last stage"
    elif people >= SEVERAL:
        lr, freeze, frozen = (1e-3 if people >= MANY else lr), 0, "all of the backbone learns"
        factor = 0.5 if people >= MANY else 0.25
    norm = "running" if people < MANY else "batch"
    why = "too few people for statistics of their own" if people < MANY else "enough people"
    yield Choice("train.freeze", freeze, frozen)
    yield Choice("train.batch_norm", norm, why)
    yield Choice("optimizer.lr", lr, "of the last layer, which starts fresh")
    yield Choice("optimizer.backbone_factor", factor, "what the backbone knows changes slowly")


def _augmentation(facts):
    free = facts.upright < UPRIGHT
    flip, why = 0.5, f"{facts.pairs} pairs of joints change sides"
    if facts.sided:
        flip, why = 0.0, f"without pairs: {', '.join(facts.sided)}"
    halves = 0 < facts.upper_body < len(facts.joints) and len(facts.joints) > HALF_BODY_JOINTS
    color = 0.2 if facts.people < MANY else 0.0
    yield Choice("augment.flip", flip, why)
    yield Choice("augment.scale", 0.25, "")
    degrees = 90.0 if free else 30.0
    how = "any direction" if free else "mostly upright"
    yield Choice("augment.rotation", degrees, f"directions of the joints: {how}")
    yield Choice("augment.half_body", 0.3 if halves else 0.0, "" if halves else "no two halves")
    yield Choice("augment.color_jitter", color, "few lights and cameras" if color else "")


def summarize(facts: Facts, device: str) -> str:
    """What the recommendations rest on, in a few lines."""
    how = "any direction" if facts.upright < UPRIGHT else "mostly upright"
    joints = _printable(", ".join(facts.joints))
    return (
        f"{facts.people} people to train on in {facts.images} images, {facts.held_out} held out\n"
        f"{len(facts.joints)} joints, {facts.pairs} pairs: {joints}\n"
        f"boxes {facts.aspect:.2f} times as wide as high, poses {how} ({facts.upright:.2f} of 1)\n"
        f"to train on a {device.upper()}"
    )


def table(choices: Sequence[Choice]) -> str:
    """A line for each choice: the field, its value, the reason."""
    rows = [(f"config.{x.field}", literal(x.value), _printable(x.reason)) for x in choices]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def warnings(facts: Facts) -> list[str]:
    """What about the dataset will disappoint, and what to do about it."""
    found = []
    if facts.people < FEW:
        found.append(
            f"{facts.people} people are very few: expect joints that are roughly right, and label "
            "more, of other scenes rather than more of the same"
        )
    if facts.held_out < 20:
        found.append(
            f"{facts.held_out} people are held out, so that scores vary by chance by several "
            "hundredths; hold out more"
        )
    if facts.together:
        found.append(
            f"{facts.together} images are both trained on and held out, so that scores flatter; "
            "split by image"
        )
    if facts.unlabeled:
        found.append(
            f"no person has the joints {', '.join(facts.unlabeled)}; they can't be learned"
        )
    if facts.sided:
        found.append(
            f"mirrored images are off, because these joints have a side and no pair: "
            f"{', '.join(facts.sided)}; name the pairs, and run this again"
        )
    return found


def to_text(
    facts: Facts,
    start: Start,
    choices: Sequence[Choice],
    *,
    fields: Mapping[str, Any],
    command: str,
    path: str,
) -> str:
    """A config file; `fields` say what the dataset is, `command` is what made this file at `path`.

    The file imports configs.common alone, as all recipes do, and says why a field is as it is.
    What comes from the dataset's files is quoted, so that it is text and never code.
    """
    lines = [f"config.{field} = {literal(value)}" for field, value in fields.items()]
    lines += [f"config.model.num_joints = {len(facts.joints)}", ""]
    lines += [
        f"config.{choice.field} = {literal(choice.value)}"
        + (f"  # {_printable(choice.reason)}" if choice.reason else "")
        for choice in choices
    ]
    joints = _quoted(", ".join(facts.joints))
    return f'''"""Fine-tunes {start.variant} on {facts.people} people in {facts.images} images.

{facts.held_out} people are held out. The joints: {joints}.

    {_quoted(command)}
    python -m hrjax.main --config={_quoted(path)}
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default {start.variant}."""
    config = common.recipe(
        variant, default="{start.variant}", dataset="custom", input_size={start.input_size}
    )
{textwrap.indent(chr(10).join(lines), "    ")}
    return config
'''


def literal(value: Any) -> str:
    """A text, a number, or a tuple or dict of such as Python code, with double quotes."""
    if isinstance(value, str):
        return json.dumps(_printable(value), ensure_ascii=False)
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    return repr(value)


def _quoted(text):
    """A text inside of a docstring."""
    return literal(text)[1:-1]


def _printable(text):
    return "".join(letter if letter.isprintable() else "?" for letter in text)
