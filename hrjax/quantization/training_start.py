"""Where quantization-aware training starts: a trained network, quantized and calibrated."""

import jax
from ml_collections import ConfigDict

from hrjax import experiment, models
from hrjax.quantization import training_crops
from hrjax.runtime import distributed
from hrjax.weights.source import Source


def quantize(config: ConfigDict, opened: Source, like: dict) -> tuple[dict, str]:
    """{"params", "stats"} of the config's network in simulated eight bits, to train from.

    The weights are those of `opened`, which is in float32. What each layer clips and rounds at is
    found on crops of training images. `like` has the result's shardings and dtypes. The text says
    what was loaded.
    """
    told, name = models.quantization_of(config.quantize), config.model.name
    model = models.create(name, config.seed, **experiment.model_fields(config))
    model.eval()
    graph, params, stats = models.split(model)
    start, text = opened.start_from(name, {"params": params, "stats": stats})
    network = models.quantize(
        graph, **start, alpha=told.alpha or models.PADDLE_ALPHA, keep=told.keep
    )
    crops = training_crops.read(config, config.quantize.crops)
    images = models.normalize(crops, config.data.color)
    percentile = None if told.alpha else told.percentile
    params, stats = models.calibrate(*network, images, percentile=percentile)
    weights = jax.tree.map(lambda x, y: x.astype(y.dtype), {"params": params, "stats": stats}, like)
    sharding = jax.tree.leaves(like)[0].sharding
    text += f"; in eight bits, with ranges of {len(crops)} people of the training split"
    return distributed.place(weights, sharding), text
