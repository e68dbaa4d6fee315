"""HRNeXt's blocks for evaluation on GPUs and TPUs, where a launch costs more than a small layer."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from hrjax.models.joint.attention import (
    JointAttention,
    means_in_parts,
    split,
)
from hrjax.models.layers import DynamicConv, is_launch_bound


class JointBlocks(nnx.Module):
    """The `ContextBlock`s of all branches, for evaluation; it takes over their layers, folded.

    They advance together, so that the attention of dynamic convolutions is one for all branches.
    """

    def __init__(self, blocks: Sequence[nnx.Module]):
        self.dynamic = tuple(isinstance(block.local.conv, DynamicConv) for block in blocks)
        dynamic = [block for block in blocks if isinstance(block.local.conv, DynamicConv)]
        if dynamic:
            steps = zip(*[block.mlp.steps for block in dynamic], strict=True)
            expand, depthwise, project = ([unit.conv for unit in units] for units in steps)
            self.attend_pixels = JointAttention([block.local.conv for block in dynamic])
            self.attend_normalized = ChainedAttention(expand, depthwise)
            self.attend_hidden = JointAttention(project)
        self.blocks = nnx.List([JointBlock(block) for block in blocks])

    def __call__(self, branches: Sequence[jax.Array]) -> list[jax.Array]:
        weights = self._weights("attend_pixels", branches)
        branches = self._each(JointBlock.mix_pixels, branches, weights)
        normalized = [block.norm2(x) for block, x in zip(self.blocks, branches, strict=True)]
        weights = self._weights("attend_normalized", normalized)
        hidden = self._each(JointBlock.expand, normalized, weights)
        weights = self._weights("attend_hidden", hidden)
        return self._each(JointBlock.project, branches, hidden, weights)

    def _each(self, step, *columns):
        rows = zip(self.blocks, *columns, strict=True)
        return [step(block, *row) for block, *row in rows]

    def _weights(self, attention, images):
        """The weights of the mixture in each branch, None where its convolutions are ordinary."""
        read = [x for x, dynamic in zip(images, self.dynamic, strict=True) if dynamic]
        weights = iter(getattr(self, attention)(read) if read else ())
        return [next(weights) if dynamic else None for dynamic in self.dynamic]


class JointBlock(nnx.Module):
    """What a `ContextBlock` computes between the attentions, its norms and scales absorbed."""

    def __init__(self, block: nnx.Module):
        self.local = block.local
        self.layer_scale = block.layer_scale_1
        mixer, scale = block.mixer, block.layer_scale_2.get_value()
        factor, shift = block.norm1.affine()
        self.shortcut = Affine(factor * scale, shift * scale)
        self.enter, self.gate, self.leave = mixer.proj1, mixer.gate, mixer.proj2
        kernel = self.enter.conv.kernel.get_value()
        self.enter.conv.bias.set_value(self.enter.conv.bias.get_value() + shift @ kernel[0, 0])
        self.enter.conv.kernel.set_value(kernel * factor[:, None])
        self.leave.conv.absorb(scale, 0.0)
        self.norm2 = Affine(*block.norm2.affine())
        first, self.depthwise, last = block.mlp.steps
        last.conv.absorb(block.layer_scale_3.get_value(), 0.0)
        self.first, self.last = _pointwise(first.conv), _pointwise(last.conv)

    def mix_pixels(self, x: jax.Array, weights: jax.Array | None) -> jax.Array:
        """`x` after local perception and the global mixer."""
        local = self.local.act(_convolve(self.local.conv, x, weights))
        # Else a GPU would convolve again for the shortcut.
        x = lax.optimization_barrier(x + self.layer_scale.get_value() * local)
        y = self.enter(x)
        return x + (self.shortcut(x) + self.leave(y * self.gate(y)))

    def expand(self, x: jax.Array, weights: tuple[jax.Array, jax.Array] | None) -> jax.Array:
        """The hidden images of the feed-forward network."""
        first, depthwise = weights or (None, None)
        x = _convolve(self.first, x, first)
        return self.depthwise.act(_convolve(self.depthwise.conv, x, depthwise))

    def project(self, x: jax.Array, hidden: jax.Array, weights: jax.Array | None) -> jax.Array:
        """`x` with what the feed-forward network adds."""
        return x + _convolve(self.last, hidden, weights)


def _convolve(conv, x, weights):
    return conv(x) if weights is None else conv.mix(x, weights)


def _pointwise(conv):
    return PointwiseMixture(conv) if isinstance(conv, DynamicConv) else conv


class Affine(nnx.Module):
    """A factor and a shift for each channel, to which a batch norm amounts in evaluation."""

    def __init__(self, factor: jax.Array, shift: jax.Array):
        self.factor = nnx.Param(factor)
        self.shift = nnx.Param(shift)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.factor.get_value() + self.shift.get_value()


class PointwiseMixture(nnx.Module):
    """A dynamic 1x1 convolution; it mixes its outputs rather than its kernels if they are small.

    Mixed kernels would be another launch on a GPU. `matrices` are (kernels, outputs, inputs), in
    the order in which a GPU multiplies.
    """

    def __init__(self, conv: DynamicConv):
        self.matrices = nnx.Param(conv.kernels.get_value()[:, 0, 0].swapaxes(1, 2))
        self.bias = conv.bias

    def mix(self, x: jax.Array, weights: jax.Array) -> jax.Array:
        """`x` convolved with the sum of the kernels with `weights` (n, kernels)."""
        matrices = self.matrices.get_value()
        count, outputs, _ = matrices.shape
        apart = jnp.einsum("nhwi,mi->nhwm", x, matrices.reshape(count * outputs, -1))
        if is_launch_bound(apart):
            apart = apart.reshape(*x.shape[:3], count, outputs)
            terms = [weights[:, None, None, k, None] * apart[..., k, :] for k in range(count)]
            mixed = sum(terms[1:], terms[0])
        else:
            mixed = jnp.einsum("nhwi,noi->nhwo", x, jnp.tensordot(weights, matrices, 1))
        return mixed + self.bias.get_value()


class ChainedAttention(nnx.Module):
    """The attention of dynamic 1x1 convolutions and of those that read what they compute.

    The means of what the former compute are linear in those of what they read, given the weights of
    their mixtures. So one product of the latter yields whatever both squeeze.
    """

    def __init__(self, first: Sequence[DynamicConv], second: Sequence[DynamicConv]):
        kernels = [conv.kernels.get_value()[:, 0, 0] for conv in first]
        squeezes = [conv.squeeze.conv.kernel.get_value()[0, 0] for conv in second]
        pairs = zip(kernels, squeezes, strict=True)
        products = [jnp.einsum("kio,oh->khi", *pair) for pair in pairs]
        self.shapes = tuple(product.shape[:2] for product in products)
        bias = jnp.concatenate([conv.bias.get_value() for conv in first])
        self.first, self.second = JointAttention(first), JointAttention(second)
        own, following = self.first.squeeze, self.second.squeeze
        self.shift = nnx.Param(following.matrix.get_value() @ bias + following.bias.get_value())
        rows = jax.scipy.linalg.block_diag(*[x.reshape(-1, x.shape[-1]) for x in products])
        own.matrix.set_value(jnp.concatenate([own.matrix.get_value(), rows]))
        own.bias.set_value(jnp.pad(own.bias.get_value(), (0, len(rows))))
        self.second.squeeze = None

    def __call__(self, images: Sequence[jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
        """For each pair the weights (n, kernels) of both, given the images that the first reads."""
        squeezed = self.first.squeeze(means_in_parts(images))
        sizes = [count * size for count, size in self.shapes]
        squeezed, *products = split(squeezed, [squeezed.shape[-1] - sum(sizes), *sizes])
        first = self.first.weights(squeezed, images[0].dtype)
        rows = zip(first, products, self.shapes, strict=True)
        mixed = [jnp.einsum("nk,nkh->nh", w, x.reshape(-1, *shape)) for w, x, shape in rows]
        squeezed = jnp.concatenate(mixed, -1) + self.shift.get_value()
        return [*zip(first, self.second.weights(squeezed, images[0].dtype), strict=True)]
