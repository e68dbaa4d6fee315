"""Names, addresses, folders and files of weights as one object."""

import dataclasses
import json
import os
import shutil

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import hrjax
from data_pipelines import skeletons
from hrjax import models, recipes
from hrjax.runtime import distributed, run_folder
from hrjax.weights import (
    checkpoints,
    file_formats,
    foreign_names,
    model_card,
    published,
    source,
    torch_names,
)

NAMES = ("tail", "left_hoof", "right_hoof", "left_ear", "right_ear")
HORSE = skeletons.Skeleton(NAMES, ((1, 2), (3, 4)), ((0, 1),), (0.1,) * 5, (3, 4))


@pytest.fixture(scope="module")
def weights():
    """The params and stats of a small network with 16 joints."""
    _, params, stats = hrjax.split(hrjax.create("hrnet_tiny", seed=3, num_joints=16))
    return {"params": params, "stats": stats}


@pytest.fixture
def file(weights, tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **torch_names.to_torch("hrnet_tiny", *weights.values()))
    return path


def save_step(folder, weights, card=None):
    with checkpoints.open_folder(folder, keep=1) as manager:
        checkpoints.save(manager, 7, {"model": weights}, position={}, score=None, card=card)
        checkpoints.wait(manager)
    return folder / "7"


def own_card():
    """The card of a network with five joints of a user's own dataset."""
    config = recipes.base("hrnet_tiny", "custom", (64, 48))
    config.model.num_joints = 5
    config.heatmap.encoding = config.eval.decode = "udp"
    config.eval.joint_threshold = 0.3
    return model_card.from_config(config, HORSE, metric="AP")


def assert_holds(opened, weights, **options):
    _, params, stats = opened.restore(**options)
    jax.tree.map(np.testing.assert_array_equal, {"params": params, "stats": stats}, weights)


def test_a_run_and_its_steps_have_the_runs_config(weights, tmp_path):
    config = recipes.find("hrnet_tiny", "mpii")
    config.eval.decode, config.data.input_size = "dark", (64, 32)
    run = tmp_path / "run"
    run_folder.save_config(config, run)
    card = model_card.from_config(config, skeletons.MPII)
    save_step(run / "checkpoints", weights, card)
    for path in (run, run / "checkpoints", str(run / "checkpoints" / "7")):
        opened = source.open(path)
        assert opened.location == run / "checkpoints" / "7"
        assert opened.run == run
        assert opened.config.to_dict() == config.to_dict()
        assert opened.card == card
        assert (opened.variant, opened.num_joints, opened.color) == ("hrnet_tiny", 16, "rgb")
        assert_holds(opened, weights)
    assert source.open(run, model="hrnet_tiny_96x64").card.input_size == (96, 64)
    assert source.open(run, model="hrnet_tiny_96x64").config.data.input_size == (96, 64)
    with pytest.raises(ValueError, match=r"7 is a hrnet_tiny, not a hrnet_w32, according to its"):
        source.open(run, model="hrnet_w32")


def test_a_run_that_is_older_than_cards_has_those_of_its_config(weights, tmp_path):
    config = recipes.find("hrnet_tiny_64x32", "mpii")
    config.eval.decode = "dark"
    run_folder.save_config(config, tmp_path / "run")
    save_step(tmp_path / "run" / "checkpoints", weights)
    opened = source.open(tmp_path / "run")
    assert opened.saved_card is None
    assert opened.card == model_card.from_config(config, skeletons.MPII)
    assert (opened.num_joints, opened.fields["num_joints"]) == (16, 16)
    assert_holds(opened, weights)
    with pytest.raises(ValueError, match=r"7 is a hrnet_tiny, not a hrnet_w32, according to .*run"):
        source.open(tmp_path / "run", model="hrnet_w32")


def test_old_converted_weights_have_their_config_beside_the_step(weights, tmp_path):
    config = recipes.find("hrnet_tiny", "mpii")
    config.data.skeleton.flip_pairs = ((0, 1), (2, 3))
    run_folder.save_config(config, tmp_path)
    save_step(tmp_path, weights)
    opened = source.open(tmp_path)
    assert opened.config.data.skeleton.flip_pairs == ((0, 1), (2, 3))  # JSON has lists
    assert opened.run is None
    assert opened.card.dataset == "mpii"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"config\.json is damaged or not JSON"),
        ('{"seed": NaN}', r"config\.json is damaged or not JSON \(NaN is not a number\)"),
        ("[1]", r"config\.json holds a list, not a config; restore it"),
        ("{}", r"config\.json is not a usable config: model.name is None, expected a text"),
        ('{"model": 3, "data": {}}', r"config\.json is not a usable config"),
    ],
)
def test_a_damaged_config_is_one_message(weights, tmp_path, text, message):
    save_step(tmp_path / "run" / "checkpoints", weights)
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        source.open(tmp_path / "run").card  # noqa: B018


