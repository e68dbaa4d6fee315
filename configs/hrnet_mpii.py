"""HRNet on MPII at 256x256: Adam, lr 1e-3, 210 epochs, as in the authors' yaml files.

Published PCKh@0.5 on MPII val (ground-truth boxes): hrnet_w32 90.3; trained with batch 128 on 4
GPUs from ImageNet weights.

    python -m hrjax.main --config=configs/hrnet_mpii.py
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnet_w32 by default."""
    config = common.mpii(common.recipe(variant, default="hrnet_w32"))
    config.train.batch_size = 128
    return config.lock()
