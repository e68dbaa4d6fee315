"""Times the networks, the training step and the data on this machine.

    python scripts/benchmark.py --model=widehrnet_18 --input=256x256 --batch=8 --mode=train
    python scripts/benchmark.py --mode=data --dataset=coco --root=data/coco
    python scripts/benchmark.py --mode=end_to_end --model=widehrnet_18 --input=128x128
    python scripts/benchmark.py --sweep=conv --batch=8
    python scripts/benchmark.py --sweep=memory --model=hrnet_w32 --input=256x192 --batch=8

forward is the network alone; train a step with Adam; predict goes from uint8 crops to joints in
image pixels, with the flip test; data reads, augments and stacks; end_to_end trains from files.
--sweep=conv times kinds of convolutions
as `hrjax.models.lowering` computes them on this backend, beside XLA's own convolution.
--sweep=memory compiles training steps and tells the memory that XLA plans for them: by batch size,
depth and what saves memory. Nothing is run.

Without --root, people are drawn into a temporary folder. Times are medians. The yardstick, a
2048x2048 by 2048x2048 float32 matrix product, is measured before and after in the same process;
times in its units compare between machines.
"""

import argparse
import functools
import json
import resource
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from configs import common
from data_pipelines import ops, pipeline, synthetic
from hrjax import evaluate, models, optim, runs, train
from hrjax.models import lowering

MODES = ("forward", "train", "data", "predict", "end_to_end")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=MODES, default="forward")
    parser.add_argument("--sweep", choices=("conv", "memory"), help="instead of a network")
    parser.add_argument("--model", choices=sorted(models.VARIANTS), default="widehrnet_18")
    parser.add_argument("--input", default="256x256", help="height x width of the crops")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--accumulate", type=int, default=1, help="parts of a training batch")
    parser.add_argument("--remat", action="store_true", help="compute blocks again, to save memory")
    parser.add_argument("--seconds", type=float, default=5, help="how long to measure")
    parser.add_argument("--dataset", choices=sorted(pipeline.DATASETS), default="mpii")
    parser.add_argument("--root", default="", help="of the dataset, for data and end_to_end")
    parser.add_argument("--workers", type=int, default=0, help="processes that read data")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    runs.keep_freed_memory()

    if options.sweep == "conv":
        print(sweep_convolutions(options.batch, options.seconds))
        return
    if options.sweep == "memory":
        print(sweep_memory(options))
        return
    before = yardstick()
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(options, folder)
        if options.mode == "data":
            numbers = time_data(config, options.seconds)
        elif options.mode == "end_to_end":
            numbers = time_end_to_end(config, options.seconds)
        else:
            numbers = time_network(config, options.mode, options.seconds)
    unit = statistics.median([before, yardstick()])
    numbers["ms_in_yardsticks"] = numbers["ms"] / unit
    numbers |= {"yardstick_ms": unit, "peak_memory_mib": peak_memory()}
    device = jax.devices()[0].device_kind
    numbers = {"mode": options.mode, **vars(options), "device": device, **numbers}
    print(json.dumps(numbers) if options.json else as_text(numbers))


def make_config(options, folder):
    """A recipe with the asked model and sizes, on `--root` or on people drawn into `folder`."""
    height, width = (int(side) for side in options.input.split("x"))
    recipe = common.recipe(options.model, default=options.model)
    config = {"mpii": common.mpii, "coco": common.coco}[options.dataset](recipe)
    config.data.input_size = (height, width)
    config.data.root = options.root or f"{folder}/people"
    config.data.workers = options.workers
    config.train.batch_size = config.eval.batch_size = options.batch
    config.train.dtype = options.dtype
    config.train.accumulate = options.accumulate
    config.train.remat = options.remat
    config.eval.every_epochs = 0
    if options.mode in ("data", "end_to_end") and not options.root:
        synthetic.write(config.data.root, train_images=200, val_images=2, seed=0)
    return config


def time_network(config, mode, seconds):
    """Tracing, compiling and running one jitted function of the network."""
    mesh = evaluate.make_mesh(jax.devices()[:1])
    graph, eval_graph, params, stats = evaluate.create_model(config)
    dtype = jnp.dtype(config.train.dtype)
    batch = random_batch(config)
    if mode == "train":
        step, make_state, batch = training_step(config, graph)
        return time_jitted(step, (make_state(params, stats), batch), seconds, carry=True)
    if mode == "predict":
        skeleton = pipeline.DATASETS[config.data.dataset].skeleton
        step = evaluate.make_predict_step(eval_graph, mesh, config, skeleton)
        params = jax.tree.map(lambda x: x.astype(dtype), params)
        return time_jitted(step, ({"params": params, "stats": stats}, batch), seconds)
    if config.eval.fold_batch_norm:
        eval_graph, params, stats = models.fold_batch_norm(eval_graph, params, stats)
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    step = jax.jit(lambda *arguments: models.apply(eval_graph, *arguments)[0])
    images = models.normalize(batch["image"]).astype(dtype)
    return time_jitted(step, (params, stats, images), seconds)


