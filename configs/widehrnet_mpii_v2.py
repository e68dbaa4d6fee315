"""WideHRNet on MPII with what the field has learnt since: UDP, AdamW, cosine, averaged weights.

Not a published recipe: configs/widehrnet_mpii.py is the authors'. `common.v2` says what differs;
small networks take less of the augmentation. The batch is larger than the authors' 16, which batch
norm likes, and divides among 8 devices.

    python -m hrjax.main --config=configs/widehrnet_mpii_v2.py
    python -m hrjax.main --config=configs/widehrnet_mpii_v2.py:widehrnet_18_se
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, widehrnet_18 by default."""
    config = common.v2(common.mpii(common.recipe(variant, default="widehrnet_18")))
    config.augment.scale = 0.35
    config.augment.rotation = 40.0
    config.optimizer.lr = 2e-3
    config.optimizer.lr_base_batch = 64
    config.train.batch_size = 64
    return config.lock()
