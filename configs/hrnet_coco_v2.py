"""HRNet on COCO with what the field has learnt since: UDP, AdamW, cosine, averaged weights.

Not a published recipe: configs/hrnet_coco.py is the authors'. `common.v2` says what differs.
Published for a part of it (UDP, and the authors' schedule): hrnet_w32 AP 76.8 at 256x192.

    python -m hrjax.main --config=configs/hrnet_coco_v2.py
    python -m hrjax.main --config=configs/hrnet_coco_v2.py:hrnet_w48_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnet_w32 by default."""
    config = common.v2(common.coco(common.recipe(variant, default="hrnet_w32")))
    large = config.model.name == "hrnet_w48" and config.data.input_size == (384, 288)
    config.heatmap.sigma = 3.0 if config.data.input_size == (384, 288) else 2.0
    config.optimizer.lr = 5e-4
    config.optimizer.lr_base_batch = 128
    config.train.batch_size = 96 if large else 128
    return config.lock()
