"""Drop path (stochastic depth), and where its random numbers come from."""

import jax
import jax.numpy as jnp
from flax import nnx

from hrjax.models.layers.initialization import Initializer, dropout_stream


class DropPath(nnx.Module):
    """Drops a residual branch, in training, for a random share `rate` of the samples.

    What is kept is divided by 1 - `rate`. Random numbers come from `give_draws` where it was
    called, as `apply` does with its key, and otherwise from the layer's own stream `rngs`, which
    moves on with each call. They depend on a sample's place in the global batch, not on the
    devices that the batch is sharded over.
    """

    def __init__(self, rate: float, *, rngs: Initializer):
        self.rate = rate
        self.rngs = nnx.data(dropout_stream(rngs) if rate else None)
        self.draws = nnx.data(None)  # one for each sample, between 0 and 1
        self.deterministic = False  # NNX's name: model.eval() sets it

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.deterministic or not self.rate:
            return x
        draws = self._draw(len(x)) if self.draws is None else self.draws
        kept = (draws < 1 - self.rate).reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(kept, x / (1 - self.rate), jnp.zeros((), x.dtype))

    def _draw(self, samples):
        if self.rngs is None:
            raise ValueError(
                "drop path draws random numbers in training; give `apply` a key, or call "
                "`model.eval()` before `split` for a graph that evaluates"
            )
        return jax.random.uniform(self.rngs(), (samples,))


def give_draws(
    model: nnx.Module, key: jax.Array, samples: int, share: tuple[jax.Array | int, int] = (0, 1)
) -> None:
    """Gives each drop path in `model` draws of its own for one batch, or for a share of it.

    `share` is the number of the share and how many there are, each of `samples`. All draws come
    from one call: separate ones would add two loops to compile for each layer.
    """
    layers = drop_paths(model)
    number, count = share
    draws = jax.random.uniform(key, (len(layers), count * samples))
    if count > 1:
        draws = jax.lax.dynamic_slice_in_dim(draws, number * samples, samples, axis=1)
    for layer, own in zip(layers, draws, strict=True):
        layer.draws = own


def remove_streams(model: nnx.Module) -> None:
    """Takes the random streams out of the drop paths of `model`, which then need `give_draws`."""
    for layer in drop_paths(model):
        layer.rngs = None


def drop_paths(model: nnx.Module) -> list[DropPath]:
    """The drop path layers of `model`, in the order in which NNX walks its modules."""
    return [module for _, module in nnx.iter_modules(model) if isinstance(module, DropPath)]
