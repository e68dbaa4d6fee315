"""Training runs on drawn people with tiny networks."""

import functools
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pictures
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from data_pipelines import datasets
from data_pipelines.batching import loading
from data_pipelines.transforms import chains
from hrjax.runtime import distributed, workdir_lock
from hrjax.training import loop, resume, train
from hrjax.training.logs import run_log
from hrjax.training.state import abstract, to_items
from hrjax.weights import checkpoints


def losses(workdir):
    return [(row["step"], row["loss"]) for row in run_log.read(workdir) if "loss" in row]


def batches_of(config, count):
    setup, _ = train.prepare(config)
    ops = chains.train_ops(
        config.augment, setup.split.skeleton, config.data.input_size, strict=True
    )
    with loading.train_batches(
        setup.split, ops, batch_size=config.train.batch_size, seed=config.seed
    ) as batches:
        return [next(batches) for _ in range(count)]


def run_steps(config, devices, batches):
    """The losses of a few steps on the first `devices` devices."""
    mesh = distributed.make_mesh(jax.devices()[:devices])
    setup, state = train.prepare(config, mesh)
    values = []
    for batch in batches:
        inputs = {key: batch[key] for key in ("image", "keypoints", "visible")}
        state, numbers = setup.train_step(state, distributed.shard(inputs, mesh))
        values.append(float(numbers["loss"]))
    return np.array(values), state


@pytest.mark.parametrize("groups", [{}, {"batch_norm_size": 2}, {"batch_norm_size": 1}])
def test_eight_devices_train_like_one_in_float64(tiny, groups):
    tiny.train.update(groups)
    tiny.optimizer.name = "sgd"
    tiny.optimizer.lr = 0.1
    tiny.train.dtype = "float64"
    with jax.enable_x64(True):
        batches = batches_of(tiny, 10)
        one, _ = run_steps(tiny, 1, batches)
        eight, _ = run_steps(tiny, 8, batches)
    assert one.std() > 0
    np.testing.assert_allclose(eight, one, rtol=1e-9)


def test_eight_devices_train_like_one_with_adam(tiny):
    tiny.train.dtype = "float64"
    with jax.enable_x64(True):
        batches = batches_of(tiny, 5)
        one, _ = run_steps(tiny, 1, batches)
        eight, _ = run_steps(tiny, 8, batches)
    assert tiny.optimizer.name == "adam"
    np.testing.assert_allclose(eight, one, rtol=1e-9)


@pytest.mark.parametrize("groups", [{}, {"batch_norm_size": 2}])
def test_eight_devices_take_the_steps_of_one_in_float32(tiny, groups):
    # Each step starts where that of one device starts. Left alone, float32 runs drift apart however
    # well they compute: Adam moves a weight whose gradient is about zero by the sign of a rounding
    # error, and after five steps the loss of one device is 1e-3 from what it is in float64.
    tiny.data.input_size = (128, 128)
    tiny.train.batch_size = 16
    tiny.train.update(groups)
    meshes = [distributed.make_mesh(jax.devices()[:devices]) for devices in (1, 8)]
    (one, state), (eight, _) = (train.prepare(tiny, mesh) for mesh in meshes)
    assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    for batch in batches_of(tiny, 5):
        inputs = {key: batch[key] for key in ("image", "keypoints", "visible")}
        start = jax.tree.map(np.array, state)  # the step donates the state
        state, expected = one.train_step(state, distributed.shard(inputs, meshes[0]))
        replicated = distributed.place(start, NamedSharding(meshes[1], PartitionSpec()))
        other, found = eight.train_step(replicated, distributed.shard(inputs, meshes[1]))
        np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-6)
        jax.tree.map(assert_close, other.stats, state.stats)
        # The mean gradients and their mean squares. Where a ReLU's input is about zero, devices may
        # round it to either side, which moves the gradients by up to 1e-4.
        for moments in ("mu", "nu"):
            pair = (getattr(after.opt_state[0], moments) for after in (other, state))
            jax.tree.map(functools.partial(assert_near, tolerance=1e-3), *pair)


