"""The skeleton of all high-resolution networks: branches, exchange units, heads."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from hrjax.models.layers import (
    Activation,
    Bottleneck,
    Conv,
    ConvBN,
    Initializer,
    Separable,
    Sequential,
    check_image_size,
    half_width,
    pad_inputs,
    run_block,
    shuffle,
    with_all_outputs,
)
from hrjax.models.layers.resizing import bilinear_align_corners, nearest

Branches = Sequence[jax.Array]  # the feature maps of all branches, largest first


class HighResolutionNet(nnx.Module):
    """Images (n, h, w, 3) → heatmaps (n, h / 4, w / 4, num_joints); a `head` may enlarge them.

    The stem brings images to 1/4 of their size and `inputs` channels. Stage s has s + 2 branches,
    each half the size and twice the width of the one before. What differs between the families is
    passed in:
        block       makes one block from the widths of all branches and its depth in the network
                    (0 for the first); the block maps a list of branches to a list
        transition  makes the transition into a stage (`Transition`)
        fuse        makes the exchange unit at the end of a module (`Fuse`)
        head        makes the module that merges all branches; None reads only the largest branch
        final       makes the layer from there to the heatmaps; defaults to a 1x1 convolution
    Without `last_fuse`, the last module has no exchange unit.
    """

    def __init__(
        self,
        stem: nnx.Module,
        *,
        inputs: int,
        width: int,
        modules: Sequence[int],
        blocks: int,
        num_joints: int,
        block: Callable[..., nnx.Module],
        transition: Callable[..., nnx.Module],
        fuse: Callable[..., nnx.Module],
        head: Callable[..., nnx.Module] | None,
        final: Callable[..., nnx.Module] | None = None,
        last_fuse: bool = True,
        rngs: Initializer,
    ):
        if not modules:
            raise ValueError("modules=() makes no stage; give the number of modules of each stage")
        self.stem = stem
        self.stages = nnx.List()
        before, depth = (inputs,), 0
        for stage, count in enumerate(modules):
            widths = tuple(width * 2**branch for branch in range(stage + 2))
            last = len(widths)
            if stage + 1 == len(modules) and (head is None or not last_fuse):
                last = 1 if last_fuse else 0
            outputs = [len(widths)] * (count - 1) + [last]
            lead = transition(before, widths, rngs=rngs)
            exchanges = []
            for n in outputs:
                chain = [block(widths, depth + i, rngs=rngs) for i in range(blocks)]
                exchange = fuse(widths, n, rngs=rngs) if n else Sequential()
                exchanges.append(Exchange(chain, exchange))
                depth += blocks
            self.stages.append(Stage(lead, exchanges))
            before = widths
        self.head = None if head is None else head(before, rngs=rngs)
        final = final or functools.partial(Conv, width)
        self.final = final(num_joints, bias=True, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        branches = self.features(images)
        return self.final(branches[0] if self.head is None else self.head(branches))

    def features(self, images: jax.Array) -> list[jax.Array]:
        """The outputs of the last stage, largest branch first; without a head, that branch only."""
        check_image_size(images, 2 ** (len(self.stages) + 2))
        branches = [self.stem(images)]
        for stage in self.stages:
            branches = stage(branches)
        return branches


class BottleneckStem(nnx.Module):
    """Two strided convolutions, then bottlenecks (stage 1): 1/4 of the size, 4 `width` channels."""

    def __init__(self, width: int, blocks: int, *, rngs: Initializer):
        self.conv1 = ConvBN(3, width, 3, stride=2, rngs=rngs)
        self.conv2 = ConvBN(width, width, 3, stride=2, rngs=rngs)
        inputs = [width] + [4 * width] * (blocks - 1)
        self.blocks = nnx.List([Bottleneck(n, width, 4 * width, rngs=rngs) for n in inputs])

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.conv2(self.conv1(images))
        for block in self.blocks:
            x = run_block(block, x)
        return x


class Stage(nnx.Module):
    """A transition to one more branch, then modules."""

    def __init__(self, transition: nnx.Module, modules: Sequence[nnx.Module]):
        self.transition = transition
        self.modules = nnx.List(modules)

    def __call__(self, branches: Branches) -> list[jax.Array]:
        branches = self.transition(branches)
        for module in self.modules:
            branches = module(branches)
        return branches


class Exchange(nnx.Module):
    """A module of a stage: blocks that keep the branches apart, then an exchange between them."""

    def __init__(self, blocks: Sequence[nnx.Module], fuse: nnx.Module):
        self.blocks = nnx.List(blocks)
        self.fuse = fuse

    def __call__(self, branches: Branches) -> list[jax.Array]:
        for block in self.blocks:
            branches = run_block(block, branches)
        return run_block(self.fuse, branches)


class PerBranch(nnx.Module):
    """One block for each branch."""

    def __init__(self, blocks: Sequence[nnx.Module]):
        self.branches = nnx.List(blocks)

    def __call__(self, branches: Branches) -> list[jax.Array]:
        return [block(x) for block, x in zip(self.branches, branches, strict=True)]


class Transition(nnx.Module):
    """Brings branches to the widths of the next stage and adds one at half the smallest size.

    Branches that already have their width pass unchanged; `unit(inputs, outputs, stride=…, act=…)`
    makes the layers of the others.
    """

    def __init__(
        self,
        unit: Callable[..., nnx.Module],
        inputs: Sequence[int],
        widths: Sequence[int],
        *,
        act: Activation,
        rngs: Initializer,
    ):
        self.branches = nnx.List(
            [
                Sequential() if a == b else unit(a, b, stride=1, act=act, rngs=rngs)
                for a, b in zip(inputs, widths, strict=False)
            ]
        )
        self.new = unit(inputs[-1], widths[-1], stride=2, act=act, rngs=rngs)

    def __call__(self, branches: Branches) -> list[jax.Array]:
        kept = [keep(x) for keep, x in zip(self.branches, branches, strict=True)]
        return [*kept, self.new(branches[-1])]

    def specialize(self) -> None:
        """Pads kernels, as XLA would in every call."""
        pad_inputs(self.new)


class Fuse(nnx.Module):
    """An exchange unit: each output is the sum of all branches, brought to its size and width.

    Smaller branches go through a 1x1 convolution and are enlarged by `resize`; larger ones go
    through layers with stride 2, made by `unit(inputs, outputs, stride=…, act=…)`.

    `echo` is a quirk of Lite-HRNet (litehrnet.py, LiteHRModule) and of its descendants
    (ditehrnet.py, widehrnet.py). Their sum starts from the path out of the first branch, then adds
    all paths, that one included. For the first output this happens in place, so that the lower
    outputs read a first branch that is already fused: before its activation in Lite-HRNet and
    WideHRNet, after it in Dite-HRNet, whose activation is in place as well (`activated`).
    Released weights rely on it. That path runs twice, so in training its batch norms are updated
    twice.
    """

    def __init__(
        self,
        unit: Callable[..., nnx.Module],
        widths: Sequence[int],
        outputs: int,
        *,
        act: Activation,
        resize: Callable[..., jax.Array] = nearest,
        echo: bool = False,
        activated: bool = False,
        rngs: Initializer,
    ):
        def path(source, target):
            if source > target:
                return Enlarge(widths[source], widths[target], resize, rngs=rngs)
            last = target - source - 1
            steps = [
                unit(widths[source], widths[source], stride=2, act=act, rngs=rngs)
                for _ in range(last)
            ]
            if source < target:
                steps.append(unit(widths[source], widths[target], stride=2, act=None, rngs=rngs))
            return Sequential(*steps)

        self.paths = nnx.List(
            [nnx.List([path(j, i) for j in range(len(widths))]) for i in range(outputs)]
        )
        self.act = act
        self.echo = echo
        self.activated = activated

    def __call__(self, branches: Branches) -> list[jax.Array]:
        branches = list(branches)
        sizes = [x.shape[1:3] for x in branches]
        outputs = []
        for size, paths in zip(sizes, self.paths, strict=False):
            sources = [0, *range(len(paths))] if self.echo else range(len(paths))
            terms = [_at_size(paths[j], branches[j], size) for j in sources]
            total = sum(terms[1:], terms[0])
            outputs.append(self.act(total))
            if self.echo and len(outputs) == 1:
                branches[0] = outputs[0] if self.activated else total
        return outputs

    def specialize(self) -> None:
        """Makes one convolution of those that project a branch for several outputs; pads others.

        XLA would do both itself, by copying their kernels in every call.
        """
        for paths in zip(*self.paths, strict=True):
            enlarging = [path for path in paths if isinstance(path, Enlarge)]
            if len(enlarging) > 1:
                _share_projection(enlarging)
        for path in (path for paths in self.paths for path in paths):
            if not isinstance(path, Enlarge):
                pad_inputs(path)


def _at_size(path, x, size):
    return path(x, size) if isinstance(path, Enlarge) else path(x)


class Enlarge(nnx.Module):
    """A 1x1 convolution with batch norm, then `resize` to a size."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        resize: Callable[..., jax.Array],
        *,
        rngs: Initializer,
    ):
        self.project = ConvBN(inputs, outputs, act=None, rngs=rngs)
        self.part = None  # where its channels begin and end, if paths share a convolution
        self.resize = resize

    def __call__(self, x: jax.Array, size: tuple[int, int]) -> jax.Array:
        x = self.project(x)
        return self.resize(x if self.part is None else x[..., slice(*self.part)], size)


