"""HRNet and Lite-HRNet in PyTorch, with the operations of `hrjax.models`, to compare speed.

The attributes have the names of ours, so that `load` can copy weights and a test compare heatmaps.
PyTorch computes (n, c, h, w); give it channels_last memory for its fastest convolutions.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class ConvBN(nn.Module):
    """A convolution without bias, batch norm and an activation."""

    def __init__(self, inputs, outputs, size=1, *, stride=1, groups=1, act=F.relu):
        super().__init__()
        options = {"stride": stride, "padding": size // 2, "groups": groups, "bias": False}
        self.conv = nn.Conv2d(inputs, outputs, size, **options)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = act

    def forward(self, x):
        x = self.bn(self.conv(x))
        return x if self.act is None else self.act(x)


class Sequential(nn.Module):
    """Modules applied one after another."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        return x


def dense(inputs, outputs, *, stride, act):
    """A dense 3x3 convolution."""
    return ConvBN(inputs, outputs, 3, stride=stride, act=act)


class Separable(nn.Module):
    """A depthwise 3x3 and a 1x1 convolution."""

    def __init__(self, inputs, outputs, *, stride, act):
        super().__init__()
        self.depthwise = ConvBN(inputs, inputs, 3, stride=stride, groups=inputs, act=None)
        self.pointwise = ConvBN(inputs, outputs, act=act)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = ConvBN(width, width, 3)
        self.conv2 = ConvBN(width, width, 3, act=None)

    def forward(self, x):
        return F.relu(x + self.conv2(self.conv1(x)))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut."""

    def __init__(self, inputs, width, outputs):
        super().__init__()
        self.conv1 = ConvBN(inputs, width)
        self.conv2 = ConvBN(width, width, 3)
        self.conv3 = ConvBN(width, outputs, act=None)
        self.shortcut = None if inputs == outputs else ConvBN(inputs, outputs, act=None)

    def forward(self, x):
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return F.relu(shortcut + self.conv3(self.conv2(self.conv1(x))))


class BottleneckStem(nn.Module):
    """HRNet's stem: 1/4 of the size, 4 `width` channels."""

    def __init__(self, width, blocks):
        super().__init__()
        self.conv1 = ConvBN(3, width, 3, stride=2)
        self.conv2 = ConvBN(width, width, 3, stride=2)
        inputs = [width] + [4 * width] * (blocks - 1)
        self.blocks = nn.ModuleList([Bottleneck(n, width, 4 * width) for n in inputs])

    def forward(self, x):
        x = self.conv2(self.conv1(x))
        for block in self.blocks:
            x = block(x)
        return x


class ShuffleStem(nn.Module):
    """Lite-HRNet's stem: 1/4 of the size, `width` channels."""

    def __init__(self, width):
        super().__init__()
        half = width // 2
        self.conv1 = ConvBN(3, width, 3, stride=2)
        self.branch1 = Separable(half, half, stride=2, act=F.relu)
        self.expand = ConvBN(half, width)
        self.branch2 = Separable(width, half, stride=2, act=F.relu)

    def forward(self, x):
        first, second = self.conv1(x).chunk(2, 1)
        return shuffle(self.branch1(first), self.branch2(self.expand(second)))


class PerBranch(nn.Module):
    """One block for each branch."""

    def __init__(self, blocks):
        super().__init__()
        self.branches = nn.ModuleList(blocks)

    def forward(self, branches):
        return [block(x) for block, x in zip(self.branches, branches, strict=True)]


class CrossResolutionWeighting(nn.Module):
    """Weights the channels of all branches, computed at the smallest one's positions."""

    def __init__(self, widths, ratio):
        super().__init__()
        total = sum(widths)
        self.widths = list(widths)
        self.conv1 = ConvBN(total, total // ratio)
        self.conv2 = ConvBN(total // ratio, total, act=torch.sigmoid)

    def forward(self, branches):
        size = branches[-1].shape[2:]
        pooled = torch.cat([F.adaptive_avg_pool2d(x, size) for x in branches], 1)
        weights = self.conv2(self.conv1(pooled)).split(self.widths, 1)
        return [
            x * F.interpolate(w, size=x.shape[2:], mode="nearest")
            for x, w in zip(branches, weights, strict=True)
        ]


class SqueezeExcite(nn.Module):
    """Weights channels by two 1x1 convolutions of their means."""

    def __init__(self, width, squeezed):
        super().__init__()
        self.fc1 = nn.Conv2d(width, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, width, 1)

    def forward(self, x):
        weights = F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))
        return x * torch.sigmoid(self.fc2(weights))


