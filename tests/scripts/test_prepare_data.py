"""The commands that check, pack and fetch datasets."""

import dataclasses
import functools
import http.server
import json
import os
import pathlib
import shutil
import sys
import tarfile
import threading

import cv2
import label_files
import numpy as np
import pictures
import pytest

from data_pipelines import datasets, skeletons
from data_pipelines.batching import loading
from data_pipelines.transforms import chains
from hrjax import experiment, models, recipes
from hrjax.config import checks, command_line
from hrjax.weights import file_formats, model_card, torch_names
from preparing import label_options
from scripts import prepare_data


@pytest.fixture
def run(monkeypatch):
    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["prepare_data.py", *map(str, arguments)])
        return prepare_data.main()

    return command


def test_check_of_drawn_people_finds_nothing_to_repair(run, drawn, tmp_path, capsys):
    sheet = tmp_path / "sheet.jpg"
    options = ("--splits=val", f"--out={sheet}", "--input=64x48")
    assert run("check", "--dataset=coco", f"--root={drawn}", *options) == 0
    printed = capsys.readouterr().out
    assert "people to use in" in printed
    assert "error:" not in printed
    assert "left_ankle" in printed
    image = cv2.imread(str(sheet))
    people = min(8, len(datasets.read("coco", str(drawn), "val")))
    assert image.shape == (64 * -(-people // 2), 48 * 10, 3)


def test_check_says_what_must_be_repaired(run, tmp_path, capsys):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    annotation = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 2, 9, 9], "area": 9}
    contents = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": 20, "height": 20}],
        "annotations": [{**annotation, "keypoints": [4, 4, 2] * 3}] * 2,
        "categories": [{"id": 1, "name": "ball", "keypoints": ["top", "left", "right"]}],
    }
    (tmp_path / "labels.json").write_text(json.dumps(contents))
    options = ("--annotations=labels.json", "--splits=train", f"--out={tmp_path}/sheet.jpg")
    assert run("check", "--dataset=custom", f"--root={tmp_path}", *options) == 1
    printed = capsys.readouterr().out
    assert "error: 1 images are missing: " in printed
    assert "look at: 1 annotation ids are used twice; other tools need unique ones: 5" in printed
    pairs = "--flip_pairs=((0,1),)"
    assert run("check", "--dataset=custom", f"--root={tmp_path}", *options, pairs) == 1
    message = "config.data.skeleton.flip_pairs doesn't match the joints' names: top-left"
    assert capsys.readouterr().err == f"error: {message}\n"


def test_check_names_people_of_mpii_without_a_scale(run, drawn, tmp_path, capsys):
    shutil.copytree(drawn / "images", tmp_path / "images")
    (tmp_path / "annotations").mkdir()
    people = json.loads((drawn / "annotations" / "mpii_train.json").read_text())
    people[4]["scale"] = 0
    (tmp_path / "annotations" / "mpii_train.json").write_text(json.dumps(people))
    options = ("--splits=train", f"--out={tmp_path}/sheet.jpg", "--input=64x48")
    assert run("check", "--dataset=mpii", f"--root={tmp_path}", *options) == 1
    printed = capsys.readouterr().out
    assert f"person 4 in {people[4]['image']} (scale 0, center" in printed
    assert "repair: 1 people are left out: their scale is not positive" in printed
    assert "dropped: 1 without scale or center" in printed


def test_a_missing_dataset_is_one_line(run, tmp_path, capsys):
    assert run("check", "--dataset=ochuman", f"--root={tmp_path}") == 1
    assert capsys.readouterr().err.startswith("error: there is no ")


def test_build_packs_a_dataset_that_trains_without_its_files(run, drawn, tmp_path, capsys):
    out = tmp_path / "packed"
    assert run("build", "--dataset=coco", f"--root={drawn}", f"--out={out}") == 0
    assert f"--config.data.root={out} --config.data.records=True" in capsys.readouterr().out
    assert run("build", "--dataset=coco", f"--root={out}", "--verify") == 0
    packed = functools.partial(_first, str(out), records=True)
    files = functools.partial(_first, str(drawn), records=False)
    for split in ("train", "val"):
        np.testing.assert_array_equal(packed(split)["image"], files(split)["image"])


def _first(root, split, *, records):
    options = {"default": "hrnet_w32", "dataset": "coco", "input_size": (64, 48)}
    config = prepare_data.common.recipe("", **options)
    config.data.root, config.data.records = root, records
    people = datasets.read_config(config.data, split)
    chain = chains.eval_ops((64, 48), strict=True)
    with loading.eval_batches(people, chain, batch_size=2) as batches:
        return next(batches)


