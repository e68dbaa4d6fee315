"""What the pictures show."""

import cv2
import numpy as np
import pytest

from data_pipelines.skeletons import COCO, MPII
from hrjax import visualize

GRAY = np.full((120, 160, 3), 100, np.uint8)


def changed(before, after):
    return (before != after).any(axis=-1)


def draw(keypoints, scores, skeleton=COCO, image=GRAY):
    return visualize.draw_skeleton(image, keypoints, scores, skeleton, threshold=0.5)


@pytest.mark.parametrize("skeleton", [COCO, MPII])
def test_left_right_and_middle_have_their_colors(skeleton):
    places = {"left": 40, "right": 120}
    x = [places.get(name.split("_")[0], 80) for name in skeleton.names]
    keypoints = np.stack([x, np.linspace(10, 110, skeleton.num_joints)], axis=-1)
    picture = draw(keypoints, np.ones(skeleton.num_joints), skeleton)
    colors = {40: visualize.LEFT, 120: visualize.RIGHT, 80: visualize.MIDDLE}
    for column, row in np.rint(keypoints).astype(int):
        assert tuple(picture[row, column]) == colors[column]


def test_limbs_from_side_to_side_belong_to_the_middle():
    keypoints, scores = np.zeros((17, 2)), np.zeros(17)
    keypoints[[5, 6]] = (130, 60), (30, 60)  # the shoulders
    scores[[5, 6]] = 1
    image = np.zeros((480, 480, 3), np.uint8)  # large enough for a line of three pixels
    assert tuple(draw(keypoints, scores, image=image)[60, 80]) == visualize.MIDDLE


def test_joints_at_the_threshold_are_left_out_with_their_limbs():
    keypoints, scores = np.full((17, 2), 60.0), np.zeros(17)
    keypoints[[5, 7, 9]] = (20, 20), (80, 20), (140, 20)  # left shoulder, elbow, wrist
    scores[[5, 7, 9]] = 1, 1, 0.5
    picture = changed(GRAY, draw(keypoints, scores))
    assert picture[20, 20:80].all()
    assert not picture[20, 85:].any()
    assert not picture[50:70].any()


def test_the_given_image_stays_as_it_is():
    image = GRAY.copy()
    image.setflags(write=False)
    picture = draw(np.full((17, 2), 60.0), np.ones(17), image=image)
    assert changed(image, picture).any()
    np.testing.assert_array_equal(image, GRAY)


def test_a_mirrored_view_of_an_image_can_be_drawn_on():
    draw(np.full((17, 2), 60.0), np.ones(17), image=GRAY[:, ::-1])


def test_edges_are_smooth():
    keypoints, scores = np.zeros((17, 2)), np.zeros(17)
    keypoints[[5, 7]] = (20.3, 20.6), (140.2, 50.9)
    scores[[5, 7]] = 1
    levels = np.unique(draw(keypoints, scores)[..., 2])
    assert len(levels) > 10


def test_joints_are_larger_in_larger_images():
    sizes = []
    for side in (100, 800):
        keypoints, scores = np.full((17, 2), side / 2), np.eye(17)[0]
        image = np.zeros((side, side, 3), np.uint8)
        sizes.append(changed(image, draw(keypoints, scores, image=image)).sum())
    assert sizes[1] > 4 * sizes[0]


def test_joints_far_outside_or_unknown_do_no_harm():
    keypoints, scores = np.full((17, 2), 60.0), np.zeros(17)
    keypoints[5], keypoints[7], keypoints[9] = (-1e9, 20), (80, 20), (np.nan, 20)
    scores[[5, 7, 9]] = 1
    picture = changed(GRAY, draw(keypoints, scores))
    assert picture[20, :80].all()
    assert not picture[:, 100:].any()


def test_draw_skeleton_names_the_joint_count():
    with pytest.raises(ValueError, match=r"must be \(17, 2\) and \(17,\).*got \(16, 2\)"):
        draw(np.zeros((16, 2)), np.zeros(16))


def test_images_must_be_color_bytes():
    with pytest.raises(ValueError, match=r"\(h, w, 3\) uint8; got \(120, 160, 3\) float64"):
        draw(np.zeros((17, 2)), np.zeros(17), image=GRAY / 255)


def people(*, box=(20, 30, 60, 50), point=(50, 60), joint_score=1.0, score=0.5):
    """One person whose joints all lie on one point."""
    keypoints, scores = np.full((1, 17, 2), point, float), np.full((1, 17), joint_score)
    arrays = (np.array([box], float), keypoints, scores, np.array([score]))
    return visualize.draw_people(GRAY, *arrays, COCO, threshold=0.2)


