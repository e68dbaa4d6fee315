"""HRNet on MPII at 256x256 as in mmpose 0.x: Adam, lr 5e-4, 210 epochs, stronger augmentation.

Batch 64 per GPU, from ImageNet weights; the authors' own recipe is hrnet_mpii.py.

    python -m hrjax.main --config=configs/hrnet_mpii_mmpose.py
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnet_w32 by default."""
    config = common.mmpose(common.mpii(common.recipe(variant, default="hrnet_w32")))
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.optimizer.lr = 5e-4
    config.train.batch_size = 64
    return config.lock()
