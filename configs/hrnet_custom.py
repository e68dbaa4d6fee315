"""HRNet on your own dataset: any files in COCO's keypoint format, with any joints.

By default, below data/custom: annotations/train.json, annotations/val.json and images. The joints
are those that the files name; docs/data.md describes what else can be set. This recipe trains from
random weights on thousands of people. For fewer, `prepare_data.py recommend` writes a config that
starts from published weights (docs/few_pictures.md). Check the files first:

    python scripts/prepare_data.py check --dataset=custom --root=data/custom
    python -m hrjax.main --config=configs/hrnet_custom.py --config.model.num_joints=21
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default hrnet_w32."""
    config = common.recipe(variant, default="hrnet_w32", dataset="custom", input_size=(256, 192))

    config.optimizer.name = "adam"
    config.optimizer.lr = 5e-4
    config.optimizer.schedule = "step"
    config.optimizer.milestones = (170, 200)
    config.optimizer.warmup_steps = 500
    config.optimizer.warmup_limit = 0.05  # of the run, which is short with few people
    config.train.epochs = 210
    config.train.batch_size = 64
    config.augment.scale = 0.25
    config.augment.rotation = 30.0
    config.heatmap.sigma = 2.0

    config.loss.factor = 1.0
    return config