def test_a_persons_box_is_drawn_with_a_label_at_its_corner():
    picture = people()
    for row, column in ((80, 50), (55, 20), (55, 80), (30, 70)):
        assert tuple(picture[row, column]) == visualize.BOX
    assert not changed(GRAY, picture)[85:].any()
    label = picture[20:30, 20:40].reshape(-1, 3)
    assert (label == visualize.BOX).all(axis=-1).any()  # its ground
    assert (label.max(axis=-1) < 60).any()  # its letters


def test_labels_stay_inside_the_image():
    label = people(box=(-30, -20, 60, 50))[:20, :20].reshape(-1, 3)
    assert (label == visualize.BOX).all(axis=-1).any()


@pytest.mark.parametrize(("score", "level"), [(1.0, 255), (0.6, 153), (0.25, 64), (3.0, 255)])
def test_a_joints_core_tells_its_score(score, level):
    np.testing.assert_array_equal(people(joint_score=score)[60, 50], level)


def test_tracks_have_numbers_and_colors_of_their_own():
    boxes = np.array([(10, 30, 40, 50), (100, 30, 40, 50)], float)
    rest = (np.zeros((2, 17, 2)), np.zeros((2, 17)), np.array([0.5, 0.5]))
    draw = lambda ids: visualize.draw_people(  # noqa: E731
        GRAY, boxes, *rest, COCO, threshold=0.2, track_ids=np.array(ids)
    )
    picture = draw([3, 0])
    assert tuple(picture[60, 10]) == visualize.track_color(3)
    assert tuple(picture[60, 100]) == visualize.BOX
    assert changed(draw([3, 0]), draw([8, 0]))[20:30, 10:60].any()  # the number
    colors = np.array([visualize.track_color(number) for number in range(1, 13)])
    differences = np.abs(colors[:, None] - colors).sum(axis=-1)[np.triu_indices(12, 1)]
    assert differences.min() > 25
    assert colors.max(axis=1).min() > 200  # dark letters can be read on them


def test_without_people_the_image_is_unchanged():
    nothing = np.zeros((0, 4)), np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0)
    np.testing.assert_array_equal(visualize.draw_people(GRAY, *nothing, COCO, threshold=0.2), GRAY)


def test_joints_without_a_place_are_not_drawn():
    picture = people(point=(np.nan, np.nan))
    assert not changed(GRAY, picture)[35:75, 25:75].any()


def test_a_heatmap_glows_where_its_joint_is():
    heatmaps = np.zeros((30, 40, 3), np.float32)
    heatmaps[10, 25, 1] = 1
    sheet = visualize.draw_heatmaps(GRAY, heatmaps, columns=2)
    assert sheet.shape == (240, 320, 3)
    np.testing.assert_array_equal(sheet[:120, :160], GRAY)
    glowing = changed(GRAY, sheet[:120, 160:])
    assert tuple(sheet[40, 160 + 100]) == (255, 255, 0)
    rows, columns = np.nonzero(glowing)
    assert (rows.mean(), columns.mean()) == (40, 100)


def test_draw_heatmaps_names_the_sizes():
    with pytest.raises(ValueError, match=r"got \(31, 40, 3\) for an image of 160x120 pixels"):
        visualize.draw_heatmaps(GRAY, np.zeros((31, 40, 3)))


def test_a_grid_fills_rows_and_leaves_the_rest_black():
    images = [np.full((4, 6, 3), value, np.uint8) for value in (10, 20, 30)]
    images[1] = images[1][:2, :3]
    sheet = visualize.grid(images, columns=2)
    assert sheet.shape == (8, 12, 3)
    expected = np.zeros((8, 12))
    expected[:4, :6], expected[:2, 6:9], expected[4:, :6] = 10, 20, 30
    np.testing.assert_array_equal(sheet[..., 0], expected)


def test_a_grid_needs_images():
    with pytest.raises(ValueError, match="needs images and columns; got 0 and 4"):
        visualize.grid([], columns=4)


def test_saved_images_read_back_in_the_same_colors(tmp_path):
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0] = 200
    visualize.save(image, tmp_path / "picture.png")
    read = cv2.imread(str(tmp_path / "picture.png"), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(read, image)


def test_files_of_unknown_kinds_are_named(tmp_path):
    for name in ("picture", "picture.doc"):
        with pytest.raises(ValueError, match=rf"cannot write .*{name}: its name must end in \.jpg"):
            visualize.save(GRAY, tmp_path / name)
