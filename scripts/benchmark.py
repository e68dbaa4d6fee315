"""Times the networks, the training step and the data on this machine.

    python scripts/benchmark.py --model=widehrnet_18 --input=256x256 --batch=8 --mode=train
    python scripts/benchmark.py --mode=data --dataset=coco --root=data/coco --group_images
    python scripts/benchmark.py --mode=predict --model=hrnet_w32 --input=256x192 --dataset=coco
    python scripts/benchmark.py --mode=end_to_end --model=widehrnet_18 --input=128x128
    python scripts/benchmark.py --sweep=conv --batch=8
    python scripts/benchmark.py --sweep=memory --model=hrnet_w32 --input=256x192 --batch=8

forward is the network alone; train a step with Adam; decode is every way from heatmaps to joints,
as a share of the network's time; data reads, augments and stacks, and says what a person costs one
core, in milliseconds and in bare decodings of the image; end_to_end trains from files. predict: ms
is one jitted call from uint8 crops to joints in image pixels, with the flip test; people_per_second
goes from files to joints by `hrjax.Predictor`; the shares are of the time for one person: decoding
pictures, cropping, the network, and what follows on the device.
--sweep=conv times kinds of convolutions as `hrjax.models.lowering` computes them on this backend,
beside XLA's own convolution.
--sweep=memory compiles training steps and tells the memory that XLA plans for them: by batch size,
depth and what saves memory. Nothing is run.

Without --root, people are drawn into a temporary folder. Times are medians. The yardstick, a
2048x2048 by 2048x2048 float32 matrix product, is measured before and after in the same process;
times in its units compare between machines.
"""

import argparse
import collections
import functools
import json
import pathlib
import resource
import statistics
import tempfile
import time
import typing

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from configs import common
from data_pipelines import geometry, ops, pipeline, synthetic
from hrjax import evaluate, heatmaps, models, optim, predict, pretrained, runs, train
from hrjax.models import lowering

MODES = ("forward", "train", "data", "predict", "decode", "end_to_end")


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
    parser.add_argument("--dataset", choices=("coco", "crowdpose", "mpii"), default="mpii")
    parser.add_argument("--root", default="", help="of the dataset, for data and end_to_end")
    parser.add_argument("--group_images", action="store_true", help="decode each image once")
    parser.add_argument("--records", action="store_true", help="--root has its images in records")
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
        elif options.mode == "predict":
            numbers = time_predict(config, options.seconds)
        elif options.mode == "end_to_end":
            numbers = time_end_to_end(config, options.seconds)
        elif options.mode == "decode":
            numbers = time_decoding(config, options.seconds)
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
    layouts = {"mpii": common.mpii, "coco": common.coco, "crowdpose": common.crowdpose}
    config = layouts[options.dataset](recipe)
    config.data.input_size = (height, width)
    config.data.root = options.root or f"{folder}/people"
    config.data.workers = options.workers
    config.data.records, config.data.group_images = options.records, options.group_images
    config.train.batch_size = config.eval.batch_size = options.batch
    config.train.dtype = options.dtype
    config.train.accumulate = options.accumulate
    config.train.remat = options.remat
    config.eval.every_epochs = 0
    drawn = {"data": (200, 2), "end_to_end": (200, 2), "predict": (2, 4 * options.batch)}
    if options.mode in drawn and not options.root:
        train_images, val_images = drawn[options.mode]
        size = {"train_images": train_images, "val_images": val_images}
        synthetic.write(config.data.root, **size, seed=0)
    return config


def time_network(config, mode, seconds):
    """Tracing, compiling and running one jitted function of the network."""
    graph, eval_graph, params, stats = evaluate.create_model(config)
    dtype = jnp.dtype(config.train.dtype)
    batch = random_batch(config)
    if mode == "train":
        step, make_state, batch = training_step(config, graph)
        return time_jitted(step, (make_state(params, stats), batch), seconds, carry=True)
    if config.eval.fold_batch_norm:
        eval_graph, params, stats = models.fold_batch_norm(eval_graph, params, stats)
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    step = jax.jit(lambda *arguments: models.apply(eval_graph, *arguments)[0])
    images = models.normalize(batch["image"]).astype(dtype)
    return time_jitted(step, (params, stats, images), seconds)


