"""Detectors by name: OpenCV's own, and published ones from a server on this machine."""

import dataclasses
import hashlib
import http.server
import io
import json
import threading
import zipfile

import numpy as np
import pytest
from test_person_detector import save_model

from hrjax.prediction import detectors, media
from hrjax.prediction.film.similarity import overlaps


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """A function that offers an archive in place of yolox_tiny's; it returns what was asked for."""
    monkeypatch.setenv("HRJAX_CACHE", str(tmp_path / "cache"))
    asked, contents = [], {}

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(contents["archive"])))
            self.end_headers()
            self.wfile.write(contents["archive"])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def start(archive, sha256):
        contents["archive"] = archive
        preset = dataclasses.replace(
            detectors.PRESETS["yolox_tiny"],
            # As published: digits in the name that are not those of the archive.
            address=f"http://127.0.0.1:{server.server_port}/yolox_tiny-6f3252f9.zip",
            sha256=sha256,
            size=(64, 64),
        )
        monkeypatch.setitem(detectors.PRESETS, "yolox_tiny", preset)
        return asked

    yield start
    server.shutdown()
    thread.join()
    server.server_close()


def archive(*members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, contents in members:
            opened.writestr(name, contents)
    return file.getvalue()


def test_a_published_detector_is_fetched_once_and_detects(publish, tmp_path):
    pytest.importorskip("onnxruntime")
    save_model(tmp_path / "cells.onnx")
    model = (tmp_path / "cells.onnx").read_bytes()
    packed = archive(("20230101/end2end.onnx", model), ("20230101/detail.json", b"{}"))
    asked = publish(packed, hashlib.sha256(model).hexdigest())
    image = np.zeros((64, 128, 3), np.uint8)
    image[16:32, 96:112] = 255
    for _ in range(2):
        boxes, _ = detectors.open_detector("yolox_tiny", threshold=0.6)(image)
        np.testing.assert_allclose(boxes, [(96, 8, 16, 32)])
    assert asked == ["/yolox_tiny-6f3252f9.zip"]
    names = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [name for name in names if not name.endswith(".lock")] == ["yolox_tiny.onnx"]


def test_a_detector_that_is_not_the_published_one_is_not_used(publish, tmp_path):
    packed = archive(("end2end.onnx", b"another network"))
    publish(packed, "0" * 64)
    with pytest.raises(
        OSError, match=r"holds another detector than expected: its SHA-256 is [0-9a-f]{64}"
    ):
        detectors.open_detector("yolox_tiny", threshold=0.3)
    assert not list((tmp_path / "cache").rglob("*.onnx"))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (archive(("readme.txt", b"hello")), "it holds 0 ONNX files"),
        (archive(("a.onnx", b"1"), ("b.onnx", b"2")), "it holds 2 ONNX files"),
        (b"hello", "File is not a zip file"),
    ],
)
def test_an_archive_without_a_detector_is_removed(publish, tmp_path, contents, message):
    publish(contents, "0" * 64)
    with pytest.raises(OSError, match=f"{message}.*it has been removed"):
        detectors.open_detector("yolox_tiny", threshold=0.3)
    assert not list((tmp_path / "cache").rglob("*.zip"))


def test_names_that_are_neither_a_detector_nor_a_file_list_the_choices():
    known = r"did you mean yolox_s or yolox_m\? Choose one of: hog, yolox_tiny, .*rtmdet_nano, or g"
    with pytest.raises(FileNotFoundError, match=known):
        detectors.open_detector("yolo", threshold=0.3)


def test_every_published_detector_is_openmmlabs_with_a_whole_sha256():
    for preset in detectors.PRESETS.values():
        assert preset.address.startswith("https://download.openmmlab.com/")
        assert len(preset.sha256) == 64
        int(preset.sha256, 16)


def test_hog_says_that_it_is_weak_and_finds_no_person_in_noise(caplog):
    find = detectors.open_detector(detectors.HOG, threshold=0.7)
    assert "misses most others" in caplog.text
    noise = np.random.default_rng(0).integers(0, 255, (1200, 900, 3), np.uint8)
    boxes, scores = find(noise)
    assert (boxes.shape, scores.shape) == ((len(scores), 4), (len(scores),))
    assert len(boxes) <= 1
    for size in ((5, 7), (127, 63), (300, 20), (20, 300), (1, 1)):
        assert find(np.zeros((*size, 3), np.uint8))[0].shape == (0, 4)


@pytest.mark.long
def test_hog_finds_people_who_stand_upright(shared):
    root = shared / "samples" / "coco_people"
    truth = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    find, found, tall = detectors.Hog(threshold=0.5), 0, 0
    names = {image["id"]: image["file_name"] for image in truth["images"][:40]}
    for image_id, name in names.items():
        boxes, _ = find(media.load_image(root / "val2017" / name))
        people = [x["bbox"] for x in truth["annotations"] if x["image_id"] == image_id]
        people = np.array([box for box in people if box[3] >= 100]).reshape(-1, 4)
        found += (overlaps(people, boxes) >= 0.5).any(axis=1).sum()
        tall += len(people)
    assert found >= 0.08 * tall  # weak, as it says; a box shifted or scaled wrongly finds none
