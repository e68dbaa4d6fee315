"""Accelerators that need not be present: XLA compiles for them from a description.

Nothing runs. GPUs need the package extra `targets`, TPUs `jax[tpu]`.
"""

import contextlib
import dataclasses
import importlib.util
import os

import jax
import numpy as np
from jax.experimental import topologies
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh

from hrjax.runtime import distributed

_UNTUNED = {"xla_gpu_autotune_level": 0}


@dataclasses.dataclass(frozen=True)
class Target:
    """An accelerator: its platform for XLA, and its peaks for a bound on time.

    `description` is XLA's own of a GPU, in protobuf's text format; of a TPU it is the name of the
    smallest slice. `bandwidth` is in bytes and `arithmetic` in bfloat16 operations per second.
    """

    platform: str
    description: str
    bandwidth: float
    arithmetic: float


def _gpu(name, *, major, minor=0, cores, bandwidth, memory, shared, cache, clock, fpus=128):
    """The text that XLA's compiler needs to know of a GPU."""
    return f"""
        gpu_device_info {{
          threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
          block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
          registers_per_core_limit: 65536 registers_per_block_limit: 65536
          shared_memory_per_block: 49152 shared_memory_per_block_optin: {shared - 1024}
          shared_memory_per_core: {shared} core_count: {cores} fpus_per_core: {fpus}
          memory_bandwidth: {bandwidth:.0f} l2_cache_size: {cache} clock_rate_ghz: {clock}
          device_memory_size: {memory}
          cuda_compute_capability {{ major: {major} minor: {minor} }}
        }}
        platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }}
        device_description_str: "{name}"
    """


# Sizes and rates from NVIDIA's and Google's data sheets; arithmetic without sparsity.
_H200 = {"cores": 132, "bandwidth": 4.8e12, "memory": 151397597184, "clock": 1.98}
_B200 = {"cores": 148, "bandwidth": 7.67e12, "memory": 191514411008, "clock": 1.965}
_A100 = {"cores": 108, "bandwidth": 2.04e12, "memory": 85100068864, "clock": 1.41, "fpus": 64}
TARGETS = {
    "h200": Target(
        "cuda", _gpu("H200", major=9, shared=233472, cache=52428800, **_H200), 4.8e12, 989e12
    ),
    "b200": Target(
        "cuda", _gpu("B200", major=10, shared=233472, cache=132644864, **_B200), 7.67e12, 2250e12
    ),
    "a100": Target(
        "cuda", _gpu("A100", major=8, shared=167936, cache=41943040, **_A100), 2.04e12, 312e12
    ),
    "tpu-v5e": Target("tpu", "v5e:2x2", 0.82e12, 197e12),
}
PACKAGES = {"cuda": ("jax_cuda13_plugin", "jax[cuda13]"), "tpu": ("libtpu", "jax[tpu]")}


def make_mesh(name: str, count: int) -> Mesh:
    """A mesh of `count` devices of a target, to compile for.

    Raises ValueError if the compiler for it is not installed.
    """
    target = TARGETS[name]
    module, package = PACKAGES[target.platform]
    if importlib.util.find_spec(module) is None:
        raise ValueError(
            f"--target={name} needs XLA's compiler for that device: pip install "
            f"'{package}=={jax.__version__}' (docs/benchmarks.md says how large it is)"
        )
    if target.platform == "tpu":
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # else libtpu looks for a TPU for minutes
        devices = topologies.get_topology_desc(topology_name="v5e:2x4", platform="tpu").devices
        if count > len(devices):
            raise ValueError(f"--devices={count}: a {name} slice has {len(devices)} at most here")
        return distributed.make_mesh(devices[:count])
    _register_plugins()
    topology = topologies.get_topology_desc(
        name, platform="cuda", target_config=target.description, topology=f"1x1x{count}"
    )
    return distributed.make_mesh([*np.ravel(topology.devices)])


def _register_plugins():
    # JAX finds the compilers when it first uses a device, and JAX_PLATFORMS=cpu keeps it from that.
    # It would refuse libraries that do not tell their version where there is no driver.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    from jax._src import xla_bridge

    xla_bridge._discover_and_register_pjrt_plugins()


def compile_for(name: str, lowered: jax.stages.Lowered, *, triton: bool) -> jax.stages.Compiled:
    """The program compiled without the device, on which autotuning would measure.

    Untuned, some products of training steps, in float32 and of large batches find no tiles in
    Triton. Without `triton`, and where they do not, cuBLAS computes all products.
    """
    with _no_compilation_cache():
        if TARGETS[name].platform != "cuda":
            return lowered.compile()
        if triton:
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                return lowered.compile(compiler_options=_UNTUNED)
        options = {**_UNTUNED, "xla_gpu_enable_triton_gemm": False}
        return lowered.compile(compiler_options=options)


@contextlib.contextmanager
def _no_compilation_cache():
    # Only a device can load a program from it. JAX asks once whether it is used, until it is reset.
    enabled = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()
