"""Files that were replaced are called so."""

from data_pipelines.messages import written


def test_a_file_that_was_there_is_replaced(tmp_path):
    assert written.wrote(tmp_path / "a.png") == f"wrote {tmp_path}/a.png"
    (tmp_path / "a.png").write_text("")
    assert written.wrote(tmp_path / "a.png") == f"replaced {tmp_path}/a.png"
    assert written.wrote("\udcff.png") == r"wrote \udcff.png"
    (tmp_path / "b.png").symlink_to("nowhere")
    assert written.wrote(tmp_path / "b.png") == f"replaced {tmp_path}/b.png"


def test_some_files_are_named_and_many_are_counted(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(6)]
    assert written.summarize(paths[:2], tmp_path, ()) == f"wrote {paths[0]}, {paths[1]}"
    assert written.summarize([paths[0]] * 2, tmp_path, ()) == f"wrote {paths[0]}"
    for path in paths[:2]:
        path.write_text("")
    there = written.names_there(tmp_path)
    assert written.summarize(paths[:2], tmp_path, there) == f"replaced {paths[0]}, {paths[1]}"
    assert written.summarize(paths, tmp_path, there) == (
        f"wrote 6 files in {tmp_path} (2 of them replaced earlier ones)"
    )
