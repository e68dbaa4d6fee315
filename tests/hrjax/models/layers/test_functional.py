import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hrjax.models.layers.functional import (
    attend,
    gelu,
    softmax,
    softmax_mean,
    standardize,
    standardize_pixels,
    standardize_rectified,
)
from hrjax.models.layers.target import lowering_for


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


IDENTITY = jnp.ones(5), jnp.zeros(5), jnp.zeros(5)  # scale, bias, and a guess at the mean


def test_standardize_has_the_gradient_of_the_formula():
    # d/dx of sum(w * (x - mean) / std), written out: (w - mean(w) - xhat * mean(w * xhat)) / std.
    x, weights = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=1)

    def loss(x):
        return jnp.sum(weights * standardize(x, *IDENTITY, 1e-5)[0])

    axes = (0, 1, 2)
    std = np.sqrt(np.var(x, axes) + 1e-5)
    normal = (x - np.mean(x, axes)) / std
    expected = weights - np.mean(weights, axes) - normal * np.mean(weights * normal, axes)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(x), expected / std, atol=2e-6)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_standardize_has_the_gradients_of_autodiff(platform):
    x, weights = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=1)

    def plain(x, scale, bias):
        axes = (0, 1, 2)
        return (x - x.mean(axes)) * scale / jnp.sqrt(x.var(axes) + 1e-5) + bias

    def gradients(function):
        loss = jax.grad(lambda *arguments: jnp.sum(weights * function(*arguments)), (0, 1, 2))
        return jax.jit(loss)(x, noise(5, seed=2), noise(5, seed=3))

    with lowering_for(platform):
        ours = gradients(lambda *arguments: standardize(*arguments, jnp.zeros(5), 1e-5)[0])
    for a, b in zip(ours, gradients(plain), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("height", [8, 11, 3])
@pytest.mark.parametrize(("platform", "guess"), [("cpu", 0.0), ("gpu", 99.98)])
def test_the_variance_of_channels_far_from_zero_keeps_its_digits(platform, guess, height):
    # In float32 the mean square less the square of the mean, 10,000, would be off by the variance.
    x = 100 + 0.01 * noise(2, height, 6, 3)
    arguments = jnp.ones(3), jnp.zeros(3), jnp.full(3, guess), 1e-5
    with lowering_for(platform):
        _, mean, var = jax.jit(lambda x: standardize(x, *arguments))(x)
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=1e-5)


def test_constant_channels_have_no_variance():
    x = jnp.full((2, 9, 5, 1), 12345.67)
    y, mean, var = standardize(x, jnp.ones(1), jnp.ones(1), jnp.zeros(1), 1e-5)
    np.testing.assert_array_equal((y == 1).all(), True)
    np.testing.assert_allclose(mean, 12345.67, rtol=1e-7)
    np.testing.assert_allclose(var, 0, atol=1e-9)


@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float32, 1e-6), (jnp.bfloat16, 0.004)])
def test_gelu_is_the_exact_one(dtype, rtol):
    x = jnp.asarray([-2.0, -0.5, 0.0, 1.0, 3.0], dtype)
    expected = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in (-2.0, -0.5, 0.0, 1.0, 3.0)]
    assert gelu(x).dtype == dtype
    np.testing.assert_allclose(gelu(x).astype(np.float32), expected, rtol=rtol, atol=1e-7)


