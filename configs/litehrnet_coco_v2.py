"""Lite-HRNet on COCO with what the field has learnt since: UDP, AdamW, cosine, averaged weights.

Not a published recipe: configs/litehrnet_coco.py is the authors'. `common.v2` says what differs;
small networks take less of the augmentation.

    python -m hrjax.main --config=configs/litehrnet_coco_v2.py
    python -m hrjax.main --config=configs/litehrnet_coco_v2.py:litehrnet_30_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, litehrnet_18 by default."""
    config = common.v2(common.coco(common.recipe(variant, default="litehrnet_18")))
    large = config.data.input_size == (384, 288)
    config.augment.scale = 0.35
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if large else 2.0
    config.optimizer.lr = 4e-3
    config.optimizer.lr_base_batch = 512
    config.train.batch_size = 256 if large else 512
    return config.lock()
