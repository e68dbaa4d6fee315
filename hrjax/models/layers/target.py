"""The platform that a program is traced for, which need not be that of the host."""

from contextlib import AbstractContextManager

import jax

# JAX calls a GPU "cuda" or "rocm" where it exports for one, and "gpu" where it computes on one.
PLATFORMS = {"cpu": "cpu", "gpu": "gpu", "cuda": "gpu", "rocm": "gpu", "tpu": "tpu"}
_chosen = jax.make_user_context(None)  # part of the key of every jit cache


def lowering_for(platform: str) -> AbstractContextManager:
    """Traces networks and training steps for a platform: cpu, gpu (cuda, rocm) or tpu.

        with hrjax.lowering_for("cuda"):
            exported = jax.export.export(forward, platforms=["cuda"])(images)

    Convolutions, batch norm and chains of blocks are computed differently on each platform. Without
    this context, programs are for the devices in use. Gradients must be taken inside of it too.
    """
    if platform not in PLATFORMS:
        raise ValueError(f"unknown platform {platform!r}; choose one of: {', '.join(PLATFORMS)}")
    return _chosen(PLATFORMS[platform])


def target_platform() -> str:
    """The platform to trace for, "cpu", "gpu" or "tpu": that of `lowering_for`, or of the devices.

    Outside of `lowering_for` it is the platform of `jax.default_device`, if one is set, and
    otherwise JAX's default backend.
    """
    if _chosen.value is not None:
        return _chosen.value
    device = jax.config.jax_default_device
    return PLATFORMS[getattr(device, "platform", device) or jax.default_backend()]
