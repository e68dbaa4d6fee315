"""Images are found however tools spell their paths, and never outside of their folder."""

import os

import pytest

from data_pipelines.labels import image_search
from data_pipelines.labels.columns import Frame, Image


@pytest.fixture
def folder(tmp_path):
    names = ("one/a.jpg", "two/a.jpg", "two/b.PNG", "two/Café.jpg", "film.mp4", "x/clip.avi")
    for name in names:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "secret.jpg").write_bytes(b"")
    return image_search.Folder(tmp_path / "images")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("one/a.jpg", "one/a.jpg"),
        ("D:\\work\\two\\a.jpg", "two/a.jpg"),
        ("/home/someone/one/a.jpg", "one/a.jpg"),
        ("one/a", "one/a.jpg"),  # YOLO and AI Challenger leave out the ending
        ("elsewhere/b.jpg", "two/b.PNG"),  # converted, or renamed
        ("0123abcd-b.png", "two/b.PNG"),  # Label Studio's uploads
        ("Cafe\u0301.jpg", "two/Café.jpg"),  # a Mac's spelling
        ("../../secret.jpg", None),
        ("a.jpg", None),  # there are two
        ("missing.jpg", None),
    ],
)
def test_names_lead_to_files_of_the_folder(folder, name, found):
    place = folder.find(Image(name))
    assert (place and place.name) == found


def test_images_of_one_name_must_be_in_their_folders(folder):
    image = Image("film2/b.png")
    assert folder.find(image).name == "two/b.PNG"
    assert folder.find(image, by_folder=True) is None
    assert folder.find(Image("x/two/b.png"), by_folder=True).name == "two/b.PNG"
    assert folder.find(Image("b.png"), by_folder=True) is None
    names = image_search.names_in_several_folders([Image("a.png"), Image("b/a.jpg"), Image("c")])
    assert names == {"a"}
    assert image_search.names_in_several_folders([Image("a.png"), Image("a.png")]) == set()


def test_frames_are_found_in_their_film(folder):
    image = Image("video0/frame_000003", frame=Frame("C:\\films\\Film.mp4", 3))
    place = folder.find(image)
    assert (place.name, place.path.name) == ("video0/frame_000003.jpg", "film.mp4")
    assert folder.find(Image("frame_0", frame=Frame("other.mp4", 0))) is None


def test_the_only_film_is_taken_for_the_only_one_that_is_named(tmp_path):
    film = tmp_path / "renamed.mp4"
    film.write_bytes(b"")
    images = [Image("frame_0", frame=Frame("original.avi", 0))]
    names = image_search.one_film(images, image_search.Folder(film))
    assert names == {"original.avi": "renamed.mp4"}


def test_names_inside_of_files_cannot_lead_out(folder):
    place = folder.find(Image("../../../etc/cron.d/x", encoded=lambda: b""))
    assert place.name == "etc/cron.d/x.png"
    place = folder.find(Image("/\\..\\C:\\..", encoded=lambda: b""))
    assert ".." not in place.name.split("/")
    assert not place.name.startswith("/")


def test_pipes_among_the_images_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    assert image_search.Folder(tmp_path).find(Image("a.jpg")) is None


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder of images"):
        image_search.Folder(tmp_path / "none")
