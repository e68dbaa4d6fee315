"""What training minimises."""

import jax
import jax.numpy as jnp


def joint_mse(
    heatmaps: jax.Array, targets: jax.Array, weights: jax.Array, *, factor: float
) -> jax.Array:
    """`factor` times the mean squared error of weighted heatmaps over everything; float32 at least.

    Heatmaps and targets are (n, h, w, k), weights (n, k). Joints without weight add nothing to the
    sum but are counted in the mean. `factor` is 0.5 in HRNet's code and 1.0 in mmpose 0.x.
    """
    if heatmaps.shape != targets.shape or weights.shape != (targets.shape[0], targets.shape[-1]):
        raise ValueError(
            f"heatmaps and targets must be (n, h, w, k) and weights (n, k); got {heatmaps.shape}, "
            f"{targets.shape} and {weights.shape}"
        )
    dtype = jnp.promote_types(heatmaps.dtype, jnp.float32)
    error = heatmaps.astype(dtype) - targets.astype(dtype)
    weights = weights.astype(dtype)[:, None, None, :]
    return factor * jnp.mean(jnp.square(weights * error))