def test_a_step_without_card_and_config_says_what_to_do(weights, tmp_path):
    opened = source.open(save_step(tmp_path / "bare", weights))
    with pytest.raises(ValueError, match=r"neither a model\.json nor .*name the model, or give"):
        opened.restore()
    with pytest.raises(ValueError, match=r"neither a model\.json nor"):
        opened.card  # noqa: B018
    config = recipes.find("hrnet_tiny", "mpii")
    assert_holds(opened.with_config(config), weights)
    named = source.open(tmp_path / "bare", model="hrnet_tiny")
    assert_holds(named, weights)
    assert named.card.dataset == "mpii"  # by its joints


def test_a_moved_step_is_all_that_it_needs(weights, tmp_path):
    _, params, stats = hrjax.split(hrjax.create("hrnet_tiny", seed=3, num_joints=5))
    five = {"params": params, "stats": stats}
    moved = tmp_path / "elsewhere" / "my model"
    shutil.move(save_step(tmp_path / "run" / "checkpoints", five, own_card()), moved)
    opened = source.open(moved)
    assert (opened.run, opened.name) == (None, "my model")
    assert opened.card == own_card()
    assert opened.card.skeleton == HORSE
    assert_holds(opened, five)
    config = opened.config
    assert config.data.dataset == "custom"
    assert tuple(config.data.skeleton.flip_pairs) == HORSE.flip_pairs
    assert (config.model.name, config.model.num_joints) == ("hrnet_tiny", 5)
    assert (config.heatmap.encoding, config.eval.decode) == ("udp", "udp")
    assert (config.eval.joint_threshold, config.data.input_size) == (0.3, (64, 48))
    assert model_card.from_config(config, HORSE, metric="AP") == own_card()


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors"])
def test_a_file_of_ours_carries_its_card(tmp_path, name):
    _, params, stats = hrjax.split(hrjax.create("hrnet_tiny", seed=3, num_joints=5))
    tensors = torch_names.to_torch("hrnet_tiny", params, stats)
    file_formats.write(tmp_path / name, tensors, own_card())
    assert os.listdir(tmp_path) == [name]
    opened = source.open(tmp_path / name)
    assert (opened.card, opened.name) == (own_card(), "a")
    assert_holds(opened, {"params": params, "stats": stats})


def test_a_damaged_card_in_a_file_is_named(tmp_path, weights):
    tensors = torch_names.to_torch("hrnet_tiny", *weights.values())
    np.savez(tmp_path / "a.npz", **tensors, **{"model.json": np.array("{}")})
    with pytest.raises(ValueError, match=r"^model\.json in .*a\.npz is not a usable model card: "):
        source.open(tmp_path / "a.npz")


def test_a_file_is_recognized_or_told(file, weights):
    opened = source.open(file)
    assert opened.variant == "hrnet_tiny"
    assert opened.card.dataset == "mpii"  # by its 16 joints
    assert opened.card.input_size == (256, 256)
    assert_holds(opened, weights)
    assert source.open(file, model="hrnet_tiny_64x64").card.input_size == (64, 64)
    with pytest.raises(ValueError, match="problems loading weights of hrnet_w32"):
        source.open(file, model="hrnet_w32").restore()


def test_a_published_name_is_its_file_and_recipe(file, weights, monkeypatch):
    row = published.Published(str(file), "hrnet_tiny_64x64", "mpii")
    monkeypatch.setitem(published.PUBLISHED, "tiny_mpii", row)
    opened = source.open("tiny_mpii")
    assert opened.card.input_size == (64, 64)
    assert_holds(opened, weights)


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_published_rows_are_complete(name):
    row = published.PUBLISHED[name]
    config = recipes.find(row.model, row.dataset)
    height, width = config.data.input_size
    assert row.model == f"{config.model.name}_{height}x{width}"
    assert row.address.startswith("https://")
    assert config.model.num_joints == {"coco": 17, "mpii": 16}[row.dataset]


def test_a_published_name_may_require_a_sha256():
    row = published.PUBLISHED["hrnet_w32_coco"]
    assert published.find("hrnet_w32_coco") == (row, row.address)
    assert published.find("hrnet_w32_coco#sha256=0123ABCD") == (
        row,
        f"{row.address}#sha256=0123abcd",
    )
    assert published.find("runs/a#sha256=0123abcd") == (None, "runs/a#sha256=0123abcd")


def test_errors_of_a_file_name_it(tmp_path):
    np.savez(tmp_path / "odd.npz", **{"x" * 1000: np.ones(3)})
    with pytest.raises(ValueError, match=rf"^{tmp_path}/odd.npz: the tensor x"):
        source.open(tmp_path / "odd.npz")
    np.savez(tmp_path / "few.npz", w=np.ones(3))
    opened = source.open(tmp_path / "few.npz")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/few.npz: cannot tell which network"):
        opened.restore()
    with pytest.raises(ValueError, match=rf"^{tmp_path}/few.npz: \d+ problems loading weights"):
        opened.restore(variant="hrnet_tiny", fields={})


