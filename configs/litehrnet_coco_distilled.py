"""Lite-HRNet on COCO that learns from HRNet-W32 as well, as in Paddle's recipe.

Paddle reports litehrnet_30 AP 69.4 alone and 69.9 taught, both with ground-truth boxes, from a
teacher of AP 76.9. The teacher here is the run of configs/hrnet_coco.py; any other run, checkpoint
or file of weights will do:

    python -m hrjax.main --config=configs/litehrnet_coco_distilled.py
    python -m hrjax.main --config=configs/litehrnet_coco_distilled.py \\
        --config.distill.teacher=hrnet_w32_256x192.pdparams

Paddle's teacher runs in training mode: --config.distill.batch_statistics does it that way.
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, litehrnet_30 by default."""
    config = common.mmpose(common.coco(common.recipe(variant, default="litehrnet_30")))
    config.heatmap.sigma = 3.0 if config.data.input_size == (384, 288) else 2.0
    config.optimizer.lr = 2e-3
    config.train.batch_size = 512
    config.distill.teacher = "runs/hrnet_coco"
    config.distill.model = "hrnet_w32"  # read only where the teacher doesn't say what it is
    return config.lock()
