"""Archives end up where the readers look."""

import contextlib
import io
import shutil
import tarfile
import threading
import zipfile

import pytest

from data_pipelines import datasets
from data_pipelines.downloads import archives, sources
from data_pipelines.readers import published


def test_every_dataset_with_files_of_its_own_has_sources():
    assert set(sources.SOURCES) == set(datasets.DATASETS) - {"custom"}


def _tar(path, names):
    with tarfile.open(path, "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 2
            archive.addfile(member, io.BytesIO(b"[]"))
    return path


@pytest.mark.parametrize("folder", ["", "annotations/", "mpii/annotations/"])
def test_annotations_are_unpacked_whatever_folder_is_around_them(tmp_path, folder):
    names = [f"{folder}mpii_train.json", f"{folder}mpii_gt_val.mat", f"{folder}._junk"]
    archive = _tar(tmp_path / "a.tar", names)
    archives.place(sources.SOURCES["mpii"][1], archive, tmp_path / "root")
    found = sorted(path.name for path in (tmp_path / "root" / "annotations").iterdir())
    assert found == ["mpii_gt_val.mat", "mpii_train.json"]


def test_images_are_unpacked_below_the_root(tmp_path):
    with zipfile.ZipFile(tmp_path / "val2017.zip", "w") as archive:
        archive.writestr("val2017/000000000139.jpg", b"x")
    source = sources.SOURCES["coco"][1]
    assert not source.is_in(tmp_path / "root")
    archives.place(source, tmp_path / "val2017.zip", tmp_path / "root")
    assert source.is_in(tmp_path / "root")


def test_a_single_file_is_put_into_its_folder(tmp_path):
    (tmp_path / "found.json").write_text("[]")
    source = sources.SOURCES["coco"][3]
    archives.place(source, tmp_path / "found.json", tmp_path / "root")
    name = "COCO_val2017_detections_AP_H_56_person.json"
    assert (tmp_path / "root" / "person_detection_results" / name).read_text() == "[]"


def test_another_archive_is_an_error(tmp_path):
    archive = _tar(tmp_path / "a.tar", ["annotations/other.json"])
    with pytest.raises(ValueError, match=r"there is no annotations/mpii_train\.json or annot/"):
        archives.place(sources.SOURCES["mpii"][1], archive, tmp_path / "root")


def test_a_damaged_archive_is_one_message(tmp_path):
    archive = _tar(tmp_path / "a.tar", ["mpii_train.json"])
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[:513])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("val2017/1.jpg", b"content")
    damaged = (tmp_path / "a.zip").read_bytes().replace(b"content", b"contend")
    (tmp_path / "damaged.zip").write_bytes(damaged)
    for name, source in {"cut.tar": ("mpii", 1), "damaged.zip": ("coco", 1)}.items():
        source = sources.SOURCES[source[0]][source[1]]
        with pytest.raises(ValueError, match=rf"{name} cannot be unpacked: "):
            archives.place(source, tmp_path / name, tmp_path / "root")


def test_an_archive_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    archive = _tar(tmp_path / "a.tar", ["mpii_train.json"])
    usage = shutil.disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"the archive unpacks to 2 bytes, and .* has 1 free"):
        archives.place(sources.SOURCES["mpii"][1], archive, tmp_path / "root")


def test_what_was_interrupted_is_missing_and_what_is_done_is_not(tmp_path):
    source = sources.SOURCES["mpii"][0]
    (tmp_path / "images").mkdir()
    assert archives.is_placed(source, tmp_path)
    with contextlib.suppress(KeyboardInterrupt), archives.missing(source, tmp_path) as is_missing:
        assert not is_missing
        raise KeyboardInterrupt
    assert not archives.is_placed(source, tmp_path)
    with archives.missing(source, tmp_path) as is_missing:
        assert is_missing
        assert not archives.is_placed(source, tmp_path)
    assert archives.is_placed(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_second_process_waits_and_finds_the_work_done(tmp_path):
    source, seen = sources.SOURCES["mpii"][0], []

    def second():
        with archives.missing(source, tmp_path) as is_missing:
            seen.append(is_missing)

    with archives.missing(source, tmp_path) as is_missing:
        assert is_missing
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert not seen
        (tmp_path / "images").mkdir()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize("name", published.LAYOUTS)
def test_sources_say_where_the_readers_look(name):
    layout = published.LAYOUTS[name]
    proofs = {proof for source in sources.SOURCES[name] for proof in source.proofs}
    places = {path for paths in layout.annotations.values() for path in paths}
    assert proofs & places
    folders = {folder for names in layout.images.values() for folder in names if folder}
    assert all(any(folder.startswith(proof) for proof in proofs) for folder in folders)
