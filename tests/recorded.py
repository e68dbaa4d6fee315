"""The recorded reference networks of tests/golden/models, and the weights they had."""

import functools
import gzip
import json
import math
import pathlib
import zlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden" / "models"
NAMES = sorted(file.name.removesuffix(".json.gz") for file in FOLDER.glob("*.json.gz"))


@functools.cache
def load(name: str) -> dict:
    """A recorded network."""
    return json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))


def options(recorded: dict) -> dict:
    """The fields of the variant with which the network was recorded."""
    return {"num_joints": recorded["num_joints"], **recorded.get("overrides", {})}


def state_dict(recorded: dict) -> dict[str, np.ndarray]:
    """The weights that the network was recorded with, which follow from the tensors' names."""
    return {key: _tensor(key, shape).astype(np.float32) for key, shape in recorded["tensors"]}


def _tensor(key, shape):
    random = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        return random.uniform(0.5, 1.5, shape)
    if key.endswith("relative_position_bias_table"):
        return random.standard_normal(shape) * 0.02
    if len(shape) == 1:
        return random.standard_normal(shape) * 0.1
    return random.standard_normal(shape) * math.sqrt(1 / math.prod(shape[1:]))


def images(recorded: dict) -> np.ndarray:
    """The input that the network was recorded with, (2, h, w, 3)."""
    return _noise(0, (2, 3, *recorded["input_size"]))


def contrasting_images(recorded: dict, count: int) -> np.ndarray:
    """Noise with a different mean and contrast in each image, so that batch norms see a spread."""
    noise = _noise(0, (count, 3, *recorded["input_size"])).astype(np.float64)
    random = np.random.Generator(np.random.PCG64(2))
    contrast = random.uniform(0.5, 2.0, (count, 1, 1, 1))
    mean = random.standard_normal((count, 3, 1, 1)).transpose(0, 2, 3, 1)
    return (noise * contrast + mean).astype(np.float32)


def target(recorded: dict, count: int = 2) -> np.ndarray:
    """The target of the recorded training step, (count, h/4, w/4, k)."""
    return _noise(1, (count, *recorded["output_shape"][1:]), scale=0.1)


def _noise(seed, shape, scale=1.0):
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(shape) * scale
    return noise.astype(np.float32).transpose(0, 2, 3, 1)
