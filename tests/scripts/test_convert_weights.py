"""From a published file to a checkpoint that evaluates and that training starts from."""

import functools
import hashlib
import http.server
import logging
import pickle
import sys
import threading

import jax
import numpy as np
import pytest

import hrjax
from hrjax import models
from hrjax.evaluation import evaluate
from hrjax.training import resume, train
from hrjax.weights import source, torch_names
from scripts import convert_weights


@pytest.fixture
def run(monkeypatch, capsys):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, arguments)])
        convert_weights.main()
        return capsys.readouterr().out

    return command


@pytest.fixture
def published(tmp_path):
    """A file of a tiny HRNet with 16 joints, as a training program leaves it, and its weights."""
    model = hrjax.create("hrnet_tiny", seed=3, num_joints=16)
    _, params, stats = hrjax.split(model)
    state = torch_names.to_torch("hrnet_tiny", params, stats)
    file = tmp_path / "model_final.pdparams"
    file.write_bytes(pickle.dumps({"epoch": 1, "state_dict": state}))
    return file, {"params": params, "stats": stats}


def use_hrnet(config):
    """The tests' recipe with the network of `published`."""
    with config.unlocked():
        fields = models.VARIANTS["hrnet_tiny"]
        config.model = {"name": "hrnet_tiny", **vars(fields), "num_joints": 16}
    return config


def assert_same(tree, other):
    jax.tree.map(np.testing.assert_array_equal, tree, other)


def assert_holds(weights, expected):
    _, params, stats = weights.restore()
    assert_same({"params": params, "stats": stats}, expected)


def test_the_variant_and_the_joints_are_recognized(run, published, tmp_path):
    file, expected = published
    out = run(f"--source={file}", f"--output={tmp_path / 'converted'}")
    count = sum(x.size for x in jax.tree.leaves(expected["params"]))
    made = f"wrote {tmp_path / 'converted'}: hrnet_tiny with 16 joints, {count:,} parameters"
    assert out.endswith(f"{made}, crops of 256x256 pixels (width x height)\n")
    converted = source.open(tmp_path / "converted")
    card = converted.saved_card
    assert (card.variant, card.dataset, card.input_size) == ("hrnet_tiny", "mpii", (256, 256))
    assert_holds(converted, expected)


def test_training_starts_from_the_checkpoint_and_from_the_file(run, published, tiny, tmp_path):
    file, expected = published
    run(f"--source={file}", f"--output={tmp_path / 'converted'}", "--model=hrnet_tiny")
    use_hrnet(tiny)
    _, fresh = train.prepare(tiny)
    for path in (tmp_path / "converted", file):
        tiny.init_from = str(path)
        state = resume.load_weights(tiny, fresh)
        assert_same({"params": state.params, "stats": state.stats}, expected)
    with pytest.raises(FileNotFoundError, match="has no optimizer: these are converted weights"):
        train.train(tiny, tmp_path / "run", resume_from=str(tmp_path / "converted"))


def test_training_starts_from_a_classifier_and_says_what_it_lacks(published, tiny, caplog):
    file, expected = published
    state = pickle.loads(file.read_bytes())["state_dict"]
    del state["final_layer.weight"], state["final_layer.bias"]
    file.write_bytes(pickle.dumps(state | {"classifier.bias": np.zeros(1000)}))
    use_hrnet(tiny).init_from = str(file)
    _, fresh = train.prepare(tiny)
    caplog.set_level(logging.INFO)
    state = resume.load_weights(tiny, fresh)
    assert_same(state.params["stem"], expected["params"]["stem"])
    assert_same(state.params["final"], fresh.params["final"])
    assert caplog.messages[-1] == (
        f"starting from the weights of {file}; the head starts fresh: these weights have no head "
        "for joints; not used: classifier.bias"
    )


