"""Archives end up where the readers look."""

import io
import tarfile
import zipfile

import pytest

from data_pipelines import datasets
from data_pipelines.downloads import archives, sources


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
