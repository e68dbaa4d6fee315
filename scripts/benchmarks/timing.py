"""Shared parts of the benchmarks: timing of jitted functions, memory, the yardstick, tables."""

import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

Numbers = dict[str, float]


def random_batch(config: ConfigDict) -> dict[str, jax.Array]:
    """A batch of noise with the keys and shapes of real batches."""
    count, joints = config.train.batch_size, config.model.num_joints
    height, width = config.data.input_size
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (count, height, width, 3), np.uint8),
        "keypoints": rng.uniform(0, min(height, width), (count, joints, 2)).astype(np.float32),
        "visible": np.ones((count, joints), np.float32),
        "to_original": np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)),
        "index": np.arange(count, dtype=np.int32),
        "mask": np.ones(count, bool),
    }
    return jax.tree.map(jnp.asarray, batch)


def time_jitted(
    function: Callable, arguments: tuple, seconds: float, *, carry: bool = False
) -> Numbers:
    """Times calls of a jitted function: milliseconds, tracing, compilation and memory.

    With `carry`, the first result of a call is the first argument of the next.
    """
    start = time.perf_counter()
    lowered = function.lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    return {
        **time_compiled(compiled, arguments, seconds, carry=carry),
        "trace_seconds": traced - start,
        "compile_seconds": done - traced,
        "program_memory_mib": program_memory(compiled),
    }


def time_compiled(
    compiled: jax.stages.Compiled, arguments: tuple, seconds: float, *, carry: bool = False
) -> Numbers:
    """Milliseconds, images per second and the number of calls; the first call is not counted."""
    first, *rest = arguments
    times = []
    while len(times) < 4 or sum(times) < seconds:
        begin = time.perf_counter()
        result = jax.block_until_ready(compiled(first, *rest))
        times.append(time.perf_counter() - begin)
        first = result[0] if carry else first
    median = statistics.median(times[1:])
    count = jax.tree.leaves(rest)[-1].shape[0]
    return {"ms": 1000 * median, "images_per_second": count / median, "calls": len(times) - 1}


def program_memory(compiled: jax.stages.Compiled) -> float:
    """The memory in MiB that a compiled program needs for arguments, temporaries and results."""
    analysis = compiled.memory_analysis()
    total = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    total += analysis.output_size_in_bytes
    return (total - analysis.alias_size_in_bytes) / 2**20  # donated arguments hold results


def yardstick() -> float:
    """Milliseconds of a 2048x2048 by 2048x2048 float32 matrix product, the median of seven."""
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    a = jnp.asarray(np.random.default_rng(0).standard_normal((2048, 2048), np.float32))
    product(a).block_until_ready()
    times = []
    for _ in range(7):
        start = time.perf_counter()
        product(a).block_until_ready()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def peak_memory() -> float:
    """The peak memory in MiB so far, of the accelerator, or of this process on a CPU."""
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def as_text(numbers: dict[str, Any]) -> str:
    """Named values as aligned lines."""
    width = max(map(len, numbers))
    rows = [(k, f"{v:.4g}" if isinstance(v, float) else v) for k, v in numbers.items()]
    return "\n".join(f"{key:{width}}  {value}" for key, value in rows)