class ChannelWeightingBlock(nn.Module):
    """Conditional channel weighting of half of each branch, then a shuffle."""

    def __init__(self, widths):
        super().__init__()
        halves = [width // 2 for width in widths]
        self.cross = CrossResolutionWeighting(halves, 8)
        self.depthwise = nn.ModuleList([ConvBN(n, n, 3, groups=n, act=None) for n in halves])
        self.spatial = nn.ModuleList([SqueezeExcite(n, n // 4) for n in halves])

    def forward(self, branches):
        kept, changed = zip(*[x.chunk(2, 1) for x in branches], strict=True)
        changed = zip(self.spatial, self.depthwise, self.cross(changed), strict=True)
        changed = [spatial(depthwise(x)) for spatial, depthwise, x in changed]
        return [shuffle(*halves) for halves in zip(kept, changed, strict=True)]


def shuffle(first, second):
    """The channels of both, interleaved."""
    n, channels, height, width = first.shape
    return torch.stack((first, second), 2).reshape(n, 2 * channels, height, width)


class Transition(nn.Module):
    """Brings branches to the widths of the next stage and adds one."""

    def __init__(self, unit, inputs, widths):
        super().__init__()
        pairs = zip(inputs, widths, strict=False)
        kept = [Sequential() if a == b else unit(a, b, stride=1, act=F.relu) for a, b in pairs]
        self.branches = nn.ModuleList(kept)
        self.new = unit(inputs[-1], widths[-1], stride=2, act=F.relu)

    def forward(self, branches):
        kept = [keep(x) for keep, x in zip(self.branches, branches, strict=True)]
        return [*kept, self.new(branches[-1])]


class Enlarge(nn.Module):
    """A 1x1 convolution, then repeated pixels."""

    def __init__(self, inputs, outputs, factor):
        super().__init__()
        self.project = ConvBN(inputs, outputs, act=None)
        self.factor = factor

    def forward(self, x):
        return F.interpolate(self.project(x), scale_factor=self.factor, mode="nearest")


class Fuse(nn.Module):
    """An exchange unit; `echo` as in `hrjax.models.highres.Fuse`."""

    def __init__(self, unit, widths, outputs, *, echo):
        super().__init__()

        def path(source, target):
            if source > target:
                return Enlarge(widths[source], widths[target], 2 ** (source - target))
            width = widths[source]
            steps = [unit(width, width, stride=2, act=F.relu) for _ in range(target - source - 1)]
            if source < target:
                steps.append(unit(width, widths[target], stride=2, act=None))
            return Sequential(*steps)

        self.paths = nn.ModuleList(
            [nn.ModuleList([path(j, i) for j in range(len(widths))]) for i in range(outputs)]
        )
        self.echo = echo

    def forward(self, branches):
        branches, outputs = list(branches), []
        for paths in self.paths:
            sources = [0, *range(len(paths))] if self.echo else range(len(paths))
            total = sum(paths[j](branches[j]) for j in sources[1:])
            total = paths[sources[0]](branches[sources[0]]) + total
            outputs.append(F.relu(total))
            if self.echo and len(outputs) == 1:
                branches[0] = total
        return outputs


class Exchange(nn.Module):
    """A module of a stage: blocks, then an exchange between the branches."""

    def __init__(self, blocks, fuse):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.fuse = fuse

    def forward(self, branches):
        for block in self.blocks:
            branches = block(branches)
        return self.fuse(branches)


class Stage(nn.Module):
    """A transition, then modules."""

    def __init__(self, transition, modules):
        super().__init__()
        self.transition = transition
        self.modules_ = nn.ModuleList(modules)  # `modules` is a method of PyTorch's

    def forward(self, branches):
        branches = self.transition(branches)
        for module in self.modules_:
            branches = module(branches)
        return branches


class IterativeHead(nn.Module):
    """Merges branches from the smallest up."""

    def __init__(self, widths):
        super().__init__()
        pairs = reversed([*zip(widths, [widths[0], *widths], strict=False)])
        projects = [Separable(a, b, stride=1, act=F.relu) for a, b in pairs]
        self.projects = nn.ModuleList(projects)

    def forward(self, branches):
        merged = None
        for project, x in zip(self.projects, reversed(branches), strict=True):
            if merged is not None:
                options = {"mode": "bilinear", "align_corners": True}
                x = x + F.interpolate(merged, size=x.shape[2:], **options)
            merged = project(x)
        return merged


class HighResolutionNet(nn.Module):
    """Images (n, 3, h, w) → heatmaps (n, num_joints, h / 4, w / 4)."""

    def __init__(self, *, lite, width, modules, blocks, num_joints=17):
        super().__init__()
        unit = Separable if lite else dense
        self.stem = ShuffleStem(32) if lite else BottleneckStem(64, 4)
        self.stages = nn.ModuleList()
        before = (32,) if lite else (256,)
        for stage, count in enumerate(modules):
            widths = [width * 2**branch for branch in range(stage + 2)]
            ends_alone = stage + 1 == len(modules) and not lite
            outputs = [len(widths)] * (count - 1) + [1 if ends_alone else len(widths)]
            exchanges = [
                Exchange(
                    [_block(lite, widths) for _ in range(blocks)], Fuse(unit, widths, n, echo=lite)
                )
                for n in outputs
            ]
            self.stages.append(Stage(Transition(unit, before, widths), exchanges))
            before = widths
        self.head = IterativeHead(before) if lite else None
        self.final = nn.Conv2d(width, num_joints, 1)

    def forward(self, x):
        branches = [self.stem(x)]
        for stage in self.stages:
            branches = stage(branches)
        return self.final(branches[0] if self.head is None else self.head(branches))


def _block(lite, widths):
    return ChannelWeightingBlock(widths) if lite else PerBranch([BasicBlock(n) for n in widths])


NETWORKS = {
    "hrnet_w32": {"lite": False, "width": 32, "modules": (1, 4, 3), "blocks": 4},
    "litehrnet_18": {"lite": True, "width": 40, "modules": (2, 4, 2), "blocks": 2},
}


def load(network: nn.Module, params: dict, stats: dict) -> None:
    """Copies our weights, nested dicts of arrays, into the network."""
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    state = network.state_dict()
    for tree in (params, stats):
        for path, value in _flat(tree):
            *parts, last = path
            parts = ["modules_" if part == "modules" else part for part in parts]
            key = ".".join([*parts, names.get(last, last)])
            value = np.asarray(value)
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            state[key] = torch.from_numpy(value.copy()).reshape(state[key].shape)
    network.load_state_dict(state)


def _flat(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, key))
        else:
            yield (*path, key), value
