"""Lite-HRNet on COCO at 256x192 as in Paddle's HRNet-Keypoint: Adam, lr 2e-3, 210 epochs.

Published on COCO val2017 with ground-truth boxes, which makes it higher than figures with a
detector's: litehrnet_30 AP 69.4; trained with batch 64 per GPU, from scratch.

    python -m hrjax.main --config=configs/litehrnet_coco_paddle.py
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, litehrnet_30 by default."""
    config = common.mmpose(common.coco(common.recipe(variant, default="litehrnet_30")))
    config.optimizer.lr = 2e-3
    config.train.batch_size = 64
    return config.lock()
