"""Published weights that have a name here: their addresses, variants and datasets."""

import dataclasses

from data_pipelines.downloads import checksums


@dataclasses.dataclass(frozen=True)
class Published:
    """A published file of weights: its address, its variant with the input size, its dataset.

    `sha256` is the file's SHA-256, or "" where it is not known.
    """

    address: str
    model: str
    dataset: str
    sha256: str = ""


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


def find(source: str) -> tuple[Published | None, str]:
    """The published weights that a source names, or None; and their address, or the source itself.

    A SHA-256 that the source requires (`#sha256=`) is required of the address.
    """
    name, digits = checksums.split(source)
    row = PUBLISHED.get(name)
    if row is None:
        return None, source
    digits = digits or row.sha256
    return row, f"{row.address}#sha256={digits}" if digits else row.address
