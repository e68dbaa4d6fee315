"""HRNeXt on CrowdPose at 256x192: AdamW, lr 4e-3, 300 epochs, as in the authors' configs.

Trained on trainval from scratch with batch 512 on 8 RTX 3090, and evaluated on test with YOLOv3's
boxes (det_for_crowd_test_0.1_0.5.json); AP is also given for easy, medium and hard images. The
authors' README has no figures for CrowdPose.

    python -m hrjax.main --config=configs/hrnext_crowdpose.py
    python -m hrjax.main --config=configs/hrnext_crowdpose.py:hrnext_base_384x288
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default hrnext_small."""
    config = common.recipe(
        variant, default="hrnext_small", dataset="crowdpose", input_size=(256, 192)
    )
    large = config.data.input_size == (384, 288)

    config.optimizer.name = "adamw"
    config.optimizer.lr = 4e-3
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "cosine"
    config.optimizer.final_factor = 0.01
    config.optimizer.by_epoch = True
    config.optimizer.warmup_steps = 500
    config.train.epochs = 300
    config.train.batch_size = 512
    config.augment.scale = 0.5
    config.augment.rotation = 40.0
    config.heatmap.sigma = 3.0 if large else 2.0

    config.augment.half_body = 0.3
    config.augment.half_body_joints = 6
    config.augment.center_shift = 0.3
    config.loss.factor = 1.0
    config.eval.boxes = "data/crowdpose/annotations/det_for_crowd_test_0.1_0.5.json"
    return config
