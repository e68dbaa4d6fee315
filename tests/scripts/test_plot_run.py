"""scripts/plot_run.py: curves of one or several runs."""

import json
import sys

import pytest

from scripts import plot_run

pytest.importorskip("matplotlib")


def write(folder, rows):
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


@pytest.fixture
def logged(tmp_path):
    rows = [
        {"step": s, "epoch": s / 10, "loss": 1 / s, "pck": s / 100, "lr": 1e-3}
        | {"images_per_second": 80.0, "waiting": 0.1}
        for s in (10, 20, 30)
    ]
    return write(tmp_path / "a", [*rows, {"step": 30, "eval/PCKh@0.5": 60.0}])


def curves(figure):
    return {
        axes.get_title(): [line.get_xydata().tolist() for line in axes.get_lines()]
        for axes in figure.axes
    }


def test_each_quantity_has_a_panel(logged):
    drawn = curves(plot_run.draw({"a": plot_run.read(logged)}))
    assert drawn["loss"] == [[[10, 0.1], [20, 0.05], [30, 1 / 30]]]
    assert drawn["held-out score (eval/PCKh@0.5)"] == [[[30, 60]]]
    assert [len(lines) for lines in drawn.values()] == [1] * 6


def test_several_runs_share_the_panels(logged, tmp_path):
    other = write(tmp_path / "b", [{"step": 10, "loss": 0.5}])
    drawn = curves(plot_run.draw({run: plot_run.read(run) for run in (logged, other)}))
    assert drawn["loss"][1] == [[10, 0.5]]
    assert drawn["learning rate"][1] == []


def test_the_script_writes_an_image_and_says_so(logged, tmp_path, monkeypatch, capsys):
    out = tmp_path / "curves.png"
    monkeypatch.setattr(sys, "argv", ["plot_run.py", f"--run={logged}", f"--save_path={out}"])
    plot_run.main()
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert capsys.readouterr().out == f"wrote {out}: {logged} to step 30\n"
    plot_run.main()
    assert capsys.readouterr().out == f"replaced {out}: {logged} to step 30\n"


def test_the_plot_replaces_no_input(logged, monkeypatch):
    arguments = [f"--run={logged}", f"--save_path={logged}/metrics.jsonl"]
    monkeypatch.setattr(sys, "argv", ["plot_run.py", *arguments])
    with pytest.raises(SystemExit, match="would replace the input"):
        plot_run.main()
    assert len(plot_run.read(logged)) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [(None, "is not a run: it contains no metrics"), ([], "nothing has been logged yet")],
)
def test_a_folder_without_a_log_is_an_error(tmp_path, monkeypatch, rows, message):
    run = str(tmp_path / "none") if rows is None else write(tmp_path / "b", rows)
    monkeypatch.setattr(sys, "argv", ["plot_run.py", f"--run={run}"])
    with pytest.raises(SystemExit, match=message):
        plot_run.main()


def test_a_missing_matplotlib_names_the_extra(logged, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"pip install matplotlib"):
        plot_run.draw({"a": plot_run.read(logged)})


@pytest.mark.parametrize("value", ["high", [1], None, {}])
def test_a_row_without_numbers_is_named(tmp_path, value):
    run = write(tmp_path / "run", [{"step": 1, "loss": 0.5}, {"step": 2, "loss": value}])
    with pytest.raises(ValueError, match=r"metrics\.jsonl: step 2: loss is .*; expected a number"):
        plot_run.read(run)


def test_a_link_is_replaced_by_the_figure(logged, tmp_path, monkeypatch):
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "out.png").symlink_to("mine.png")
    arguments = [f"--run={logged}", f"--save_path={tmp_path}/out.png"]
    monkeypatch.setattr(sys, "argv", ["plot_run.py", *arguments])
    plot_run.main()
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