def test_gelu_has_the_gradient_of_autodiff():
    x = jnp.linspace(-6, 6, 97)

    def formula(x):
        return x * (0.5 + 0.5 * jax.lax.erf(x * math.sqrt(0.5)))

    ours, theirs = (jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(x) for f in (gelu, formula))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_pixels_are_standardized_with_the_gradients_of_autodiff():
    def formula(x, scale, bias, epsilon):
        centered = x - jnp.mean(x, -1, keepdims=True)
        var = jnp.mean(jnp.square(centered), -1, keepdims=True)
        return centered / jnp.sqrt(var + epsilon) * scale + bias

    weight, arguments = noise(2, 3, 4, 5, seed=3), (noise(2, 3, 4, 5), noise(5, seed=1), noise(5))

    def both(function):
        def total(*arguments):
            return jnp.sum(function(*arguments, 1e-6) * weight)

        return function(*arguments, 1e-6), *jax.grad(total, (0, 1, 2))(*arguments)

    for ours, theirs in zip(both(standardize_pixels), both(formula), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def attention_by_formula(queries, keys, values, bias):
    logits = jnp.einsum("whqc,whkc->whqk", queries, keys) + (0.0 if bias is None else bias)
    exponentials = jnp.exp(logits)
    return jnp.einsum("whqk,whkc->whqc", exponentials / exponentials.sum(-1, keepdims=True), values)


@pytest.mark.parametrize("with_bias", [False, True])
def test_attention_has_the_gradients_of_autodiff(with_bias):
    q, k, v, weight = (noise(3, 2, 5, 4, seed=seed) for seed in range(4))
    bias = noise(2, 5, 5, seed=5) if with_bias else None

    def both(function):
        def total(*arguments):
            return jnp.sum(function(*arguments) * weight)

        wanted = (0, 1, 2, 3) if with_bias else (0, 1, 2)
        return function(q, k, v, bias), *jax.jit(jax.grad(total, wanted))(q, k, v, bias)

    for ours, theirs in zip(both(attend), both(attention_by_formula), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_attention_survives_large_logits():
    x = jnp.full((1, 1, 2, 1), 1000.0).at[0, 0, 1].set(-1000.0)
    y, vjp = jax.vjp(lambda x: attend(x, x, x), x)
    np.testing.assert_array_equal(y, x)  # each pixel attends only to itself
    assert all(np.isfinite(gradient).all() for gradient in vjp(y))


def test_attention_of_bfloat16_is_summed_in_float32():
    # 65 keys with equal weights: in bfloat16 the error of their sum would be larger.
    x = jnp.ones((1, 1, 65, 2), jnp.bfloat16)
    y, vjp = jax.vjp(attend, x, x, x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), 1, atol=2**-8)
    assert all(gradient.dtype == jnp.bfloat16 for gradient in vjp(y)[:3])


def test_standardize_with_a_relu_has_the_gradients_of_both_apart():
    x, weights = noise(2, 3, 4, 5), noise(2, 3, 4, 5, seed=1)
    affine = (1 + 0.1 * noise(5, seed=2), noise(5, seed=3), jnp.zeros(5))

    def apart(x, *affine):
        y, mean, var = standardize(x, *affine, 1e-5)
        return jax.nn.relu(y), mean, var

    def together(x, *affine):
        return standardize_rectified(x, *affine, 1e-5)

    (y, *statistics), pull = jax.vjp(together, x, *affine)
    (expected, *others), pull_apart = jax.vjp(apart, x, *affine)
    assert 0 < np.mean(y == 0) < 1
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(statistics, others)
    zeros = [jnp.zeros(5)] * 2
    for ours, other in zip(pull((weights, *zeros)), pull_apart((weights, *zeros)), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_softmax_in_one_pass_has_the_values_and_gradients_of_two(scale):
    x, logits = noise(2, 5, 7, 3), scale * noise(2, 5, 7, 1, seed=1)
    weights = noise(2, 3, seed=2)

    def both(platform):
        with lowering_for(platform):
            pooled, pull = jax.vjp(softmax_mean, x, logits)
            masks, pull_masks = jax.vjp(softmax, logits.reshape(2, -1))
            return pooled, pull(weights), masks, pull_masks(jnp.cos(logits.reshape(2, -1)))

    plain, fused = both("cpu"), both("gpu")
    with lowering_for("gpu"):
        assert str(jax.make_jaxpr(softmax_mean)(x, logits)).count("= reduce[") == 1
    np.testing.assert_allclose(plain[2].sum(-1), 1, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), fused, plain)


def test_softmax_in_one_pass_stands_bfloat16_and_passes_nan_on():
    x, logits = noise(1, 4, 4, 2).astype(jnp.bfloat16), noise(1, 4, 4, 1, seed=1)
    with lowering_for("gpu"):
        pooled = softmax_mean(x, logits.astype(jnp.bfloat16))
        broken = softmax(logits.reshape(1, -1).at[0, 3].set(jnp.nan))
    exact = softmax_mean(x.astype(jnp.float32), logits.astype(jnp.bfloat16).astype(jnp.float32))
    assert pooled.dtype == jnp.bfloat16
    np.testing.assert_allclose(pooled.astype(jnp.float32), exact, rtol=5e-3)
    assert np.isnan(broken).all()
