"""Charts are well-formed SVG whose shapes have the sizes of the numbers."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from hrjax.error_analysis import charts

SVG = "{http://www.w3.org/2000/svg}"


def boxes(text):
    """(x, width, fill) of the rectangles."""
    rectangles = ElementTree.fromstring(text).iter(f"{SVG}rect")
    return [(float(box.get("x")), float(box.get("width")), box.get("fill")) for box in rectangles]


def test_bars_are_as_long_as_their_numbers():
    text = charts.bars({"a": 0.2, "b <c>": 0.1, "none": 0.0}, color="#123")
    lengths = [width for _, width, _ in boxes(text)]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=0.2)
    assert lengths[2] == 0
    assert "+0.2000" in text
    assert "b &lt;c&gt;" in text


def test_negative_bars_go_to_the_left():
    (right, _, _), (left, width, _) = boxes(charts.bars({"a": 0.2, "b": -0.02}, color="#123"))
    assert left + width == pytest.approx(right, abs=0.2)
    assert width > 10


def test_stacked_bars_follow_one_another_to_the_end():
    text = charts.stacked(["nose"], np.array([[0.5, 0, 0.5]]), ["a", "b", "c"], ["r", "g", "b"])
    (first, half, red), (second, rest, blue) = boxes(text)
    assert (red, blue) == ("r", "b")
    assert first + half == pytest.approx(second)
    assert half == pytest.approx(rest)
    assert second + rest == pytest.approx(charts.WIDTH)


def test_curves_go_through_their_points():
    text = charts.curves({"a & b": (np.array([0, 1]), np.array([1, 0.5]))}, ["red"], "x", "y")
    line = next(ElementTree.fromstring(text).iter(f"{SVG}polyline"))
    (left, top), (right, middle) = (map(float, p.split(",")) for p in line.get("points").split())
    assert right - left == pytest.approx(charts.PLOT)
    assert middle - top == pytest.approx(charts.PLOT / 2)
    assert "a &amp; b" in text


def test_the_legend_names_the_colors():
    text = charts.legend(["good", "a<b"], ["#111", "#222"])
    assert "background:#111" in text
    assert "a&lt;b" in text
