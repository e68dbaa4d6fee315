"""Networks in JAX, ONNX Runtime and OpenVINO, timed in turns so that a busy machine slows all."""

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.timing import Numbers, random_batch
from data_pipelines import datasets
from hrjax import experiment
from hrjax.export import onnx_model, programs
from hrjax.export.programs import Plan
from hrjax.weights import model_card

ROUNDS = 5  # at least


def time_in_turns(config: ConfigDict, names: list[str], seconds: float) -> dict[str, Numbers]:
    """Times a batch from uint8 crops to heatmaps, by runtime.

    Batch norm is folded everywhere, and there is no flip test. ONNX Runtime and OpenVINO run the
    same program, which is for any number of crops.
    """
    _, *network = experiment.create_model(config)
    card = model_card.from_config(config, datasets.find(config.data.dataset).skeleton)
    card = dataclasses.replace(card, flip_test=False)
    plan = Plan(tuple(network), card, returns_heatmaps=True)
    crops = np.asarray(random_batch(config)["image"])
    calls, numbers, times = {}, {}, {name: [] for name in names}
    for name in names:
        start = time.perf_counter()
        calls[name] = RUNTIMES[name](plan, crops)
        calls[name]()
        numbers[name] = {"start_seconds": time.perf_counter() - start}
    begin = time.perf_counter()
    while len(times[names[0]]) < ROUNDS or time.perf_counter() - begin < seconds * len(names):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    for name in names:
        median = statistics.median(times[name])
        timed = {"ms": 1000 * median, "images_per_second": len(crops) / median}
        numbers[name] |= {**timed, "calls": len(times[name])}
    return numbers


def _in_jax(plan: Plan, crops: np.ndarray) -> Callable:
    weights, function = programs.crops_to_results(plan)

    @jax.jit
    def run(weights, crops):
        with jax.default_matmul_precision("highest"):
            return function(weights, crops)["heatmaps"]

    return lambda: run(weights, crops).block_until_ready()


def _in_onnxruntime(plan: Plan, crops: np.ndarray) -> Callable:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Or its threads would spin while another runtime has its turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    contents = onnx_model.build(plan).SerializeToString()
    session = onnxruntime.InferenceSession(contents, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {onnx_model.CROPS: crops})


def _in_openvino(plan: Plan, crops: np.ndarray) -> Callable:
    try:
        import openvino
    except ImportError as error:
        raise ValueError("OpenVINO is missing: pip install 'hrjax[openvino]'") from error
    contents = onnx_model.build(plan).SerializeToString()
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(contents), "CPU", options)
    return lambda: compiled({onnx_model.CROPS: crops})


RUNTIMES = {"jax": _in_jax, "onnxruntime": _in_onnxruntime, "openvino": _in_openvino}
