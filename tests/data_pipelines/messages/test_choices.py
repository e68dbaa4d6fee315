"""Names that are unknown, and those that were meant."""

import pytest

from data_pipelines.messages import choices

MODELS = ("hrnet_tiny", "hrnet_w32", "hrnet_w48", "litehrnet_18", "litehrnet_30", "pose_resnet_50")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("hrnet_w23", ["hrnet_w32", "hrnet_w48"]),
        ("HRNet-W32", ["hrnet_w32"]),
        ("lite_hrnet_30", ["litehrnet_30"]),
        ("resnet50", ["pose_resnet_50"]),
        ("vit", []),
        ("", []),
    ],
)
def test_near_names_are_the_ones_meant_the_best_first(name, near):
    assert choices.near(name, MODELS, most=2) == near


def test_the_message_proposes_and_lists_the_choices():
    message = choices.unknown("optimizer", "adamx", ["adam", "adamw", "sgd"])
    assert message == (
        "unknown optimizer 'adamx'; did you mean adam or adamw? Choose one of: adam, adamw, sgd"
    )
    assert choices.unknown("optimizer", "lion", ["adam", "sgd"]) == (
        "unknown optimizer 'lion'; choose one of: adam, sgd"
    )
    assert choices.proposal(["a", "b", "c"]) == "did you mean a, b or c?"


def test_names_of_any_type_and_length_are_answered():
    assert choices.near(7, MODELS) == []
    assert choices.near("hrnet_w32" * 100_000, MODELS) == []


def test_a_missing_file_gets_near_ones_of_its_folder_and_of_others(tmp_path):
    for name in ("configs/quickstart.py", "configs/hrnet_coco.py", "runs/quickstart/config.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    configs = tmp_path / "configs"
    assert choices.near_files(configs / "quickstar.py") == [str(configs / "quickstart.py")]
    assert choices.near_files(tmp_path / "hrnet_coc.py", [configs]) == [
        str(configs / "hrnet_coco.py")
    ]
    assert choices.near_files(configs / "quickstart") == [str(configs / "quickstart.py")]
    assert choices.near_files(tmp_path / "runs/quickstat") == [str(tmp_path / "runs/quickstart")]
    assert choices.near_files(configs / "quickstart.pth") == []  # another kind of file
    assert choices.near_files(tmp_path / "nowhere/quickstart.py") == []
    assert choices.instead_of(configs / "quickstart.p") == ""
    assert choices.instead_of(tmp_path / "config") == f"; did you mean {configs}?"
