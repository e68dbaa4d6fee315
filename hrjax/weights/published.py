"""Published weights that have a name here: their addresses, variants and datasets."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Published:
    """The address of a published file of weights, its variant with the input size, its dataset."""

    address: str
    model: str
    dataset: str


_PADDLE = "https://paddle-model-ecology.bj.bcebos.com/model/hrnet_pose"
# Only files that have an address of their own; to reach others, one clicks through pages.
PUBLISHED = {
    "hrnet_w32_coco": Published(
        f"{_PADDLE}/hrnet_w32_256x192.pdparams", "hrnet_w32_256x192", "coco"
    ),
    "litehrnet_30_coco": Published(
        f"{_PADDLE}/lite_hrnet_30_256x192_coco.pdparams", "litehrnet_30_256x192", "coco"
    ),
    "litehrnet_30_coco_distilled": Published(
        f"{_PADDLE}/lite_hrnet_30_256x192_coco_dist.pdparams", "litehrnet_30_256x192", "coco"
    ),
}