def assert_near(found, expected, tolerance):
    """Fails where the rms difference is more than `tolerance` of the rms of what is expected."""
    found, expected = np.array(found, np.float64), np.array(expected, np.float64)
    difference = np.sqrt(np.mean(np.square(found - expected)))
    assert difference <= tolerance * np.sqrt(np.mean(np.square(expected)))


def test_bfloat16_computes_the_same_loss_and_keeps_float32_state(tiny):
    batches = batches_of(tiny, 3)
    exact, _ = run_steps(tiny, 1, batches)
    tiny.train.dtype = "bfloat16"
    rounded, state = run_steps(tiny, 1, batches)
    np.testing.assert_allclose(rounded, exact, rtol=0.05)  # bfloat16 has 8 bits
    dtypes = {str(x.dtype) for x in jax.tree.leaves((state.params, state.stats, state.opt_state))}
    assert dtypes == {"float32", "int32"}


def test_the_moving_average_covers_weights_and_statistics(tiny):
    tiny.train.ema_decay = 0.75
    batch = batches_of(tiny, 1)
    _, before = run_steps(tiny, 1, [])
    before = jax.tree.map(np.array, before)
    _, after = run_steps(tiny, 1, batch)
    expected = jax.tree.map(
        lambda old, new: 0.75 * old + 0.25 * np.array(new),
        {"params": before.params, "stats": before.stats},
        {"params": after.params, "stats": after.stats},
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.average, expected)
    assert after.weights is after.average


def test_a_run_writes_all_of_its_files(tiny, tmp_path, caplog, capsys, monkeypatch):
    tiny.eval.every_epochs = 1
    logged = []
    tracker = types.SimpleNamespace(
        write=lambda step, numbers, images: logged.append((step, set(numbers), set(images))),
        close=lambda failed: logged.append(failed),
    )
    monkeypatch.setattr(train.trackers, "open_all", lambda config, workdir: [tracker])
    with caplog.at_level(logging.INFO):
        assert train.train(tiny, tmp_path) is None
    assert "starting at step 0" in caplog.text
    # What the mean pose scores is one line.
    assert re.search(
        r"^INFO .* baseline \(mean pose\): PCKh@0.5 [\d.]+$", caplog.text, re.MULTILINE
    )
    assert caplog.text.count("mean pose") == 1
    said = [record.getMessage() for record in caplog.records]
    assert said.count("compiling the training step … (a minute or two, once)") == 1
    assert said.count("compiling the network for evaluation … (a minute or two, once)") == 1
    lines = capsys.readouterr().err
    assert "\r" not in lines
    assert re.search(r"^training: 1 of \d+ steps, epoch [\d.]+ loss \S+ pck \S+ lr", lines, re.M)
    assert lines.splitlines()[0].endswith("lr 1.0e-03")  # neither a speed nor what is left
    assert re.search(r"images/s waiting \d+%, 0:00:\d\d left$", lines, re.MULTILINE)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["width"] == 8
    steps = [step for step, _ in losses(tmp_path)]
    assert steps == list(range(1, len(steps) + 1))
    assert checkpoints.latest(tmp_path / "checkpoints") == steps[-1]
    rows = run_log.read(tmp_path)
    assert logged[-1] is False
    assert [step for step, *_ in logged[:-1]] == [row["step"] for row in rows]
    assert {"loss", "epoch"} < logged[0][1]
    assert logged[-2][2] == {"predictions"}
    first, second, *_ = (row for row in rows if "loss" in row)
    assert {"loss", "pck", "lr", "epoch"} < first.keys()
    # The first step compiles: what it takes is not the speed of training.
    assert second.keys() - first.keys() == {"images_per_second", "waiting"}
    assert [row for row in run_log.read(tmp_path) if "eval/PCKh@0.5" in row]
    assert list((tmp_path / "tensorboard").iterdir())
    for name in ("metrics.json", "results.json", "predictions.jpg"):
        assert (tmp_path / "eval" / "val" / name).stat().st_size > 0


