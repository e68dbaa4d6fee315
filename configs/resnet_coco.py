"""Pose-ResNet on COCO at 256x192: Adam, lr 1e-3, 140 epochs, as in the authors' yaml files.

Published on COCO val2017 with the 56.4-AP person detector: pose_resnet_50 AP 70.4 (384x288: 72.2),
pose_resnet_101 71.4 (73.6), pose_resnet_152 72.0 (74.3); trained with batch 128 on 4 GPUs from
ImageNet weights. The authors' files leave the pixels in OpenCV's order, blue first.

    python -m hrjax.main --config=configs/resnet_coco.py
    python -m hrjax.main --config=configs/resnet_coco.py:pose_resnet_152_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, pose_resnet_50 by default."""
    config = common.coco(common.recipe(variant, default="pose_resnet_50"))
    config.data.color = "bgr"
    config.augment.half_body = 0.0
    config.augment.scale = 0.3
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if config.data.input_size == (384, 288) else 2.0
    config.optimizer.milestones = (90, 120)
    config.train.epochs = 140
    config.train.batch_size = 128
    return config.lock()
