"""Dite-HRNet on COCO at 256x192: Adam, lr 2e-3, 270 epochs, as in the authors' files.

Published on COCO val2017 with the 56.4-AP person detector: ditehrnet_18 AP 65.9 (384x288: 69.0),
ditehrnet_30 68.3 (71.5); trained with batch 256 on 8 RTX 3090, from scratch.

    python -m hrjax.main --config=configs/ditehrnet_coco.py
    python -m hrjax.main --config=configs/ditehrnet_coco.py:ditehrnet_30_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, ditehrnet_18 by default."""
    config = common.mmpose(common.coco(common.recipe(variant, default="ditehrnet_18")))
    config.augment.center_shift = 0.3
    config.heatmap.sigma = 3.0 if config.data.input_size == (384, 288) else 2.0
    config.optimizer.lr = 2e-3
    config.train.epochs = 270
    config.train.batch_size = 256
    return config.lock()
