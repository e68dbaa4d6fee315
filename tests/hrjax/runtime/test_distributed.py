"""Joining processes and choosing devices; many processes for real are in test_many_processes.py."""

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


def test_one_process_needs_nothing():
    assert distributed.join() == jax.devices()


def test_devices_are_chosen_by_their_numbers():
    assert distributed.join(devices=[0, 3]) == [jax.devices()[0], jax.devices()[3]]


def test_a_device_that_is_not_there_says_which_are():
    with pytest.raises(ValueError, match=r"--devices=0,8: this machine has 8 cpu devices, 0 to 7"):
        distributed.join(devices=[0, 8])


def test_half_of_what_joins_processes_is_an_error():
    with pytest.raises(ValueError, match="--num_processes and --process_id belong together"):
        distributed.join(coordinator="host:1234", num_processes=2)
    with pytest.raises(ValueError, match="belong together"):
        distributed.join(process_id=0)


def test_processes_that_cannot_be_joined_are_an_error():
    # JAX has started here already, which is one reason.
    with pytest.raises(OSError, match=r"could not join the other processes by --launcher=slurm"):
        distributed.join("slurm")
    with pytest.raises(OSError, match=r"by --coordinator=here:1 \(.*start the same command"):
        distributed.join(coordinator="here:1", num_processes=2, process_id=0)


def device(process, number):
    return types.SimpleNamespace(
        process_index=process, id=number, platform="cpu", device_kind="cpu"
    )


def test_every_process_takes_the_same_of_its_devices():
    everything = [device(0, 0), device(0, 1), device(1, 2), device(1, 3)]
    assert [d.id for d in distributed._choose(everything, [1])] == [1, 3]
    assert distributed._choose(everything, None) == everything
    with pytest.raises(ValueError, match="found 2 in process 0, 1 in process 1"):
        distributed._choose(everything[:3], None)


@pytest.mark.parametrize(
    ("visible", "tasks", "expected"),
    [
        ("5", "8", [0]),  # each task sees its own
        ("0,1,2,3", "1", [0, 1, 2, 3]),  # one task has the host
        ("0,1,2,3", "4", None),  # all see all: JAX takes one for each
        ("", "1", None),
    ],
)
def test_slurm_tasks_take_the_gpus_that_are_theirs(monkeypatch, visible, tasks, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", tasks)
    assert distributed._local_devices("slurm") == expected
    assert distributed._local_devices("none") is None


def test_the_log_names_the_devices():
    mesh = distributed.make_mesh(jax.devices()[:2])
    assert distributed.describe(mesh) == "2 cpu (cpu:0 cpu:1)"
    many = np.array([device(process, number) for process in range(4) for number in range(5)])
    text = distributed.describe(types.SimpleNamespace(devices=many))
    assert text.startswith("20 cpu in 4 processes (cpu:0 cpu:1 ")
    assert text.endswith("… 4 more)")


def test_one_process_agrees_with_itself():
    stop = signals.Stop()
    everyone = distributed.Everyone(stop, distributed.make_mesh())
    answer = everyone.ask()
    assert answer() is None
    stop.signal = 15
    assert answer() == everyone.signal == 15
    assert distributed.from_first(7) == 7
    distributed.check_same("anything", "nothing")


def test_deterministic_keeps_other_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    distributed.make_deterministic()
    flags = distributed.os.environ["XLA_FLAGS"].split()
    assert flags[0] == "--xla_cpu_enable_fast_math=false"
    assert "--xla_gpu_deterministic_ops=true" in flags
