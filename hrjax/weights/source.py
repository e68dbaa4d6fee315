"""Weights from anywhere: a run, a step, converted weights, a file, an address, a published name."""

import dataclasses
import functools
import logging
import os
import pathlib

import jax
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.messages import choices
from data_pipelines.skeletons import Skeleton
from hrjax import models, recipes
from hrjax.runtime import distributed, run_folder
from hrjax.weights import (
    checkpoints,
    file_formats,
    fingerprints,
    foreign_names,
    model_card,
    onnx_programs,
    published,
    step_files,
    tensor_loading,
)
from hrjax.weights.model_card import ModelCard
from hrjax.weights.onnx_programs import Program

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Weights that were opened once: where they are, and which network they are of.

    `location` is the file or the folder of one step. `tensors` are a file's, translated into the
    official names; None for checkpoints. `program` is an exported network, which has no weights to
    restore; None for others. `saved_card` is the model card that came with the weights
    and `config_file` the config.json of their run, None where there is none. `model` is the
    variant, with the input size or not, that the user named, and `dataset` that of a published
    name. `others` are further steps of the same run, which are read where the arrays of `location`
    turn out to be damaged.
    """

    location: pathlib.Path
    tensors: tensor_loading.Tensors | None = None
    saved_card: ModelCard | None = None
    config_file: pathlib.Path | None = None
    model: str = ""
    dataset: str = ""
    others: tuple[pathlib.Path, ...] = ()
    program: Program | None = None

    @functools.cached_property
    def variant(self) -> str:
        """The name of the network."""
        if self.saved_card:
            return self.saved_card.variant
        if self.config_file:
            return self._run_config.model.name
        if self.model:
            return recipes.split_model(self.model)[0]
        if self.tensors is not None:
            return _named(self.location, fingerprints.identify, self.tensors)
        raise ValueError(
            f"{self.location} has neither a model.json nor its run's config.json, so nothing says "
            "which network it is of; name the model, or give the config that it was trained with"
        )

    @functools.cached_property
    def num_joints(self) -> int | None:
        """How many joints the network finds; None for a classifier."""
        if self.saved_card:
            return self.saved_card.num_joints
        if self.tensors is not None:
            return fingerprints.count_joints(self.tensors)
        _, shapes = self._read(checkpoints.weight_shapes)
        head = shapes["params"]["final"]
        return jax.tree.leaves(head)[0].shape[-1]

    @property
    def fields(self) -> dict:
        """The known fields of the variant's dataclass; the others have the variant's values."""
        if self.saved_card:
            return dict(self.saved_card.fields)
        if self.config_file:
            return {key: x for key, x in self._run_config.model.items() if key != "name"}
        return {} if self.num_joints is None else {"num_joints": self.num_joints}

    @functools.cached_property
    def quantization(self) -> models.Quantization | None:
        """How the network is quantized; None of one in float32."""
        if self.saved_card:
            return self.saved_card.quantization
        return models.quantization_of(self._run_config.quantize) if self.config_file else None

    @property
    def color(self) -> str:
        """The channel order that the network was trained on; "" where nothing says it."""
        if self.saved_card:
            return self.saved_card.color
        return self._run_config.data.color if self.config_file else ""

    @functools.cached_property
    def card(self) -> ModelCard:
        """The model card; of weights without one, that of their run or of the variant's recipe."""
        card = self.saved_card
        if card is None:
            card = model_card.from_config(self.config, skeleton_of(self.config))
        _, size = models.split_size(self.model)
        return dataclasses.replace(card, input_size=size or card.input_size)

    @functools.cached_property
    def config(self) -> ConfigDict:
        """The run's own config; for other weights, that of their card or the variant's recipe."""
        if self.config_file:
            return self._run_config
        if self.saved_card:
            return _config_of(self.card)
        variant = self.variant
        if self.num_joints is None:
            raise ValueError(
                f"{self.location} has no head for joints; it is to train from, not to predict"
            )
        return recipes.find(self.model or variant, self.dataset or self._likely_dataset())

    def _likely_dataset(self):
        """The dataset with as many joints, for weights that say nothing else."""
        try:
            return datasets.with_joints(self.num_joints)
        except ValueError as error:
            raise ValueError(
                f"{self.location} has no model card, and {error}. Give the config that it was "
                "trained with"
            ) from error

    @functools.cached_property
    def _run_config(self):
        config = read_run_config(self.config_file)
        _, size = models.split_size(self.model)
        if size:
            with config.unlocked():
                config.data.input_size = size
        return config

    @property
    def name(self) -> str:
        """A name for results: the file's or the folder's, not the number of a step."""
        is_step = self.tensors is None and self.location.name.isdigit()
        return (self.location.parent if is_step else self.location).stem

    @property
    def run(self) -> pathlib.Path | None:
        """The work directory of the run that the checkpoint is in, or None."""
        in_run = self.config_file and self.location.parent.name == "checkpoints"
        return self.config_file.parent if in_run else None

    def with_config(self, config: ConfigDict) -> "Source":
        """The same weights, of the network and with the protocol that `config` describes.

        Whether the network is quantized is not the config's to say where the weights know it.
        """
        skeleton = datasets.find(config.data.dataset).skeleton
        saved = self.saved_card
        if skeleton is None and saved and saved.num_joints == config.model.num_joints:
            skeleton = saved.skeleton
        card = model_card.from_config(config, skeleton or skeleton_of(config))
        if saved or self.config_file or self.tensors is not None:
            card = dataclasses.replace(card, quantization=self.quantization)
        return dataclasses.replace(self, saved_card=card, config_file=None, model="")

    def restore(
        self,
        sharding: Sharding | None = None,
        *,
        variant: str = "",
        fields: dict | None = None,
        training: bool = False,
    ) -> tuple[models.Graph, dict, dict]:
        """The evaluation graph, params and stats of the network; with `training`, a training graph.

        The arrays have `sharding`, by default on the first device. `variant` and `fields` are those
        of the network that is expected; if the weights are of another, raises ValueError.
        """
        self._require_weights()
        variant, fields = variant or self.variant, self.fields if fields is None else fields
        options = {"training": training, "quantization": self.quantization, **fields}
        sharding = sharding or _first_device()
        if self.tensors is not None:
            logger.info("using the weights of %s", self.location)
            graph, *weights = _named(
                self.location,
                tensor_loading.fill,
                variant,
                self.tensors,
                **options,
            )
            return graph, *distributed.place(weights, sharding)
        graph, params, stats = tensor_loading.shapes(variant, **options)
        target = _sharded({"params": params, "stats": stats}, sharding)
        step, restored = self._read(lambda step: checkpoints.restore_weights(step, target))
        logger.info("using the checkpoint %s", step)
        return graph, restored["params"], restored["stats"]

    def start_from(
        self, variant: str, weights: dict, *, quantization: models.Quantization | None = None
    ) -> tuple[dict, str]:
        """`weights` ({"params", "stats"} of `variant`) with those of this source, to train from.

        See `tensor_loading.start_from`. The text says what was loaded and what starts fresh.
        `quantization` is that of `weights`; raises ValueError where it is not the source's.
        """
        self._require_same(quantization)
        sharding = jax.tree.leaves(weights)[0].sharding
        filled, notes = tensor_loading.start_from(
            variant, weights, self._all_tensors(variant, sharding)
        )
        text = "; ".join([f"starting from the weights of {self.location}", *notes])
        return distributed.place(filled, sharding), text

    def _all_tensors(self, variant, sharding):
        """The tensors of a file or of a checkpoint."""
        self._require_weights()
        if self.tensors is not None:
            return self.tensors

        def read(step):
            target = _sharded(checkpoints.weight_shapes(step), sharding)
            return checkpoints.restore_weights(step, target)

        step, restored = self._read(read)
        logger.info("using the checkpoint %s", step)
        knows_variant = self.saved_card or self.config_file
        return tensor_loading.as_tensors(self.variant if knows_variant else variant, restored)

    def _require_same(self, quantization):
        own, wanted = (x and set(x.keep) for x in (self.quantization, quantization))
        if own != wanted:
            raise ValueError(
                f"{self.location} is {_described(self.quantization)}, and the network to train is "
                f"{_described(quantization)}; name other weights to start from, or set "
                "config.quantize.enabled and config.quantize.keep to what these have"
            )

    def _require_weights(self):
        if self.program:
            raise ValueError(
                f"{self.location} is an exported network: it predicts and is evaluated, but has no "
                "weights to train, convert or export; use the checkpoint that it was exported from"
            )

    def _read(self, read):
        """The step and what `read` returns of it; the next one where its files are damaged."""
        *steps, last = (self.location, *self.others)
        for step in steps:
            try:
                return step, read(step)
            except (step_files.DamagedError, FileNotFoundError) as error:
                logger.warning("%s; another checkpoint is used", error)
        return last, read(last)


