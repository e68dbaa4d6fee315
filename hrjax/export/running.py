"""Runs exported networks the way that JAX's step runs others."""

from collections.abc import Callable

import jax
import numpy as np

from hrjax import inference
from hrjax.inference import PredictionSettings
from hrjax.weights.model_card import ModelCard
from hrjax.weights.onnx_programs import Program


def settings_of(card: ModelCard) -> PredictionSettings:
    """How crops become keypoints, as a model card says."""
    names = ("input_size", "color", "encoding", "sigma", "decode", "flip_test")
    return PredictionSettings(**{name: getattr(card, name) for name in names}, fold_batch_norm=True)


def make_predict_step(
    program: Program, settings: PredictionSettings
) -> Callable[[dict, dict], dict]:
    """A step like that of `inference.make_predict_step`; the weights that it is given are unused.

    Raises ValueError where the settings are not those that the program was exported with.
    """
    _check(program, settings)

    @jax.jit
    def read(maps, to_original):
        return inference.read_keypoints(maps, to_original, settings.input_size[0], settings)

    def predict_step(_, batch):
        batch = {key: np.asarray(value) for key, value in batch.items()}
        used = np.flatnonzero(batch["mask"])
        outputs = program.run(batch["image"][used])
        to_original = batch["to_original"][used]
        if program.returns_heatmaps:
            keypoints, scores = read(*outputs, to_original)
        else:
            keypoints, scores = _in_image(outputs[0], to_original), outputs[1]
        same = {key: batch[key] for key in ("index", "mask")}
        return {**same, **_in_rows(used, len(batch["mask"]), keypoints, scores)}

    return predict_step


def _in_image(keypoints, to_original):
    """`heatmaps.to_image` in NumPy, which compiles nothing for each number of crops."""
    along_x, along_y, offset = np.moveaxis(to_original[:, None], -1, 0)
    return keypoints[..., :1] * along_x + keypoints[..., 1:] * along_y + offset


def _in_rows(used, count, keypoints, scores):
    """The results at the places of their crops in the batch; padding stays 0."""
    results = {"keypoints": np.asarray(keypoints), "scores": np.asarray(scores)}
    places = {key: np.zeros((count, *x.shape[1:]), x.dtype) for key, x in results.items()}
    for key, x in results.items():
        places[key][used] = x
    return places


def _check(program, settings):
    own = settings_of(program.card)
    names = ["input_size", "color", "udp", "flip_test"]
    if not program.returns_heatmaps:
        names += ["decode", "sigma"] if own.decode in ("dark", "udp") else ["decode"]
    different = [
        f"{name} {getattr(own, name)!r}, not {getattr(settings, name)!r}"
        for name in names
        if getattr(own, name) != getattr(settings, name)
    ]
    if different:
        later = "" if program.returns_heatmaps else ', or with decode="none" to choose it later'
        raise ValueError(
            f"{program.file} was exported with {'; '.join(different)}; leave these settings as "
            f"they are, or export it again with those that you want{later}"
        )
