"""Lite-HRNet on MPII at 256x256: Adam, lr 2e-3, 210 epochs, as in the authors' files.

Published PCKh@0.5 on MPII val (ground-truth boxes): litehrnet_18 85.4, litehrnet_30 87.0,
naive_litehrnet_18 85.3, wider_naive_litehrnet_18 86.8; trained with batch 256 on 8 GPUs.

    python -m hrjax.main --config=configs/litehrnet_mpii.py
    python -m hrjax.main --config=configs/litehrnet_mpii.py:litehrnet_30
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, litehrnet_18 by default."""
    config = common.mmpose(common.mpii(common.recipe(variant, default="litehrnet_18")))
    config.optimizer.lr = 2e-3
    config.train.batch_size = 256
    return config.lock()
