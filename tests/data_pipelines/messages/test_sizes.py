"""Sizes are read as width x height."""

from data_pipelines.messages import sizes


def test_sizes_of_arrays_are_written_width_first():
    assert sizes.text((480, 640)) == "640x480"
    assert sizes.pixels((480, 640)) == "640x480 pixels (width x height)"
