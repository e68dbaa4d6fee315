"""Joining processes and choosing devices; test_many_processes.py starts real processes."""

import types

import jax
import numpy as np
import pytest

from hrjax.runtime import distributed, signals


@pytest.fixture(autouse=True)
def visible_gpus():
    yield
    jax.config.update("jax_cuda_visible_devices", "all")
    jax.config.update("jax_rocm_visible_devices", "all")


def test_one_process_needs_no_options():
    assert distributed.join() == jax.devices()


def test_devices_are_chosen_by_index():
    assert distributed.join(devices=[0, 3]) == [jax.devices()[0], jax.devices()[3]]


def test_an_unknown_device_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"--devices=0,8: this machine has 8 cpu devices, 0 to 7"):
        distributed.join(devices=[0, 8])


def test_incomplete_options_for_joining_are_an_error():
    with pytest.raises(ValueError, match="--num_processes and --process_id must be given together"):
        distributed.join(coordinator="host:1234", num_processes=2)
    with pytest.raises(ValueError, match="must be given together"):
        distributed.join(process_id=0)


def test_processes_that_cannot_be_joined_are_an_error():
    # One of the reasons: JAX has already been initialized here.
    with pytest.raises(OSError, match=r"could not join the other processes with --launcher=slurm"):
        distributed.join("slurm")
    with pytest.raises(OSError, match=r"with --coordinator=here:1 \(.*start the same command"):
        distributed.join(coordinator="here:1", num_processes=2, process_id=0)


def device(process, number):
    return types.SimpleNamespace(
        process_index=process, id=number, platform="cpu", device_kind="cpu"
    )


def test_all_processes_use_the_same_device_indices():
    everything = [device(0, 0), device(0, 1), device(1, 2), device(1, 3)]
    assert [d.id for d in distributed._choose(everything, [1])] == [1, 3]
    assert distributed._choose(everything, None) == everything
    with pytest.raises(ValueError, match="got 2 in process 0, 1 in process 1"):
        distributed._choose(everything[:3], None)


@pytest.mark.parametrize(
    ("visible", "tasks", "expected"),
    [
        ("5", "8", [0]),  # each task sees only its own GPU
        ("0,1,2,3", "1", [0, 1, 2, 3]),  # one task has the whole host
        ("0,1,2,3", "4", None),  # all tasks see all GPUs: JAX gives each task one
        ("", "1", None),
    ],
)
def test_slurm_tasks_use_their_own_gpus(monkeypatch, visible, tasks, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", tasks)
    assert distributed._local_devices("slurm") == expected
    assert distributed._local_devices("none") is None


def test_the_description_names_the_devices():
    mesh = distributed.make_mesh(jax.devices()[:2])
    assert distributed.describe(mesh) == "2 cpu (cpu:0 cpu:1)"
    many = np.array([device(process, number) for process in range(4) for number in range(5)])
    text = distributed.describe(types.SimpleNamespace(devices=many))
    assert text.startswith("20 cpu in 4 processes (cpu:0 cpu:1 ")
    assert text.endswith("… 4 more)")


def test_a_single_process_needs_no_agreement():
    request = signals.StopRequest()
    shared = distributed.SharedStopRequest(request, distributed.make_mesh())
    answer = shared.ask()
    assert answer() is None
    request.signal = 15
    assert answer() == shared.signal == 15
    assert distributed.broadcast_from_first(7) == 7
    distributed.check_same("a config", "their config")


def test_deterministic_mode_keeps_other_xla_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    distributed.make_deterministic()
    flags = distributed.os.environ["XLA_FLAGS"].split()
    assert flags[0] == "--xla_cpu_enable_fast_math=false"
    assert "--xla_gpu_deterministic_ops=true" in flags
