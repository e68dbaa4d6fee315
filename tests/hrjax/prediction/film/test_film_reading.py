"""Videos and cameras become frames, or messages that say what is wrong."""

import itertools
import threading
import time

import cv2
import numpy as np
import pytest

from hrjax.prediction.film import reading, writing


@pytest.fixture(params=[".mp4", ".avi"])
def video(request, tmp_path, dots):
    path = tmp_path / f"walk{request.param}"
    writer = writing.VideoWriter(path, 10.0)
    for x in range(20, 140, 10):
        writer.write(dots([(x, 60)]))
    writer.close()
    return path


def test_videos_read_back_frame_by_frame(video):
    opened = reading.Video(str(video))
    frames = list(opened)
    assert (opened.name, opened.rate, opened.count) == (video.name, 10.0, 12)
    assert [frame.image_id for frame in frames] == list(range(12))
    assert not opened.problem
    brightest = frames[3].image[60].sum(axis=-1).argmax()
    assert abs(brightest - 50) <= 5
    opened.close()


def test_videos_of_too_many_pixels_are_refused(video):
    assert reading.Video(str(video), max_pixels=120 * 160).count == 12
    with pytest.raises(
        ValueError, match=r"can't read the video .* 160x120 pixels .* at most 19,199"
    ):
        reading.Video(str(video), max_pixels=120 * 160 - 1)


def test_a_truncated_video_says_where_it_ends(tmp_path, dots):
    path = tmp_path / "walk.avi"
    writer = writing.VideoWriter(path, 10.0)
    for x in range(20, 140, 2):
        writer.write(dots([(x, 60)]))
    writer.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    opened = reading.Video(str(path))
    opened.count = 60
    count = len(list(opened))
    assert 0 < count < 50
    assert opened.problem == f"{path} ends after {count} of 60 frames"


def test_files_that_are_not_videos_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(ValueError, match=r"can't open the video .*text\.mp4: it is damaged"):
        reading.Video(str(tmp_path / "text.mp4"))
    with pytest.raises(FileNotFoundError, match=r"no video gone\.mp4"):
        reading.Video("gone.mp4")
    with pytest.raises(ValueError, match="can't open the camera webcam:77"):
        reading.Camera("webcam:77")
    with pytest.raises(OSError, match="can't write the video"):
        writing.VideoWriter(tmp_path / "no" / "folder.mp4", 10.0).write(
            np.zeros((8, 8, 3), np.uint8)
        )


class Paced:
    """A camera of `count` frames, of which the next one comes when the test lets it."""

    def __init__(self, count):
        self.count, self.released = 0, []
        self.frames = [np.full((8, 8, 3), number, np.uint8) for number in range(count)]
        self.waiting = threading.Semaphore(0)

    def isOpened(self):
        return True

    def get(self, which):
        return {cv2.CAP_PROP_FPS: 20.0}.get(which, 8)

    def read(self):
        self.waiting.acquire()
        if self.count == len(self.frames):
            return False, None
        self.count += 1
        return True, self.frames[self.count - 1]

    def release(self):
        self.released.append(True)

    def give(self, frames):
        """Lets some frames come, and waits until the camera's thread has taken them."""
        expected = self.count + frames
        for _ in range(frames):
            self.waiting.release()
        while self.count < expected:
            time.sleep(0.001)
        time.sleep(0.02)  # from here to the thread's note of it


def test_a_camera_gives_its_newest_frame_and_counts_those_it_drops(monkeypatch):
    paced = Paced(9)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: paced)
    camera = reading.open_film("webcam:1")
    assert (camera.rate, camera.count, camera.name) == (20.0, 0, "webcam1")
    frames = iter(camera)
    paced.waiting.release()
    seen = [next(frames)]
    for count in (3, 1, 4):
        paced.give(count)
        seen.append(next(frames))
    paced.waiting.release()
    assert next(frames, None) is None
    assert [frame.image_id for frame in seen] == [0, 3, 4, 8]
    assert [int(frame.image[0, 0, 0]) for frame in seen] == [0, 3, 4, 8]
    assert camera.dropped == 2 + 3
    assert seen[0].time == 0
    assert all(first.time < second.time for first, second in itertools.pairwise(seen))
    camera.close()
    assert paced.released
    assert not camera.problem


def test_a_camera_that_gives_nothing_says_so(monkeypatch):
    paced = Paced(0)
    paced.waiting.release()
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: paced)
    camera = reading.Camera("webcam")
    assert list(camera) == []
    assert "webcam gave no frame" in camera.problem
    camera.close()
