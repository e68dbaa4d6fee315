"""Work directories: writable, and with the config that the run was started with."""

import json

import pytest
from ml_collections import ConfigDict

from hrjax.runtime import run_folder


def config(**fields):
    return ConfigDict({"seed": 0, "data": {"root": "a", "input_size": (8, 8)}, **fields})


def test_a_run_continues_with_the_same_config(tmp_path):
    run_folder.save_config(config(), tmp_path / "run")
    run_folder.check_config(config(), config(), tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["data"]["input_size"] == [8, 8]


def test_another_config_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="seed: 0 then, 1 now") as caught:
        run_folder.check_config(config(seed=1), config(), tmp_path)
    assert f"--resume_from={tmp_path}" in str(caught.value)
    with pytest.raises(ValueError, match="extra: None then, 2 now"):
        run_folder.check_config(config(extra=2), config(), tmp_path)


def test_the_data_folder_may_change(tmp_path):
    moved = config()
    moved.data.root = "b"
    run_folder.check_config(moved, config(), tmp_path)


def test_a_folder_that_is_not_writable_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't write into the work directory .*file/run \(Not a"):
        run_folder.check_writable(tmp_path / "file" / "run")
    run_folder.check_writable(tmp_path / "new" / "run")
    assert not list((tmp_path / "new" / "run").iterdir())


def test_an_image_folder_that_no_longer_exists_is_named(tmp_path):
    run_folder.check_there([str(tmp_path / "damaged.jpg")], step=3)
    with pytest.raises(OSError, match=r"batch of step 3 can't be read, because .*/gone is gone"):
        run_folder.check_there([str(tmp_path / "gone" / "1.jpg")], step=3)
