"""HRNet on your own dataset: any files in COCO's keypoint format, with any joints.

By default, below data/custom: annotations/train.json, annotations/val.json and images; the joints
are those that the files name. docs/data.md says what else can be set. Look at the files first:

    python scripts/prepare_data.py check --dataset=custom --root=data/custom
    python -m hrjax.main --config=configs/hrnet_custom.py --config.model.num_joints=21
"""

from configs import common


def get_config(variant=""):
    """The recipe of `variant`, hrnet_w32 by default."""
    config = common.mmpose(common.recipe(variant, default="hrnet_w32"))
    config.data.dataset = "custom"
    config.data.root = "data/custom"
    config.data.input_size = config.data.input_size or (256, 192)
    config.optimizer.lr = 5e-4
    config.train.batch_size = 64
    return config.lock()
