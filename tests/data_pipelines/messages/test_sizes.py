"""Sizes are read as width x height."""

from data_pipelines.messages import sizes


def test_sizes_of_arrays_are_written_width_first():
    assert sizes.text((480, 640)) == "640x480"
    assert sizes.pixels((480, 640)) == "640x480 pixels (width x height)"


def test_counts_agree_with_their_noun():
    assert sizes.count(1, "person", "people") == "1 person"
    assert sizes.count(1200, "person", "people") == "1,200 people"
    assert sizes.count(0, "image", "images") == "0 images"
