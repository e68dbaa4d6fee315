"""What a name, a folder or a file of weights is: its recipe, its network and the weights."""

import dataclasses
import importlib
import importlib.util
import pathlib

import jax
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from data_pipelines import datasets
from data_pipelines.skeletons import Skeleton
from hrjax import experiment, models
from hrjax.runtime import distributed, run_folder
from hrjax.weights import checkpoints, file_formats, restoring, torch_names


@dataclasses.dataclass(frozen=True)
class Published:
    """Where a published file of weights is, its variant with the input size, and its dataset."""

    address: str
    model: str
    dataset: str


_PADDLE = "https://paddle-model-ecology.bj.bcebos.com/model/hrnet_pose"
# Those that have an address of their own; the authors' others lie behind pages to click through.
PUBLISHED = {
    "hrnet_w32_coco": Published(
        f"{_PADDLE}/hrnet_w32_256x192.pdparams", "hrnet_w32_256x192", "coco"
    ),
    "litehrnet_30_coco": Published(
        f"{_PADDLE}/lite_hrnet_30_256x192_coco.pdparams", "litehrnet_30_256x192", "coco"
    ),
    "litehrnet_30_coco_distilled": Published(
        f"{_PADDLE}/lite_hrnet_30_256x192_coco_dist.pdparams", "litehrnet_30_256x192", "coco"
    ),
}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that predicts: its recipe, its joints, and what `models.split` gives of it."""

    config: ConfigDict
    skeleton: Skeleton
    graph: models.Graph
    params: dict
    stats: dict


def load(checkpoint: str, *, model: str = "", config: ConfigDict | None = None) -> Network:
    """The network of a run, of one step of it, of converted weights, of a file or of a name.

    A name is one of PUBLISHED. The recipe is the one that is saved with a run or with converted
    weights; of a file it is that of its variant. `model` names the variant, with the input size
    (hrnet_w48_384x288) where that is not the recipe's own; `config` replaces the recipe.
    """
    checkpoint = str(checkpoint)
    if config is None:
        config = _find_config(checkpoint, model)
    address = PUBLISHED[checkpoint].address if checkpoint in PUBLISHED else checkpoint
    whole = NamedSharding(distributed.make_mesh(jax.local_devices()[:1]), PartitionSpec())
    fields = experiment.model_fields(config)
    _, graph, found = restoring.restore(config.model.name, fields, address, whole)
    return Network(config, skeleton_of(config), graph, found["params"], found["stats"])


def skeleton_of(config: ConfigDict) -> Skeleton:
    """The joints of the dataset that a recipe trains on; from its files where only they say it."""
    known = datasets.DATASETS[config.data.dataset].skeleton
    return known or experiment.open_split(config, config.eval.split).skeleton


def split_model(model: str) -> tuple[str, tuple[int, int] | None]:
    """`models.split_size` of a variant that exists; ValueError lists those that do."""
    name, size = models.split_size(model)
    if name not in models.VARIANTS:
        raise ValueError(
            f"unknown model {name!r}; choose one of: {', '.join(sorted(models.VARIANTS))} "
            "(add _HxW for another input size, e.g. _384x288)"
        )
    return name, size


def recipe(model: str, dataset: str) -> ConfigDict:
    """The recipe of a variant, with `_HxW` appended or not, on a dataset."""
    name, _ = split_model(model)
    family = models.FAMILIES[name].__name__.rpartition(".")[2]
    module = f"configs.{family}_{dataset}"
    try:
        return importlib.import_module(module).get_config(model)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(
            f"there is no recipe for {name} on {dataset} (configs/{family}_{dataset}.py); "
            "give a config of your own"
        ) from error


def read_recipe(argument: str) -> ConfigDict:
    """The recipe in FILE.py or FILE.py:VARIANT[_HxW], as the main program's --config has it."""
    name, _, variant = argument.partition(":")
    if not pathlib.Path(name).is_file():
        raise FileNotFoundError(f"there is no config file {name} (from {pathlib.Path.cwd()})")
    spec = importlib.util.spec_from_file_location(pathlib.Path(name).stem, name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def dataset_of(joints: int) -> str:
    """The first dataset with that many joints."""
    counts = {
        name: entry.skeleton.num_joints
        for name, entry in datasets.DATASETS.items()
        if entry.skeleton
    }
    if joints not in counts.values():
        known = ", ".join(f"{count} ({name})" for name, count in counts.items())
        raise ValueError(
            f"no known dataset has {joints} joints; expected one of: {known}. Networks for others "
            "need a config of your own"
        )
    return next(name for name, count in counts.items() if count == joints)


def _find_config(checkpoint, model):
    if checkpoint in PUBLISHED:
        row = PUBLISHED[checkpoint]
        return recipe(model or row.model, row.dataset)
    if not (pathlib.Path(checkpoint).exists() or _names_file(checkpoint)):
        raise FileNotFoundError(
            f"there is no checkpoint {checkpoint}: expected a run, a step of it, converted "
            f"weights, a file of weights, its https address, or one of: {', '.join(PUBLISHED)}"
        )
    file = file_formats.find(checkpoint)
    if file is not None:
        content = file_formats.read(file)
        joints = torch_names.num_joints(content)
        if joints is None:
            raise ValueError(f"{file} has no head for joints; it is to train from, not to predict")
        return recipe(model or torch_names.identify(content), dataset_of(joints))
    return _saved_config(checkpoints.find(checkpoint), model)


def _names_file(checkpoint):
    return checkpoint.endswith(tuple(file_formats.READERS)) or "://" in checkpoint


def _saved_config(step, model):
    """The config that a run or converted weights were saved with."""
    saved = run_folder.find_config(step)
    if saved is None:
        raise ValueError(
            f"{step} has no config.json that says which network it is, nor have the two folders "
            "above it; give its config, or convert the weights anew"
        )
    config = ConfigDict(saved)
    name, size = split_model(model or config.model.name)
    if name != config.model.name:
        raise ValueError(
            f"{step} is a {config.model.name} and no {name}, says the config.json that it was "
            "saved with; leave the model out or name another checkpoint"
        )
    config.data.input_size = size or config.data.input_size
    return config
