"""Prompts of linear functions: as drawn, as a model reads them, and the best that can be done with them."""

import numpy as np
import pytest

from engine.sources.linear_regression import LinearPrompts, LinearRegression, LinearRegressionSpec, least_squares

SPEC = LinearRegressionSpec()


def test_outputs_are_linear_and_of_variance_one() -> None:
    prompts = LinearPrompts(SPEC).prompts("validation", 4_000)
    assert prompts.y.var() == pytest.approx(1.0, abs=0.05)
    fitted = np.linalg.pinv(prompts.x) @ prompts.y[:, :, None]
    assert np.abs(prompts.x @ fitted - prompts.y[:, :, None]).max() < 1e-9


def test_a_model_reads_pairs_and_predicts_at_inputs() -> None:
    data = LinearPrompts(SPEC)
    prompts = data.prompts("validation", 3)
    batch = data.batch(prompts)
    assert batch["inputs"].shape == (3, *LinearRegression().shape(SPEC).sample_shape)
    assert np.allclose(batch["inputs"][:, ::2, :4], prompts.x) and (batch["inputs"][:, ::2, 4] == 0).all()
    assert np.allclose(batch["inputs"][:, 1::2, 4], prompts.y[:, :-1]) and (batch["inputs"][:, 1::2, :4] == 0).all()
    assert np.allclose(batch["targets"][:, ::2, 0], prompts.y) and np.isnan(batch["targets"][:, 1::2]).all()


def test_least_squares_is_what_theory_says() -> None:
    """Without noise k examples of d leave (d - k) / d of the variance, and none from d on."""
    prompts = LinearPrompts(SPEC).prompts("validation", 6_000)
    error = np.square(least_squares(prompts, 0.0) - prompts.y).mean(axis=0)
    assert error[:5] == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0], abs=0.06)
    assert error[5:].max() < 1e-8


def test_with_noise_no_other_penalty_does_better() -> None:
    data = LinearPrompts(LinearRegressionSpec(noise=0.7))
    prompts = data.prompts("validation", 6_000)
    error = {noise: np.square(least_squares(prompts, noise) - prompts.y).mean() for noise in (0.35, 0.7, 1.4)}
    assert min(error, key=lambda noise: error[noise]) == 0.7
    assert error[0.7] > 0.7**2


def test_out_of_distribution_prompts_differ_as_said() -> None:
    data = LinearPrompts(SPEC)
    plain, scaled, skewed = (data.prompts(kind, 4_000) for kind in ("validation", "scaled", "skewed"))
    assert scaled.y.var() / scaled.unit == pytest.approx(1.0, abs=0.1) and scaled.x.var() == pytest.approx(4, rel=0.1)
    assert skewed.x.var() == pytest.approx(plain.x.var(), rel=0.05) and skewed.y.var() == pytest.approx(1.0, abs=0.1)

    def evenness(x: np.ndarray) -> float:
        values = np.linalg.svd(x, compute_uv=False)
        return float((values[:, -1] / values[:, 0]).mean())

    assert evenness(skewed.x) < 0.5 * evenness(plain.x)


def test_a_batch_is_a_function_of_seed_and_step_and_no_prompt_is_in_two_splits() -> None:
    one, two = LinearPrompts(SPEC), LinearPrompts(SPEC)
    for step, seed in ((0, 0), (5, 0), (5, 1)):
        a, b = one.train_batch(step, 8, 25, seed), two.train_batch(step, 8, 25, seed)
        assert (a["inputs"] == b["inputs"]).all()
    held_out = {row.tobytes() for row in next(one.validation_batches(500, 25, 12_500))["inputs"]}
    trained = {row.tobytes() for step in range(20) for row in one.train_batch(step, 64, 25, 0)["inputs"]}
    assert len(held_out) == 500 and len(trained) == 1_280 and not held_out & trained
    assert len(LinearRegression().preview(SPEC, 2)) == 6
    with pytest.raises(TypeError):
        one.decode(np.zeros(5, np.int64))