def time_decoding(config, seconds):
    """Milliseconds of the network, and the share of it that each decoding takes after it."""
    graph, params, stats = models.fold_batch_norm(*evaluate.create_model(config)[1:])
    network = jax.jit(lambda weights, images: models.apply(graph, *weights, images)[0])
    images = models.normalize(random_batch(config)["image"])
    numbers = time_jitted(network, ((params, stats), images), seconds)
    maps = network((params, stats), images)
    kernel = heatmaps.dark_kernel(config.heatmap.sigma)
    for method in heatmaps.DECODERS:
        decode = functools.partial(heatmaps.decode, method=method, kernel=kernel)
        times = time_jitted(jax.jit(lambda _, maps, f=decode: f(maps)), ((), maps), seconds / 4)
        numbers[f"share_{method}"] = times["ms"] / numbers["ms"]
    return numbers


def time_predict(config, seconds):
    """From files to joints: people a second, and the shares of what is done for a person."""
    _, graph, params, stats = evaluate.create_model(config)
    params = jax.tree.map(lambda x: x.astype(config.train.dtype), params)
    skeleton = pipeline.DATASETS[config.data.dataset].skeleton
    step = evaluate.make_predict_step(
        graph, evaluate.make_mesh(jax.devices()[:1]), config, skeleton
    )
    network, after = split_predict_step(config, graph, skeleton)
    batch, weights = random_batch(config), {"params": params, "stats": stats}
    numbers = time_jitted(step, (weights, batch), seconds / 3)
    network_ms = time_jitted(network, (weights, batch["image"]), seconds / 3)["ms"]
    maps = network(weights, batch["image"])
    after_ms = time_jitted(after, (maps, batch["to_original"]), seconds / 6)["ms"]
    paths, boxes = find_people(config)
    count = sum(map(len, boxes))
    times = {
        **time_reading(config, paths, boxes),
        "network": network_ms / config.train.batch_size,
        "after_network": after_ms / config.train.batch_size,
    }
    network = pretrained.Network(config, skeleton, graph, params, stats)
    power_of_two = 1 << (config.train.batch_size.bit_length() - 1)
    predictor = predict.Predictor(network, batch_size=power_of_two)
    predictor(paths, boxes)  # compiles
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < seconds / 3:
        predictor(paths, boxes)
        rounds += 1
    spent, total = time.perf_counter() - start, sum(times.values())
    return {
        **numbers,
        "people_per_second": rounds * count / spent,
        **{f"share_{name}": value / total for name, value in times.items()},
        "after_network_by_network": times["after_network"] / times["network"],
    }


def time_reading(config, paths, boxes):
    """Milliseconds for each person of decoding pictures and of cropping, in one thread."""
    crop, count = ops.Crop(config.data.input_size), sum(map(len, boxes))
    start = time.perf_counter()
    images = [ops.read_image(path) for path in paths]
    decoded = time.perf_counter()
    for image, found in zip(images, boxes, strict=True):
        for center, size in zip(*geometry.box_center_size(found), strict=True):
            example = {"image": image, "center": center, "size": size}
            crop({**example, "keypoints": np.zeros((0, 2))}, None)
    cropped = time.perf_counter()
    return {
        "decode": 1000 * (decoded - start) / count,
        "crop": 1000 * (cropped - decoded) / count,
    }


