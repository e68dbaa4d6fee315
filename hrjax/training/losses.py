"""The training loss: mean squared error of heatmaps."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def joint_mse(
    heatmaps: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    *,
    factor: float,
    hard_joints: int = 0,
) -> jax.Array:
    """`factor` times the mean squared error of weighted heatmaps, in float32 or better.

    Heatmaps and targets are (n, h, w, k), weights (n, k). Joints of zero weight add nothing to the
    sum but count in the mean. `factor` is 0.5 in HRNet's code and 1.0 in mmpose 0.x. If
    `hard_joints` is not 0, the mean is over that many joints of each person, those with the largest
    errors (online hard keypoint mining).
    """
    if heatmaps.shape != targets.shape or weights.shape != (targets.shape[0], targets.shape[-1]):
        raise ValueError(
            f"heatmaps and targets must be (n, h, w, k) and weights (n, k); got {heatmaps.shape}, "
            f"{targets.shape} and {weights.shape}"
        )
    if not 0 <= hard_joints <= weights.shape[1]:
        raise ValueError(
            f"config.loss.hard_joints is {hard_joints}; the skeleton has {weights.shape[1]} joints"
        )
    dtype = jnp.promote_types(heatmaps.dtype, jnp.float32)
    error = heatmaps.astype(dtype) - targets.astype(dtype)
    weights = weights.astype(dtype)[:, None, None, :]
    if not hard_joints:
        return factor * jnp.mean(jnp.square(weights * error))
    by_joint = jnp.mean(jnp.square(weights * error), axis=(1, 2))  # (n, k)
    return factor * jnp.mean(jax.lax.top_k(by_joint, hard_joints)[0])


def weigh_joints(weights: jax.Array, joint_weights: Sequence[float]) -> jax.Array:
    """Weights (n, k) times the weight of each joint; unchanged if `joint_weights` is empty."""
    if not joint_weights:
        return weights
    if len(joint_weights) != weights.shape[1]:
        raise ValueError(
            f"config.loss.joint_weights has {len(joint_weights)} numbers for "
            f"{weights.shape[1]} joints"
        )
    return weights * jnp.asarray(joint_weights, weights.dtype)