@pytest.mark.parametrize("name", ["converted.npz", "converted.safetensors"])
def test_a_file_is_written_for_other_programs_with_its_card(run, published, tmp_path, name):
    file, expected = published
    run(f"--source={file}", f"--output={tmp_path / 'folder'}", "--model=hrnet_tiny_64x32")
    out = run(f"--source={tmp_path / 'folder'}", f"--output={tmp_path / name}")
    assert out.startswith(f"wrote {tmp_path / name}: hrnet_tiny with 16 joints, ")
    converted = source.open(tmp_path / name)
    assert converted.card == source.open(tmp_path / "folder").card
    assert converted.card.input_size == (64, 32)
    assert_holds(converted, expected)
    with pytest.raises(SystemExit, match="exists already; choose another --output"):
        run(f"--source={file}", f"--output={tmp_path / name}")


def test_joints_of_no_known_dataset_need_a_config_for_the_card(run, tmp_path, caplog):
    _, params, stats = hrjax.split(hrjax.create("hrnet_tiny", num_joints=5))
    np.savez(tmp_path / "five.npz", **torch_names.to_torch("hrnet_tiny", params, stats))
    run(f"--source={tmp_path / 'five.npz'}", f"--output={tmp_path / 'five'}")
    assert "converted without a model card: " in caplog.text
    assert "no known dataset has 5 joints" in caplog.text
    assert "Give the config that it was trained with" in caplog.text
    assert source.open(tmp_path / "five").saved_card is None


def test_an_address_is_as_good_as_a_file(run, published, tmp_path, monkeypatch):
    file, _ = published
    monkeypatch.setenv("HRJAX_CACHE", str(tmp_path / "cache"))
    handler = functools.partial(Quiet, directory=file.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/{file.name}"
        out = run(f"--source={address}", f"--output={tmp_path / 'converted'}")
        server.shutdown()
        thread.join()
    assert "hrnet_tiny with 16 joints" in out


def test_the_sha256_of_the_source_can_be_required(run, published, tmp_path):
    file, _ = published
    digits = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(SystemExit, match=rf"error: .* has the SHA-256 {digits}, expected 01234567"):
        run(f"--source={file}", f"--output={tmp_path / 'a'}", "--sha256=01234567")
    out = run(f"--source={file}", f"--output={tmp_path / 'a'}", f"--sha256={digits}")
    assert "hrnet_tiny with 16 joints" in out


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *_):
        """Says nothing."""


def test_the_checkpoint_and_the_file_evaluate_alike(run, published, tiny, tmp_path):
    file, _ = published
    run(f"--source={file}", f"--output={tmp_path / 'converted'}")
    use_hrnet(tiny)
    results = [
        evaluate.evaluate(tiny, tmp_path / "run", checkpoint=str(path)).numbers
        for path in (tmp_path / "converted", file)
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source=missing.pth"], "error: no weights at .*missing.pth"),
        (["--source=http://example.com/a.pth"], "error: .*expected an https address"),
        (["--source=https://example.com/a.zip"], "error: cannot tell from its name .*a.zip"),
        (["--model=widehrnet_18"], r"problems loading weights of widehrnet_18:"),
    ],
)
def test_mistakes_are_one_message(run, published, tmp_path, arguments, message):
    source = [] if "--source" in arguments[0] else [f"--source={published[0]}"]
    with pytest.raises(SystemExit, match=message):
        run(*source, *arguments, f"--output={tmp_path / 'converted'}")


def test_nothing_is_overwritten_and_no_network_guessed(run, published, tmp_path):
    file, _ = published
    run(f"--source={file}", f"--output={tmp_path / 'converted'}")
    with pytest.raises(SystemExit, match="exists already; choose another --output"):
        run(f"--source={file}", f"--output={tmp_path / 'converted'}")
    np.savez(tmp_path / "part.npz", **{"conv1.weight": np.zeros((16, 3, 3, 3))})
    with pytest.raises(SystemExit, match="cannot tell which network these weights are of"):
        run(f"--source={tmp_path / 'part.npz'}", f"--output={tmp_path / 'other'}")
