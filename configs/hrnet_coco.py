"""HRNet on COCO at 256x192: Adam, lr 1e-3, 210 epochs, as in the authors' yaml files.

Published on COCO val2017 with the 56.4-AP person detector: hrnet_w32 AP 74.4 (384x288: 75.8),
hrnet_w48 AP 75.1 (384x288: 76.3); trained with batch 128 on 4 GPUs (w48 at 384x288: 96) from
ImageNet weights. The yaml files name a weight decay of 1e-4, which the authors' Adam never uses.

    python -m hrjax.main --config=configs/hrnet_coco.py
    python -m hrjax.main --config=configs/hrnet_coco.py:hrnet_w48_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnet_w32 by default."""
    config = common.coco(common.recipe(variant, default="hrnet_w32"))
    config.augment.scale = 0.35
    config.augment.rotation = 45.0
    config.heatmap.sigma = 3.0 if config.data.input_size == (384, 288) else 2.0
    large = config.model.name == "hrnet_w48" and config.data.input_size == (384, 288)
    config.train.batch_size = 96 if large else 128
    return config.lock()
