"""Initial values of parameters: drawn on the host from a seed, or from the streams of `nnx.Rngs`.

Every layer accepts either kind as its `rngs`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


class HostInitializer:
    """Draws initial values on the host, so that building a network compiles nothing.

    Without a seed it gives shapes (`jax.ShapeDtypeStruct`) instead of values, at no cost.
    """

    def __init__(self, seed: int | None):
        self._generator = None if seed is None else np.random.default_rng(seed)
        # A sequence of its own, so that the parameters do not depend on how many streams there are.
        self._stream_seeds = None if seed is None else np.random.default_rng((seed, 1))

    def normal(self, shape: tuple[int, ...], std: float) -> jax.Array | jax.ShapeDtypeStruct:
        """Independent draws from a normal distribution with mean 0."""
        if self._generator is None:
            return jax.ShapeDtypeStruct(shape, jnp.float32)
        return jnp.asarray(self._generator.standard_normal(shape, np.float32) * np.float32(std))

    def uniform(self, shape: tuple[int, ...], bound: float) -> jax.Array | jax.ShapeDtypeStruct:
        """Independent draws from the uniform distribution between -`bound` and `bound`."""
        if self._generator is None:
            return jax.ShapeDtypeStruct(shape, jnp.float32)
        return jnp.asarray(self._generator.uniform(-bound, bound, shape).astype(np.float32))

    def constant(self, shape: tuple[int, ...], value: float) -> jax.Array | jax.ShapeDtypeStruct:
        """An array filled with `value`."""
        if self._generator is None:
            return jax.ShapeDtypeStruct(shape, jnp.float32)
        return jnp.asarray(np.full(shape, value, np.float32))

    def dropout_stream(self) -> nnx.RngStream | None:
        """A new stream of random keys for one layer; None without a seed."""
        if self._stream_seeds is None:
            return None
        return nnx.RngStream(int(self._stream_seeds.integers(2**31)), tag="dropout")


Initializer = HostInitializer | nnx.Rngs


def normal(
    rngs: Initializer, shape: tuple[int, ...], std: float
) -> jax.Array | jax.ShapeDtypeStruct:
    """Independent draws from a normal distribution with mean 0."""
    if isinstance(rngs, HostInitializer):
        return rngs.normal(shape, std)
    return _normal(rngs.params(), std, shape)


def uniform(
    rngs: Initializer, shape: tuple[int, ...], bound: float
) -> jax.Array | jax.ShapeDtypeStruct:
    """Independent draws from the uniform distribution between -`bound` and `bound`."""
    if isinstance(rngs, HostInitializer):
        return rngs.uniform(shape, bound)
    return _uniform(rngs.params(), bound, shape)


def constant(
    rngs: Initializer, shape: tuple[int, ...], value: float
) -> jax.Array | jax.ShapeDtypeStruct:
    """An array filled with `value`."""
    if isinstance(rngs, HostInitializer):
        return rngs.constant(shape, value)
    return jnp.asarray(np.full(shape, value, np.float32))


def dropout_stream(rngs: Initializer) -> nnx.RngStream | None:
    """A new stream of random keys for one layer, forked from `rngs.dropout`."""
    if isinstance(rngs, HostInitializer):
        return rngs.dropout_stream()
    return rngs.dropout.fork()


# One program for each shape instead of one for each operation and shape.
@functools.partial(jax.jit, static_argnums=2)
def _normal(key, std, shape):
    return std * jax.random.normal(key, shape, jnp.float32)


@functools.partial(jax.jit, static_argnums=2)
def _uniform(key, bound, shape):
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
