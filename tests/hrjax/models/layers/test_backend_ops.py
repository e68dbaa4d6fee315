import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hrjax.models.layers.backend_ops import (
    convolve,
    convolve_per_sample,
    convolve_transposed,
    fusion_barrier,
    matmul,
)
from hrjax.models.layers.target import lowering_for


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def xla_convolve(x, kernel, *, stride, groups):
    """XLA's own convolution."""
    pad = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


CASES = [  # kernel, stride, groups, (inputs, outputs), (height, width)
    pytest.param(1, 1, 1, (6, 4), (8, 6), id="1x1"),
    pytest.param(1, 2, 1, (6, 4), (8, 7), id="1x1 strided"),
    pytest.param(3, 1, 1, (6, 4), (8, 6), id="dense"),
    pytest.param(3, 1, 1, (4, 6), (8, 6), id="dense, more outputs than inputs"),
    pytest.param(3, 2, 1, (6, 4), (8, 7), id="dense strided"),
    pytest.param(7, 1, 1, (6, 4), (8, 9), id="dense 7x7"),
    pytest.param(3, 1, 6, (6, 6), (8, 6), id="depthwise"),
    pytest.param(3, 2, 6, (6, 6), (8, 6), id="depthwise strided"),
    pytest.param(3, 2, 6, (6, 6), (7, 5), id="depthwise strided, odd"),
    pytest.param(5, 2, 6, (6, 6), (8, 7), id="depthwise 5x5 strided"),
    pytest.param(3, 1, 2, (6, 4), (8, 6), id="grouped"),
    pytest.param(3, 2, 3, (3, 6), (8, 6), id="grouped, more outputs than inputs"),
    pytest.param(1, 1, 2, (6, 4), (8, 6), id="grouped 1x1"),
]


@pytest.mark.parametrize(
    ("groups", "outputs", "stride", "image"),
    [
        pytest.param(6, 6, 1, (8, 6), id="depthwise"),
        pytest.param(6, 6, 2, (9, 8), id="depthwise strided"),
        pytest.param(1, 6, 1, (8, 6), id="dense"),
        pytest.param(1, 4, 1, (8, 6), id="dense, fewer outputs"),
        pytest.param(2, 6, 1, (8, 6), id="grouped"),
    ],
)
def test_dilation_is_a_kernel_with_holes(groups, outputs, stride, image):
    x, kernel = noise(2, *image, 6), noise(5, 5, 6 // groups, outputs, seed=1)

    def with_holes(x, kernel):
        holes = ((0, 0, 2), (0, 0, 2), (0, 0, 0), (0, 0, 0))
        return xla_convolve(x, jax.lax.pad(kernel, 0.0, holes), stride=stride, groups=groups)

    @jax.jit
    def both(x, kernel):
        options = {"stride": stride, "groups": groups, "dilation": 3}
        ours, our_vjp = jax.vjp(lambda x, kernel: convolve(x, kernel, **options), x, kernel)
        theirs, their_vjp = jax.vjp(with_holes, x, kernel)
        gradient = jnp.cos(theirs)
        return (ours, *our_vjp(gradient)), (theirs, *their_vjp(gradient))

    for ours, theirs in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-5)


@pytest.mark.parametrize(("size", "stride", "groups", "channels", "image"), CASES)
def test_every_kind_of_convolution_equals_that_of_xla(size, stride, groups, channels, image):
    inputs, outputs = channels
    x = noise(2, *image, inputs)
    kernel = noise(size, size, inputs // groups, outputs, seed=1)
    options = {"stride": stride, "groups": groups}

    @jax.jit
    def both(x, kernel):
        ours, our_vjp = jax.vjp(lambda x, kernel: convolve(x, kernel, **options), x, kernel)
        theirs, their_vjp = jax.vjp(lambda x, kernel: xla_convolve(x, kernel, **options), x, kernel)
        gradient = jnp.cos(theirs)
        return (ours, *our_vjp(gradient)), (theirs, *their_vjp(gradient))

    for ours, theirs in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-5)


