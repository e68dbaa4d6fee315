"""The page of an error analysis stands alone and shows what the analysis found."""

import base64
import html.parser
import re

import cv2
import numpy as np
import pytest

from data_pipelines.skeletons import COCO
from hrjax.error_analysis import analysis, html_report, matching

AREA = 80.0**2


def analyzed(images=2):
    """People of whom one has a wrist somewhere else and another is not found."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(20, 100, (images + 1, 17, 2))
    ids = np.arange(images + 1) + 1
    truth = matching.Truth(
        ids=ids,
        images=ids,
        keypoints=joints,
        visibility=np.full((len(ids), 17), 2.0),
        areas=np.full(len(ids), AREA),
        boxes=np.tile([20.0, 20, 80, 80], (len(ids), 1)),
        crowd=np.zeros(len(ids), bool),
        count=np.ones(len(ids), bool),
    )
    wrong = joints[:images].copy()
    wrong[0, 9] += 500
    entries = [
        {"image_id": row + 1, "score": 0.5, "keypoints": np.pad(points, ((0, 0), (0, 1))).ravel()}
        for row, points in enumerate(wrong)
    ]
    return analysis.analyze(truth, matching.read_found(entries, 17), COCO)


@pytest.fixture
def page(tmp_path):
    """The page of `analyzed` with two red pictures; the third is missing."""
    red = np.full((120, 120, 3), (0, 0, 255), np.uint8)
    for image in (1, 2):
        cv2.imwrite(str(tmp_path / f"{image}.png"), red)
    numbers = {"AP": 0.5, "AR": 0.25}
    return html_report.page(
        analyzed(), COCO, "val <1>, dark decoding", numbers, lambda image: f"{tmp_path}/{image}.png"
    )


class Tags(html.parser.HTMLParser):
    """Which tags are open; an error where they do not close in order."""

    EMPTY = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_says_how_the_numbers_came_about(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "val &lt;1&gt;, dark decoding" in page
    assert "0.2500" in page


def test_the_page_needs_no_other_file(page):
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "url(" not in page
    assert set(re.findall(r"https?://[^\s\"<]*", page)) == {"http://www.w3.org/2000/svg"}


def test_the_page_tells_the_planted_error_and_who_is_missing(page):
    assert "image 1, person 1: OKS 0.94, score 0.50; 1 miss" in page
    missed = page[page.index("<h2>Not found") :]
    assert "image 3, person 3" in missed
    assert "image 1" not in missed


def test_groups_without_people_have_no_bar(page):
    crowds = page[page.index("<h2>By people in the image") : page.index("<h2>Found worst")]
    assert crowds.count("<rect") == 1  # everybody is alone
    assert crowds.count("<td>-</td>") == 2 * 3


def test_pictures_show_truth_and_prediction_side_by_side(page):
    data = re.search(r"base64,([^\"]*)", page).group(1)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    height, width = html_report.TILE
    assert picture.shape == (height, 2 * width, 3)
    left, right = picture[:, :width].astype(int), picture[:, width:].astype(int)
    drawn = [(np.abs(half - (0, 0, 255)).max(-1) > 90).mean() for half in (left, right)]
    assert all(0.02 < share < 0.9 for share in drawn)
    assert np.abs(left - right).mean() > 1  # the wrist is elsewhere


def test_when_everybody_is_found_the_page_says_so(tmp_path):
    found = analyzed()
    everybody = matching.Truth(**{**vars(found.truth), "count": np.array([True, True, False])})
    again = analysis.analyze(everybody, found.found, COCO)
    page = html_report.page(again, COCO, "title", {"AP": 1.0}, lambda image: "missing.jpg")
    assert "Nobody." in page[page.index("<h2>Not found") :]