def test_verify_finds_damage(run, drawn, tmp_path, capsys):
    out = tmp_path / "packed"
    run("build", "--dataset=coco", f"--root={drawn}", f"--out={out}", "--splits=val")
    (shard,) = pathlib.Path(out).rglob("*.array_record*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert run("build", "--dataset=coco", f"--root={out}", "--verify") == 1
    assert "records fail their checksums, e.g. val2017/" in capsys.readouterr().out


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_download_fetches_what_it_can_and_says_the_rest(run, server, tmp_path, monkeypatch, capsys):
    folder, address = server
    monkeypatch.setenv("HRJAX_CACHE", str(tmp_path / "cache"))
    (folder / "mpii_train.json").write_text("[]")
    with tarfile.open(folder / "mpii_annotations.tar", "w") as archive:
        archive.add(folder / "mpii_train.json", "annotations/mpii_train.json")
    root = tmp_path / "mpii"
    images, files = prepare_data.sources.SOURCES["mpii"]
    local = dataclasses.replace(files, address=f"{address}/mpii_annotations.tar")
    monkeypatch.setitem(prepare_data.sources.SOURCES, "mpii", (images, local))
    assert run("download", "--dataset=mpii", f"--root={root}") == 1
    printed = capsys.readouterr().out
    assert (root / "annotations" / "mpii_train.json").read_text() == "[]"
    assert not list((tmp_path / "cache").rglob("*.tar"))  # unpacked: no second copy stays
    assert "fetch by hand: mpii_human_pose_v1.tar.gz (24,984 images, 12.9 GB) from http" in printed
    assert f"so that there is {root}/images" in printed
    (root / "images").mkdir()
    assert run("download", "--dataset=mpii", f"--root={root}") == 0


def test_download_takes_archives_from_a_mirror(run, server, tmp_path, monkeypatch, capsys):
    folder, address = server
    monkeypatch.setenv("HRJAX_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "ochuman"
    (root / "images").mkdir(parents=True)
    for split in ("val", "test"):
        (folder / f"ochuman_coco_format_{split}_range_0.00_1.00.json").write_text("{}")
    options = ("--dataset=ochuman", f"--root={root}")
    assert run("download", *options, f"--mirror={address}") == 0
    assert len(list((root / "annotations").iterdir())) == 2
    assert run("download", "--dataset=coco", f"--root={root}", f"--mirror={address}") == 1
    assert "cannot download" in capsys.readouterr().err


def test_the_sheet_replaces_no_input(run, drawn, tmp_path, capsys):
    root = tmp_path / "people"
    shutil.copytree(drawn, root)
    (tmp_path / "link.jpg").symlink_to(next(root.rglob("val2017/*.jpg")))
    before = {path: path.read_bytes() for path in root.rglob("*.jpg")}
    options = ("--splits=val", f"--out={tmp_path}/link.jpg", "--input=64x48")
    assert run("check", "--dataset=coco", f"--root={root}", *options) == 1
    assert "link.jpg would replace the input" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in root.rglob("*.jpg")} == before


def test_each_split_has_a_sheet_of_its_own(run, drawn, tmp_path):
    options = ("--splits=train,val", f"--out={tmp_path}/sheet.jpg", "--input=64x48")
    assert run("check", "--dataset=coco", f"--root={drawn}", *options) == 0
    names = sorted(path.name for path in tmp_path.glob("*.jpg"))
    assert names == ["sheet_train.jpg", "sheet_val.jpg"]


def test_pipes_and_claims_among_the_images_are_problems(run, drawn, tmp_path, capsys):
    root = tmp_path / "people"
    shutil.copytree(drawn, root)
    first, second = sorted(root.rglob("val2017/*.jpg"))[:2]
    first.unlink()
    os.mkfifo(first)
    second.write_bytes(pictures.claiming(65500, 65500)["a.jpg"])
    options = ("--splits=val", f"--out={tmp_path}/sheet.jpg", "--input=64x48")
    assert run("check", "--dataset=coco", f"--root={root}", *options) == 1
    printed = capsys.readouterr().out
    assert "error: 2 images can't be read" in printed
    assert f"{first.name} is a named pipe" in printed
    assert f"{second.name}: it has 65500x65500 pixels" in printed


@pytest.fixture
def labels(drawn, tmp_path):
    """Drawn people in one annotation file, and the folder of their images."""
    return drawn / "annotations" / "person_keypoints_train2017.json", drawn / "images" / "train2017"


def test_own_labels_become_a_dataset_and_a_config(run, labels, tmp_path, capsys, monkeypatch):
    annotations, images = labels
    root, out = tmp_path / "mice", tmp_path / "mice.py"
    joints = "--joints=snout=nose,paw_left=left_wrist,paw_right=right_wrist"
    files = (f"--annotations={annotations}", f"--images={images}", f"--root={root}")
    assert run("split", *files, "--val=0.4", joints) == 0
    printed = capsys.readouterr().out
    assert "train.json: 6 images, " in printed
    assert f"check --dataset=custom --root={root}" in printed
    assert (root / "images").is_symlink()
    assert run("check", "--dataset=custom", f"--root={root}", f"--out={tmp_path}/sheet.jpg") == 0
    capsys.readouterr()
    command = ("recommend", f"--root={root}", "--device=cpu")
    assert run(*command) == 0
    printed = capsys.readouterr().out
    assert "3 joints, 1 pairs: snout, paw_left, paw_right" in printed
    assert "people are very few" in printed
    assert f"wrote {out}; train with\n    python -m hrjax.main --config={out}" in printed
    monkeypatch.setattr(sys, "argv", ["main", f"--config={out}"])
    config = command_line.parse(sys.argv).config
    assert checks.check(config) == []
    assert (config.model.name, config.model.num_joints) == ("litehrnet_30", 3)
    assert (config.init_from, config.data.root) == ("litehrnet_30_coco", str(root))
    assert len(experiment.open_split(config, "train")) > 0
    # Neither command writes over what is there.
    assert run(*command) == 1
    assert run("split", *files) == 1
    errors = capsys.readouterr().err
    assert f"error: {out} exists already; choose another place with --out" in errors
    assert "train.json exists already; choose another root" in errors


def test_a_recommendation_needs_people_who_are_held_out(run, labels, tmp_path, capsys):
    root = tmp_path / "mice"
    (root / "annotations").mkdir(parents=True)
    (root / "images").symlink_to(labels[1])
    shutil.copy(labels[0], root / "annotations" / "train.json")
    assert run("recommend", f"--root={root}", f"--out={tmp_path}/mice.py") == 1
    error = capsys.readouterr().err
    assert f"there is no annotations/val.json in {root}: without people who are held" in error
    assert not (tmp_path / "mice.py").exists()


def test_a_recommendation_starts_from_any_weights(run, labels, tmp_path, capsys):
    recipe = recipes.find("widehrnet_18_64x48", "mpii")
    with recipe.unlocked():
        recipe.model.update({"width": 8, "modules": (1,), "blocks": 1, "stem_width": 8})
    card = model_card.from_config(recipe, skeletons.MPII)
    _, params, stats = models.split(models.create("widehrnet_18", **card.fields))
    weights = tmp_path / "weights.npz"
    file_formats.write(weights, torch_names.to_torch("widehrnet_18", params, stats), card)
    files = (f"--annotations={labels[0]}", f"--images={labels[1]}", f"--root={tmp_path}/mice")
    assert run("split", *files) == 0
    out = tmp_path / "mice.py"
    options = (f"--root={tmp_path}/mice", f"--weights={weights}", f"--out={out}")
    assert run("recommend", *options) == 0
    config = recipes.read(str(out))
    fields = config.model
    assert (fields.name, fields.width, fields.modules) == ("widehrnet_18", 8, (1,))
    assert (fields.num_joints, config.init_from) == (17, str(weights))
    assert config.train.freeze == 2
    assert set(config.data.input_size) <= {48, 64}
    assert checks.check(config) == []


def test_import_writes_a_dataset_checks_it_and_says_how_to_train(run, tmp_path, capsys):
    source = label_files.yolo(tmp_path / "exported")
    label_files.write_images(source / "images")
    out = tmp_path / "dataset"
    given = ("--from=yolo", f"--labels={source}", f"--output={out}", "--val=0.3")
    assert run("import", *given) == 0
    printed = capsys.readouterr().out
    assert "nothing was lost or guessed" in printed
    assert f"wrote {out}: 3 in train, 1 in val" in printed
    assert "3 people to use in 2 images" in printed
    assert "no problems found" in printed
    flags = f"--config.data.root={out} --config.model.num_joints=3"
    assert f"python -m hrjax.main --config=configs/hrnet_custom.py {flags}" in printed
    assert {path.name for path in out.glob("*.jpg")} == {"check_train.jpg", "check_val.jpg"}
    assert (out / "import.txt").read_text().startswith("imported from yolo: ")
    assert run("import", *given) == 1
    assert "is not empty; name a new folder" in capsys.readouterr().err


def test_import_ends_with_the_status_of_the_check(run, tmp_path, capsys):
    source = label_files.coco(tmp_path / "exported")
    label_files.write_images(source.parent)
    document = json.loads(source.read_text())
    document["categories"].append({"id": 5, "name": "dot", "keypoints": ["center"]})
    entry = {"id": 9, "image_id": 2, "category_id": 5, "bbox": [1, 1, 9, 9]}
    document["annotations"].append({**entry, "keypoints": [5, 5, 2]})
    source.write_text(json.dumps(document))
    out = tmp_path / "dataset"
    given = ("--from=roboflow", f"--labels={source}", f"--output={out}", "--val=0")
    assert run("import", *given) == 0
    printed = capsys.readouterr().out
    assert "several categories, of which one is trained on and checked here: person (4)" in printed
    assert "--config.model.num_joints=3 --config.data.category=person" in printed
    assert "there is no val split" in printed


def test_import_says_in_one_line_what_is_wrong(run, tmp_path, capsys):
    given = ("--from=cvat", f"--labels={tmp_path / 'none.xml'}", f"--output={tmp_path / 'out'}")
    assert run("import", *given) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: there is no ")
    assert message.count("\n") == 1
    assert run("import", *given, "--joints=a,b,a") == 1
    assert "--joints names the joint 'a' twice" in capsys.readouterr().err


def test_import_takes_the_joints_of_a_dataset():
    assert label_options.joints("coco") == skeletons.COCO.names
    assert label_options.joints("tip, end") == ("tip", "end")
