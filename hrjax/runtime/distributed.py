"""Multi-process runs: joins the processes, selects devices, and keeps processes in agreement."""

import os
import zlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from hrjax.runtime.signals import StopRequest

# Our names and JAX's. JAX detects the rest by itself (auto: Slurm, Open MPI, TPU pods, GKE).
LAUNCHERS = {"none": "deactivate", "auto": None, "slurm": "slurm", "mpi": "ompi"}
# XLA reads these flags when a device is first used.
DETERMINISTIC = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_autotune_level=0")
SHOWN_DEVICES = 16
TIMEOUT = 60  # seconds without a heartbeat until a process counts as lost


def make_deterministic() -> None:
    """Makes GPUs compute bitwise reproducible results; call it before any device is used."""
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *DETERMINISTIC]).strip()


def join(
    launcher: str = "none",
    *,
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
    devices: list[int] | None = None,
) -> list[jax.Device]:
    """Joins this process to the others of the run; returns the devices of all processes.

    The processes are known to the `launcher`, or given by `coordinator` (host:port of process 0),
    `num_processes` and `process_id`; otherwise there is one process. `devices` are the indices of
    the devices that each process uses; None means all.
    """
    given = (coordinator or None, num_processes, process_id)
    if launcher == "none" and any(x is not None for x in given) and None in given:
        raise ValueError(
            "--coordinator=HOST:PORT, --num_processes and --process_id must be given together; "
            "or use --launcher=auto"
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
            heartbeat_timeout_seconds=TIMEOUT,
            shutdown_timeout_seconds=TIMEOUT,
        )
    except (ValueError, RuntimeError, KeyError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        if isinstance(error, KeyError):
            reason = f"{error.args[0]} is not set, so this is not a job of that launcher"
        option = f"--launcher={launcher}" if launcher != "none" else f"--coordinator={given[0]}"
        raise OSError(
            f"could not join the other processes with {option} ({reason}); start the same command "
            "on every host, or give --coordinator=HOST:PORT, --num_processes and --process_id"
        ) from error


def _local_devices(launcher):
    """The GPUs of this process under a launcher, if JAX's guess of one per process is wrong.

    JAX takes the GPU with the number of the process on its host. That GPU does not exist if each
    process sees only its own, and is not enough if one process has the whole host.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    tasks = {"slurm": "SLURM_NTASKS_PER_NODE", "mpi": "OMPI_COMM_WORLD_LOCAL_SIZE"}.get(launcher)
    count = len(visible.split(",")) if visible else 0
    if tasks and (count == 1 or (count and os.environ.get(tasks) == "1")):
        return list(range(count))
    return None


def _choose(devices, wanted):
    """Those of all `devices` whose index in their process is one of `wanted`."""
    processes = sorted({device.process_index for device in devices})
    own = {p: [d for d in devices if d.process_index == p] for p in processes}
    if len({len(local) for local in own.values()}) > 1:
        counts = ", ".join(f"{len(local)} in process {p}" for p, local in own.items())
        raise ValueError(f"all processes must have the same number of devices; got {counts}")
    # The processes already see only the GPUs that were asked for.
    if wanted is None or devices[0].platform == "gpu":
        return devices
    count = len(own[processes[0]])
    unknown = [number for number in wanted if not 0 <= number < count]
    if unknown or not wanted:
        raise ValueError(
            f"--devices={','.join(map(str, wanted))}: this machine has {count} "
            f"{devices[0].platform} devices, 0 to {count - 1}"
        )
    return [own[p][number] for p in processes for number in wanted]


def describe(mesh: Mesh) -> str:
    """The number, kind and names of the devices, and the number of processes."""
    devices = mesh.devices.flatten()
    names = [f"{device.platform}:{device.id}" for device in devices]
    more = [f"… {len(names) - SHOWN_DEVICES} more"] if len(names) > SHOWN_DEVICES else []
    processes = len({device.process_index for device in devices})
    where = f" in {processes} processes" if processes > 1 else ""
    shown = " ".join([*names[:SHOWN_DEVICES], *more])
    return f"{len(devices)} {devices[0].device_kind}{where} ({shown})"


def place(tree: dict, sharding: jax.sharding.Sharding) -> dict:
    """`tree`, which must be the same in every process, placed with a sharding."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(x):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(put, tree)


def broadcast_from_first(number: int) -> int:
    """The `number` that process 0 has."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def run_on_first(action: Callable[[], object]) -> None:
    """Runs `action` in process 0 while the others wait; if it fails there, all processes raise."""
    failure = None
    if jax.process_index() == 0:
        try:
            action()
        except Exception as error:
            failure = error
    if broadcast_from_first(failure is not None):
        raise failure or OSError("process 0 could not begin; its own message says why")


def check_same(text: str, what: str) -> None:
    """Raises ValueError unless all processes have the same `text`; `what` names it in the error."""
    if jax.process_count() == 1:
        return
    sums = multihost_utils.process_allgather(np.uint32(zlib.crc32(text.encode())))
    if len(set(sums.tolist())) > 1:
        raise ValueError(f"the processes differ in {what}; start the same command on every host")


class SharedStopRequest:
    """A `signals.StopRequest` shared by all processes: a signal to one of them stops all.

    Asking is a collective operation: all processes must ask at the same points of the program.
    """

    def __init__(self, request: StopRequest, mesh: Mesh):
        self._request = request
        self._rows = NamedSharding(mesh, PartitionSpec("data"))
        self._count = sum(
            device.process_index == jax.process_index() for device in mesh.devices.flatten()
        )

    def ask(self) -> Callable[[], int | None]:
        """Asks all processes; the returned function waits for the signal's number, or None.

        Asked between two steps, the answer is there when the second begins, at no cost.
        """
        if jax.process_count() == 1:
            return lambda: self._request.signal
        own = np.full(self._count, self._request.signal or 0, np.int32)
        largest = _largest(jax.make_array_from_process_local_data(self._rows, own))
        return lambda: int(largest) or None

    @property
    def signal(self) -> int | None:
        """The number of the signal that any process has received so far, or None."""
        return self.ask()()


_largest = jax.jit(jnp.max)


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A one-dimensional mesh of `devices` (default: all), along which batches are sharded."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def shard(batch: dict, mesh: Mesh) -> dict:
    """A batch, of which each process has its slice, as arrays sharded over all devices."""
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return {
        key: jax.make_array_from_process_local_data(rows, value) for key, value in batch.items()
    }
