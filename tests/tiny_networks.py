"""One small network of each family, for tests of what holds for all families."""

import jax
import jax.numpy as jnp
import numpy as np

import hrjax

SMALL = {"width": 8, "modules": (1,), "blocks": 1}
TINY = {
    "hrnet_w32": {**SMALL, "stem_blocks": 1},
    "widehrnet_18_se": SMALL,
    "litehrnet_18": SMALL,
    "ditehrnet_18": SMALL,
    "pose_resnet_50": {"width": 8, "blocks": (1, 1), "deconvs": 1, "deconv_width": 8},
    "hrformer_small": {**SMALL, "drop_path": 0.0, "stem_blocks": 1},
    "hrnext_small": {**SMALL, "drop_path": 0.0, "stem_blocks": 1},
    "efenet_small": {**SMALL, "drop_path": 0.0, "stem_blocks": 1},
}
# The same with drop path, whose rate is 0 in the first block and 0.5 in the second.
DROPPING = {
    "hrformer_small": {**SMALL, "stem_blocks": 1, "blocks": 2, "drop_path": 0.5},
    "hrnext_small": {**SMALL, "stem_blocks": 1, "drop_path": 0.5},
    "efenet_small": {**SMALL, "stem_blocks": 1, "blocks": 2, "drop_path": 0.5},
}


def scrambled(model):
    """The evaluation graph, params and stats, with batch norms far from the identity."""
    model.eval()
    graph, params, stats = hrjax.split(model)
    model.train()
    random = np.random.default_rng(0)

    def draw(path, x):
        if path[-1].key in ("scale", "var"):
            return jnp.asarray(random.uniform(0.5, 1.5, x.shape), jnp.float32)
        std = 0.1 if x.ndim == 1 else np.prod(x.shape[-4:-1]) ** -0.5
        return jnp.asarray(random.standard_normal(x.shape) * std, jnp.float32)

    return graph, *(jax.tree_util.tree_map_with_path(draw, tree) for tree in (params, stats))
