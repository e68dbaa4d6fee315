"""Crops of training images, from which a quantization is chosen."""

import numpy as np
from ml_collections import ConfigDict

from data_pipelines.transforms import chains
from hrjax import experiment

DEFAULT_COUNT = 64
LEAST = 8  # to quantize with


def read(config: ConfigDict, count: int = DEFAULT_COUNT) -> np.ndarray:
    """`count` crops (n, h, w, 3) uint8 of the config's training split, evenly spread over it.

    They are cut as evaluation cuts them, without augmentation. A split with fewer people gives all
    of them. Raises ValueError where an image cannot be read.
    """
    if count < LEAST:
        raise ValueError(f"{count} training crops were asked for; ask for {LEAST} or more")
    split = experiment.open_split(config, config.data.train_split)
    if not len(split):
        raise ValueError(f"{split.annotation_file} has no people to quantize with")
    settings = experiment.prediction_settings(config)
    steps = chains.eval_ops(
        settings.input_size, strict=True, max_pixels=config.data.max_pixels, udp=settings.udp
    )
    rows = np.unique(np.linspace(0, len(split) - 1, count).round().astype(int))
    return np.stack([_crop(split[int(row)], steps) for row in rows])


def _crop(example, steps):
    rng = np.random.default_rng(0)  # which evaluation's steps do not use
    for step in steps:
        example = step(example, rng)
    return example["image"]
