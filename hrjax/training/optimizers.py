"""Learning-rate schedules and optimizers from the `optimizer` section of a config."""

import jax
import optax
from ml_collections import ConfigDict

from data_pipelines.messages import choices
from hrjax.config import checks


def schedule(
    settings: ConfigDict, *, batch_size: int, steps_per_epoch: int, epochs: int
) -> optax.Schedule:
    """The learning rate at each step: linear warm-up, then step decay or a cosine.

    Warm-up starts at `warmup_factor` and multiplies the scheduled rate, as in mmcv; milestones are
    epochs counted from the first step, not from the end of the warm-up. The warm-up takes
    `warmup_steps`, but at most the share `warmup_limit` of the run.
    """
    peak = settings.lr * batch_size / (settings.lr_base_batch or batch_size)
    if settings.schedule == "step":
        boundaries = {epoch * steps_per_epoch: settings.decay for epoch in settings.milestones}
        after = optax.piecewise_constant_schedule(peak, boundaries)
    elif settings.schedule == "cosine":
        stride = steps_per_epoch if settings.by_epoch else 1
        length = max(1, epochs * steps_per_epoch // stride)
        cosine = optax.cosine_decay_schedule(peak, length, alpha=settings.final_factor)

        def after(step):
            return cosine(step // stride)

    else:
        known = checks.SCHEDULES
        raise ValueError(choices.unknown("config.optimizer.schedule", settings.schedule, known))
    warmup = checks.warmup_steps(settings, epochs * steps_per_epoch)
    if not warmup:
        return after
    ramp = optax.linear_schedule(settings.warmup_factor, 1.0, warmup)
    return lambda step: ramp(step) * after(step)


def optimizer(settings: ConfigDict, learning_rate: optax.Schedule) -> optax.GradientTransformation:
    """Adam, AdamW or SGD with momentum; Adam ignores weight decay, as in the references.

    AdamW decays all parameters, including batch norm and biases, except relative position bias
    tables, as HRFormer's and HRNeXt's configs do.
    """
    if settings.name == "adam":
        return optax.adam(learning_rate)
    if settings.name == "adamw":
        return optax.adamw(learning_rate, weight_decay=settings.weight_decay, mask=_decays)
    if settings.name == "sgd":
        # PyTorch adds the decay to the gradient, before the momentum.
        return optax.chain(
            optax.add_decayed_weights(settings.weight_decay),
            optax.sgd(learning_rate, momentum=settings.momentum or None),
        )
    raise ValueError(choices.unknown("config.optimizer.name", settings.name, checks.OPTIMIZERS))


def _decays(params):
    """Which leaves of the parameter tree have weight decay."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: "relative_position_bias_table" not in jax.tree_util.keystr(path), params
    )
