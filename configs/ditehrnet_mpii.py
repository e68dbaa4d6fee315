"""Dite-HRNet on MPII at 256x256: Adam, lr 2e-3, 260 epochs, as in the authors' files.

Published PCKh@0.5 on MPII val (ground-truth boxes): ditehrnet_18 87.0, ditehrnet_30 87.6; trained
with batch 256 on 8 RTX 3090, from scratch.

    python -m hrjax.main --config=configs/ditehrnet_mpii.py
    python -m hrjax.main --config=configs/ditehrnet_mpii.py:ditehrnet_30
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, ditehrnet_18 by default."""
    config = common.mmpose(common.mpii(common.recipe(variant, default="ditehrnet_18")))
    config.optimizer.lr = 2e-3
    config.train.epochs = 260
    config.train.batch_size = 256
    return config.lock()
