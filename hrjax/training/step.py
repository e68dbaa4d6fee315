"""The jitted training step: loss, gradients and parameter update."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec
from ml_collections import ConfigDict

from data_pipelines.messages import choices
from hrjax import heatmaps, models
from hrjax.training import fine_tuning, losses
from hrjax.training.distill import Teacher
from hrjax.training.parameter_packing import copy_in_parts, holds_packed, pack
from hrjax.training.state import TrainState, pack_state, unpack_weights

DTYPES = ("bfloat16", "float32", "float64")  # float64 needs JAX_ENABLE_X64
PRECISIONS = ("default", "high", "highest")
ON_NAN = ("stop", "skip")


def make_train_step(
    graph: models.Graph,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    learning_rate: optax.Schedule,
    config: ConfigDict,
    teacher: Teacher | None = None,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
    """A jitted step: (state, batch) → (state, {"loss", "pck", "lr", "finite"}).

    It runs on the devices of `mesh`. The memory of the state is reused (donated); a packed state
    (`to_device_form`) stays packed. `learning_rate` gives the rate that the optimizer uses, for the
    log. `finite` is whether the loss and the new weights are finite. If they are not and the config
    skips such steps, the state is unchanged except for its step counters. With a `teacher`,
    "distill" is its part of the loss.
    """
    _check(config)
    derive = jax.value_and_grad(_make_loss(graph, config, teacher), has_aux=True)

    def take_step(packed_state, batch, *teacher_weights):
        whole = holds_packed(packed_state.params)
        state = unpack_weights(packed_state)
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        rate = learning_rate(state.step)
        backbone = models.backbone_parts(state.params)
        parts, factor = backbone[: config.train.freeze], config.optimizer.backbone_factor
        trained, kept = fine_tuning.divide(state.params, parts)
        differentiate = functools.partial(_differentiate, derive, config=config, whole=whole)
        if _shares_are_independent(config, mesh):
            differentiate = _by_share(differentiate, mesh)
        copies = copy_in_parts(trained) if whole else trained
        weights = (copies, kept, state.stats, teacher_weights)
        gradients, stats, numbers = differentiate(batch, key, weights)
        numbers = _summarize(numbers)
        before = pack(trained, whole=whole)
        updates, opt_state = optimizer.update(gradients, state.opt_state, before)
        updates = fine_tuning.slow_down(updates, trained, backbone, factor)
        packed = optax.apply_updates(before, updates)
        params = fine_tuning.join(packed.unpack(), kept)
        stats = fine_tuning.keep(stats, state.stats, parts)
        average = _moving_average(state.average, params, stats, config.train.ema_decay, whole)
        if parts and average:  # the mean of equal numbers may differ from them in the last digit
            average = {
                key: fine_tuning.keep(x, state.average[key], parts) for key, x in average.items()
            }
        after = TrainState(state.step + 1, params, stats, opt_state, average)
        after = pack_state(after) if whole else after
        finite = _all_finite((numbers["loss"], packed, pack(stats, whole=whole)))
        if config.train.on_nan == "skip":
            after = jax.tree.map(functools.partial(_keep_unless, finite), packed_state, after)
        return after, {**numbers, "lr": rate, "finite": finite}

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(*arguments):
        platform = mesh.devices.flat[0].platform
        precision = jax.default_matmul_precision(config.train.matmul_precision)
        with models.lowering_for(platform), precision:
            return take_step(*arguments)

    if teacher is None:
        return train_step
    return lambda state, batch: train_step(state, batch, teacher.weights)


def _check(config):
    for name, known in (("dtype", DTYPES), ("matmul_precision", PRECISIONS), ("on_nan", ON_NAN)):
        if config.train[name] not in known:
            raise ValueError(choices.unknown(f"config.train.{name}", config.train[name], known))


def _make_loss(graph, config, teacher):
    """The function from weights, a batch, a key and a share to the loss, stats and numbers.

    Of the weights, `trained` and `kept` are the params that change and those that do not;
    `teacher_weights` has the teacher's, or nothing. `share` is that of `models.apply`. The numbers
    of a batch, or of a part of one, are those that `_summarize` takes.
    """
    dtype = jnp.dtype(config.train.dtype)

    def compute(trained, kept, stats, teacher_weights, batch, key, share):
        params = fine_tuning.join(trained, kept)
        params = _cast(params, dtype)
        images = models.normalize(batch["image"], config.data.color).astype(dtype)
        options = {"batch_norm_size": config.train.batch_norm_size, "share": share}
        outputs, stats = models.apply(
            graph, params, stats, images, key, remat=config.train.remat, **options
        )
        targets, weights = heatmaps.encode(
            batch["keypoints"],
            batch["visible"],
            size=outputs.shape[1:3],
            stride=images.shape[1] // outputs.shape[1],
            sigma=config.heatmap.sigma,
            encoding=config.heatmap.encoding,
        )
        loss = losses.joint_mse(
            outputs,
            targets,
            losses.weigh_joints(weights, config.loss.joint_weights),
            factor=config.loss.factor,
            hard_joints=config.loss.hard_joints,
        )
        numbers = {"pck": heatmaps.pck_counts(outputs, targets, weights)}
        if teacher is not None:
            soft_targets = teacher.heatmaps(*teacher_weights, images, key, **options)
            distill = losses.joint_mse(outputs, soft_targets, weights, factor=config.distill.weight)
            loss, numbers = loss + distill, {**numbers, "distill": distill}
        return loss, (stats, {"loss": loss, **numbers})

    return compute


def _cast(params, dtype):
    """The params in the dtype that the network computes in."""
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    return _apart(params) if models.target_platform() == "gpu" else params


@jax.custom_vjp
def _apart(params):
    """The params as arrays of their own, where they are parts of a vector; matrices excepted.

    Otherwise each kernel that reads one has the position of its part built in, so that no two are
    alike and XLA compiles every one of them. Matrix products have none built in, and matrices that
    XLA joins or pads for them are joined and padded as they are cut from their vector.
    """
    leaves, structure = jax.tree.flatten(params)
    apart = [place for place, x in enumerate(leaves) if not _is_matrix(x.shape)]
    arrays = jax.lax.optimization_barrier([leaves[place] for place in apart])
    for place, x in zip(apart, arrays, strict=True):
        leaves[place] = x
    return jax.tree.unflatten(structure, leaves)


_apart.defvjp(lambda params: (_apart(params), None), lambda _, gradients: (gradients,))


def _is_matrix(shape):
    """Whether products read it: a matrix, a 1x1 kernel, or kernels that are mixed (n, h, w, …)."""
    return len(shape) in (2, 5) or shape[:2] == (1, 1)


def _shares_are_independent(config, mesh):
    """Whether the devices exchange nothing before the gradients: no group is on two of them."""
    if mesh.size == 1 or config.quantize.enabled:  # it rounds by the largest value of a batch
        return False
    size = config.train.batch_norm_size
    people = config.train.accumulate * mesh.size * (size or 1)
    grouped = size > 0 or config.train.batch_norm == "running"
    return grouped and config.train.batch_size % people == 0


def _by_share(differentiate, mesh):
    """`differentiate` on each device's share of the batch, and one exchange of the results.

    They are exchanged as the vectors that they are packed in. Left to the compiler, each array
    would be exchanged as it is computed, or copied to be exchanged with others.
    """

    def on_a_share(batch, key, weights):
        share = (jax.lax.axis_index("data"), mesh.size)
        gradients, stats, numbers = differentiate(batch, key, weights, share=share)
        before, after = (pack(x, whole=gradients.plan.whole) for x in (weights[2], stats))
        # What did not change is to stay equal in the last digit, which a mean need not.
        changes = jax.tree.map(jnp.subtract, after, before)
        counts = jax.tree.map(lambda x: x.astype(jnp.float32), numbers.pop("pck"))
        summed, counts = jax.lax.psum(((gradients, changes, numbers), counts), "data")
        gradients, changes, numbers = jax.tree.map(lambda x: x / mesh.size, summed)
        stats = jax.tree.map(jnp.add, before, changes).unpack()
        return gradients, stats, {**numbers, "pck": counts}

    specs = (PartitionSpec("data"), PartitionSpec(), PartitionSpec())
    # Checked, JAX would exchange the gradients of each array when it derives them.
    return jax.shard_map(
        on_a_share, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False
    )


def _differentiate(derive, batch, key, weights, *, config, whole, share=(0, 1)):
    """The packed gradients of a batch, the batch norm statistics after it, and its numbers.

    With `config.train.accumulate` above 1 the batch is split into that many microbatches, computed
    one after the other. Gradients are means over them, numbers have one row for each. Batch norm
    normalizes each microbatch by its own statistics and updates the running ones once for each. But
    where `config.train.batch_norm_size` sets the groups that batch norm normalizes, these and the
    running statistics are the same for any number of microbatches.
    """
    trained, kept, old_stats, teacher_weights = weights
    count = config.train.accumulate
    packed = functools.partial(pack, whole=whole)
    if count == 1:
        (_, (stats, numbers)), gradients = derive(*weights, batch, key, share)
        return packed(gradients), stats, jax.tree.map(lambda x: x[None], numbers)

    def add(carry, microbatch):
        stats, total = carry
        before = old_stats if grouped else stats
        arguments = (trained, kept, before, teacher_weights, *microbatch)
        (_, (stats, numbers)), gradients = derive(*arguments, share)
        after = stats if grouped else None
        return (stats, jax.tree.map(jnp.add, total, gradients)), (numbers, after)

    grouped = config.train.batch_norm_size > 0
    rows = _deal(batch, count, config.train.batch_norm_size)
    zeros = jax.tree.map(jnp.zeros_like, trained)
    keys = jax.random.split(key, count)
    (stats, total), (numbers, after) = jax.lax.scan(add, (old_stats, zeros), (rows, keys))
    if grouped:
        stats = jax.tree.map(lambda x: jnp.mean(x, 0), after)
    gradients = jax.tree.map(lambda x: x / count, total)
    return packed(gradients), stats, numbers


def _summarize(numbers):
    """Means of the numbers of microbatches (m,), and of their PCK, by counts (m, k)."""
    pck = heatmaps.pck(*numbers["pck"])
    return jax.tree.map(jnp.mean, {**numbers, "pck": pck})


def _deal(batch, count, group_size):
    """The rows of a batch as (count, rows of a microbatch, …).

    They are dealt out in turn, so that each device has an equal share of each microbatch: one by
    one, or by whole groups of batch norm where a microbatch holds any.
    """
    rows = len(batch["image"]) // count
    unit = group_size if 0 < group_size <= rows else 1

    def deal(x):
        dealt = x.reshape(-1, count, unit, *x.shape[1:]).swapaxes(0, 1)
        return dealt.reshape(count, rows, *x.shape[1:])

    return jax.tree.map(deal, batch)


def _moving_average(average, params, stats, decay, whole):
    if average is None:
        return None
    old, new = (pack(x, whole=whole) for x in (average, {"params": params, "stats": stats}))
    mixed = jax.tree.map(lambda before, now: decay * before + (1 - decay) * now, old, new)
    return mixed.unpack()


def _all_finite(tree):
    if models.target_platform() != "cpu":
        # One kernel instead of one or two for each array.
        return jnp.isfinite(jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])).all()
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def _keep_unless(finite, old, new):
    """`new` if `finite`, else `old`; step counters, which are integers, always advance."""
    return jnp.where(finite, new, old) if jnp.issubdtype(new.dtype, jnp.floating) else new
