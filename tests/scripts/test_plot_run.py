"""The curves of runs."""

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


def test_a_panel_for_each_curve(logged):
    found = curves(plot_run.draw({"a": plot_run.read(logged)}))
    assert found["loss"] == [[[10, 0.1], [20, 0.05], [30, 1 / 30]]]
    assert found["held-out score (eval/PCKh@0.5)"] == [[[30, 60]]]
    assert [len(lines) for lines in found.values()] == [1] * 6


def test_runs_are_compared_in_the_same_panels(logged, tmp_path):
    other = write(tmp_path / "b", [{"step": 10, "loss": 0.5}])
    found = curves(plot_run.draw({run: plot_run.read(run) for run in (logged, other)}))
    assert found["loss"][1] == [[10, 0.5]]
    assert found["learning rate"][1] == []


def test_writes_a_picture(logged, tmp_path, monkeypatch):
    out = tmp_path / "curves.png"
    monkeypatch.setattr(sys, "argv", ["plot_run.py", f"--run={logged}", f"--save_path={out}"])
    plot_run.main()
    assert out.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("rows", "message"), [(None, "is no run: there is no metrics"), ([], "nothing was logged yet")]
)
def test_what_is_no_run_is_named(tmp_path, monkeypatch, rows, message):
    run = str(tmp_path / "none") if rows is None else write(tmp_path / "b", rows)
    monkeypatch.setattr(sys, "argv", ["plot_run.py", f"--run={run}"])
    with pytest.raises(SystemExit, match=message):
        plot_run.main()


def test_without_matplotlib_the_extra_is_named(logged, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ValueError, match=r"pip install 'hrjax\[plots\]'"):
        plot_run.draw({"a": plot_run.read(logged)})
