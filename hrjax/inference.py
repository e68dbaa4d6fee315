"""From crops to keypoints in image pixels: the settings and the jitted step of every prediction.

Evaluation and `Predictor` run the same step, so that they find the same keypoints.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from data_pipelines.messages import choices
from data_pipelines.skeletons import Skeleton
from hrjax import heatmaps, models

DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class PredictionSettings:
    """What a prediction needs to know of a network besides its weights and its joints.

    `input_size` is the (height, width) of the crops; `color` the order of the network's channels;
    `encoding` and `sigma`, in cells, describe the heatmaps it was trained on; `decode` is one of
    `heatmaps.DECODERS`. `flip_test` averages the heatmaps of a crop and of its mirror image.
    `fold_batch_norm` folds batch norm into the convolutions in every step. `dtype` is that of the
    network's computations, one of `DTYPES`; heatmaps are decoded in float32.
    """

    input_size: tuple[int, int]
    color: str
    encoding: str
    sigma: float
    decode: str
    flip_test: bool
    fold_batch_norm: bool
    dtype: str = "float32"

    def __post_init__(self):
        fields = {"encoding": heatmaps.ENCODINGS, "decode": heatmaps.DECODERS, "dtype": DTYPES}
        for field, known in fields.items():
            if getattr(self, field) not in known:
                raise ValueError(choices.unknown(field, getattr(self, field), known))

    @property
    def udp(self) -> bool:
        """Whether crops, cells and the flip test follow UDP's grid instead of the classic one."""
        return self.encoding == "udp"


def make_predict_step(
    graph: models.Graph, mesh: Mesh, settings: PredictionSettings, skeleton: Skeleton
) -> Callable[[dict, dict], dict]:
    """A jitted step: (weights, batch) → index, mask, keypoints (n, k, 2) in image pixels, scores.

    `weights` is {"params", "stats"}; a batch has image, to_original, index and mask. What comes
    back is replicated on every process.
    """

    def compute_heatmaps(weights, images):
        network = (graph, weights["params"], weights["stats"])
        if settings.fold_batch_norm:
            # In every step, which costs one pass over the weights, so that an evaluation during
            # training keeps no second copy of them.
            network = models.fold_batch_norm(*network)
        return apply(network, images, settings.dtype)

    def predict(weights, batch):
        forward = functools.partial(compute_heatmaps, weights)
        maps = crop_heatmaps(forward, batch["image"], settings, skeleton)
        keypoints, scores = read_keypoints(
            maps, batch["to_original"], batch["image"].shape[1], settings
        )
        same = {key: batch[key] for key in ("index", "mask")}
        return {**same, "keypoints": keypoints, "scores": scores}

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec()))
    def predict_step(weights, batch):
        with models.lowering_for(mesh.devices.flat[0].platform):
            return predict(weights, batch)

    return predict_step


def apply(
    network: tuple[models.Graph, dict, dict], images: jax.Array, dtype: str = "float32"
) -> jax.Array:
    """The heatmaps, float32, of normalized images; the network computes in `dtype`."""
    graph, params, stats = network
    if dtype != "float32":
        params, images = jax.tree.map(lambda x: x.astype(dtype), (params, images))
    with jax.default_matmul_precision("highest"):
        maps, _ = models.apply(graph, params, stats, images)
    return maps.astype(jnp.float32) if dtype != "float32" else maps


def crop_heatmaps(
    forward: Callable[[jax.Array], jax.Array],
    crops: jax.Array,
    settings: PredictionSettings,
    skeleton: Skeleton,
) -> jax.Array:
    """The heatmaps of RGB crops (n, h, w, 3) uint8, with or without the flip test.

    `forward` computes the heatmaps of normalized images.
    """
    images = models.normalize(crops, settings.color)
    if not settings.flip_test:
        return forward(images)
    # Both go through the network in one call. A crop and its mirror image are neighbors, so that
    # they stay on the device that holds the crop.
    pairs = jnp.stack([images, images[:, :, ::-1]], axis=1)
    maps = forward(pairs.reshape(-1, *images.shape[1:]))
    mirrored = heatmaps.flip_back(maps[1::2], skeleton.flip_order, shift=not settings.udp)
    return 0.5 * (maps[::2] + mirrored)


def read_keypoints(
    maps: jax.Array, to_original: jax.Array, input_height: int, settings: PredictionSettings
) -> tuple[jax.Array, jax.Array]:
    """Keypoints (n, k, 2) in image pixels and scores (n, k) of the heatmaps of crops."""
    cells, strides, scores = read_cells(maps, input_height, settings)
    return heatmaps.to_image(cells, strides, to_original), scores


def read_cells(
    maps: jax.Array, input_height: int, settings: PredictionSettings
) -> tuple[jax.Array, np.ndarray, jax.Array]:
    """Keypoints (n, k, 2) as cells of heatmaps, input pixels per cell (x, y), and scores (n, k)."""
    kernel = heatmaps.dark_kernel(settings.sigma)
    cells, scores = heatmaps.decode(maps, settings.decode, kernel=kernel)
    size = maps.shape[1:3]
    return cells, heatmaps.strides(size, input_height // size[0], udp=settings.udp), scores
