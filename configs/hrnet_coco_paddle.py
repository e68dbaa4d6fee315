"""HRNet on COCO at 256x192 as in Paddle's HRNet-Keypoint: Adam, lr 5e-4, 210 epochs.

Published on COCO val2017 with ground-truth boxes, which makes it higher than figures with a
detector's: hrnet_w32 AP 76.9; trained with batch 64 per GPU from ImageNet weights.

    python -m hrjax.main --config=configs/hrnet_coco_paddle.py
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnet_w32 by default."""
    config = common.coco(common.recipe(variant, default="hrnet_w32"))
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.optimizer.lr = 5e-4
    config.optimizer.warmup_steps = 1000
    config.train.batch_size = 64
    return config.lock()
