"""The command predicts what can be predicted, and its exit status and messages tell the rest."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest

from data_pipelines.synthetic import films
from hrjax.prediction import detectors, trained_network
from hrjax.prediction.film import reading, writing
from scripts import predict

POINTS = ((40, 30), (100, 80))
BOXES = ("--boxes=15,10,40,50", "--boxes=80,50,30,60")


@pytest.fixture
def run(monkeypatch, tmp_path, bright, capsys):
    """Runs the command with the network `bright`; returns its error message, or ""."""
    monkeypatch.setattr(trained_network, "load", lambda *_, **__: bright.network)

    def command(*arguments):
        fixed = ["predict.py", "--checkpoint=bright", f"--output={tmp_path / 'out'}"]
        monkeypatch.setattr(sys, "argv", [*fixed, *map(str, arguments)])
        try:
            predict.main()
        except SystemExit as error:
            return str(error.code)
        return ""

    return command


@pytest.fixture
def photos(tmp_path, dots):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in (1, 2):
        cv2.imwrite(str(folder / f"{number}.png"), dots(POINTS))
    return folder


def entries(tmp_path):
    return json.loads((tmp_path / "out" / "results.json").read_text())


def test_a_folder_with_fixed_boxes(run, photos, tmp_path):
    assert run(f"--source={photos}", *BOXES) == ""
    found = [(entry["file_name"], entry["image_id"]) for entry in entries(tmp_path)]
    assert found == [("1.png", 1), ("1.png", 1), ("2.png", 2), ("2.png", 2)]
    for entry, point in zip(entries(tmp_path), POINTS * 2, strict=True):
        np.testing.assert_allclose(entry["keypoints"][:2], point, atol=3)
    drawn, plain = (cv2.imread(str(folder / "1.png")) for folder in (tmp_path / "out", photos))
    assert drawn.shape == plain.shape
    assert (drawn != plain).any()


def test_one_image_without_boxes(run, photos, tmp_path, capsys):
    assert run(f"--source={photos / '1.png'}") == ""
    (entry,) = entries(tmp_path)
    assert entry["box"] == [0, 0, 160, 120]
    out = tmp_path / "out"
    assert capsys.readouterr().out.splitlines() == [
        "a network, 17 joints of coco, crops of 48x64 pixels (width x height), decoding argmax, "
        "flip test",
        "found 1 person in 1 image",
        f"wrote {out / '1.png'}, {out / 'results.json'}",
    ]
    assert run(f"--source={photos}", "--boxes=image", "--heatmaps") == ""
    assert capsys.readouterr().out.splitlines()[1:] == [
        "found 2 people in 2 images",
        f"wrote 5 files in {out} (2 of them replaced earlier ones)",
    ]


def test_boxes_of_a_detector_file(run, photos, tmp_path):
    rows = [
        {"image_id": 2, "category_id": 1, "bbox": [80, 50, 30, 60], "score": score}
        for score in (0.9, 0.1)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    assert run(f"--source={photos}", f"--boxes={tmp_path / 'boxes.json'}") == ""
    (entry,) = entries(tmp_path)  # without the box of the low score
    assert entry["file_name"] == "2.png"
    assert 0 < entry["score"] <= 0.9
    for row in rows:
        row["image_id"] = 99
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    error = run(f"--source={photos}", f"--boxes={tmp_path / 'boxes.json'}")
    assert "no box of " in error
    assert "file names and image ids differ" in error


def cameras(tmp_path, dots, names=("cam1/0001.png", "cam2/0001.png"), **fields):
    """Two images of the same base name, with one box for each; returns the folder and the file."""
    for name in ("cam1/0001.png", "cam2/0001.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "images" / name), dots(POINTS))
    contents = {
        "images": [{"id": 1, "file_name": names[0]}, {"id": 2, "file_name": names[1]}],
        "annotations": [
            {"image_id": number, "category_id": 3, "bbox": box, **fields}
            for number, box in ((1, [15, 10, 40, 50]), (2, [80, 50, 30, 60]))
        ],
        "categories": [{"id": 3, "name": "thing"}],
    }
    (tmp_path / "boxes.json").write_text(json.dumps(contents))
    return tmp_path / "images", tmp_path / "boxes.json"


def test_images_of_the_same_name_have_their_own_boxes_and_categories_any_id(run, tmp_path, dots):
    folder, boxes = cameras(tmp_path, dots)
    assert run(f"--source={folder}", f"--boxes={boxes}") == ""
    assert [(entry["file_name"], entry["box"]) for entry in entries(tmp_path)] == [
        ("cam1/0001.png", [15, 10, 40, 50]),
        ("cam2/0001.png", [80, 50, 30, 60]),
    ]
    assert run(f"--source={folder / 'cam2'}", f"--boxes={boxes}") == ""
    assert [entry["box"] for entry in entries(tmp_path)] == [[80, 50, 30, 60]]


def test_a_box_file_with_ambiguous_names_is_a_problem(run, tmp_path, dots):
    folder, boxes = cameras(tmp_path, dots, names=("0001.png", "other.png"))
    error = run(f"--source={folder}", f"--boxes={boxes}")
    assert "1 problem" in error
    assert "boxes.json: 0001.png could be any of cam1/0001.png, cam2/0001.png" in error
    assert entries(tmp_path) == []


def test_the_category_can_be_chosen(run, tmp_path, dots):
    folder, boxes = cameras(tmp_path, dots)
    assert run(f"--source={folder}", f"--boxes={boxes}", "--category=thing") == ""
    assert len(entries(tmp_path)) == 2
    error = run(f"--source={folder}", f"--boxes={boxes}", "--category=dog")
    assert "boxes.json has no category 'dog'; choose one of: 3 (thing)" in error


def test_a_box_file_with_a_wrong_value_is_named(run, photos, tmp_path):
    row = {"image_id": 1, "file_name": 5, "bbox": [1, 2, 3, 4], "score": 0.9}
    (tmp_path / "boxes.json").write_text(json.dumps([row]))
    error = run(f"--source={photos}", f"--boxes={tmp_path / 'boxes.json'}")
    assert error.startswith("error: 1 problem:")
    assert "boxes.json: Expected `str | null`, got `int` - at `$[0].file_name`" in error


def test_boxes_of_an_onnx_detector(run, photos, tmp_path, monkeypatch):
    class Detector:
        def __init__(self, file, *, threshold):
            assert (file, threshold) == ("yolox.onnx", 0.4)

        def __call__(self, image):
            assert image.shape == (120, 160, 3)
            return np.array([(15, 10, 40, 50)], float), np.array([0.5])

    monkeypatch.setattr(detectors, "Detector", Detector)
    (tmp_path / "yolox.onnx").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert run(f"--source={photos}", "--detector=yolox.onnx", "--box_threshold=0.4") == ""
    assert [entry["box"] for entry in entries(tmp_path)] == [[15, 10, 40, 50]] * 2


def test_bad_input_is_listed_and_the_rest_is_predicted(run, photos, tmp_path):
    (photos / "0.jpg").write_text("hello")
    (photos / "3.png").write_bytes((photos / "1.png").read_bytes()[:200])
    error = run(f"--source={photos}", *BOXES, "--boxes=500,0,10,10")
    assert error.startswith("error: 4 problems:")
    assert "0.jpg: 5 bytes that are not an image" in error
    assert "3.png: 200 bytes that are not an image, or only a part of one" in error
    assert error.count("box [500.0, 0.0, 10.0, 10.0] lies outside") == 2
    assert len(entries(tmp_path)) == 4


def test_a_video(run, tmp_path, dots):
    writer = writing.VideoWriter(tmp_path / "walk.mp4", 10.0)
    for x in range(30, 130, 10):
        writer.write(dots([(x, 60)]))
    writer.close()
    assert run(f"--source={tmp_path / 'walk.mp4'}", "--boxes=0,20,160,80", "--max_frames=9") == ""
    found = entries(tmp_path)
    assert [entry["image_id"] for entry in found] == list(range(9))
    x = [entry["keypoints"][0] for entry in found]
    np.testing.assert_allclose(x, range(30, 120, 10), atol=10)
    written = reading.Video(str(tmp_path / "out" / "walk.mp4"))
    assert (len(list(written)), written.rate) == (9, 10.0)


@pytest.fixture
def walk(tmp_path, dots):
    """A film of two bright dots that move to the right."""
    writer = writing.VideoWriter(tmp_path / "walk.mp4", 10.0)
    for x in range(30, 130, 10):
        writer.write(dots([(x, 30), (x, 90)]))
    writer.close()
    return tmp_path / "walk.mp4"


def test_people_of_a_video_have_ids_in_the_results_and_in_a_table(run, walk, tmp_path, capsys):
    assert run(f"--source={walk}", "--boxes=0,0,160,60", "--boxes=0,60,160,60", "--smooth") == ""
    assert {entry["track_id"] for entry in entries(tmp_path)} == {1, 2}
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert rows[0].startswith("file_name,image_id,time,track_id,score,box_x,box_y,box_width,")
    assert rows[0].endswith("right_ankle_x,right_ankle_y,right_ankle_score")
    assert len(rows) == 21
    assert rows[-1].startswith("walk.mp4,9,0.9000,2,")
    said = capsys.readouterr().out
    assert "10 frames; 2 people followed" in said
    assert "ms a frame: " in said
    assert f"wrote {tmp_path / 'out' / 'walk.mp4'}" in said


def test_smoothing_and_tracking_can_be_chosen(run, walk, tmp_path):
    run(f"--source={walk}", "--boxes=image", "--no-track")
    raw = entries(tmp_path)
    assert not any("track_id" in entry for entry in raw)
    run(f"--source={walk}", "--boxes=image", "--smooth", "--min_cutoff=1", "--beta=0")
    smooth = entries(tmp_path)
    behind = np.subtract(*([entry["keypoints"][0] for entry in each] for each in (raw, smooth)))
    assert behind[0] == 0
    assert (behind[2:] > 1).all()
    error = run(f"--source={walk}", "--boxes=image", "--smooth", "--beta=-1")
    assert "min_cutoff and d_cutoff are frequencies above 0, and beta must not be negative" in error
    assert "detect_every is -2; expected" in run(f"--source={walk}", "--detect_every=-2")


def test_without_boxes_the_network_searches(run, photos, walk, tmp_path, caplog):
    assert run(f"--source={photos / '1.png'}") == ""
    assert "the network searches for people itself" in caplog.text
    # All joints of this network are in one place, so that no person is found.
    assert "1.png: no person was found; the whole image is taken as a box" in caplog.text
    assert [entry["box"] for entry in entries(tmp_path)] == [[0, 0, 160, 120]]
    assert run(f"--source={walk}") == ""
    assert entries(tmp_path) == []


def test_a_camera_records_until_it_is_interrupted(run, tmp_path, dots, monkeypatch):
    writer = writing.VideoWriter(tmp_path / "walk.mp4", 10.0)
    for _ in range(6):
        writer.write(dots(POINTS))
    writer.close()
    write, shown = writing.VideoWriter.write, []
    asked, film = threading.Semaphore(1), cv2.VideoCapture

    class Capture:
        """A camera whose next frame comes when the one before has been shown."""

        def __init__(self, number):
            assert number == 1
            self._film = film(str(tmp_path / "walk.mp4"))

        def read(self):
            asked.acquire(timeout=1)
            return self._film.read()

        def __getattr__(self, name):
            return getattr(self._film, name)

    def interrupt(self, image, time):
        shown.append(image)
        write(self, image, time)
        asked.release()
        if len(shown) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(writing.VideoWriter, "write", interrupt)
    assert run("--source=webcam:1", *BOXES) == ""
    assert [entry["image_id"] for entry in entries(tmp_path)] == [0, 0, 1, 1, 2, 2]
    assert entries(tmp_path)[0]["file_name"] == "webcam1"
    assert (tmp_path / "out" / "webcam1.mp4").stat().st_size > 0


def test_an_interrupted_video_keeps_its_results_so_far(run, tmp_path, dots, monkeypatch):
    writer = writing.VideoWriter(tmp_path / "walk.mp4", 10.0)
    for _ in range(10):
        writer.write(dots(POINTS))
    writer.close()

    def interrupt(self, image, time):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.VideoWriter, "write", interrupt)
    assert "interrupted" in run(f"--source={tmp_path / 'walk.mp4'}", *BOXES)
    assert len(entries(tmp_path)) == 16  # of the first eight frames


def test_heatmaps_are_drawn_if_asked_for(run, photos, tmp_path):
    assert run(f"--source={photos / '1.png'}", *BOXES, "--heatmaps") == ""
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["1.png", "1_heatmaps0.png", "1_heatmaps1.png", "results.json"]
    sheet = cv2.imread(str(tmp_path / "out" / "1_heatmaps0.png"))
    assert sheet.shape == (3 * 64, 6 * 48, 3)  # 17 crops in rows of six


def test_images_in_other_formats_are_written_as_jpeg(run, photos, tmp_path, dots):
    cv2.imwrite(str(photos / "a.bmp"), dots(POINTS))
    assert run(f"--source={photos / 'a.bmp'}") == ""
    assert (tmp_path / "out" / "a.bmp.jpg").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source=nowhere"], "there is no file or folder nowhere"),
        (["--source={empty}"], "there are no images in"),
        (["--source=gone.mp4"], "there is no video gone.mp4"),
        (["--source={folder}", "--boxes=1,2"], "a box is x,y,w,h in pixels"),
        (["--source={folder}", "--detector=gone.onnx"], "there is no detector file gone.onnx"),
        (["--source={folder}", "--output={folder}"], "the output would overwrite the images in"),
        (["--source={folder}", "--output={link}"], "the output would overwrite the images in"),
        (["--source={link}/1.png", "--output={folder}"], "would overwrite the images in"),
    ],
)
def test_wrong_arguments_give_one_message(run, photos, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("photos")
    places = {"empty": tmp_path / "empty", "folder": photos, "link": tmp_path / "link"}
    before = {file.name: file.read_bytes() for file in photos.iterdir()}
    error = run(*(argument.format(**places) for argument in arguments))
    assert error.startswith("error: 1 problem:\n  ")
    assert message in error
    assert {file.name: file.read_bytes() for file in photos.iterdir()} == before


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_links_in_the_output_never_lead_to_an_input(run, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    before = contents(photos)
    (out / "1.png").symlink_to(photos / "1.png")
    error = run(f"--source={photos}")
    assert "out/1.png would replace the input" in error
    (out / "1.png").unlink()
    os.link(photos / "1.png", out / "1.png")
    assert "out/1.png would replace the input" in run(f"--source={photos}")
    (out / "1.png").unlink()
    (photos / "deep").mkdir()
    (photos / "deep" / "3.png").write_bytes((photos / "1.png").read_bytes())
    before = contents(photos)
    (out / "deep").symlink_to(photos / "deep")
    assert "out/deep/3.png would replace the input" in run(f"--source={photos}")
    assert contents(photos) == before


def test_a_link_that_leads_to_another_file_is_replaced(run, photos, tmp_path):
    run(f"--source={photos}")
    other = tmp_path / "other.png"
    other.write_bytes(b"mine")
    (tmp_path / "out" / "1.png").unlink()
    (tmp_path / "out" / "1.png").symlink_to(other)
    assert run(f"--source={photos}") == ""
    assert other.read_bytes() == b"mine"
    assert not (tmp_path / "out" / "1.png").is_symlink()


def test_the_boxes_are_not_replaced_by_the_results(run, photos, tmp_path):
    (tmp_path / "out").mkdir()
    boxes = tmp_path / "out" / "results.json"
    boxes.write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.9}]')
    before = boxes.read_bytes()
    assert "would replace the input" in run(f"--source={photos}", f"--boxes={boxes}")
    assert boxes.read_bytes() == before


def test_a_video_is_not_replaced_by_its_drawing(run, tmp_path, dots):
    (tmp_path / "out").mkdir()
    film = tmp_path / "out" / "walk.mp4"
    film.write_bytes(b"film")
    assert "overwrite the images in" in run(f"--source={film}")
    (tmp_path / "link.avi").symlink_to(film)
    (tmp_path / "walk.avi").symlink_to(film)
    assert "out/walk.mp4 would replace the input" in run(f"--source={tmp_path / 'walk.avi'}")
    assert film.read_bytes() == b"film"


def test_pictures_that_no_prediction_wrote_are_not_replaced(run, photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_bytes(b"mine")
    assert "1.png is there already" in run(f"--source={photos}")
    assert (tmp_path / "out" / "1.png").read_bytes() == b"mine"


def test_two_images_are_not_drawn_into_one_file(run, photos, tmp_path):
    picture = (photos / "1.png").read_bytes()
    (photos / "a.bmp").write_bytes(picture)
    (photos / "a.bmp.jpg").write_bytes(picture)
    error = run(f"--source={photos}")
    assert "a.bmp and a.bmp.jpg would both be drawn into" in error
    (photos / "a.bmp").rename(photos / "1_heatmaps0.png")
    error = run(f"--source={photos}", "--heatmaps")
    assert "1_heatmaps0.png is called like the heatmaps of another image" in error
    assert run(f"--source={photos}") == ""


@pytest.mark.parametrize("source", ["", "z.jpg"])
def test_a_pipe_or_a_device_is_named_at_once(run, photos, source):
    os.mkfifo(photos / "z.jpg")
    (photos / "zero.jpg").symlink_to("/dev/zero")
    error = run(f"--source={photos / source}")
    assert "z.jpg is a named pipe; expected a regular file" in error
    assert ("zero.jpg is a device" in error) == (not source)


def test_a_film_that_is_a_device_or_a_playlist_is_named(run, tmp_path):
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    assert "zero.mp4 is a device" in run(f"--source={tmp_path / 'zero.mp4'}")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    assert "list.mp4 is a playlist, not a video" in run(f"--source={tmp_path / 'list.mp4'}")
    assert not (tmp_path / "out").exists()


def test_too_many_pixels_are_named_and_the_limit_can_be_changed(run, photos):
    error = run(f"--source={photos}", "--max_pixels=19199")
    assert error.startswith("error: 2 problems:")
    assert "1.png: it has 160x120 pixels (width x height); at most 19,199 are decoded" in error
    assert run(f"--source={photos}", "--max_pixels=19200") == ""


def test_names_that_are_not_utf8_are_predicted(run, photos, tmp_path):
    name = os.fsdecode(b"\xff.png")
    (photos / "1.png").rename(photos / name)
    # With boxes, because a line about an image without people would name it, and the processes
    # that run the tests cannot report such a line.
    assert run(f"--source={photos}", "--boxes=image") == ""
    assert [entry["file_name"] for entry in entries(tmp_path)] == ["2.png", name]
    assert (tmp_path / "out" / name).is_file()


def test_options_that_exclude_each_other_are_refused(run, capsys):
    run("--source=a", "--boxes=1,2,3,4", "--detector=b")
    assert "--boxes and --detector exclude each other" in capsys.readouterr().err
    run("--source=a.mp4", "--heatmaps")
    assert "--heatmaps works for images, not for videos" in capsys.readouterr().err
    for option in ("--smooth", "--detect_every=0"):
        run("--source=a.jpg", option)
        assert "--smooth and --detect_every work for videos" in capsys.readouterr().err


def test_help_names_the_published_checkpoints():
    command = [sys.executable, predict.__file__, "--help"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert "hrnet_w32_coco" in answer.stdout


@pytest.mark.long
def test_a_thousand_frames_of_three_people_need_no_more_memory_than_three_hundred(
    run, tmp_path, monkeypatch
):
    film = films.plan(3, frames=100, people=3, image_size=(96, 128))
    frames = [film.draw(number) for number in range(100)]
    writer = writing.VideoWriter(tmp_path / "walk.mp4", 30.0)
    course = [*range(100), *reversed(range(100))] * 5
    for number in course:
        writer.write(frames[number])
    writer.close()
    # The dots of this network are the brightest points of the boxes; three boxes are three people.
    boxes = ("--boxes=0,0,43,96", "--boxes=43,0,42,96", "--boxes=85,0,43,96")
    write, memory = writing.VideoWriter.write, []
    page = os.sysconf("SC_PAGE_SIZE")

    def watch(self, image, time):
        write(self, image, time)
        memory.append(int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * page)

    monkeypatch.setattr(writing.VideoWriter, "write", watch)
    assert run(f"--source={tmp_path / 'walk.mp4'}", *boxes, "--smooth") == ""
    assert len(memory) == 1000
    assert len(entries(tmp_path)) == 3000
    early, late = np.median(memory[300:400]), np.median(memory[-100:])
    print(f"memory after 300 and after 1,000 frames: {early / 2**20:.1f}, {late / 2**20:.1f} MiB")
    assert late - early < 8 * 2**20
