"""Pose-ResNet: Xiao, Wu, Wei, Simple Baselines for Human Pose Estimation, ECCV 2018."""

import dataclasses

import jax
from flax import nnx

from hrjax.models.layers import (
    BOTTLENECK_NAMES,
    Bottleneck,
    Conv,
    ConvBN,
    Initializer,
    TransposedConv,
    check_image_size,
    run_block,
)
from hrjax.models.layers.resizing import max_pool


@dataclasses.dataclass(frozen=True)
class PoseResNetConfig:
    """ResNet with `blocks` bottlenecks in layers 1, 2, …, then `deconvs` of `deconv_width`.

    As in torchvision, the 3x3 convolutions have the strides, not the 1x1 convolutions before them.
    """

    num_joints: int = 17
    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    deconvs: int = 3
    deconv_width: int = 256


class PoseResNet(nnx.Module):
    """Images (n, h, w, 3) → heatmaps (n, h / 4, w / 4, num_joints)."""

    def __init__(self, config: PoseResNetConfig, *, rngs: Initializer):
        self.conv1 = ConvBN(3, config.width, 7, stride=2, rngs=rngs)
        self.layers = nnx.List()
        inputs = config.width
        for layer, count in enumerate(config.blocks):
            width = config.width * 2**layer
            strides = [2 if layer else 1] + [1] * (count - 1)
            blocks = nnx.List()
            for stride in strides:
                blocks.append(Bottleneck(inputs, width, 4 * width, stride=stride, rngs=rngs))
                inputs = 4 * width
            self.layers.append(blocks)
        outputs = config.deconv_width
        widths = [inputs] + [outputs] * config.deconvs
        options = {"stride": 2, "conv": TransposedConv, "rngs": rngs}
        self.deconvs = nnx.List([ConvBN(n, outputs, 4, **options) for n in widths[:-1]])
        self.final = Conv(widths[-1], config.num_joints, bias=True, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = self.features(images)[-1]
        for deconv in self.deconvs:
            x = deconv(x)
        return self.final(x)

    def features(self, images: jax.Array) -> list[jax.Array]:
        """The outputs of the layers, at 1/4 of the images' size, 1/8, …"""
        check_image_size(images, 2 ** (len(self.layers) + 1))
        x = max_pool(self.conv1(images))
        outputs = []
        for layer in self.layers:
            for block in layer:
                x = run_block(block, x)
            outputs.append(x)
        return outputs


def build(config: PoseResNetConfig, *, rngs: Initializer) -> PoseResNet:
    """The network of `config`."""
    return PoseResNet(config, rngs=rngs)


VARIANTS = {
    "pose_resnet_50": PoseResNetConfig(),
    "pose_resnet_101": PoseResNetConfig(blocks=(3, 4, 23, 3)),
    "pose_resnet_152": PoseResNetConfig(blocks=(3, 8, 36, 3)),
}

TORCH_NAMES = (
    (r"^layers\.(\d)", lambda m: f"layer{int(m[1]) + 1}"),
    (r"^deconvs\.(\d)\.conv$", lambda m: f"deconv_layers.{3 * int(m[1])}"),
    (r"^deconvs\.(\d)\.bn$", lambda m: f"deconv_layers.{3 * int(m[1]) + 1}"),
    *BOTTLENECK_NAMES,
    (r"^final$", "final_layer"),
)
