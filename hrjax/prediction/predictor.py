"""Images and boxes → joints: what users and scripts call."""

import dataclasses
import functools
import itertools
import logging
import os

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines import geometry
from data_pipelines.transforms import ops
from hrjax import inference, models
from hrjax.evaluation import oks
from hrjax.prediction import media, network
from hrjax.prediction.network import Network
from hrjax.runtime import distributed

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class People:
    """The people of one image, a row for each box.

    boxes (n, 4) are (x, y, w, h); keypoints (n, k, 2) in image pixels; scores (n, k) the heights of
    the heatmaps, about 0 to 1; person_scores (n,) the mean of the scores above 0.2. What could not
    be found, as in a box outside the image, has keypoints NaN and scores 0.
    """

    boxes: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    person_scores: np.ndarray


class Predictor:
    """Finds the joints of people: `Predictor(checkpoint)(images, boxes)`.

    `checkpoint` is a run, one step of it, converted weights, a file of weights or its address, a
    published name, or a `Network`. `model` names the variant, with the input size or not, of
    weights that do not say it; `config` replaces all settings, `flip_test` and `decode` single
    ones. Batches have at most `batch_size` people, a power of two.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike | Network,
        *,
        model: str = "",
        config: ConfigDict | None = None,
        flip_test: bool | None = None,
        decode: str = "",
        batch_size: int = 32,
    ):
        if batch_size < 1 or batch_size & (batch_size - 1):
            raise ValueError(f"batch_size must be a power of two; got {batch_size}")
        if not isinstance(checkpoint, Network):
            checkpoint = network.load(checkpoint, model=model, config=config)
        settings = checkpoint.settings
        self.settings = dataclasses.replace(
            settings,
            flip_test=settings.flip_test if flip_test is None else flip_test,
            decode=decode or settings.decode,
        )
        self.skeleton = checkpoint.skeleton
        self._batch_size = batch_size
        self._network = checkpoint
        self._mesh = distributed.make_mesh(jax.local_devices()[:1])
        self._crop = ops.Crop(self.settings.input_size, self.settings.udp)

    @functools.cached_property
    def _folded(self):
        """The graph and the weights that predict: with the first image, batch norm is folded."""
        weights = {"params": self._network.params, "stats": self._network.stats}
        if self.settings.fold_batch_norm:
            return _fold(self._network.graph, weights)
        return self._network.graph, weights

    @functools.cached_property
    def _step(self):
        settings = dataclasses.replace(self.settings, fold_batch_norm=False)  # not in every step
        return inference.make_predict_step(self._folded[0], self._mesh, settings, self.skeleton)

    @functools.cached_property
    def _forward(self):
        return jax.jit(functools.partial(_forward, self._folded[0], self.settings.color))

    def __call__(self, images, boxes=None) -> People | list[People]:
        """The people of an image, or a list of the people of each of several.

        An image is a path (turned upright as its EXIF tag says) or (h, w, 3) uint8 RGB. `boxes`
        are the image's (n, 4), as (x, y, w, h) in its pixels, or one such array for each image;
        without them the whole image is one person's box.
        """
        if _is_one(images):
            return self([images], None if boxes is None else [boxes])[0]
        places = []  # each image's boxes and which of them are used
        crops = self._cut_all(_pairs(images, boxes), places)
        results = []
        while batch := list(itertools.islice(crops, self._batch_size)):
            results.append(self._dispatch(batch))  # computes while the next people are cut out
        return self._collect(jax.device_get(results), places)

    def heatmaps(self, image, boxes=None) -> tuple[np.ndarray, np.ndarray]:
        """Crops (n, h, w, 3) of one image's people and their heatmaps, without flip test."""
        pairs = [(image, boxes)]
        crops = [crop["image"] for crop in self._cut_all(pairs, places=[])]
        if not crops:
            raise ValueError("none of the boxes has anything of the image in it")
        maps = [np.asarray(self._forward(self._folded[1], crop[None])) for crop in crops]
        return np.stack(crops), np.concatenate(maps)

    def _cut_all(self, pairs, places):
        """Each person's crop in turn; appends to `places`."""
        for image, boxes in pairs:
            pixels = media.check_image(image)
            boxes = check_boxes(boxes, pixels.shape[:2])
            problems = [box_problem(box, pixels.shape[:2]) for box in boxes]
            for box, problem in zip(boxes, problems, strict=True):
                if problem:
                    logger.warning("the box %s %s: nobody is found there", box.tolist(), problem)
            used = np.array([not problem for problem in problems], bool)
            places.append((boxes, used))
            for box in boxes[used]:
                center, size = geometry.box_center_size(box)
                example = {"image": pixels, "center": center, "size": size}
                yield self._crop({**example, "keypoints": np.zeros((0, 2))}, None)

    def _dispatch(self, crops):
        """Starts the step on a batch, padded to a power of two, so that few sizes are compiled."""
        size = 1 << (len(crops) - 1).bit_length()
        rows = np.minimum(np.arange(size), len(crops) - 1)
        batch = {
            "image": np.stack([crops[row]["image"] for row in rows]),
            "to_original": np.stack([crops[row]["to_original"] for row in rows]),
            "index": np.arange(size, dtype=np.int32),
            "mask": np.arange(size) < len(crops),
        }
        return self._step(self._folded[1], distributed.shard(batch, self._mesh))

    def _collect(self, results, places):
        k = self.skeleton.num_joints
        found = [result["keypoints"][result["mask"]] for result in results]
        found_scores = [result["scores"][result["mask"]] for result in results]
        keypoints = np.concatenate([np.zeros((0, k, 2), np.float32), *found])
        scores = np.concatenate([np.zeros((0, k), np.float32), *found_scores])
        broken = ~(np.isfinite(keypoints).all(axis=-1) & np.isfinite(scores))
        if broken.any():
            logger.warning(
                "%d of %d heatmaps are not finite: the weights are broken, or lie beyond what "
                "float32 can compute with",
                *(broken.sum(), broken.size),
            )
        keypoints[broken], scores[broken] = np.nan, 0
        used = np.concatenate([np.zeros(0, bool), *(used for _, used in places)])
        all_keypoints = np.full((len(used), k, 2), np.nan, np.float32)
        all_scores = np.zeros((len(used), k), np.float32)
        all_keypoints[used], all_scores[used] = keypoints, scores
        threshold = self._network.joint_threshold
        person_scores = oks.rescore(all_scores, np.ones(len(used)), threshold=threshold)
        ends = np.cumsum([len(boxes) for boxes, _ in places])[:-1]
        parts = (np.split(x, ends) for x in (all_keypoints, all_scores, person_scores))
        return list(map(People, (boxes for boxes, _ in places), *parts))