def split_predict_step(config, graph, skeleton):
    """What `evaluate.make_predict_step` does as two jitted functions, to heatmaps and from them."""
    udp, kernel = evaluate.uses_udp(config), heatmaps.dark_kernel(config.heatmap.sigma)

    @jax.jit
    def network(weights, images):
        parts = (graph, weights["params"], weights["stats"])
        if config.eval.fold_batch_norm:
            parts = models.fold_batch_norm(*parts)
        images = models.normalize(images)
        if config.eval.flip_test:
            pairs = jnp.stack([images, images[:, :, ::-1]], axis=1)
            images = pairs.reshape(-1, *images.shape[1:])
        with jax.default_matmul_precision("highest"):
            return models.apply(*parts, images)[0]

    @jax.jit
    def after(maps, to_original):
        if config.eval.flip_test:
            mirrored = heatmaps.flip_back(maps[1::2], skeleton.flip_order, shift=not udp)
            maps = 0.5 * (maps[::2] + mirrored)
        cells, scores = heatmaps.decode(maps, config.eval.decode, kernel=kernel)
        size = maps.shape[1:3]
        strides = heatmaps.strides(size, config.data.input_size[0] // size[0], udp=udp)
        return heatmaps.to_image(cells, strides, to_original), scores

    return network, after


def find_people(config):
    """The held-out images and each one's boxes (n, 4)."""
    split = evaluate.open_split(config, "val")
    center, size = split.columns["center"], split.columns["size"] / geometry.BOX_PADDING
    found = collections.defaultdict(list)
    for path, middle, (height, width) in zip(
        split.columns["image_path"], center, size, strict=True
    ):
        found[str(path)].append([*(middle - (width / 2, height / 2)), width, height])
    return list(found), [np.array(boxes) for boxes in found.values()]


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


def open_data(config, wrap=lambda op: op):
    """The training split and endless batches of it; `wrap` is put around each op."""
    split = evaluate.open_split(config, "train")
    chain = pipeline.train_ops(config.augment, split.skeleton, config.data.input_size, strict=True)
    batches = pipeline.batches(
        split,
        [wrap(op) for op in chain],
        batch_size=config.train.batch_size,
        seed=0,
        workers=config.data.workers,
        group_images=config.data.group_images,
    )
    return split, batches


def time_data(config, seconds):
    """Milliseconds a batch; then, in one thread, those of a person and where they go."""
    _, batches = open_data(config)
    with batches:
        next(batches)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            next(batches)
            count += 1
        spent = time.perf_counter() - start
    return {
        "ms": 1000 * spent / count,
        "images_per_second": count * config.train.batch_size / spent,
        **time_person(config, seconds / 2),
    }


def time_person(config, seconds):
    """CPU milliseconds of a person in one thread, their parts, and those of bare decoding.

    The two take turns, batch by batch, so that what else the machine does falls on both.
    """
    cv2.setNumThreads(1)
    parts = dict.fromkeys(("decode", "crop"), 0.0)
    split, batches = open_data(config, functools.partial(Timed, parts))
    batches[0]  # files that were never read come from the disk
    parts |= dict.fromkeys(parts, 0.0)
    person, bare = [], []
    while len(person) < 4 or sum(person) * config.train.batch_size < seconds:
        start = time.thread_time()
        rows = batches[1 + len(person)]["index"].tolist()
        person.append((time.thread_time() - start) / len(rows))
        bare.append(statistics.mean(time_bare_decode(split[row]) for row in rows))
    total = sum(person) * config.train.batch_size
    ratios = [one / other for one, other in zip(person, bare, strict=True)]
    return {
        "person_ms": 1000 * statistics.median(person),
        "people_per_second_per_core": 1 / statistics.median(person),
        "share_decode": parts["decode"] / total,
        "share_crop": parts["crop"] / total,
        "share_rest": 1 - sum(parts.values()) / total,
        "imdecode_ms": 1000 * statistics.median(bare),
        "person_in_imdecodes": statistics.median(ratios),
    }


class Timed:
    """An op that adds its CPU seconds to `parts`, if it is one of those that take long."""

    NAMES: typing.ClassVar = {ops.Decode: "decode", ops.RandomCrop: "crop"}

    def __init__(self, parts, op):
        self.parts, self.op, self.name = parts, op, self.NAMES.get(type(op))

    def __call__(self, example, rng):
        """What the op gives."""
        start = time.thread_time()
        example = self.op(example, rng)
        if self.name:
            self.parts[self.name] += time.thread_time() - start
        return example


def time_bare_decode(example):
    """Seconds that OpenCV takes to decode the example's image, without reading it."""
    encoded = example.get("encoded") or pathlib.Path(example["image_path"]).read_bytes
    data = np.frombuffer(encoded(), np.uint8)
    start = time.thread_time()
    cv2.imdecode(data, cv2.IMREAD_COLOR)
    return time.thread_time() - start


def time_end_to_end(config, seconds):
    """Training from files: milliseconds a step and the share of them spent waiting for data."""
    job, state = train.prepare(config, evaluate.make_mesh(jax.devices()[:1]))
    _, batches = open_data(config)
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
    modules = tuple(getattr(config.model, "modules", ()))
    savings = {"accumulate": 2, "remat": True, "dtype": "bfloat16"}
    cases = [
        *((count * options.batch, modules, {}) for count in (1, 2, 4)),
        *((options.batch, modules, {name: value}) for name, value in savings.items()),
    ]
    if len(modules) > 1:  # the last stage twice as long, and half
        longer, shorter = (tuple(int(factor * n) or 1 for n in modules) for factor in (2, 0.5))
        cases += [(options.batch, longer, {}), (options.batch, shorter, {})]
    for batch, depth, saving in cases:
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