def test_a_file_is_read_and_translated_once_and_one_network_is_built(file, monkeypatch):
    calls = {"read": 0, "translate": 0, "shapes": 0, "create": 0}
    for module, name in (
        *((file_formats, "read"), (foreign_names, "translate")),
        *((models, "shapes"), (models, "create")),
    ):
        monkeypatch.setattr(module, name, counted(getattr(module, name), calls, name))
    opened = source.open(file)
    assert opened.card.num_joints == opened.num_joints == 16
    opened.restore()
    source.open(opened)
    assert calls == {"read": 1, "translate": 1, "shapes": 1, "create": 0}


def counted(function, calls, name):
    def count(*args, **kwargs):
        calls[name] += 1
        return function(*args, **kwargs)

    return count


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["checkpoint", "file"])
def test_weights_come_with_the_graph_and_on_the_devices_that_were_asked_for(
    weights, file, tmp_path, kind, training
):
    whole = NamedSharding(distributed.make_mesh(jax.devices()[:2]), PartitionSpec())
    path = file if kind == "file" else save_step(tmp_path / "steps", weights)
    fields = {"num_joints": 16}
    graph, *arrays = source.open(path).restore(
        whole, variant="hrnet_tiny", fields=fields, training=training
    )
    assert graph == models.shapes("hrnet_tiny", training=training, **fields)[0]
    jax.tree.map(np.testing.assert_array_equal, arrays, [*weights.values()])
    assert all(leaf.sharding == whole for leaf in jax.tree.leaves(arrays))


def test_another_network_than_expected_is_an_error(weights, tmp_path):
    opened = source.open(save_step(tmp_path, weights))
    with pytest.raises(ValueError, match="checkpoint of another model"):
        opened.restore(variant="hrnet_tiny", fields={"num_joints": 17})


@pytest.mark.parametrize("kind", ["checkpoint", "file"])
def test_a_head_for_other_joints_starts_fresh(weights, file, tmp_path, kind):
    path = file if kind == "file" else save_step(tmp_path / "steps", weights)
    _, params, stats = hrjax.split(hrjax.create("hrnet_tiny", seed=5, num_joints=5))
    start, text = source.open(path).start_from("hrnet_tiny", {"params": params, "stats": stats})
    location = path if kind == "file" else tmp_path / "steps" / "7"
    assert text == (
        f"starting from the weights of {location}; the head starts fresh: 5 joints instead of 16"
    )
    jax.tree.map(np.testing.assert_array_equal, start["params"].pop("final"), params["final"])
    expected = {key: x for key, x in weights["params"].items() if key != "final"}
    jax.tree.map(np.testing.assert_array_equal, start["params"], expected)
    jax.tree.map(np.testing.assert_array_equal, start["stats"], weights["stats"])


def test_what_is_not_a_checkpoint_is_named(tmp_path, file):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint resnet .*one of: hrnet_w32_coco"):
        source.open("resnet")
    with pytest.raises(FileNotFoundError, match=r"no weights at .*absent\.pth"):
        source.open(tmp_path / "absent.pth")
    state = dict(np.load(file))
    del state["final_layer.weight"], state["final_layer.bias"]
    np.savez(tmp_path / "headless.npz", **state)
    with pytest.raises(ValueError, match="no head for joints"):
        source.open(tmp_path / "headless.npz").card  # noqa: B018
    with pytest.raises(ValueError, match="no head for joints; it is to train from"):
        source.open(tmp_path / "headless.npz", model="hrnet_tiny").card  # noqa: B018


def test_joints_that_no_dataset_has_need_a_config(tmp_path):
    _, params, stats = hrjax.split(hrjax.create("hrnet_tiny", num_joints=5))
    np.savez(tmp_path / "five.npz", **torch_names.to_torch("hrnet_tiny", params, stats))
    opened = source.open(tmp_path / "five.npz")
    with pytest.raises(ValueError, match=r"no known dataset has 5 joints; .*Give the config"):
        opened.card  # noqa: B018
    assert_holds(opened, {"params": params, "stats": stats})


def test_a_config_for_the_same_joints_keeps_those_of_the_card(weights, tmp_path):
    card = dataclasses.replace(own_card(), fields={**own_card().fields, "num_joints": 5})
    opened = source.open(save_step(tmp_path, weights, card))
    config = recipes.base("hrnet_tiny", "custom", (96, 96))  # its data are nowhere
    config.model.num_joints = 5
    assert opened.with_config(config).card.skeleton == HORSE
    assert opened.with_config(config).card.input_size == (96, 96)


def test_the_card_of_a_step_is_json_that_others_can_read(weights, tmp_path):
    step = save_step(tmp_path, weights, own_card())
    content = json.loads((step / "model.json").read_text(encoding="utf-8"))
    assert content["skeleton"]["names"] == [*NAMES]
    assert content["fields"]["num_joints"] == 5
