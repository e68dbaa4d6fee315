"""The model card: everything that a trained model is besides its arrays, saved as model.json."""

import dataclasses
import json
import math
import pathlib

import msgspec
from ml_collections import ConfigDict

import hrjax
from data_pipelines import geometry
from data_pipelines.skeletons import Skeleton
from hrjax import calibration, heatmaps, models
from hrjax.calibration import Calibration
from hrjax.models import Quantization

FILE = "model.json"
FORMAT_VERSION = 1
COLORS = ("rgb", "bgr")
# Far beyond all networks here, so that a made-up card cannot take the machine's time or memory.
MAX_TEXT = 2**20  # characters
MAX_MESSAGE = 1000
MAX_FIELD = 4096  # a width, a number of joints, a side of the input
MAX_BLOCKS = 200  # in a row: HRNet has 32, Pose-ResNet-152 has 50


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """A trained model besides its arrays.

    `variant` and `fields` say which network it is. Crops have `input_size` (height, width) and
    the channel order `color`, are cut with `box_padding` around a person's box, divided by 255 and
    normalized with `mean` and `std`. Heatmaps have a cell per `stride` input pixels and were
    trained with `encoding` and a Gaussian of `sigma` cells; `decode` and `flip_test` say how
    keypoints are read from them, and `joint_threshold` which joints count in a person's score.
    `dataset` is what the model was trained on, `score` what it reached there by `metric`, None
    where it was not evaluated. `calibration` maps scores to expected similarities, None where they
    were not calibrated. `quantization` says how the network is quantized, None of one in float32.
    """

    variant: str
    fields: dict[str, int | float | bool | str | tuple[int, ...]]
    input_size: tuple[int, int]
    color: str
    skeleton: Skeleton
    encoding: str
    sigma: float
    stride: int
    decode: str
    flip_test: bool
    joint_threshold: float
    dataset: str
    metric: str
    score: float | None = None
    calibration: Calibration | None = None
    quantization: Quantization | None = None
    mean: tuple[float, float, float] = models.MEAN
    std: tuple[float, float, float] = models.STD
    box_padding: float = geometry.BOX_PADDING
    hrjax_version: str = hrjax.__version__
    format_version: int = FORMAT_VERSION

    @property
    def num_joints(self) -> int:
        """How many joints the network finds."""
        return self.skeleton.num_joints


def from_config(config: ConfigDict, skeleton: Skeleton, *, metric: str = "") -> ModelCard:
    """The card of the network that `config` trains, before any evaluation."""
    fields = {key: value for key, value in config.model.items() if key != "name"}
    return ModelCard(
        variant=config.model.name,
        fields=fields,
        input_size=tuple(config.data.input_size),
        color=config.data.color,
        skeleton=skeleton,
        encoding=config.heatmap.encoding,
        sigma=float(config.heatmap.sigma),
        stride=models.heatmap_stride(models.configure(config.model.name, **fields)),
        decode=config.eval.decode,
        flip_test=config.eval.flip_test,
        joint_threshold=float(config.eval.joint_threshold),
        dataset=config.data.dataset,
        metric=metric,
        quantization=models.quantization_of(config.quantize),
    )


def with_score(card: ModelCard, score: float | None) -> ModelCard:
    """`card` with the score of an evaluation; None, NaN and infinity mean that there is none."""
    usable = score is not None and math.isfinite(score)
    return dataclasses.replace(card, score=float(score) if usable else None)


def to_dict(card: ModelCard) -> dict:
    """The card as JSON's types: dicts, lists, strings and numbers."""
    return msgspec.to_builtins(card)


