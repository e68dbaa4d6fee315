"""Videos are written so that others can play them, with or without PyAV."""

import logging
import sys

import cv2
import numpy as np
import pytest

from hrjax.prediction.film import reading, writing


def test_videos_have_the_right_colors_in_other_programs(tmp_path):
    path = tmp_path / "red.avi"
    writer = writing.VideoWriter(path, 10.0)
    writer.write(np.full((64, 64, 3), (200, 20, 20), np.uint8))
    writer.close()
    _, seen = cv2.VideoCapture(str(path)).read()  # blue, green, red
    np.testing.assert_allclose(seen[32, 32], (20, 20, 200), atol=6)
    (frame,) = reading.Video(str(path))
    np.testing.assert_allclose(frame.image[32, 32], (200, 20, 20), atol=6)


def test_a_video_is_written_aside_and_replaces_a_link(tmp_path, dots):
    (tmp_path / "mine.mp4").write_bytes(b"mine")
    (tmp_path / "walk.mp4").symlink_to("mine.mp4")
    writer = writing.VideoWriter(tmp_path / "walk.mp4", 10.0)
    writer.write(dots([(50, 60)]))
    writer.close()
    assert (tmp_path / "mine.mp4").read_bytes() == b"mine"
    assert len(list(reading.Video(str(tmp_path / "walk.mp4")))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.mp4", "walk.mp4"]


def gray(level, size=(48, 64)):
    return np.full((*size, 3), level, np.uint8)


def write(path, levels, times=None, **options):
    writer = writing.VideoWriter(path, 10.0)
    for level, time in zip(levels, times or [None] * len(levels), strict=True):
        writer.write(gray(level, **options), time)
    writer.close()


def test_mp4_is_h264_as_browsers_play_it(tmp_path):
    av = pytest.importorskip("av")
    write(tmp_path / "a.mp4", range(0, 250, 10), size=(47, 63))
    with av.open(str(tmp_path / "a.mp4")) as container:
        (stream,) = container.streams.video
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (64, 48, 10)
        levels = [frame.to_ndarray(format="rgb24")[20, 20, 0] for frame in container.decode(stream)]
    np.testing.assert_allclose(np.array(levels, int), range(0, 250, 10), atol=4)
    start = (tmp_path / "a.mp4").read_bytes()
    assert start.index(b"moov") < start.index(b"mdat")  # plays before all of it has arrived


def test_frames_are_shown_at_their_times(tmp_path):
    av = pytest.importorskip("av")
    times = [0.0, 0.1, 0.5, 0.55, 2.0]
    write(tmp_path / "a.mp4", [10, 60, 110, 160, 210], times)
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = [float(frame.time) for frame in container.decode(video=0)]
    np.testing.assert_allclose(shown, times, atol=1e-4)


def test_without_pyav_a_line_says_what_browsers_lack(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "av", None)
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "a.mp4", [10, 60, 110], [0.0, 0.1, 0.5])
    assert caplog.text.count("browsers may not play; for H.264: pip install 'hrjax[film]'") == 1
    frames = list(reading.Video(str(tmp_path / "a.mp4")))
    # The second one is repeated until the third one's time.
    levels = [int(frame.image[20, 20, 0]) for frame in frames]
    np.testing.assert_allclose(levels, [10, 60, 60, 60, 60, 110], atol=6)


def test_frames_of_another_size_are_scaled(tmp_path):
    writer = writing.VideoWriter(tmp_path / "a.avi", 10.0)
    writer.write(gray(10))
    writer.write(gray(200, size=(96, 128)))
    writer.close()
    assert [frame.image.shape for frame in reading.Video(str(tmp_path / "a.avi"))] == [
        (48, 64, 3)
    ] * 2
