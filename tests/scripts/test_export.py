"""scripts/export.py: one command, one file, one line."""

import pathlib

import onnx
import pytest

import export
from hrjax.export import web_page


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["export.py", *map(str, arguments)])
    export.main()


def test_an_onnx_file_is_written_and_checked(portable, tmp_path, monkeypatch, capsys):
    file = tmp_path / "model.onnx"
    options = ("--decode=dark", "--flip_test", "--batch=1", "--check")
    run(monkeypatch, f"--checkpoint={portable.weights}", f"--output={file}", *options)
    line, check = capsys.readouterr().out.splitlines()
    assert line.startswith(f"wrote {file}: pose_resnet_50, 16 joints, crops of 32x32 pixels (width")
    assert "decoding dark, in ONNX, opset 18, " in line
    assert check.startswith("differs from the checkpoint by at most ")
    told = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert (told["decode"], told["flip_test"]) == ("dark", "true")
    assert onnx.load(file).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_a_stablehlo_program_is_written_with_its_metadata(portable, tmp_path, monkeypatch, capsys):
    file = tmp_path / "model.tpu"
    options = ("--format=stablehlo", "--platform=tpu")
    run(monkeypatch, f"--checkpoint={portable.weights}", f"--output={file}", *options)
    said = capsys.readouterr().out
    assert said.startswith(f"wrote {file}: pose_resnet_50, 16 joints, crops of 32x32 pixels (width")
    assert "in StableHLO for tpu" in said
    assert file.exists()
    assert pathlib.Path(f"{file}.json").exists()


def test_an_int8_file_is_chosen_on_the_training_split(
    portable, drawn, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "int8.onnx"
    options = ("--int8", "--int8_crops=8", f"--data={drawn}")
    run(monkeypatch, f"--checkpoint={portable.weights}", f"--output={file}", *options)
    said = capsys.readouterr().out
    assert said.startswith(f"wrote {file}: pose_resnet_50, 16 joints, crops of 32x32 pixels (width")
    assert "decoding quarter, in ONNX, opset 18, " in said
    model = onnx.load(file)
    assert "QuantizeLinear" in {node.op_type for node in model.graph.node}
    assert "quantization" in {entry.key for entry in model.metadata_props}
    options = ("--int8", f"--data={tmp_path / 'nowhere'}")
    with pytest.raises(SystemExit, match=r"error: .*nowhere"):
        run(monkeypatch, f"--checkpoint={portable.weights}", f"--output={file}", *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--int8", "--half"], "--int8 belongs to --format=onnx, without --half"),
        (["--int8", "--format=stablehlo"], "--int8 belongs to --format=onnx, without --half"),
        (["--data=x"], "--int8_crops and --data belong to --int8"),
        (["--int8", "--int8_crops=0"], "--int8_crops=0: expected 8 or more"),
        (["--batch=many"], "--batch=many: expected a positive number, or dynamic"),
        (["--batch=0"], "--batch=0: expected a positive number, or dynamic"),
        (["--platform=tpu"], "--platform belongs to --format=stablehlo"),
        (["--format=stablehlo", "--check"], "--check belongs to --format=onnx"),
        (["--onnxruntime_web=package.tgz"], "--onnxruntime_web belongs to --web"),
        (["--web=page"], "argument --web: not allowed with argument --output"),
    ],
)
def test_options_that_exclude_each_other(monkeypatch, capsys, tmp_path, options, message):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--checkpoint=x", f"--output={tmp_path / 'x'}", *options)
    assert message in capsys.readouterr().err


def test_a_page_is_written_with_the_runtime_that_is_given(portable, tmp_path, monkeypatch, capsys):
    package, folder = tmp_path / "dist", tmp_path / "page"
    package.mkdir()
    for name in web_page.RUNTIME.values():
        (package / name).write_text(name)
    options = (f"--web={folder}", f"--onnxruntime_web={package}")
    run(monkeypatch, f"--checkpoint={portable.weights}", *options)
    line = capsys.readouterr().out
    assert line.startswith(f"wrote {folder}: a page with pose_resnet_50, ")
    assert line.endswith(f"python -m http.server --directory {folder}\n")
    assert (folder / "index.html").exists()
    facts = {entry.key: entry.value for entry in onnx.load(folder / "model.onnx").metadata_props}
    assert facts["flip_test"] == "false"


def test_a_page_of_heatmaps_is_refused(monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--checkpoint=x", f"--web={tmp_path / 'x'}", "--decode=none")
    assert "--web takes neither --format=stablehlo nor --decode=none" in capsys.readouterr().err


def test_an_unknown_checkpoint_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="error: there is no checkpoint nothing"):
        run(monkeypatch, "--checkpoint=nothing", f"--output={tmp_path / 'x.onnx'}")