def to_text(card: ModelCard) -> str:
    """The card as JSON text."""
    return json.dumps(to_dict(card), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(file: pathlib.Path) -> ModelCard:
    """The card in a model.json."""
    return parse(file.read_bytes(), str(file))


def parse(text: bytes | str, place: str) -> ModelCard:
    """The card in a JSON text; errors begin with `place` and name the field."""
    try:
        if len(text) > MAX_TEXT:
            raise ValueError(f"it is {len(text)} characters long, expected at most {MAX_TEXT}")
        version = msgspec.json.decode(text, type=_Version).format_version
        if version != FORMAT_VERSION:
            raise ValueError(
                f"format_version is {version}, and hrjax {hrjax.__version__} reads version "
                f"{FORMAT_VERSION}; open it with the hrjax that wrote it, or a newer one"
            )
        card = msgspec.json.decode(text, type=ModelCard)
        _check(card)
    except Exception as error:  # whatever a card that was made up leads to
        reason = " ".join(str(error).split())[:MAX_MESSAGE]
        raise ValueError(f"{place} is not a usable model card: {reason}") from error
    return card


@dataclasses.dataclass(frozen=True)
class _Version:
    format_version: int


def _check(card):
    """Raises ValueError that names a field whose value cannot be right."""
    network = models.configure(card.variant, **card.fields)
    missing = [f.name for f in dataclasses.fields(network) if f.name not in card.fields]
    expected = {
        "color": (card.color, COLORS),
        "encoding": (card.encoding, tuple(heatmaps.ENCODINGS)),
        "decode": (card.decode, tuple(heatmaps.DECODERS)),
        "stride": (card.stride, (models.heatmap_stride(network),)),
        "num_joints in fields": (network.num_joints, (card.num_joints,)),
        # What this version computes with; another version may have others.
        "mean": (card.mean, (models.MEAN,)),
        "std": (card.std, (models.STD,)),
        "box_padding": (card.box_padding, (geometry.BOX_PADDING,)),
    }
    problems = [f"fields lack {name}" for name in missing]
    problems += [
        f"{name} is {value!r}, expected {' or '.join(map(repr, choices))}"
        for name, (value, choices) in expected.items()
        if value not in choices
    ]
    problems += _field_problems(card.fields)
    if not 1 <= min(card.input_size) <= max(card.input_size) <= MAX_FIELD:
        problems.append(
            f"input_size is {card.input_size}, expected two positive numbers up to {MAX_FIELD}"
        )
    if card.sigma <= 0:
        problems.append(f"sigma is {card.sigma}, expected a positive number")
    problems += _skeleton_problems(card.skeleton)
    problems += calibration.problems(card.calibration) if card.calibration else []
    if not problems and card.quantization:
        problems += _quantization_problems(card)
    if problems:
        raise ValueError("; ".join(problems))


def _field_problems(fields):
    numbers = {
        name: value if isinstance(value, tuple) else (value,)
        for name, value in fields.items()
        if not isinstance(value, str)
    }
    problems = [
        f"{name} in fields is {fields[name]}, expected numbers from 0 to {MAX_FIELD}"
        for name, values in numbers.items()
        if not all(0 <= x <= MAX_FIELD for x in values) or len(values) > MAX_BLOCKS
    ]
    # A network has `blocks` in each of its `modules`; Pose-ResNet has no modules.
    count = sum(numbers.get("modules", (1,))) * sum(numbers.get("blocks", (1,)))
    counts = (count, *(sum(numbers.get(name, (0,))) for name in ("stem_blocks", "deconvs")))
    if not problems and max(counts) > MAX_BLOCKS:
        problems.append(f"fields ask for {max(counts)} blocks, expected at most {MAX_BLOCKS}")
    return problems


def _quantization_problems(card):
    told, unknown = card.quantization, ""
    if len(told.keep) > MAX_FIELD:
        return [f"quantization.keep has {len(told.keep)} names, expected at most {MAX_FIELD}"]
    if told.keep:
        network = models.shapes(card.variant, **card.fields)
        unknown, choices = models.unknown_parts(*network, told.keep)
    problems = []
    if unknown:
        problems.append(f"quantization.keep names {unknown}, but the layers are in {choices}")
    if not (0 <= told.alpha < math.inf and 0 < told.percentile <= 100):
        problems.append(
            f"quantization has alpha {told.alpha} and percentile {told.percentile}, expected an "
            "alpha of 0 or more and a percentile above 0, up to 100"
        )
    return problems


def _skeleton_problems(skeleton):
    count = skeleton.num_joints
    paired = [joint for pair in skeleton.flip_pairs for joint in pair]
    numbers = {
        "flip_pairs": paired,
        "limbs": [joint for limb in skeleton.limbs for joint in limb],
        "upper_body": skeleton.upper_body,
    }
    problems = [
        f"skeleton.{name} names the joint {joint} of {count}, counted from 0"
        for name, joints in numbers.items()
        for joint in joints
        if not 0 <= joint < count
    ]
    if len(set(paired)) < len(paired):
        problems.append(f"skeleton.flip_pairs has a joint twice: {skeleton.flip_pairs}")
    if len(skeleton.sigmas) not in (0, count) or any(x <= 0 for x in skeleton.sigmas):
        problems.append(f"skeleton.sigmas must be {count} positive numbers or none")
    return problems