def test_a_finished_run_is_not_trained_again(tiny, tmp_path, caplog):
    train.train(tiny, tmp_path)
    before = losses(tmp_path)
    with caplog.at_level(logging.INFO):
        train.train(tiny, tmp_path)
    assert "this run is finished" in caplog.text
    assert losses(tmp_path) == before


def interrupt_after(monkeypatch, step, number):
    """Sends this process a signal when the numbers of a step are logged."""
    add = run_log.RunLog.add

    def add_and_interrupt(self, logged, *args, **kwargs):
        add(self, logged, *args, **kwargs)
        if logged == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(run_log.RunLog, "add", add_and_interrupt)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_continues_with_the_same_losses(
    tiny, tmp_path, caplog, monkeypatch, number, workers
):
    tiny.train.epochs = 6
    tiny.data.workers = workers
    train.train(tiny, tmp_path / "whole")
    interrupt_after(monkeypatch, 2, number)
    with caplog.at_level(logging.INFO):
        assert train.train(tiny, tmp_path / "parts") == number
        stopped = checkpoints.latest(tmp_path / "parts" / "checkpoints")
        assert "the same command continues" in caplog.text
        assert train.train(tiny, tmp_path / "parts") is None
    assert f"continuing at step {stopped}" in caplog.text
    assert stopped == 3  # the current step is finished and saved
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_a_killed_run_continues_from_its_last_checkpoint(tiny, tmp_path):
    tiny.train.epochs = 4
    tiny.checkpoint.every_steps = 3
    train.train(tiny, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    last = checkpoints.latest(tmp_path / "killed" / "checkpoints")
    # Killed right after the second to last checkpoint, in the middle of writing a line.
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / str(last))
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "lo')
    train.train(tiny, tmp_path / "killed")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_resume_from_starts_a_new_run_from_the_full_state(tiny, tmp_path):
    tiny.checkpoint.every_steps = 2
    train.train(tiny, tmp_path / "old")
    old = tmp_path / "old" / "checkpoints"
    first = min(int(step.name) for step in old.iterdir())
    train.train(tiny, tmp_path / "new", resume_from=str(old / str(first)))
    expected = [row for row in losses(tmp_path / "old") if row[0] > first]
    assert losses(tmp_path / "new") == expected


def test_init_from_takes_only_the_weights(tiny, tmp_path):
    tiny.train.ema_decay = 0.9
    train.train(tiny, tmp_path / "old")
    tiny.train.ema_decay = 0.0
    tiny.init_from = str(tmp_path / "old")
    _, fresh = train.prepare(tiny)
    state = resume.load_weights(tiny, fresh)
    assert int(state.step) == 0
    step = checkpoints.find(str(tmp_path / "old"))
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
        {"params": state.params, "stats": state.stats},
    )
    saved = checkpoints.restore(step, {"average": target})["average"]
    jax.tree.map(np.testing.assert_array_equal, state.params, saved["params"])


def test_a_changed_config_names_the_fields(tiny, tmp_path):
    train.train(tiny, tmp_path)
    tiny.optimizer.lr = 0.5
    tiny.seed = 3
    tiny.log.every_steps = 7  # allowed to change
    with pytest.raises(ValueError, match="holds a run with another config") as caught:
        train.train(tiny, tmp_path)
    assert "optimizer.lr: 0.001 then, 0.5 now" in str(caught.value)
    assert "seed: 0 then, 3 now" in str(caught.value)
    assert "every_steps" not in str(caught.value)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_checkpoint(tiny, tmp_path):
    tiny.checkpoint.every_steps = 1
    tiny.optimizer.name = "sgd"
    tiny.optimizer.lr = 1e30
    with pytest.raises(loop.NonFiniteLossError, match=r"the loss is (nan|inf) at step [2-9]"):
        train.train(tiny, tmp_path)
    step = checkpoints.latest(tmp_path / "checkpoints")
    assert np.isfinite(dict(losses(tmp_path))[step])


