"""Benchmarks of convolutions: `hrjax.models.layers.backend_ops` compared with XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import time_jitted
from hrjax import text_tables
from hrjax.models.layers.backend_ops import convolve

# Height, width, inputs; kernel size, outputs, stride, groups, as in the networks at 256x192.
CONVOLUTIONS = {
    "dense 3x3": ((64, 48, 32), (3, 32, 1, 1)),
    "dense 3x3, stride 2": ((64, 48, 32), (3, 64, 2, 1)),
    "1x1": ((64, 48, 40), (1, 160, 1, 1)),
    "depthwise 3x3": ((64, 48, 40), (3, 40, 1, 40)),
    "depthwise 3x3, stride 2": ((64, 48, 40), (3, 40, 2, 40)),
    "depthwise 3x3, wide": ((64, 48, 160), (3, 160, 1, 160)),
    "depthwise 5x5": ((32, 24, 80), (5, 80, 1, 80)),
    "depthwise 9x9": ((8, 6, 160), (9, 160, 1, 160)),
    "4 groups 3x3": ((32, 24, 64), (3, 64, 1, 4)),
}


def sweep(batch: int, seconds: float) -> str:
    """A table of milliseconds of the forward pass and of both gradients, ours and XLA's."""
    rows = [("convolution", "forward", "XLA", "gradients", "XLA")]
    for name, ((height, width, inputs), (size, outputs, stride, groups)) in CONVOLUTIONS.items():
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.standard_normal((batch, height, width, inputs), np.float32))
        kernel = rng.standard_normal((size, size, inputs // groups, outputs), np.float32)
        numbers = []
        for gradients in (False, True):
            for function in (convolve, xla_convolve):
                run = functools.partial(function, stride=stride, groups=groups)
                if gradients:
                    run = jax.grad(lambda *xs, run=run: jnp.sum(jnp.sin(run(*xs))), (0, 1))
                arguments = (x, jnp.asarray(kernel))
                numbers.append(time_jitted(jax.jit(run), arguments, seconds / 20)["ms"])
        rows.append((name, *(f"{number:.2f}" for number in numbers)))
    return text_tables.format_table(rows)


def xla_convolve(x: jax.Array, kernel: jax.Array, *, stride: int, groups: int) -> jax.Array:
    """XLA's own convolution, NHWC, padded by kernel // 2."""
    pad = (kernel.shape[0] // 2,) * 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        (pad, pad),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
