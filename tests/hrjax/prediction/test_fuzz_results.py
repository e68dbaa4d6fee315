"""Whatever results, boxes and the truth beside them hold, it is read or named in one message."""

import argparse
import contextlib
import functools
import io
import json
import pathlib
import tempfile

import cv2
import fuzzing
import numpy as np
import pytest

from hrjax.prediction.box_files import BoxFile
from hrjax.prediction.media import Frame
from scripts import plot_predictions, report

MEGABYTES = 500
JOINTS = [x for joint in range(17) for x in (10 + joint, 20.5, 2)]
PERSON = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 30, 25.5], "area": 400.0}
PERSON |= {"iscrowd": 0, "num_keypoints": 17, "keypoints": JOINTS}
TRUTH = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}],
    "annotations": [PERSON],
    "categories": [{"id": 1, "name": "person", "keypoints": ["nose"] * 17}],
}
ENTRY = {"image_id": 1, "category_id": 1, "keypoints": JOINTS, "score": 0.75}
OURS = {**ENTRY, "file_name": "a.jpg", "box": [5, 5, 30, 25.5], "bbox": [5, 5, 30, 25.5]}
MPII = {"image": "data/a.jpg", "keypoints": [[10, 20]] * 17, "scores": [0.5] * 17}
BOX = {"image_id": 1, "category_id": 1, "bbox": [5, 5, 30, 25.5], "score": 0.9}
# What is read by what, and a file that it reads.
FILES = {
    "report": [ENTRY, {**ENTRY, "score": 0.5}],
    "report_truth": TRUTH,
    "plot": [ENTRY, OURS],
    "plot_mpii": [MPII, MPII],
    "plot_truth": TRUTH,
    "boxes": [BOX, {**BOX, "file_name": "a.jpg"}],
    "boxes_truth": TRUTH,
}


class Folder:
    """A folder with an image, results, truth and boxes; `use` reads them with one of FILES."""

    def __init__(self, root: pathlib.Path):
        self._root = root
        (root / "images").mkdir()
        cv2.imwrite(str(root / "images" / "a.jpg"), np.full((40, 60, 3), 90, np.uint8))
        self.results, self.truth = root / "fuzzed_results.json", root / "fuzzed_truth.json"
        self.restore()

    def restore(self) -> None:
        self.results.write_text(json.dumps(FILES["report"]))
        self.truth.write_text(json.dumps(TRUTH))

    def file(self, name: str) -> pathlib.Path:
        """The file that is damaged for one of FILES."""
        return self.truth if name in ("report_truth", "plot_truth") else self.results

    def use(self, name: str) -> None:
        getattr(self, f"_use_{name.partition('_')[0]}")()

    def _use_report(self):
        options = {"results": self.results, "annotations": self.truth, "dataset": "coco"}
        options |= {"images": str(self._root / "images"), "max_people": 20}
        numbers, page, _ = report.explain(argparse.Namespace(**options))
        assert np.isfinite(list(numbers.values())).all()
        assert page.startswith("<!DOCTYPE html>")

    def _use_plot(self):
        options = {"prediction": str(self.results), "truth": self.truth, "max_images": None}
        options |= {"root": str(self._root / "images"), "save_path": self._root / "drawn"}
        options |= {"threshold": 0.2, "min_score": 0.0}
        with contextlib.redirect_stderr(io.StringIO()):
            problems = plot_predictions.draw_all(argparse.Namespace(**options))
        if problems:
            raise ValueError(f"{self.results.name}, {self.truth.name}: {problems[0]}")
        assert {path.name for path in self._root.iterdir()} <= {
            *("images", "drawn", self.results.name, self.truth.name)
        }

    def _use_boxes(self):
        folder = self._root / "images"
        boxes = BoxFile(str(self.results), threshold=0.3, folder=folder, names=["a.jpg"])
        own, scores = boxes(Frame("a.jpg", 1, np.zeros((40, 60, 3), np.uint8)))
        assert np.isfinite(own).all()
        assert np.isfinite(scores).all()


@functools.cache
def _folder():
    return Folder(pathlib.Path(tempfile.mkdtemp(prefix=fuzzing.NAME)))


def _use(name, data):
    _folder().restore()
    _folder().file(name).write_bytes(data)
    with np.errstate(over="ignore"):
        _folder().use(name)


def use_report(data: bytes) -> None:
    _use("report", data)


def use_report_truth(data: bytes) -> None:
    _use("report_truth", data)


def use_plot(data: bytes) -> None:
    _use("plot", data)


def use_plot_mpii(data: bytes) -> None:
    _use("plot_mpii", data)


def use_plot_truth(data: bytes) -> None:
    _use("plot_truth", data)


def use_boxes(data: bytes) -> None:
    _use("boxes", data)


def use_boxes_truth(data: bytes) -> None:
    _use("boxes_truth", data)


@pytest.mark.parametrize("name", ["report", "plot", "plot_mpii", "plot_truth", "boxes"])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_every_field_with_a_wrong_value_is_read_or_named(tmp_path, name):
    folder = Folder(tmp_path)
    outcomes = fuzzing.require_read_or_named(
        lambda: folder.use(name), folder.file(name), FILES[name]
    )
    assert outcomes["message"] > outcomes["read"] > 10


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_damaged_results_are_read_or_named(tmp_path, name):
    report = fuzzing.fuzz(
        f"{__file__}:use_{name}",
        [json.dumps(FILES[name]).encode()],
        fuzzing.jsonwise,
        megabytes=MEGABYTES,
        seconds=fuzzing.SECONDS / len(FILES),
    )
    fuzzing.require_none(report, tmp_path)
    assert report.outcomes["read"] > 10
