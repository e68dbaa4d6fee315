"""HRNeXt on OCHuman at 256x192: trained on COCO's train2017, evaluated on OCHuman's val.

Published on OCHuman val (ground-truth boxes): hrnext_small AP 63.1, hrnext_base at 384x288 67.1;
trained with batch 256 on 8 RTX 3090, from scratch. OCHuman has nobody to train on: the recipe is
that of hrnext_coco.py, and a checkpoint of it can be evaluated here as it is.

    python -m hrjax.main --config=configs/hrnext_ochuman.py
    python -m hrjax.main --config=configs/hrnext_ochuman.py --mode=eval --checkpoint=RUN
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnext_small by default."""
    config = common.coco(common.recipe(variant, default="hrnext_small"))
    config = common.hrnext(common.mmpose(config))
    config.eval.dataset = "ochuman"
    config.eval.root = "data/ochuman"
    return config.lock()