def training_step(config, graph):
    """A step with Adam, what makes its state from params and stats, and a batch of noise."""
    optimizer = optim.optimizer(config.optimizer, learning_rate := lambda step: 1e-3)
    make_state = functools.partial(train.create_state, optimizer=optimizer, average=False)
    step = train.make_train_step(graph, optimizer, learning_rate, config)
    batch = random_batch(config)
    return step, make_state, {key: batch[key] for key in ("image", "keypoints", "visible")}


def random_batch(config):
    """A batch of noise in the form that the pipelines deliver."""
    count, joints = config.train.batch_size, config.model.num_joints
    height, width = config.data.input_size
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (count, height, width, 3), np.uint8),
        "keypoints": rng.uniform(0, min(height, width), (count, joints, 2)).astype(np.float32),
        "visible": np.ones((count, joints), np.float32),
        "to_original": np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1)),
        "index": np.arange(count, dtype=np.int32),
        "mask": np.ones(count, bool),
    }
    return jax.tree.map(jnp.asarray, batch)


def time_jitted(function, arguments, seconds, *, carry=False):
    """Milliseconds a call; with `carry` the first result is the next call's first argument."""
    start = time.perf_counter()
    lowered = function.lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    first, *rest = arguments
    times = []
    while len(times) < 4 or sum(times) < seconds:
        begin = time.perf_counter()
        result = jax.block_until_ready(compiled(first, *rest))
        times.append(time.perf_counter() - begin)
        first = result[0] if carry else first
    median = statistics.median(times[1:])
    count = jax.tree.leaves(rest)[-1].shape[0]
    return {
        "ms": 1000 * median,
        "images_per_second": count / median,
        "trace_seconds": traced - start,
        "compile_seconds": done - traced,
        "program_memory_mib": program_memory(compiled),
        "calls": len(times) - 1,
    }


def open_data(config):
    """The training split and endless batches of it."""
    split = evaluate.open_split(config, "train")
    chain = pipeline.train_ops(config.augment, split.skeleton, config.data.input_size, strict=True)
    batches = pipeline.batches(
        split, chain, batch_size=config.train.batch_size, seed=0, workers=config.data.workers
    )
    return split, chain, batches


def time_data(config, seconds):
    """Milliseconds a batch; then, in one thread, the shares of decoding, cropping and the rest."""
    split, chain, batches = open_data(config)
    with batches:
        next(batches)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            next(batches)
            count += 1
        spent = time.perf_counter() - start
    shares = dict.fromkeys(("decode", "crop", "rest"), 0.0)
    rng, begin, people = np.random.default_rng(0), time.perf_counter(), 0
    while time.perf_counter() - begin < seconds / 2:
        example = split[people % len(split)]
        people += 1
        for op in chain:
            name = {ops.Decode: "decode", ops.RandomCrop: "crop"}.get(type(op), "rest")
            started = time.perf_counter()
            example = op(example, rng)
            shares[name] += time.perf_counter() - started
    total = sum(shares.values())
    return {
        "ms": 1000 * spent / count,
        "images_per_second": count * config.train.batch_size / spent,
        "images_per_second_one_thread": people / total,
        **{f"share_{name}": value / total for name, value in shares.items()},
    }


def time_end_to_end(config, seconds):
    """Training from files: milliseconds a step and the share of them spent waiting for data."""
    job, state = train.prepare(config, evaluate.make_mesh(jax.devices()[:1]))
    _, _, batches = open_data(config)
    waits, times = [], []
    with batches:
        while len(times) < 4 or sum(times[1:]) < seconds:
            start = time.perf_counter()
            batch = next(batches)
            waits.append(time.perf_counter() - start)
            inputs = {key: batch[key] for key in ("image", "keypoints", "visible")}
            state, numbers = job.train_step(state, evaluate.shard(inputs, job.mesh))
            jax.block_until_ready(numbers)
            times.append(time.perf_counter() - start)
    median = statistics.median(times[1:])
    return {
        "ms": 1000 * median,
        "images_per_second": config.train.batch_size / median,
        "first_step_seconds": times[0],
        "share_waiting": sum(waits[1:]) / sum(times[1:]),
    }