def open(path: "str | os.PathLike | Source", *, model: str = "") -> Source:
    """The weights at a path or https address, or of a published name.

    A path leads to a run (whose best step is taken), its checkpoints folder, one step wherever it
    is, converted weights, a file of any framework, or an exported network (.onnx).
    `#sha256=DIGITS` after a file, an address or a published name requires the SHA-256, of which the
    first 8 digits are enough. `model` names the variant, with the input size (hrnet_w48_384x288)
    where it is not the recipe's, of weights that do not say it themselves.
    """
    if isinstance(path, Source):
        return path
    path = os.fspath(path)
    row, address = published.find(path)
    file = file_formats.find(address)
    opened = _open_checkpoint(path) if file is None else _open_file(file)
    if row:
        opened = dataclasses.replace(opened, model=row.model, dataset=row.dataset)
    return _with_model(opened, model) if model else opened


def read_run_config(file: pathlib.Path) -> ConfigDict:
    """The config of a run from its config.json; ValueError names the file and its wrong fields."""
    saved = run_folder.read_config(file)
    try:
        return recipes.complete(saved)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} is not a usable config: {error}") from error


def skeleton_of(config: ConfigDict) -> Skeleton:
    """The joints of a config's dataset, from its files where only they define them."""
    known = datasets.find(config.data.dataset).skeleton
    return known or datasets.read_config(config.data, config.eval.split).skeleton


