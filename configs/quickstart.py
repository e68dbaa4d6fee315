"""A small WideHRNet on synthetic people: a whole run in minutes on two CPU cores, no download.

The first run draws the people into data/synthetic, in MPII's layout and in COCO's. The baseline,
printed when the run starts, is the mean pose with a PCKh@0.5 of 27.

    python -m hrjax.main --config=configs/quickstart.py
    python -m hrjax.main --config=configs/quickstart.py --config.train.epochs=80 --workdir=runs/q

The first command takes minutes and reaches a PCKh@0.5 of 82 to 83, the second half an hour and 92.
"""

from configs import common


def get_config(variant: str = "") -> common.ConfigDict:
    """The recipe for `variant`, by default widehrnet_18, made narrow and shallow."""
    config = common.recipe(variant, default="widehrnet_18", dataset="mpii", input_size=(96, 96))
    config.data.input_size = (96, 96)  # whatever the variant's name says
    config.data.root = "data/synthetic"
    config.data.draw.train_images = 4500
    config.data.draw.val_images = 200
    config.model.width = 24
    config.model.stem_width = 16
    config.model.modules = (1, 1, 1)
    config.model.blocks = 1
    config.model.expansion = 2

    config.optimizer.name = "adam"
    config.optimizer.lr = 8e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.final_factor = 0.0
    config.optimizer.warmup_steps = 50
    config.train.epochs = 5
    config.train.batch_size = 16
    # Mild augmentation: in few epochs, a network must learn what a person looks like first.
    config.augment.scale = 0.1
    config.augment.rotation = 10.0
    config.heatmap.sigma = 1.5

    config.loss.factor = 1.0
    config.eval.every_epochs = 5
    config.checkpoint.every_steps = 500
    return config
