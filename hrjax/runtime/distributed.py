"""Many processes as one job: joining them, their devices, and what they agree on."""

import os
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# What JAX calls them; it finds out the rest by itself (auto: Slurm, Open MPI, TPU pods, GKE).
LAUNCHERS = {"none": "deactivate", "auto": None, "slurm": "slurm", "mpi": "ompi"}
# XLA reads these when it first sees a device.
DETERMINISTIC = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_autotune_level=0")
SHOWN_DEVICES = 16
PATIENCE = 60  # seconds until the other processes give a silent one up


def make_deterministic() -> None:
    """Lets GPUs compute the same bits in every run; call it before anything uses a device."""
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *DETERMINISTIC]).strip()


def join(
    launcher: str = "none",
    *,
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
    devices: list[int] | None = None,
) -> list[jax.Device]:
    """Makes this process a part of the job; returns the devices of all processes.

    Either the `launcher` knows the processes, or `coordinator` (host:port of process 0),
    `num_processes` and `process_id` say it, or there is one process. `devices` are the numbers of
    those that each process uses, all if None.
    """
    given = (coordinator or None, num_processes, process_id)
    if launcher == "none" and any(x is not None for x in given) and None in given:
        raise ValueError(
            "--coordinator=HOST:PORT, --num_processes and --process_id belong together; "
            "or let --launcher=auto find them"
        )
    local = _local_devices(launcher) if devices is None else devices
    if launcher != "none" or coordinator:
        _initialize(launcher, given, local)
    elif devices is not None:
        for platform in ("cuda", "rocm"):
            jax.config.update(f"jax_{platform}_visible_devices", ",".join(map(str, devices)))
    return _choose(jax.devices(), devices)


def _initialize(launcher, given, local):
    try:
        jax.distributed.initialize(
            *given,
            local_device_ids=local,
            cluster_detection_method=LAUNCHERS[launcher],
            heartbeat_timeout_seconds=PATIENCE,
            shutdown_timeout_seconds=PATIENCE,
        )
    except (ValueError, RuntimeError, KeyError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        if isinstance(error, KeyError):
            reason = f"{error.args[0]} is not set, so this is no job of that launcher"
        what = f"--launcher={launcher}" if launcher != "none" else f"--coordinator={given[0]}"
        raise OSError(
            f"could not join the other processes by {what} ({reason}); start the same command on "
            "every host, or give --coordinator=HOST:PORT, --num_processes and --process_id"
        ) from error


def _local_devices(launcher):
    """The GPUs of this process under a launcher, where JAX's guess, one per process, is wrong.

    JAX takes the GPU with the process's number on its host. That isn't there where each process
    sees its own GPU only, and is too little where one process has the whole host.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    alone = {"slurm": "SLURM_NTASKS_PER_NODE", "mpi": "OMPI_COMM_WORLD_LOCAL_SIZE"}.get(launcher)
    count = len(visible.split(",")) if visible else 0
    if alone and (count == 1 or (count and os.environ.get(alone) == "1")):
        return list(range(count))
    return None


def _choose(everything, wanted):
    """The devices that are `wanted` of each process."""
    processes = sorted({device.process_index for device in everything})
    own = {p: [d for d in everything if d.process_index == p] for p in processes}
    if len({len(found) for found in own.values()}) > 1:
        counts = ", ".join(f"{len(found)} in process {p}" for p, found in own.items())
        raise ValueError(f"all processes must have as many devices; found {counts}")
    # Of GPUs, this process and its like see those that were asked for only.
    if wanted is None or everything[0].platform == "gpu":
        return everything
    count = len(own[processes[0]])
    unknown = [number for number in wanted if not 0 <= number < count]
    if unknown or not wanted:
        raise ValueError(
            f"--devices={','.join(map(str, wanted))}: this machine has {count} "
            f"{everything[0].platform} devices, 0 to {count - 1}"
        )
    return [own[p][number] for p in processes for number in wanted]


def describe(mesh: Mesh) -> str:
    """How many devices of which kind and process, and their names."""
    devices = mesh.devices.flatten()
    names = [f"{device.platform}:{device.id}" for device in devices]
    more = [f"… {len(names) - SHOWN_DEVICES} more"] if len(names) > SHOWN_DEVICES else []
    processes = len({device.process_index for device in devices})
    where = f" in {processes} processes" if processes > 1 else ""
    shown = " ".join([*names[:SHOWN_DEVICES], *more])
    return f"{len(devices)} {devices[0].device_kind}{where} ({shown})"


def place(tree: dict, sharding: jax.sharding.Sharding) -> dict:
    """`tree`, which is the same in every process, with a sharding."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(x):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def from_first(number: int) -> int:
    """The number that process 0 gives."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def check_same(text: str, what: str) -> None:
    """Raises ValueError unless all processes give the same `text`; `what` it is."""
    if jax.process_count() == 1:
        return
    sums = multihost_utils.process_allgather(np.uint32(zlib.crc32(text.encode())))
    if len(set(sums.tolist())) > 1:
        raise ValueError(f"the processes differ in {what}; start the same command on every host")


class Everyone:
    """A `runs.Stop` of all processes: the signal that one of them got is the signal of all.

    Every process must ask equally often and in the same places.
    """

    def __init__(self, stop, mesh: Mesh):
        self._stop = stop
        self._rows = NamedSharding(mesh, PartitionSpec("data"))
        self._count = sum(
            device.process_index == jax.process_index() for device in mesh.devices.flatten()
        )

    def ask(self) -> Callable[[], int | None]:
        """Asks; calling the result waits for the answer: a signal's number, or None.

        What is asked between two steps is answered when the second begins, which costs nothing.
        """
        if jax.process_count() == 1:
            return lambda: self._stop.signal
        own = np.full(self._count, self._stop.signal or 0, np.int32)
        largest = _largest(jax.make_array_from_process_local_data(self._rows, own))
        return lambda: int(largest) or None

    @property
    def signal(self) -> int | None:
        """The answer as of now."""
        return self.ask()()


_largest = jax.jit(jnp.max)


def make_mesh(devices=None) -> Mesh:
    """A line of all devices; batches are split along it."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def shard(batch: dict, mesh: Mesh) -> dict:
    """This process's slice of a batch as arrays that are split over all devices."""
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return {
        key: jax.make_array_from_process_local_data(rows, value) for key, value in batch.items()
    }