@pytest.mark.parametrize(
    ("size", "stride", "groups", "outputs"),
    [
        pytest.param(1, 1, 1, 4, id="1x1"),
        pytest.param(1, 2, 1, 4, id="1x1 strided"),
        pytest.param(3, 1, 6, 6, id="depthwise"),
        pytest.param(3, 2, 6, 6, id="depthwise strided"),
        pytest.param(5, 1, 6, 6, id="depthwise 5x5"),
    ],
)
def test_a_kernel_for_each_sample_convolves_that_sample(size, stride, groups, outputs):
    x, kernels = noise(3, 8, 7, 6), noise(3, size, size, 6 // groups, outputs, seed=1)
    options = {"stride": stride, "groups": groups}

    def one_by_one(x, kernels):
        pairs = zip(x[:, None], kernels, strict=True)
        return jnp.concatenate([xla_convolve(a, kernel, **options) for a, kernel in pairs])

    @jax.jit
    def both(x, kernels):
        ours, our_vjp = jax.vjp(lambda *both: convolve_per_sample(*both, **options), x, kernels)
        theirs, their_vjp = jax.vjp(one_by_one, x, kernels)
        gradient = jnp.cos(theirs)
        return (ours, *our_vjp(gradient)), (theirs, *their_vjp(gradient))

    for ours, theirs in zip(*both(x, kernels), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=3e-5)


def test_dense_kernels_for_each_sample_are_an_error():
    with pytest.raises(ValueError, match="1x1 or depthwise, not 3x3 in 1 groups from 6 to 4"):
        convolve_per_sample(noise(2, 8, 8, 6), noise(2, 3, 3, 6, 4), stride=1, groups=1)


@pytest.mark.parametrize("outputs", [6, 3])
def test_transposed_convolutions_are_equal_on_all_backends(outputs):
    x, kernel = noise(2, 3, 5, 4), noise(4, 4, 4, outputs, seed=1)

    def value_and_gradients():
        def loss(x, kernel):
            y = convolve_transposed(x, kernel)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)

    ours = value_and_gradients()
    with lowering_for("gpu"):
        theirs = value_and_gradients()
    assert theirs[1].shape == (2, 6, 10, outputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5), ours, theirs)


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 6), (6, 4), (5, 5)])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_matmul_has_the_gradients_of_a_matrix_product(backend, inputs, outputs):
    x, matrix, weight = noise(2, 3, 5, inputs), noise(inputs, outputs), noise(2, 3, 5, outputs)

    def gradients(product):
        return jax.grad(lambda x, matrix: jnp.sum(product(x, matrix) * weight), (0, 1))(x, matrix)

    expected = gradients(jnp.matmul)
    np.testing.assert_array_equal(matmul(x, matrix), x @ matrix)
    with lowering_for(backend):
        pairs = zip(gradients(matmul), expected, strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 32), (32, 8)])
def test_the_gradient_of_a_matrix_transposes_no_image(inputs, outputs):
    def transposed(product):
        def gradient(x, matrix, weight):
            return jax.grad(lambda matrix: jnp.sum(jnp.sin(product(x, matrix)) * weight))(matrix)

        shapes = ((8, 64, 48, inputs), (inputs, outputs), (8, 64, 48, outputs))
        arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        text = jax.jit(gradient).lower(*arguments).compile().as_text()
        return [n for n in (inputs, outputs) if f"f32[{n},24576]" in text]

    assert transposed(matmul) == []
    assert transposed(jnp.matmul) == [outputs]  # with autodiff and XLA alone