def _share_projection(paths):
    """Gives `paths` one folded convolution, which XLA computes once for all that call it."""
    convs = [path.project.conv for path in paths]
    ends = np.cumsum([conv.kernel.shape[-1] for conv in convs]).tolist()
    with_all_outputs(convs)
    for path, start, end in zip(paths, [0, *ends], ends, strict=False):
        path.project, path.part = paths[0].project, (start, end)


class ShuffleStem(nnx.Module):
    """A strided convolution, then a strided shuffle block: 1/4 of the size, `width` channels."""

    def __init__(self, width: int, *, rngs: Initializer):
        half = half_width(width)
        self.conv1 = ConvBN(3, width, 3, stride=2, rngs=rngs)
        self.branch1 = Separable(half, half, stride=2, act=jax.nn.relu, rngs=rngs)
        self.expand = ConvBN(half, width, rngs=rngs)
        # The references call the last convolution linear, but it has a ReLU (litehrnet.py, Stem).
        self.branch2 = Separable(width, half, stride=2, act=jax.nn.relu, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        first, second = jnp.split(self.conv1(images), 2, axis=-1)
        return shuffle(self.branch1(first), self.branch2(self.expand(second)))


class IterativeHead(nnx.Module):
    """Merges branches from the smallest up: convolve (separably), enlarge, add to the next."""

    def __init__(self, widths: Sequence[int], *, rngs: Initializer):
        pairs = zip(widths, [widths[0], *widths], strict=False)
        self.projects = nnx.List(
            [Separable(a, b, stride=1, act=jax.nn.relu, rngs=rngs) for a, b in reversed([*pairs])]
        )

    def __call__(self, branches: Branches) -> jax.Array:
        merged = None
        for project, x in zip(self.projects, reversed(branches), strict=True):
            merged = project(
                x if merged is None else x + bilinear_align_corners(merged, x.shape[1:3])
            )
        return merged


# Rows for TORCH_NAMES. Branches, modules and blocks, as in the official HRNet:
STAGE_NAMES = (
    (r"^stages\.(\d)\.transition\.new", lambda m: f"transition{int(m[1]) + 1}.{int(m[1]) + 1}.0"),
    (r"^stages\.(\d)\.transition\.branches", lambda m: f"transition{int(m[1]) + 1}"),
    (r"^stages\.(\d)\.modules", lambda m: f"stage{int(m[1]) + 2}"),
    (r"blocks\.(\d+)\.branches\.(\d)", r"branches.\2.\1"),
)
# In transitions and fuse paths, layers are numbered, and those of a separable one are not nested.
NUMBERED_NAMES = (
    (r"fuse\.paths\.(\d)\.(\d)\.(?:steps|project)", r"fuse_layers.\1.\2"),
    (r"^(transition.*|stage.*fuse_layers.*)\.pointwise\.conv$", r"\1.2"),
    (r"^(transition.*|stage.*fuse_layers.*)\.pointwise\.bn$", r"\1.3"),
    (r"^(transition.*?|stage.*fuse_layers.*?)(?:\.depthwise)?\.conv$", r"\1.0"),
    (r"^(transition.*?|stage.*fuse_layers.*?)(?:\.depthwise)?\.bn$", r"\1.1"),
)
# The prefixes of mmpose for the backbone and the head.
MMPOSE_NAMES = (
    (r"^final$", "keypoint_head.final_layer"),
    (r"^(?!keypoint_head)", "backbone."),
)
# Shared by Lite-HRNet, Dite-HRNet and WideHRNet, after the rows of their own blocks:
LITE_NAMES = (
    (r"^stages\.(\d)\.transition\.new", lambda m: f"transition{m[1]}.{int(m[1]) + 1}.0"),
    (r"^stages\.(\d)\.transition\.branches", r"transition\1"),
    (r"^stages\.(\d)\.modules", r"stage\1"),
    *NUMBERED_NAMES,
    (r"^stem\.expand", "stem.expand_conv"),
    (r"^stem\.branch1\.depthwise", "stem.branch1.0"),
    (r"^stem\.branch1\.pointwise", "stem.branch1.1"),
    (r"^stem\.branch2\.depthwise", "stem.depthwise_conv"),
    (r"^stem\.branch2\.pointwise", "stem.linear_conv"),
    (r"^head\.projects\.(\d)\.(\w+)", r"head_layer.projects.\1.\2_conv"),
    *MMPOSE_NAMES,
)