def _open_file(file):
    if file.name.endswith(file_formats.PROGRAM):
        program = onnx_programs.open_program(file)
        return Source(file, saved_card=program.card, program=program)
    content = file_formats.read(file)
    text = content.pop(file_formats.CARD, None)
    card = None if text is None else model_card.parse(text, f"{file_formats.CARD} in {file}")
    tensors = _named(file, foreign_names.translate, content)
    return Source(file, tensors=tensors, saved_card=card)


def _named(file, function, *arguments, **options):
    """A call of `function` for a file's content; its errors begin with the file's name."""
    try:
        return function(*arguments, **options)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _open_checkpoint(path):
    if not pathlib.Path(path).exists():
        near = [*choices.near(path, published.PUBLISHED), *choices.near_files(path)]
        meant = choices.proposal(near[: choices.MOST], after="; ")
        raise FileNotFoundError(
            f"there is no checkpoint {path} (from {pathlib.Path.cwd()}){meant or ':'} "
            f"{'Expected' if meant else 'expected'} a run, a step of it, converted weights, a file "
            f"of weights, its https address, or one of: {', '.join(published.PUBLISHED)}"
        )
    steps = checkpoints.find_all(path)
    while True:
        try:
            card = step_files.read_card(steps[0])
            break
        except (ValueError, step_files.DamagedError) as error:
            if len(steps) == 1:
                raise
            logger.warning("%s; another checkpoint is used", error)
            steps = steps[1:]
    step, *others = steps
    config_file = run_folder.find_config(step)
    if config_file:
        read_run_config(config_file)
    return Source(step, saved_card=card, config_file=config_file, others=tuple(others))


def _with_model(source, model):
    name, _ = recipes.split_model(model)
    if (source.saved_card or source.config_file) and source.variant != name:
        where = "its model.json" if source.saved_card else source.config_file
        raise ValueError(
            f"{source.location} is a {source.variant}, not a {name}, according to {where}; leave "
            "the model out, or name another checkpoint"
        )
    return dataclasses.replace(source, model=model)


def _described(quantization):
    if quantization is None:
        return "in float32"
    return f"quantized, with {', '.join(quantization.keep) or 'no layer'} in float32"


def _config_of(card):
    """A config with the network and the protocol of a card and defaults for the rest."""
    config = recipes.base(card.variant, card.dataset, card.input_size)
    config.model.update(card.fields)
    config.data.color = card.color
    if datasets.find(card.dataset).skeleton is None:
        config.data.skeleton.update(dataclasses.asdict(card.skeleton))
    config.heatmap.encoding, config.heatmap.sigma = card.encoding, card.sigma
    config.eval.decode, config.eval.flip_test = card.decode, card.flip_test
    config.eval.joint_threshold = card.joint_threshold
    if card.quantization:
        config.quantize.update(enabled=True, **dataclasses.asdict(card.quantization))
    return config.lock()


def _first_device():
    return NamedSharding(distributed.make_mesh(jax.local_devices()[:1]), PartitionSpec())


def _sharded(shapes, sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
