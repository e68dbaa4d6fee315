"""scripts/benchmark_gpu.py, tried without a GPU, and the networks that it has in PyTorch."""

import json
import sys

import jax
import numpy as np
import pytest

from hrjax import models
from scripts import benchmark_gpu


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark_gpu.py"])
    assert benchmark_gpu.main() == 1
    assert "JAX sees no GPU here, but cpu" in capsys.readouterr().err


def test_an_unknown_variant_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark_gpu.py", "--networks=hrnet_w23"])
    with pytest.raises(SystemExit):
        benchmark_gpu.main()
    assert "unknown variant 'hrnet_w23'; did you mean hrnet_w32" in capsys.readouterr().err


@pytest.mark.long
def test_a_row_for_each_case_and_a_dash_where_time_is_up(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(benchmark_gpu, "CASES", (("train", 2), ("forward", 1)))
    monkeypatch.setattr(benchmark_gpu, "SIZE", (32, 32))
    monkeypatch.setattr(benchmark_gpu, "SECONDS", 0.01)
    monkeypatch.setattr(benchmark_gpu, "measure_torch", lambda *_: [])
    options = ["--any_device", "--no_tests", "--networks=hrnet_tiny"]
    monkeypatch.setattr(
        sys, "argv", ["benchmark_gpu.py", *options, f"--output={tmp_path / 'gpu.json'}"]
    )
    assert benchmark_gpu.main() == 0
    rows = [json.loads(line) for line in (tmp_path / "gpu.json").read_text().splitlines()]
    assert [(row["mode"], row["batch"]) for row in rows] == [("train", 2), ("forward", 1)]
    assert all(row["ms"] > 0 and row["bound_ms"] > 0 and row["kernels"] > 0 for row in rows)
    monkeypatch.setattr(sys, "argv", ["benchmark_gpu.py", *options, "--minutes=0"])
    assert benchmark_gpu.main() == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last == ["hrnet_tiny", "forward", "1", "hrjax", "-", "-", "-", "-"]


@pytest.mark.long
@pytest.mark.parametrize("name", ["hrnet_w32", "litehrnet_18"])
def test_the_networks_in_pytorch_are_ours(name):
    torch = pytest.importorskip("torch")
    from benchmarks import torch_networks

    rng = np.random.default_rng(0)

    def noisy(x):
        return np.asarray(x + 0.05 * rng.standard_normal(x.shape), np.float32)

    model = models.create(name, num_joints=17)
    model.eval()
    graph, params, stats = models.split(model)
    params, stats = jax.tree.map(noisy, params), jax.tree.map(lambda x: np.abs(noisy(x)), stats)
    network = torch_networks.HighResolutionNet(**torch_networks.NETWORKS[name]).eval()
    torch_networks.load(network, params, stats)
    images = rng.standard_normal((1, 64, 64, 3)).astype(np.float32)
    ours = jax.jit(models.apply, static_argnums=0)(graph, params, stats, images)[0]
    with torch.no_grad():
        theirs = network(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()
    assert np.std(ours) > 0.01
    np.testing.assert_allclose(theirs.transpose(0, 2, 3, 1), ours, atol=1e-4 * np.std(ours))
