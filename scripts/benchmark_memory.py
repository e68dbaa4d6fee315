"""The memory that networks need on this machine, by batch: compiled, but not run.

    python scripts/benchmark_memory.py --modes=predict --batches=8,32 > docs/memory.json
    python scripts/benchmark_memory.py --modes=train --batches=8 >> docs/memory.json

Prints a line of JSON for each network and batch: what XLA plans for arguments, temporaries and
results, in MiB. The mode `predict` goes from crops to joints with the flip test, as prediction and
evaluation do; `train` is a step with Adam in float32. A process needs some 600 MiB more for JAX and
the program itself. The input is 256x192.
"""

import json
import time

import jax

from benchmarks import networks, timing
from configs import common
from hrjax import models
from hrjax.runtime import distributed, memory, script_options, terminal

SIZE = (256, 192)
LOWERED = {"predict": networks.lower_prediction, "train": networks.lower_training}


def main() -> None:
    parser = script_options.make(__doc__)
    names = [name for name in models.list_models() if "tiny" not in name]
    parser.add_argument("--models", default=",".join(names), help="with commas; default: all")
    parser.add_argument("--modes", default="predict,train", help="predict, train, or both")
    parser.add_argument("--batches", default="8,32", help="people, with commas (default: 8,32)")
    options = script_options.parse(parser)
    memory.keep_freed_memory()
    batches = [int(batch) for batch in options.batches.split(",")]
    for model in options.models.split(","):
        for mode in options.modes.split(","):
            for batch in batches:
                print(json.dumps(measure(model, mode, batch)), flush=True)
            jax.clear_caches()


def measure(model: str, mode: str, batch: int) -> dict:
    """The memory of one program, and how long it took to compile."""
    config = common.recipe(model, default=model, dataset="coco", input_size=SIZE)
    config.train.batch_size = config.eval.batch_size = batch
    mesh = distributed.make_mesh(jax.devices()[:1])
    start = time.perf_counter()
    compiled = LOWERED[mode](config, mesh).compile()
    row = {"mode": mode, "model": model, "input": "x".join(map(str, SIZE)), "batch": batch}
    mib = round(timing.program_memory(compiled), 1)
    return {**row, "mib": mib, "seconds": round(time.perf_counter() - start, 1)}


if __name__ == "__main__":
    terminal.run(main)