@pytest.mark.parametrize("height", [8, 12, 11, 24, 3])
def test_depthwise_gradients_are_right_for_every_height(height):
    x, kernel, weight = noise(2, height, 5, 4), noise(3, 3, 1, 4), noise(2, height, 5, 4, seed=1)

    def gradients(convolution):
        def total(x, kernel):
            return jnp.sum(convolution(x, kernel, stride=1, groups=4) * weight)

        return jax.grad(total, (0, 1))(x, kernel)

    for ours, theirs in zip(gradients(convolve), gradients(xla_convolve), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_input_of_a_depthwise_gradient_is_computed_once():
    def gradients(x, kernel):
        def total(x, kernel):
            return jnp.sum(jnp.sin(convolve(x, kernel, stride=1, groups=4)))

        return jax.grad(total, (0, 1))(x, kernel)

    compiled = jax.jit(gradients).lower(noise(2, 16, 16, 4), noise(3, 3, 1, 4)).compile()
    assert compiled.as_text().count(" cosine(") == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_fusion_barrier_changes_neither_values_nor_gradients(dtype):
    x = jnp.asarray([1.5, -2.0, np.inf, np.nan], dtype)
    value, vjp = jax.jit(lambda x: jax.vjp(fusion_barrier, x))(x)
    for y in (value, vjp(x)[0]):
        assert y.dtype == dtype
        np.testing.assert_array_equal(y.astype(np.float32), x.astype(np.float32))


def calls(function, *devices):
    """The number of calls in the function, compiled for a batch sharded over the devices."""
    mesh = Mesh(np.array(devices or jax.devices()[:1]), ("data",))
    x = jax.device_put(jnp.ones((8, 3)), NamedSharding(mesh, PartitionSpec("data")))
    text = jax.jit(function).lower(x).compile().as_text()
    assert "all-gather" not in text
    return text.count(" call(")


def test_a_fusion_barrier_is_a_call_in_both_directions_on_cpu_only():
    assert calls(lambda x: fusion_barrier(x)) == 1
    assert calls(jax.grad(lambda x: (fusion_barrier(x) ** 2).sum())) == 2
    with lowering_for("gpu"):
        assert calls(lambda x: fusion_barrier(x)) == 0
        assert calls(jax.grad(lambda x: (fusion_barrier(x) ** 2).sum())) == 0


def test_a_fusion_barrier_keeps_a_batch_sharded():
    assert calls(fusion_barrier, *jax.devices()[:8]) == 1
    assert calls(jax.grad(lambda x: (fusion_barrier(x) ** 2).sum()), *jax.devices()[:8]) == 2


@pytest.mark.parametrize("outputs", [2, 5])
def test_gradients_of_a_matrix_keep_a_batch_sharded(outputs):
    # `calls` fails if images are gathered; the gradient itself is summed over the devices.
    def gradient(x):
        return jax.grad(lambda matrix: jnp.sum(jnp.sin(matmul(x, matrix))))(noise(3, outputs))

    assert calls(gradient, *jax.devices()[:8]) > 0


def test_a_fusion_barrier_separates_its_two_sides():
    def fusions(barrier):
        compiled = jax.jit(lambda x: 2 * barrier(jnp.sin(x)) + 1).lower(jnp.ones((8, 3))).compile()
        return compiled.as_text().count(" fusion(")

    assert fusions(lambda x: x) == 1
    assert fusions(fusion_barrier) == 2


def test_depthwise_gradients_of_bfloat16_are_summed_in_float32():
    # Each tap's gradient is a sum of 65536 ones, which in bfloat16 would stop at 256.
    def loss(kernel):
        x = jnp.ones((16, 64, 64, 2), jnp.bfloat16)
        return convolve(x, kernel, stride=1, groups=2).astype(jnp.float32).sum()

    gradient = jax.jit(jax.grad(loss))(jnp.ones((3, 3, 1, 2), jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient[1, 1], 16 * 64 * 64)


def test_depthwise_convolutions_are_left_to_xla_on_tpu_and_for_kernel_gradients_on_gpu():
    ones = jnp.ones((4, 4, 1, 8))

    def count(function):
        return jax.jit(function).lower(ones).as_text().count("stablehlo.convolution")

    def forward(x):
        return jnp.sum(convolve(x, x[:3, :3], stride=1, groups=8))

    both = jax.value_and_grad(forward)
    assert (count(forward), count(both)) == (0, 0)
    with lowering_for("gpu"):
        assert (count(forward), count(both)) == (0, 2)  # the output and the kernel's gradient
    with lowering_for("tpu"):
        assert (count(forward), count(both)) == (1, 3)


@pytest.mark.parametrize("platform", ["gpu", "cpu"])
def test_a_1x1_convolution_of_single_pixels_is_a_matrix_product(platform):
    x, kernel = noise(3, 1, 1, 7), noise(1, 1, 7, 5, seed=1)
    with lowering_for(platform):
        value, pullback = jax.vjp(
            lambda x, kernel: convolve(x, kernel, stride=1, groups=1), x, kernel
        )
    gradients = pullback(jnp.cos(value))
    rows, cosine = x[:, 0, 0], jnp.cos(value)[:, 0, 0]
    np.testing.assert_allclose(value[:, 0, 0], rows @ kernel[0, 0], atol=1e-6)
    np.testing.assert_allclose(gradients[0][:, 0, 0], cosine @ kernel[0, 0].T, atol=1e-6)
    np.testing.assert_allclose(gradients[1][0, 0], rows.T @ cosine, atol=1e-6)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_depthwise_convolutions_are_equal_on_all_backends(stride, dilation):
    x, kernel = noise(2, 9, 8, 4), noise(3, 3, 1, 4, seed=1)

    def value_and_gradients(platform):
        def loss(x, kernel):
            y = convolve(x, kernel, stride=stride, groups=4, dilation=dilation)
            return jnp.sum(jnp.sin(y)), y

        with lowering_for(platform):
            value = convolve(x, kernel, stride=stride, groups=4, dilation=dilation)
            return value, jax.grad(loss, (0, 1), has_aux=True)(x, kernel)

    ours = value_and_gradients("cpu")
    for platform in ("gpu", "tpu"):
        theirs = value_and_gradients(platform)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5), ours, theirs)


