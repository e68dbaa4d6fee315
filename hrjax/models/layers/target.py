"""The platform that a program is traced for, which need not be that of the host."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager

import jax

from data_pipelines.messages import choices

# JAX calls a GPU "cuda" or "rocm" where it exports for one, and "gpu" where it computes on one.
PLATFORMS = {"cpu": "cpu", "gpu": "gpu", "cuda": "gpu", "rocm": "gpu", "tpu": "tpu", "onnx": "onnx"}
_chosen = jax.make_user_context(None)  # part of the key of every jit cache


def lowering_for(platform: str) -> AbstractContextManager:
    """Traces networks and training steps for a platform: cpu, gpu (cuda, rocm), tpu or onnx.

        with hrjax.lowering_for("cuda"):
            exported = jax.export.export(forward, platforms=["cuda"])(images)

    Convolutions, batch norm and chains of blocks are computed differently on each platform. Without
    this context, programs are for the devices in use. Gradients must be taken inside of it too.
    For "onnx", which `hrjax.export_onnx` uses, convolutions stay whole, and so do functions that
    ONNX has an operator for.
    """
    if platform not in PLATFORMS:
        raise ValueError(choices.unknown("platform", platform, PLATFORMS))
    return _chosen(PLATFORMS[platform])


def target_platform() -> str:
    """The platform to trace for, that of `lowering_for` or of the devices: a value of PLATFORMS.

    Outside of `lowering_for` it is the platform of `jax.default_device`, if one is set, and
    otherwise JAX's default backend.
    """
    if _chosen.value is not None:
        return _chosen.value
    device = jax.config.jax_default_device
    return PLATFORMS[getattr(device, "platform", device) or jax.default_backend()]


def kept_whole(*static: str) -> Callable:
    """Makes a function that a program traced for ONNX calls by its name, instead of inlining it.

    `static` names the arguments that are not arrays. On other platforms nothing changes.
    """

    def decorate(function):
        named = jax.jit(function, static_argnames=static)

        @functools.wraps(function)
        def call(*arguments, **options):
            chosen = named if target_platform() == "onnx" else function
            return chosen(*arguments, **options)

        return call

    return decorate
