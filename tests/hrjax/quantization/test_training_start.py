"""Quantization-aware training by the command line: what it starts from, learns, and leaves."""

import json
import logging
import pathlib
import shutil

import jax
import numpy as np
import pytest

import convert_weights
import export
import hrjax
from hrjax import main, models
from hrjax.weights import model_card, source

ROOT = pathlib.Path(__file__).parents[3]
STEPS = 20
NETWORK = (
    *("--config=configs/resnet_mpii.py", "--config.model.width=4", "--config.model.blocks=1,"),
    *("--config.model.deconvs=0", "--config.data.input_size=32,32", "--config.data.color=rgb"),
)
TRAINING = (
    *("--config.train.batch_size=8", "--config.train.batch_norm_size=0", "--config.seed=3"),
    *(f"--config.train.epochs={STEPS // 2}", "--config.optimizer.milestones=9,"),
    *("--config.eval.every_epochs=0", "--config.eval.batch_size=8", "--config.log.every_steps=1"),
    f"--config.checkpoint.every_steps={STEPS // 2}",
    *("--config.quantize.enabled=True", "--config.quantize.keep='final',"),
    *("--config.quantize.crops=8", "--config.quantize.alpha_factor=50"),
)


def command(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        # The command line sends the log to this test's stderr, which is closed after it.
        patch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
        patch.setattr("sys.argv", ["hrjax.main", *map(str, arguments)])
        return main.main()


@pytest.fixture(scope="module")
def options(drawn, portable):
    own = (f"--config.data.root={drawn}", f"--config.init_from={portable.weights}")
    return (*NETWORK, *TRAINING, *own)


@pytest.fixture(scope="module")
def run(options, tmp_path_factory):
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("quantized") / "run"
    assert command(*options, f"--workdir={folder}") == 0
    return folder


def alphas(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return np.array([float(x) for path, x in leaves if path[-1].key == "alpha"])


def test_a_run_learns_weights_and_alphas_from_calibrated_ranges(run, portable):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == STEPS
    assert np.mean(losses[-4:]) < 0.95 * np.mean(losses[:4])
    _, params, stats = source.open(run).restore()
    _, before, _ = source.open(run / "checkpoints" / str(STEPS // 2)).restore()
    moved = np.abs(alphas(params) - alphas(before))
    # A step of Adam is about lr, of alpha 50 times as much: more than all steps of a weight.
    assert moved.max() > STEPS * 1e-3
    assert len(moved) == 5
    assert all(x["total"] / x["count"] > 0 for x in roundings(stats))


def roundings(stats):
    for key, value in stats.items():
        yield from [value] if key == "rounding" else roundings(value)


def test_every_checkpoint_says_that_it_is_quantized(run):
    for step in (STEPS // 2, STEPS):
        card = model_card.read(run / "checkpoints" / str(step) / model_card.FILE)
        assert card.quantization == models.Quantization(keep=("final",))
    opened = source.open(run)
    assert opened.config.quantize.enabled
    network = hrjax.load(run)
    assert network.final.rounding is None
    assert network.layers[0][0].conv1.conv.rounding is not None


@pytest.mark.long
def test_a_copied_step_predicts_and_is_evaluated(run, drawn, tmp_path):
    copy = tmp_path / "copied"
    shutil.copytree(run / "checkpoints" / str(STEPS), copy)
    for checkpoint, name in ((run, "run"), (copy, "copy")):
        where = (f"--config.data.root={drawn}", f"--workdir={tmp_path / name}")
        assert command("--mode=eval", f"--checkpoint={checkpoint}", *where) == 0
    first, second = (
        json.loads((tmp_path / name / "eval" / "val" / "metrics.json").read_text())
        for name in ("run", "copy")
    )
    assert first == second


def test_an_interrupted_run_continues_bit_by_bit(run, options, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "checkpoints" / str(STEPS))
    assert command(*options, f"--workdir={again}") == 0
    first, second = (source.open(folder).restore()[1:] for folder in (run, again))
    jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.long
def test_it_is_exported_in_eight_bits(run, tmp_path, monkeypatch, capsys):
    file = tmp_path / "model.onnx"
    start = ["export.py", f"--checkpoint={run}", f"--output={file}"]
    monkeypatch.setattr("sys.argv", [*start, "--check"])
    export.main()
    line, check = capsys.readouterr().out.splitlines()
    assert ": pose_resnet_50, 16 joints, " in line
    assert " in ONNX, opset 18, in eight bits as it was trained, " in line
    pixels, scores = check.removeprefix("differs from the checkpoint by at most ").split()[::3][:2]
    assert float(pixels) < 1e-3, scores
    monkeypatch.setattr("sys.argv", [*start, "--half"])
    with pytest.raises(SystemExit, match="was trained in simulated eight bits, in which it is ex"):
        export.main()
    with pytest.raises(ValueError, match=r"in simulated eight bits, .*; leave out int8_crops"):
        hrjax.export_onnx(run, file, int8_crops=np.zeros((8, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match=r"in simulated eight bits, .*; leave out half"):
        hrjax.export_onnx(run, file, half=True)


@pytest.mark.parametrize("name", ["folder", "file.npz", "file.safetensors"])
def test_converted_weights_are_quantized_as_well(run, tmp_path, name):
    convert_weights.convert(str(run), tmp_path / name)
    converted = source.open(tmp_path / name)
    assert converted.quantization == models.Quantization(keep=("final",))
    theirs, ours = (x.restore() for x in (source.open(run), converted))
    assert theirs[0] == ours[0]
    jax.tree.map(np.testing.assert_array_equal, theirs[1:], ours[1:])


def test_a_config_does_not_change_whether_weights_are_quantized(run, portable):
    plain, quantized = source.open(portable.weights), source.open(run)
    assert quantized.with_config(plain.config).quantization == quantized.quantization
    assert plain.with_config(quantized.config).quantization is None
    assert quantized.with_config(plain.config).card.quantization.keep == ("final",)


@pytest.mark.long
def test_it_combines_with_what_other_runs_do(run, options, tmp_path):
    folder = tmp_path / "all"
    more = (
        *(
            f"--config.init_from={run}",
            f"--config.distill.teacher={run}",
            "--config.train.freeze=1",
        ),
        *("--config.train.ema_decay=0.5", "--config.train.accumulate=2", "--devices=0,1"),
        *("--config.train.remat=True", "--config.distill.batch_statistics=True"),
        *("--config.train.epochs=1", "--config.optimizer.name=adamw"),
        "--config.optimizer.weight_decay=0.5",
    )
    assert command(*options, *more, f"--workdir={folder}") == 0
    first, second = (source.open(x).restore()[1:] for x in (run, folder))
    for before, after in zip(first, second, strict=True):  # params, stats
        jax.tree.map(np.testing.assert_array_equal, before["conv1"], after["conv1"])
    # One that clips nothing has no gradient, and no weight decay either.
    moved = alphas(first[0]["layers"]) != alphas(second[0]["layers"])
    assert moved.sum() >= 3
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite([row["distill"] for row in rows if "distill" in row]).all()


@pytest.mark.long
def test_the_range_of_a_batch_is_that_of_all_devices(run, options, tmp_path):
    totals = []
    for devices in ("0", "0,1,2,3"):
        folder = tmp_path / devices
        more = (f"--config.init_from={run}", "--config.train.batch_norm_size=1")
        more += ("--config.train.epochs=1", f"--devices={devices}", f"--workdir={folder}")
        assert command(*options, *more) == 0
        _, _, stats = source.open(folder).restore()
        totals.append([float(x["total"]) for x in roundings(stats)])
    np.testing.assert_allclose(*totals, rtol=1e-3)


def test_weights_to_start_from_must_be_quantized_alike(run, portable, options, tmp_path):
    model = hrjax.create("pose_resnet_50", **portable.card.fields)
    _, params, stats = models.split(model)
    with pytest.raises(
        ValueError, match=r"is quantized, with final in float32, and the .* is in float"
    ):
        source.open(run).start_from("pose_resnet_50", {"params": params, "stats": stats})
    told = models.Quantization(keep=("conv1",))
    message = "with final in float32, and the network to train is quantized, with conv1 in float32"
    with pytest.raises(ValueError, match=message):
        source.open(run).start_from("pose_resnet_50", {"params": params}, quantization=told)


@pytest.mark.long
def test_a_run_starts_from_a_quantized_one(run, options, tmp_path):
    folder = tmp_path / "further"
    further = (f"--config.init_from={run}", "--config.train.epochs=1", "--config.optimizer.lr=1e-9")
    assert command(*options, *further, f"--workdir={folder}") == 0
    first, second = (source.open(x).restore()[1] for x in (run, folder))
    np.testing.assert_allclose(alphas(first), alphas(second), atol=1e-4)


def test_it_starts_from_a_trained_network_only(options, tmp_path, capsys):
    assert command(*options, "--config.init_from=", f"--workdir={tmp_path / 'run'}") == 1
    assert "quantization-aware training starts from a trained network" in capsys.readouterr().err