@pytest.mark.parametrize("outputs", [4, 12])
def test_dense_kernel_gradients_are_matrix_products(outputs):
    def convolutions(function):
        def gradient(x, weight):
            def total(kernel):
                return jnp.sum(function(x, kernel, stride=1, groups=1) * weight)

            return jax.grad(total)(noise(3, 3, 8, outputs))

        compiled = jax.jit(gradient).lower(noise(2, 16, 16, 8), noise(2, 16, 16, outputs)).compile()
        return compiled.as_text().count(" convolution(")

    assert convolutions(convolve) == 0
    assert convolutions(xla_convolve) > 0


@pytest.mark.parametrize("size", [1, 3])
def test_dense_gradients_of_bfloat16_are_summed_in_float32(size):
    # The middle tap's gradient is a sum of 65536 ones.
    def loss(kernel):
        x = jnp.ones((16, 64, 64, 2), jnp.bfloat16)
        return convolve(x, kernel, stride=1, groups=1).astype(jnp.float32).sum()

    gradient = jax.jit(jax.grad(loss))(jnp.ones((size, size, 2, 2), jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient[size // 2, size // 2], 16 * 64 * 64)


@pytest.mark.parametrize("outputs", [2, 5])
def test_gradients_of_a_convolution_keep_a_batch_sharded(outputs):
    def gradients(x):
        def total(images, kernel):
            return jnp.sum(jnp.sin(convolve(images, kernel, stride=1, groups=1)))

        return jax.grad(total, (0, 1))(
            jnp.tile(x[:, None, None], (1, 4, 5, 1)), noise(3, 3, 3, outputs)
        )

    assert calls(gradients, *jax.devices()[:8]) > 0