def test_a_batch_that_devices_cannot_share_is_an_error(tiny):
    tiny.train.batch_size = 12
    with pytest.raises(ValueError, match=r"config.train.batch_size is 12.*multiple of 8"):
        train.prepare(tiny, distributed.make_mesh(jax.devices()[:8]))


def test_an_unknown_dtype_lists_the_choices(tiny):
    tiny.train.dtype = "bf16"
    with pytest.raises(ValueError, match=r"config.train.dtype 'bf16'.*bfloat16, float32"):
        train.prepare(tiny)


def test_matmul_precision_can_be_chosen(tiny):
    tiny.train.matmul_precision = "highest"
    setup, state = train.prepare(tiny)
    batch = {
        "image": np.zeros((8, 32, 32, 3), np.uint8),
        "keypoints": np.zeros((8, 16, 2), np.float32),
        "visible": np.zeros((8, 16), np.float32),
    }
    text = setup.train_step.lower(state, distributed.shard(batch, setup.mesh)).as_text()
    assert "precision = [HIGHEST, HIGHEST]" in text
    assert "precision = [DEFAULT, DEFAULT]" not in text
    tiny.train.matmul_precision = "tf32"
    with pytest.raises(ValueError, match=r"matmul_precision 'tf32'; choose one of: default, high"):
        train.prepare(tiny)


def test_another_joint_count_is_an_error(tiny):
    tiny.model.num_joints = 17
    with pytest.raises(ValueError, match=r"17 joints \(config.model.num_joints\).*have 16"):
        train.prepare(tiny)


def truncate_image(drawn, tmp_path):
    """A copy of the drawn people in which one training image is truncated."""
    root = pathlib.Path(shutil.copytree(drawn, tmp_path / "truncated"))
    image = sorted((root / "images" / "train2017").iterdir())[0]
    image.write_bytes(image.read_bytes()[:200])
    return root, image


def test_a_corrupt_image_does_not_end_the_run(tiny, drawn, tmp_path, caplog):
    root, image = truncate_image(drawn, tmp_path)
    tiny.data.root = str(root)
    tiny.data.max_unreadable = 0.5
    train.train(tiny, tmp_path / "run")
    assert caplog.text.count(image.name) == 1
    assert all(np.isfinite(loss) for _, loss in losses(tmp_path / "run"))


def test_a_picture_that_claims_billions_of_pixels_costs_its_people(tiny, drawn, tmp_path, caplog):
    root, image = truncate_image(drawn, tmp_path)
    image.write_bytes(pictures.claiming(65500, 65500)["a.jpg"])
    tiny.data.root = str(root)
    tiny.data.max_unreadable = 0.5
    train.train(tiny, tmp_path / "run")
    assert caplog.text.count(f"{image.name}: it has 65500x65500 pixels") == 1


def test_the_limit_on_pixels_reaches_training(tiny, tmp_path):
    tiny.data.max_pixels = 120 * 160 - 1
    with pytest.raises(ValueError, match=r"can't be read.*max_unreadable"):
        train.train(tiny, tmp_path / "run")


def test_corrupt_images_end_the_run_if_strict_or_too_many(tiny, drawn, tmp_path):
    root, image = truncate_image(drawn, tmp_path)
    tiny.data.root = str(root)
    tiny.data.max_unreadable = 0.01
    with pytest.raises(ValueError, match=r"can't be read.*max_unreadable"):
        train.train(tiny, tmp_path / "few")
    tiny.data.strict = True
    with pytest.raises(ValueError, match=image.name):
        train.train(tiny, tmp_path / "strict")


def test_a_checkpoint_of_another_model_is_an_error(tiny, tmp_path):
    train.train(tiny, tmp_path / "old")
    tiny.model.expansion = 3
    with pytest.raises(ValueError, match="checkpoint of another model"):
        train.train(tiny, tmp_path / "new", resume_from=str(tmp_path / "old"))


