"""Pose-ResNet on MPII at 256x256: Adam, lr 1e-3, 140 epochs, as in the authors' yaml files.

Published PCKh@0.5 on MPII val (ground-truth boxes): pose_resnet_50 88.5, pose_resnet_101 89.1;
trained with batch 128 on 4 GPUs from ImageNet weights. The authors' files leave the pixels in
OpenCV's order, blue first.

    python -m hrjax.main --config=configs/resnet_mpii.py
    python -m hrjax.main --config=configs/resnet_mpii.py:pose_resnet_101
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, pose_resnet_50 by default."""
    config = common.mpii(common.recipe(variant, default="pose_resnet_50"))
    config.data.color = "bgr"
    config.optimizer.milestones = (90, 120)
    config.train.epochs = 140
    config.train.batch_size = 128
    return config.lock()