# Height, width, inputs; kernel, outputs, stride, groups: what the networks at 256x192 are made of.
CONVOLUTIONS = {
    "dense 3x3": ((64, 48, 32), (3, 32, 1, 1)),
    "dense 3x3, stride 2": ((64, 48, 32), (3, 64, 2, 1)),
    "1x1": ((64, 48, 40), (1, 160, 1, 1)),
    "depthwise 3x3": ((64, 48, 40), (3, 40, 1, 40)),
    "depthwise 3x3, stride 2": ((64, 48, 40), (3, 40, 2, 40)),
    "depthwise 3x3, wide": ((64, 48, 160), (3, 160, 1, 160)),
    "depthwise 5x5": ((32, 24, 80), (5, 80, 1, 80)),
    "depthwise 9x9": ((8, 6, 160), (9, 160, 1, 160)),
    "4 groups 3x3": ((32, 24, 64), (3, 64, 1, 4)),
}


def sweep_convolutions(batch, seconds):
    """A table of milliseconds: forward and with both gradients, our lowering and XLA's own."""
    rows = [("convolution", "forward", "XLA's", "gradients", "XLA's")]
    for name, ((height, width, inputs), (size, outputs, stride, groups)) in CONVOLUTIONS.items():
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.standard_normal((batch, height, width, inputs), np.float32))
        kernel = rng.standard_normal((size, size, inputs // groups, outputs), np.float32)
        numbers = []
        for gradients in (False, True):
            for function in (lowering.convolve, xla_convolve):
                run = functools.partial(function, stride=stride, groups=groups)
                if gradients:
                    run = jax.grad(lambda *xs, run=run: jnp.sum(jnp.sin(run(*xs))), (0, 1))
                arguments = (x, jnp.asarray(kernel))
                numbers.append(time_jitted(jax.jit(run), arguments, seconds / 20)["ms"])
        rows.append((name, *(f"{number:.2f}" for number in numbers)))
    return as_table(rows)


def xla_convolve(x, kernel, *, stride, groups):
    """The convolution as XLA has it."""
    pad = (kernel.shape[0] // 2,) * 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        (pad, pad),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def sweep_memory(options):
    """A table of MiB that a training step needs, and how long it took to compile."""
    rows = [("batch", "modules", "saving", "MiB", "MiB a crop", "compile seconds")]
    config = make_config(options, "")
    for batch, depth, saving in memory_cases(options.batch, config.model.get("modules", ())):
        with config.unlocked():
            config.train.update({"batch_size": batch, "accumulate": 1, "remat": False})
            config.train.update({"dtype": options.dtype, **saving})
            if depth:
                config.model.modules = depth
        fields = evaluate.model_fields(config)
        graph, params, stats = models.shapes(config.model.name, training=True, **fields)
        step, make_state, inputs = training_step(config, graph)
        start = time.perf_counter()
        compiled = step.lower(jax.eval_shape(make_state, params, stats), inputs).compile()
        spent, mib = time.perf_counter() - start, program_memory(compiled)
        how = " ".join(f"{key}={value}" for key, value in saving.items()) or "-"
        shape = "x".join(map(str, depth)) or "-"
        rows.append((str(batch), shape, how, *(f"{x:.0f}" for x in (mib, mib / batch, spent))))
    return as_table(rows)


def memory_cases(batch, modules):
    """What `sweep_memory` compiles: sizes of batches, modules of each stage, settings."""
    savings = {"accumulate": 2, "remat": True, "dtype": "bfloat16"}
    return [
        *((count * batch, modules, {}) for count in (1, 2, 4)),
        *((batch, tuple(times * n for n in modules), {}) for times in (2, 4) if modules),
        *((batch, modules, {name: value}) for name, value in savings.items()),
    ]


def program_memory(compiled):
    """The memory that a compiled program needs, MiB: arguments, results and what is in between."""
    found = compiled.memory_analysis()
    inside = found.temp_size_in_bytes + found.output_size_in_bytes
    shared = found.alias_size_in_bytes  # arguments whose memory the results take over
    return (inside + found.argument_size_in_bytes - shared) / 2**20


def yardstick():
    """Milliseconds of a 2048x2048 by 2048x2048 float32 matrix product: the median of seven."""
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    a = jnp.asarray(np.random.default_rng(0).standard_normal((2048, 2048), np.float32))
    product(a).block_until_ready()
    times = []
    for _ in range(7):
        start = time.perf_counter()
        product(a).block_until_ready()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def peak_memory():
    """The most memory in use so far, MiB: of the accelerator, or of this process on a CPU."""
    stats = jax.devices()[0].memory_stats()
    if stats:
        return stats["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def as_table(rows):
    """Rows of text as aligned columns, all but the first to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def as_text(numbers):
    """Numbers as aligned lines."""
    width = max(map(len, numbers))
    rows = [(k, f"{v:.4g}" if isinstance(v, float) else v) for k, v in numbers.items()]
    return "\n".join(f"{key:{width}}  {value}" for key, value in rows)


if __name__ == "__main__":
    main()