def first_device():
    return distributed.make_mesh(jax.devices()[:1])


def test_two_runs_are_bitwise_equal(micro, tmp_path):
    for name in ("one", "two"):
        train.train(micro, tmp_path / name, mesh=first_device())
    assert losses(tmp_path / "one") == losses(tmp_path / "two")
    _, state = train.prepare(micro)
    target = abstract(to_items(state))
    states = [
        checkpoints.restore(checkpoints.find(str(tmp_path / name)), target)
        for name in ("one", "two")
    ]
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize(("before", "after"), [(8, 1), (1, 8)])
def test_a_run_continues_on_other_devices(micro, tmp_path, before, after):
    micro.checkpoint.every_steps = 1
    micro.checkpoint.keep = 9
    before, after = (distributed.make_mesh(jax.devices()[:count]) for count in (before, after))
    train.train(micro, tmp_path / "old", mesh=before)
    step = tmp_path / "old" / "checkpoints" / "1"
    states = []
    for mesh in (before, after):
        _, state = train.prepare(micro, mesh)
        states.append(checkpoints.restore(step, abstract(to_items(state))))
    jax.tree.map(np.testing.assert_array_equal, *states)
    assert jax.tree.leaves(states[1])[0].sharding.mesh == after
    # The same samples follow, so the losses are equal up to rounding.
    train.train(micro, tmp_path / "new", mesh=after, resume_from=str(step))
    expected = [row for row in losses(tmp_path / "old") if row[0] > 1]
    np.testing.assert_allclose(losses(tmp_path / "new"), expected, rtol=1e-3)


def test_a_damaged_checkpoint_does_not_end_the_run(micro, tmp_path, caplog):
    micro.checkpoint.every_steps = 1
    train.train(micro, tmp_path / "whole", mesh=first_device())
    shutil.copytree(tmp_path / "whole", tmp_path / "damaged")
    last = checkpoints.latest(tmp_path / "damaged" / "checkpoints")
    folder = tmp_path / "damaged" / "checkpoints" / str(last)
    shutil.rmtree(folder / "optimizer")
    train.train(micro, tmp_path / "damaged", mesh=first_device())
    assert "falling back to the checkpoint before it" in caplog.text
    assert folder.with_name(f"{last}.damaged").is_dir()
    assert losses(tmp_path / "damaged") == losses(tmp_path / "whole")
    assert checkpoints.latest(tmp_path / "damaged" / "checkpoints") == last


def mixed(config, drawn):
    config.data.dataset = "coco"
    config.model.num_joints = 17
    config.data.mix.datasets = ("mpii",)
    config.data.mix.roots = (str(drawn),)
    config.data.mix.weights = (3.0, 1.0)


def test_two_datasets_are_mixed_into_one(micro, drawn, caplog):
    mixed(micro, drawn)
    with caplog.at_level(logging.INFO):
        split = train.open_train_split(micro)
    assert "each batch has 6 of the " in caplog.text
    assert " people of coco, 2 of the " in caplog.text
    first = len(datasets.read("coco", str(drawn), "train"))
    ops = chains.train_ops(micro.augment, split.skeleton, (32, 32), strict=True)
    with loading.train_batches(split, ops, batch_size=8, seed=0) as batches:
        batch = next(batches)
    of_mpii = batch["index"] >= first
    assert of_mpii.sum() == 2
    assert batch["keypoints"].shape == (8, 17, 2)
    assert not batch["visible"][of_mpii, :5].any()  # MPII has no facial joints
    assert batch["visible"][of_mpii, 5:].any()


def test_mixed_datasets_need_a_root_each(micro, drawn):
    mixed(micro, drawn)
    micro.data.mix.roots = ("a", "b")
    with pytest.raises(ValueError, match=r"config\.data\.mix has 2 roots for 1 datasets"):
        train.open_train_split(micro)
    micro.data.mix.datasets, micro.data.mix.roots = ("lsp",), ()
    with pytest.raises(ValueError, match="unknown dataset 'lsp'; choose one of: "):
        train.open_train_split(micro)


