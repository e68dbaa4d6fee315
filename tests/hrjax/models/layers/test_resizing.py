"""Resized feature maps, by hand and against JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hrjax
from hrjax.models.layers.resizing import (
    average_pool,
    bilinear_align_corners,
    bilinear_half_pixel,
    max_pool,
    nearest,
)


@pytest.fixture(autouse=True, params=["cpu", "gpu"])
def platform(request):
    with hrjax.lowering_for(request.param):
        yield request.param


def test_nearest_repeats_pixels():
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    expected = [[1, 1, 2, 2], [3, 3, 4, 4]]
    np.testing.assert_array_equal(nearest(x, (2, 4))[0, :, :, 0], expected)


def test_enlarging_to_a_size_that_is_not_a_multiple_is_an_error():
    with pytest.raises(ValueError, match=r"cannot repeat \(2, 2\) pixels to \(3, 4\)"):
        nearest(jnp.ones((1, 2, 2, 1)), (3, 4))


def test_align_corners_maps_corner_pixels_to_corner_pixels():
    x = jnp.asarray([[0.0, 3.0], [6.0, 9.0]]).reshape(1, 2, 2, 1)
    expected = [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    np.testing.assert_allclose(bilinear_align_corners(x, (3, 4))[0, :, :, 0], expected, atol=1e-6)


def test_average_pool_takes_means_of_blocks():
    x = jnp.arange(24.0).reshape(1, 4, 6, 1)
    expected = x.reshape(2, 2, 2, 3).mean((1, 3))
    np.testing.assert_allclose(average_pool(x, (2, 2))[0, :, :, 0], expected)
    assert average_pool(x.astype(jnp.bfloat16), (2, 2)).dtype == jnp.bfloat16


def test_average_pool_overlaps_where_sizes_do_not_divide():
    # As in PyTorch, cell i of 2 covers pixels floor(5 i / 2) to ceil(5 (i + 1) / 2).
    x = jnp.asarray([[1.0, 2, 3, 4, 10]]).reshape(1, 1, 5, 1)
    np.testing.assert_allclose(np.ravel(average_pool(x, (1, 2))), [2, 17 / 3], rtol=1e-6)
    assert average_pool(x.astype(jnp.bfloat16), (1, 2)).dtype == jnp.bfloat16


def test_max_pool_ignores_the_padding():
    x = -jnp.arange(1.0, 17).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x)[0, :, :, 0], [[-1, -2], [-5, -6]])


def test_half_pixel_resizing_keeps_the_border():
    # The centers of four pixels over two lie at -1/4, 1/4, 3/4, 5/4 of the distance.
    x = jnp.asarray([[0.0, 4.0], [8.0, 12.0]]).reshape(1, 2, 2, 1)
    row = np.array([0, 1, 3, 4])
    expected = np.add.outer(2 * row, row)
    np.testing.assert_allclose(bilinear_half_pixel(x, (4, 4))[0, :, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_half_pixel_resizing_is_that_of_jax(factor):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 5, 4)), jnp.float32)
    expected = jax.image.resize(x, (2, 3 * factor, 5 * factor, 4), "bilinear")
    resized = bilinear_half_pixel(x, (3 * factor, 5 * factor))
    np.testing.assert_allclose(resized, expected, atol=1e-6)


@pytest.mark.parametrize("resize", [bilinear_half_pixel, bilinear_align_corners])
@pytest.mark.parametrize("size", [(6, 8), (12, 20), (3, 4), (2, 9)])
def test_the_gradient_of_resizing_is_its_transpose(resize, size):
    random = np.random.default_rng(0)
    x, change = (jnp.asarray(random.standard_normal((2, 3, 4, 2)), jnp.float32) for _ in range(2))
    gradient = jnp.asarray(random.standard_normal((2, *size, 2)), jnp.float32)
    y, pull = jax.vjp(lambda x: resize(x, size), x)
    assert y.shape == gradient.shape
    # A linear function moves the gradient's product with its output as the pulled one's with x.
    moved = jnp.sum(gradient * resize(change, size))
    np.testing.assert_allclose(moved, jnp.sum(pull(gradient)[0] * change), rtol=1e-4)


def test_images_of_one_pixel_are_enlarged():
    x = jnp.full((1, 1, 1, 2), 3.0)
    for resize in (bilinear_half_pixel, bilinear_align_corners):
        np.testing.assert_array_equal(resize(x, (4, 2)), jnp.full((1, 4, 2, 2), 3.0))


@pytest.mark.parametrize("resize", [bilinear_half_pixel, bilinear_align_corners])
def test_any_number_of_images_is_resized(resize):
    (count,) = jax.export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((count, 3, 4, 2), jnp.float32)
    assert jax.eval_shape(lambda x: resize(x, (6, 8)), images).shape == (count, 6, 8, 2)
