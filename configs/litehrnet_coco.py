"""Lite-HRNet on COCO at 256x192: Adam, lr 2e-3, 210 epochs, as in the authors' files.

Published on COCO val2017 with the 56.4-AP person detector: litehrnet_18 AP 64.8 (384x288: 67.6),
litehrnet_30 67.2 (70.4), naive_litehrnet_18 62.8, wider_naive_litehrnet_18 66.0; trained with batch
512 (384x288: 256) on 8 GPUs, from scratch.

    python -m hrjax.main --config=configs/litehrnet_coco.py
    python -m hrjax.main --config=configs/litehrnet_coco.py:litehrnet_30_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, litehrnet_18 by default."""
    config = common.mmpose(common.coco(common.recipe(variant, default="litehrnet_18")))
    large = config.data.input_size == (384, 288)
    config.augment.center_shift = 0.3
    config.heatmap.sigma = 3.0 if large else 2.0
    config.optimizer.lr = 2e-3
    config.train.batch_size = 256 if large else 512
    return config.lock()
