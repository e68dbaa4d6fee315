"""Predicts poses from images and person boxes: the Predictor that users and scripts call."""

import dataclasses
import functools
import itertools
import logging
import os
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from data_pipelines import geometry
from data_pipelines import images as data_images
from data_pipelines.messages import sizes
from data_pipelines.transforms import ops
from hrjax import calibration, inference, models
from hrjax.export import running
from hrjax.prediction import detectors, media, search, trained_network
from hrjax.prediction.film import reading
from hrjax.prediction.film.follow import Detect, Follower
from hrjax.prediction.film.smoothing import OneEuro
from hrjax.prediction.film.tracking import Tracking
from hrjax.prediction.results import Poses
from hrjax.prediction.trained_network import Network
from hrjax.runtime import distributed
from hrjax.runtime.compilation_cache import Announced

logger = logging.getLogger(__name__)

SEARCH = "search"  # people are found by the network itself


class Predictor:
    """Predicts the joints of people: `Predictor(checkpoint)(images, boxes)`.

    `checkpoint` is a run, one step of it, converted weights, a file of weights or its address, a
    published name, an exported network (.onnx), which onnxruntime computes, or a `Network`. `model`
    names the variant, with the input size or not, of weights that do not say it; `config` replaces
    all settings; `flip_test`, `decode` and `dtype` replace one each ("bfloat16" is faster on
    accelerators). Batches have at most `batch_size` people, a power of two. Image files of more
    than `max_pixels` are not decoded.

    For a few people, exported networks are faster, since nothing is compiled at the first call.
    For many, docs/exporting.md says for which networks, and how to compare them on a machine.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike | Network,
        *,
        model: str = "",
        config: ConfigDict | None = None,
        flip_test: bool | None = None,
        decode: str = "",
        dtype: str = "",
        batch_size: int = 32,
        max_pixels: int = data_images.MAX_PIXELS,
    ):
        if batch_size < 1 or batch_size & (batch_size - 1):
            raise ValueError(f"batch_size must be a power of two; got {batch_size}")
        if not isinstance(checkpoint, Network):
            checkpoint = trained_network.load(checkpoint, model=model, config=config)
        settings = checkpoint.settings
        self.settings = dataclasses.replace(
            settings,
            flip_test=settings.flip_test if flip_test is None else flip_test,
            decode=decode or settings.decode,
            dtype=dtype or settings.dtype,
        )
        self.skeleton = checkpoint.skeleton
        self._batch_size, self._max_pixels = batch_size, max_pixels
        self._network = checkpoint
        self._mesh = distributed.make_mesh(jax.local_devices()[:1])
        self._crop = ops.Crop(self.settings.input_size, self.settings.udp)
        if checkpoint.program:
            # Now, so that settings other than the program's are an error before any image is read.
            self._step = running.make_predict_step(checkpoint.program, self.settings)

    def describe(self) -> str:
        """The variant, its joints, the size of its crops and its decoding, in one line."""
        return trained_network.describe(self._network, self.settings)

    @functools.cached_property
    def _specialized(self):
        """The graph and the weights that predict, made for their device with the first image."""
        graph = self._network.graph
        weights = {"params": self._network.params, "stats": self._network.stats}
        if self.settings.fold_batch_norm:
            graph, weights = _specialize(graph, weights)
        return graph, models.in_layouts(weights)

    @functools.cached_property
    def _step(self):
        settings = dataclasses.replace(self.settings, fold_batch_norm=False)  # not in every step
        step = inference.make_predict_step(
            self._specialized[0], self._mesh, settings, self.skeleton
        )
        return Announced(step, "the network")

    @functools.cached_property
    def _forward(self):
        return jax.jit(functools.partial(_forward, self._specialized[0], self.settings))

    def __call__(
        self,
        images: media.ImageLike | Iterable[media.ImageLike],
        boxes: ArrayLike | Iterable[ArrayLike] | None = None,
    ) -> Poses | list[Poses]:
        """The poses of one image, or a list of those of several images.

        An image is a path, a PIL image or an array (h, w, 3) uint8 RGB; files are rotated upright
        by their EXIF orientation. `boxes` are the person boxes of the image, (n, 4) as (x, y, w, h)
        in pixels, or one such array for each image; without them the whole image is one box.
        """
        if media.is_single_image(images):
            return self([images], None if boxes is None else [boxes])[0]
        all_boxes = []
        crops = self._crop_all(_pairs(images, boxes), all_boxes)
        outputs = []
        while batch := list(itertools.islice(crops, self._batch_size)):
            outputs.append(self._dispatch(batch))  # computes while the next people are cropped
        return self._collect(jax.device_get(outputs), all_boxes)

    def track(
        self,
        frames: str | os.PathLike | Iterable[media.ImageLike],
        *,
        detector: str | Detect = SEARCH,
        boxes: Iterable[ArrayLike] | None = None,
        rate: float = reading.DEFAULT_RATE,
        detect_every: int = 1,
        smooth: OneEuro | None = None,
        tracking: Tracking | None = None,
    ) -> Iterator[Poses]:
        """Follows people through a film: the poses of each frame, with track ids.

        `frames` are a video file, a camera (webcam, webcam:1), or images in order, `rate` of them
        per second. People are found in every frame, or every `detect_every`th (0: in the first
        alone), by `detector`: "search" (by the network itself, slow), a name of `detectors.NAMES`,
        an ONNX file, or a function that gives the boxes (n, 4) of an image and their scores (n,).
        Instead, `boxes` may have one array of boxes for each frame. In between, people are looked
        for where their joints were. `smooth` filters the joints, `tracking` says how people are
        told apart.
        """
        follower = Follower(
            self.skeleton, detect_every=detect_every, settings=tracking, smooth=smooth
        )
        if boxes is None:
            given = itertools.repeat(self._detector(detector))
        else:
            given = ((lambda image, each=each: _certain(each, image)) for each in boxes)
        return self._track(self._film(frames, rate), given, follower)

    def _detector(self, detector):
        if not isinstance(detector, str):
            return detector
        if detector == SEARCH:
            return search.Search(self, self.settings.input_size)
        return detectors.open_detector(detector)

    def _track(self, film, detectors_of_frames, follower):
        for number, (image, seconds) in enumerate(film):
            detect = next(detectors_of_frames, None)
            if detect is None:
                raise ValueError(
                    f"there are boxes for {number} frames, and the film has more; give one array "
                    "for each frame"
                )
            found = follower.boxes(image, seconds, detect)
            poses = self(image, found.boxes)
            poses = dataclasses.replace(poses, person_scores=poses.person_scores * found.scores)
            yield follower.update(poses, found, image, seconds)

    def _film(self, frames, rate):
        """The images of a film and their times in seconds."""
        if not isinstance(frames, (str, os.PathLike)):
            for number, image in enumerate(frames):
                yield media.load_image(image, max_pixels=self._max_pixels), number / rate
            return
        film = reading.open_film(os.fspath(frames), max_pixels=self._max_pixels)
        try:
            for frame in film:
                yield frame.image, frame.time
        finally:
            film.close()
        if film.problem:
            logger.warning("%s", film.problem)

    def heatmaps(
        self, image: media.ImageLike, boxes: ArrayLike | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Crops (n, h, w, 3) of the people in one image and their heatmaps, without flip test.

        An exported network's are those that it returns.
        """
        crops = [crop["image"] for crop in self._crop_all([(image, boxes)], [])]
        if not crops:
            raise ValueError("none of the boxes overlaps the image")
        program = self._network.program
        if program and not program.returns_heatmaps:
            raise ValueError(
                f'{program.file} returns keypoints; export it with decode="none" to see heatmaps'
            )
        if program:
            return np.stack(crops), program.run(np.stack(crops))[0]
        heatmaps = [np.asarray(self._forward(self._specialized[1], crop[None])) for crop in crops]
        return np.stack(crops), np.concatenate(heatmaps)

    def _crop_all(self, pairs: Iterable, all_boxes: list) -> Iterator[dict]:
        """Crops the people one by one; appends the boxes of each image and which are usable."""
        for image, boxes in pairs:
            pixels = media.load_image(image, max_pixels=self._max_pixels)
            boxes = check_boxes(boxes, pixels.shape[:2])
            problems = [box_problem(box, pixels.shape[:2]) for box in boxes]
            for box, problem in zip(boxes, problems, strict=True):
                if problem:
                    logger.warning("box %s %s; its keypoints are NaN", box.tolist(), problem)
            usable = np.array([not problem for problem in problems], bool)
            all_boxes.append((boxes, usable))
            for box in boxes[usable]:
                center, size = geometry.box_center_size(box)
                example = {"image": pixels, "center": center, "size": size}
                yield self._crop({**example, "keypoints": np.zeros((0, 2))}, None)

    def _dispatch(self, crops):
        """Starts the step on a batch, padded to a power of two so that few sizes are compiled."""
        size = 1 << (len(crops) - 1).bit_length()
        rows = np.minimum(np.arange(size), len(crops) - 1)
        batch = {
            "image": np.stack([crops[row]["image"] for row in rows]),
            "to_original": np.stack([crops[row]["to_original"] for row in rows]),
            "index": np.arange(size, dtype=np.int32),
            "mask": np.arange(size) < len(crops),
        }
        if self._network.program:
            return self._step({}, batch)
        return self._step(self._specialized[1], distributed.shard(batch, self._mesh))

    def _collect(self, outputs, all_boxes):
        """The poses of each image, from the outputs of all batches."""
        k = self.skeleton.num_joints
        usable = np.concatenate([np.zeros(0, bool), *(usable for _, usable in all_boxes)])
        keypoints = np.full((len(usable), k, 2), np.nan, np.float32)
        scores = np.zeros((len(usable), k), np.float32)
        if usable.any():
            keypoints[usable] = np.concatenate([x["keypoints"][x["mask"]] for x in outputs])
            scores[usable] = np.concatenate([x["scores"][x["mask"]] for x in outputs])
        finite = np.isfinite(keypoints).all(axis=-1) & np.isfinite(scores)
        broken = ~finite & usable[:, None]
        if broken.any():
            logger.warning(
                "%d of %d heatmaps are not finite: the weights are damaged, or their activations "
                "overflow float32",
                *(broken.sum(), usable.sum() * k),
            )
        keypoints[broken], scores[broken] = np.nan, 0
        scores, person_scores = self._rescore(scores)
        ends = np.cumsum([len(boxes) for boxes, _ in all_boxes])[:-1]
        parts = (np.split(column, ends) for column in (keypoints, scores, person_scores))
        return list(map(Poses, (boxes for boxes, _ in all_boxes), *parts))

    def _rescore(self, scores):
        """Scores of joints and of people, calibrated where the network is."""
        ones, threshold = np.ones(len(scores)), self._network.joint_threshold
        joints, people = calibration.rescore(
            scores, ones, threshold=threshold, calibration=self._network.calibration
        )
        # What was not predicted keeps the score 0, whatever a score of 0 is worth.
        return np.where(scores == 0, 0, joints).astype(np.float32), people


