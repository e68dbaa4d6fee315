"""Files of others end in one message: no entities, aliases, pickles, links or endless numbers."""

import copy
import json
import random
import re

import label_files
import numpy as np
import pytest

from data_pipelines.labels import columns, importing, options
from data_pipelines.labels.readers import hdf5_files, xml_files, yaml_files

BOMB = """<?xml version="1.0"?>
<!DOCTYPE annotations [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>
<annotations><image name="&b;"/></annotations>"""
OUTSIDE = """<!DOCTYPE annotations SYSTEM "file:///etc/passwd"><annotations/>"""


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_document_types_are_refused(tmp_path, text):
    path = tmp_path / "annotations.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"annotations.xml: line \d: it declares a document type"):
        importing.read("cvat", path, options.Options())


def test_deep_xml_is_refused(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<annotations>" + "<a>" * 100_000)
    with pytest.raises(ValueError, match="nested more than 50 deep"):
        list(xml_files.children(path, root="annotations"))


def test_damaged_xml_names_its_line(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<annotations>\n<image>\n</imag>")
    with pytest.raises(ValueError, match=r"a.xml: line 3: it is not XML, or damaged"):
        list(xml_files.children(path, root="annotations"))


def test_another_root_is_named(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<html><body/></html>")
    with pytest.raises(ValueError, match="holds <html>; expected <annotations>"):
        list(xml_files.children(path, root="annotations"))


def test_yaml_aliases_are_refused(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("a: &a [1, 1]\nb: [*a, *a]\n")
    with pytest.raises(ValueError, match=r"data.yaml: line 2: it has an alias \(\*a\)"):
        yaml_files.read(path)


def test_yaml_tags_make_no_objects(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text("kpt_shape: !!python/object/apply:os.system ['touch /tmp/owned']\n")
    with pytest.raises(ValueError, match=r"data\.yaml: line 1: it is not YAML"):
        yaml_files.read(path)


def test_the_column_names_of_an_h5_are_not_unpickled(tmp_path):
    path = tmp_path / "CollectedData_me.h5"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"pickled.*CollectedData_me\.csv"):
        importing.read("deeplabcut", path, options.Options())


def test_hdf5_links_and_outside_storage_are_refused(tmp_path):
    import h5py

    (tmp_path / "secret").write_bytes(b"12345678")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["link"] = h5py.ExternalLink("other.h5", "x")
        file["soft"] = h5py.SoftLink("/link")
        outside = [(str(tmp_path / "secret"), 0, 8)]
        file.create_dataset("outside", (8,), dtype="u1", external=outside)
        layout = h5py.VirtualLayout((3,), dtype="i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3,))
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset("huge", (2**40,), dtype="f8", chunks=(1024,))
    with hdf5_files.opened(tmp_path / "a.h5") as file:
        for name, message in (
            ("link", "a link to another place"),
            ("soft", "a link to another place"),
            ("outside", "lies in another file"),
            ("virtual", "lies in another file"),
            ("huge", "more than are read"),
            ("none", "has no none"),
        ):
            with pytest.raises(ValueError, match=message):
                hdf5_files.array(file, name)


def test_a_file_that_is_not_hdf5_is_named(tmp_path):
    path = tmp_path / "a.slp"
    path.write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"a\.slp is not an HDF5 file, or damaged"):
        importing.read("sleap", path, options.Options())


def test_without_h5py_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = label_files.sleap(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ValueError, match=re.escape("pip install 'hrjax[labels]'")):
        importing.read("sleap", path, options.Options())


@pytest.mark.parametrize("tool", importing.TOOLS)
def test_missing_labels_are_said_and_nothing_else_is_searched(tmp_path, tool):
    with pytest.raises(FileNotFoundError, match=r"there is no .*none; expected"):
        importing.read(tool, tmp_path / "none", options.Options())


@pytest.mark.parametrize("tool", importing.TOOLS)
def test_an_empty_folder_says_what_is_expected(tmp_path, tool):
    with pytest.raises(FileNotFoundError, match="expected"):
        importing.read(tool, tmp_path, options.Options())


def test_texts_of_files_do_not_steer_the_terminal():
    note = columns.Note(columns.LOST, "labels", ("\x1b[2Jgone\n", "x" * 1000))
    text = str(note)
    assert text.startswith("lost: labels (2): \\x1b[2Jgone\\n, xxx")
    assert len(text) < 400


STRANGE = [None, True, -1, 0, 1e300, float("nan"), "", "x", "\0", [], {}, [[]], {"a": 1}, 10**400]
JSON_TOOLS = ("label_studio", "labelme", "coco", "datumaro", "supervisely", "via", "mmpose")
JSON_TOOLS += ("sleap_json",)


@pytest.mark.parametrize("name", JSON_TOOLS)
def test_strange_values_end_in_a_message(tmp_path, name):
    tool = label_files.TOOLS[name]
    source = tool.write(tmp_path / "labels")
    paths = sorted((tmp_path / "labels").rglob("*.json"))
    rng = random.Random(7)
    messages = []
    for _ in range(60):
        path = rng.choice(paths)
        original = path.read_text()
        path.write_text(json.dumps(_spoiled(json.loads(original), rng)))
        try:
            labels = importing.read(tool.tool, source, label_files.options())
            sizes = np.repeat([[48.0, 64.0]], len(labels.images), axis=0)
            whole = importing.complete(labels, sizes, padding=0.1)
            assert np.isfinite(whole.keypoints).all()
            assert np.isin(whole.visibility, (0, 1, 2)).all()
        except (ValueError, FileNotFoundError) as error:
            messages.append(str(error))
        path.write_text(original)
    assert messages
    assert all(messages)


def _spoiled(document, rng):
    """The document with a value of it replaced by a strange one."""
    document = copy.deepcopy(document)
    places = []

    def walk(value):
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(document)
    owner, key = rng.choice(places)
    owner[key] = rng.choice(STRANGE)
    return document


@pytest.mark.parametrize("name", ["yolo", "cvat", "cvat_video", "deeplabcut", "via_csv"])
def test_damaged_texts_end_in_a_message(tmp_path, name):
    tool = label_files.TOOLS[name]
    source = tool.write(tmp_path / "labels")
    paths = [path for path in sorted((tmp_path / "labels").rglob("*")) if path.is_file()]
    rng, messages = random.Random(3), []
    for _ in range(60):
        path = rng.choice(paths)
        original = path.read_bytes()
        data = bytearray(original)
        start = rng.randrange(len(data))
        data[start : start + rng.choice((1, 4, 40))] = rng.choice(
            (b"", b"nan", b'"', b"<", b"\xff")
        )
        path.write_bytes(data)
        try:
            labels = importing.read(tool.tool, source, label_files.options())
            assert np.isfinite(labels.keypoints).all()
        except (ValueError, FileNotFoundError) as error:
            messages.append(str(error))
        path.write_bytes(original)
    assert messages
    assert all(messages)


def test_damaged_sleap_files_end_in_a_message(tmp_path):
    path = label_files.sleap(tmp_path)
    original = path.read_bytes()
    rng, messages = random.Random(5), []
    for _ in range(40):
        data = bytearray(original)
        for _ in range(8):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            labels = importing.read("sleap", path, options.Options())
            assert np.isfinite(labels.keypoints).all()
            for image in labels.images:
                if image.encoded is not None:
                    image.encoded()
        except (ValueError, FileNotFoundError) as error:
            messages.append(str(error))
    assert messages
    assert all(messages)