def test_the_loss_is_configured_by_the_config(tiny):
    setup, state = train.prepare(tiny, distributed.make_mesh(jax.devices()[:1]))
    shapes = {"image": (8, 32, 32, 3), "keypoints": (8, 16, 2), "visible": (8, 16)}
    batch = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in shapes.items()}
    tiny.loss.hard_joints = 17
    with pytest.raises(ValueError, match=r"config\.loss\.hard_joints is 17"):
        jax.eval_shape(setup.train_step, state, batch)
    tiny.loss.joint_weights = (1.0, 1.5)
    with pytest.raises(ValueError, match=r"config\.loss\.joint_weights has 2 numbers"):
        jax.eval_shape(setup.train_step, state, batch)


def test_a_work_directory_in_use_is_refused_before_anything_is_written(micro, tmp_path):
    workdir = tmp_path / "run"
    train.train(micro, workdir, mesh=first_device())
    before = {file: file.read_bytes() for file in workdir.rglob("*") if file.is_file()}
    with workdir_lock.hold(workdir):
        before[workdir / "in_use.json"] = (workdir / "in_use.json").read_bytes()
        with pytest.raises(workdir_lock.InUseError, match=f"process {os.getpid()} on "):
            train.train(micro, workdir, mesh=first_device())
        assert {file: file.read_bytes() for file in workdir.rglob("*") if file.is_file()} == before
    train.train(micro, workdir, mesh=first_device())
    assert not (workdir / "in_use.json").exists()


@pytest.mark.parametrize("mistake", ["root", "init_from", "resume_from"])
def test_a_run_that_cannot_begin_leaves_no_folder(micro, tmp_path, mistake):
    resume_from = str(tmp_path / "gone") if mistake == "resume_from" else ""
    if mistake == "root":
        micro.data.root = str(tmp_path / "gone")
    if mistake == "init_from":
        micro.init_from = str(tmp_path / "gone")
    with pytest.raises((OSError, ValueError), match="gone"):
        train.train(micro, tmp_path / "runs" / "new", mesh=first_device(), resume_from=resume_from)
    assert not (tmp_path / "runs").exists()


def test_a_signal_before_the_first_step_ends_the_run_at_once(micro, tmp_path, monkeypatch, caplog):
    def compute(self):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the first step was waited for")

    monkeypatch.setattr(loading.Batches, "__next__", compute)
    caplog.set_level(logging.INFO)
    assert train.train(micro, tmp_path, mesh=first_device()) == signal.SIGTERM
    assert "stopped before the first step; the same command starts again" in caplog.text
    monkeypatch.undo()
    assert train.train(micro, tmp_path, mesh=first_device()) is None


def test_a_run_without_its_config_continues_with_a_word(micro, tmp_path, caplog):
    train.train(micro, tmp_path, mesh=first_device())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"config\.json is not a usable config: model\.name is None"
    ):
        train.train(micro, tmp_path, mesh=first_device())
    (tmp_path / "config.json").unlink()
    assert train.train(micro, tmp_path, mesh=first_device()) is None
    assert "config.json is missing; it is not known whether" in caplog.text


def test_a_run_of_damaged_checkpoints_does_not_start_again_from_nothing(micro, tmp_path):
    train.train(micro, tmp_path, mesh=first_device())
    for step in (tmp_path / "checkpoints").iterdir():
        (step / "_CHECKPOINT_METADATA").unlink()
    with pytest.raises(OSError, match=r"none of the 1 checkpoints in .* can be read"):
        train.train(micro, tmp_path, mesh=first_device())
    assert checkpoints.latest(tmp_path / "checkpoints") is None
    assert [step.name for step in (tmp_path / "checkpoints").iterdir()] == ["6"]