def check_boxes(boxes, size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) float64 of an image of `size`; the whole of it for None."""
    if boxes is None:
        boxes = [(0, 0, size[1], size[0])]
    boxes = np.asarray(boxes, np.float64)
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"the boxes of an image must be (n, 4), as (x, y, w, h); got {boxes.shape}"
        )
    return boxes


def box_problem(box: np.ndarray, size: tuple[int, int]) -> str:
    """Why nobody can be found in a box of an image of `size`; "" where somebody can."""
    x, y, width, height = box
    if not np.isfinite(box).all():
        return "is not finite"
    if width <= 0 or height <= 0:
        return "is empty"
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        return f"lies outside the image of {size[0]}x{size[1]} pixels"
    return ""


def _fold(graph, weights):
    """The network with batch norm in its convolutions, computed in one compiled call."""
    graphs = []

    def fold(weights):
        network = models.fold_batch_norm(graph, weights["params"], weights["stats"])
        structure, params, stats = network
        graphs.append(structure)
        return {"params": params, "stats": stats}

    folded = jax.jit(fold)(weights)
    return graphs[0], folded


def _forward(graph, color, weights, images):
    with jax.default_matmul_precision("highest"):
        images = models.normalize(images, color)
        return models.apply(graph, weights["params"], weights["stats"], images)[0]


def _is_one(images):
    is_pixels = isinstance(images, np.ndarray) and images.ndim < 4
    return is_pixels or isinstance(images, (str, os.PathLike))


def _pairs(images, boxes):
    """Images with their boxes, or with None."""
    images = list(images)
    boxes = [None] * len(images) if boxes is None else list(boxes)
    if len(images) != len(boxes):
        raise ValueError(f"{len(images)} images and the boxes of {len(boxes)}; give one per image")
    return zip(images, boxes, strict=True)
