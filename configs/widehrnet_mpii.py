"""WideHRNet on MPII at 256x256: Adam, 210 epochs, as in the authors' configuration files.

Published PCKh@0.5 on MPII val (ground-truth boxes): widehrnet_18 87.7, widehrnet_18_se 88.47;
trained with batch 16 on one RTX 3060. The variants with _30 use lr 5e-4, the others 2e-3.

    python -m hrjax.main --config=configs/widehrnet_mpii.py
    python -m hrjax.main --config=configs/widehrnet_mpii.py:widehrnet_18_se
    python -m hrjax.main --config=configs/widehrnet_mpii.py:widehrnet_30
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, widehrnet_18 by default."""
    config = common.mmpose(common.mpii(common.recipe(variant, default="widehrnet_18")))
    config.optimizer.lr = 5e-4 if "_30" in config.model.name else 2e-3
    config.train.batch_size = 16
    return config.lock()
