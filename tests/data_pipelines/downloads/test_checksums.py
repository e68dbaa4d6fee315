"""Names of published files that give the first digits of their SHA-256."""

import pytest

from data_pipelines.downloads import checksums


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("resnet50-0676ba61.pth", "0676ba61"),
        ("hrnet_w32_coco_256x192-c78dce93_20200708.pth", "c78dce93"),
        ("td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth", "81c58e40"),
        ("top_down_20200708-c63dc769.pth.tar", "c63dc769"),
        ("hrnet_w32_256x192.pth", ""),
        ("model-20200708.pth", ""),
        ("model-best.pth", ""),
    ],
)
def test_names_that_give_their_sha256(name, digits):
    assert checksums.promised(name) == digits
