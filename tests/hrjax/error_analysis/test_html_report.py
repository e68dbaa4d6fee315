"""The page of an error analysis stands alone and shows the results of the analysis."""

import base64
import dataclasses
import html.parser
import re

import cv2
import numpy as np
import pytest
from truths import make_truth

from data_pipelines.skeletons import Skeleton
from hrjax import detections
from hrjax.error_analysis import analysis, html_report


def analyzed(images=2):
    """People, one with a wrist in another place, and one more that is not detected."""
    rng = np.random.default_rng(0)
    joints = rng.uniform(20, 100, (images + 1, 17, 2))
    count = images + 1
    boxes = np.tile([20.0, 20, 80, 80], (count, 1))
    areas = np.full(count, 80.0**2)
    known = make_truth(joints, range(1, count + 1), boxes=boxes, areas=areas)
    wrong = joints[:images].copy()
    wrong[0, 9] += 500
    scores = np.zeros((images, 17)), np.full(images, 0.5)
    people = detections.make(range(1, count), wrong, *scores)
    return analysis.analyze(known, people, max_people=20)


@pytest.fixture
def page(tmp_path):
    """The page of `analyzed` with two red pictures; the third is missing."""
    red = np.full((120, 120, 3), (0, 0, 255), np.uint8)
    for image in (1, 2):
        cv2.imwrite(str(tmp_path / f"{image}.png"), red)
    numbers = {"AP": 0.5, "AR": 0.25}
    return html_report.page(
        analyzed(), "val <1>, dark decoding", numbers, lambda name: f"{tmp_path}/{name}"
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


def test_the_page_shows_the_planted_error_and_the_missing_person(page):
    assert "image 1, person 1: OKS 0.94, score 0.50; 1 miss" in page
    missed = page[page.index("<h2>Not detected") :]
    assert "image 3, person 3" in missed
    assert "image 1" not in missed


def test_groups_without_people_have_no_bar(page):
    crowds = page[page.index("<h2>By people in the image") : page.index("<h2>Worst detections")]
    assert crowds.count("<rect") == 1  # all people are alone
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


def test_when_all_people_are_detected_the_page_says_so():
    result = analyzed()
    labeled = np.array([17, 17, 0])
    known = dataclasses.replace(result.truth, labeled=labeled)
    again = analysis.analyze(known, result.ranked.detections, max_people=20)
    page = html_report.page(again, "title", {"AP": 1.0}, lambda name: "missing.jpg")
    assert "None." in page[page.index("<h2>Not detected") :]


def explain(known):
    people = analyzed().ranked.detections
    return html_report.explain(people, known, numbers={}, title="", image_path=str, max_people=20)


def test_an_error_analysis_needs_oks():
    joints = Skeleton(("a",), (), (), (), ())
    with pytest.raises(ValueError, match="OKS needs the sigmas of the joints; there are none"):
        explain(make_truth(np.ones((1, 1, 2)), [1], joints))


def test_an_error_analysis_needs_people_with_labeled_joints():
    crowd = make_truth(np.ones((1, 17, 2)), [1], crowds=np.ones(1, bool))
    with pytest.raises(ValueError, match=r"truth\.json has no people with labeled joints"):
        explain(crowd)


def test_the_page_shows_how_reliable_scores_are(page):
    section = page.split("<h2>Reliability of scores</h2>")[1].split("<h2>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", section)
    cells = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in rows]
    # Two people of a score of 0.5; of the first, one of 17 joints is far away. All joint scores
    # are 0, and 33 of 34 joints are exact.
    assert cells[1] == ["0.0 to 0.1", "-", "-", "-", "34", "0.000", f"{33 / 34:.3f}", "0.0%"]
    assert cells[2][:4] == ["0.5 to 0.6", "2", "0.500", f"{(16 / 17 + 1) / 2:.3f}"]
    assert section.count("<circle") == 2
