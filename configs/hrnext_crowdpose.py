"""HRNeXt on CrowdPose at 256x192: AdamW, lr 4e-3, 300 epochs, as in the authors' files.

Trained on trainval with batch 512 on 8 RTX 3090, from scratch, and evaluated on test with the boxes
of YOLOv3 (det_for_crowd_test_0.1_0.5.json), by AP on easy, medium and hard images as well; the
authors' README has no figures for it.

    python -m hrjax.main --config=configs/hrnext_crowdpose.py
    python -m hrjax.main --config=configs/hrnext_crowdpose.py:hrnext_base_384x288
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnext_small by default."""
    config = common.recipe(variant, default="hrnext_small")
    config = common.hrnext(common.mmpose(common.crowdpose(config)))
    config.train.batch_size = 512
    return config.lock()