def _certain(boxes, image):
    """Boxes of an image that were given, with scores of 1."""
    boxes = check_boxes(boxes, image.shape[:2])
    return boxes, np.ones(len(boxes))


def check_boxes(boxes: ArrayLike | None, size: tuple[int, int]) -> np.ndarray:
    """Boxes as (n, 4) float64, for an image of `size` (height, width); None is the whole image."""
    if boxes is None:
        boxes = [(0, 0, size[1], size[0])]
    try:
        boxes = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the boxes of an image must be numbers (n, 4), as (x, y, w, h): {error}"
        ) from error
    if boxes.size == 0:
        return np.zeros((0, 4))
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"the boxes of an image must be (n, 4), as (x, y, w, h); got {boxes.shape}"
        )
    return boxes


def box_problem(box: np.ndarray, size: tuple[int, int]) -> str:
    """What makes a box unusable in an image of `size` (height, width); "" if it is usable."""
    x, y, width, height = box
    if not (np.abs(box) < geometry.LARGEST).all():
        return "is not finite"
    if width <= 0 or height <= 0:
        return "is empty"
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        return f"lies outside the image of {sizes.pixels(size)}"
    return ""


def _specialize(graph, weights):
    """The network as `models.specialize` makes it, in one compiled call."""
    graphs = []

    def specialize(weights):
        structure, params, stats = models.specialize(graph, weights["params"], weights["stats"])
        graphs.append(structure)
        return {"params": params, "stats": stats}

    specialized = jax.jit(specialize)(weights)
    return graphs[0], specialized


def _forward(graph, settings, weights, images):
    images = models.normalize(images, settings.color)
    return inference.apply((graph, weights["params"], weights["stats"]), images, settings.dtype)


def _pairs(images, boxes):
    """Images, each with its boxes or None."""
    images = list(images)
    boxes = [None] * len(images) if boxes is None else list(boxes)
    if len(images) != len(boxes):
        raise ValueError(
            f"there are {len(images)} images but boxes for {len(boxes)}; give one array for each"
        )
    return zip(images, boxes, strict=True)
