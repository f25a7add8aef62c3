"""Fits of learning curves, crossover, data equivalence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vision_attn.statistics import crossover, equivalent_size, fit, left_out_error
from vision_attn.statistics.intervals import mean_interval, resampled_means

TABLES = Path(__file__).resolve().parents[2] / "results" / "quickstart" / "tables"

SIZES = np.array([250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 50000], float)


def power(n, a=3.0, b=0.4, c=0.03):
    return a * n**-b + c


@pytest.mark.parametrize("kind", ["power", "exponential", "logarithm"])
def test_exact_curves_are_found_again(kind):
    truth = {
        "power": power,
        "exponential": lambda n: 0.5 * np.exp(-n / 4000) + 0.1,
        "logarithm": lambda n: 0.9 - 0.07 * np.log(n),
    }[kind]
    found = fit(SIZES, truth(SIZES), np.full(9, 1e-4), kind=kind)
    assert found.failed == ""
    np.testing.assert_allclose(found.error(SIZES), truth(SIZES), atol=2e-5)


def test_the_exponent_is_identified_as_well_as_the_noise_allows():
    generator = np.random.default_rng(0)
    sd = np.linspace(0.018, 0.0036, 9) / np.sqrt(3)
    exponents = [fit(SIZES, power(SIZES) + generator.normal(0, sd), sd**2).parameters[1] for _ in range(200)]
    assert np.mean(exponents) == pytest.approx(0.4, abs=0.02)
    assert 0.005 < np.std(exponents) < 0.06


def least_sum(sizes, errors, variances, kind):
    """The least weighted sum of squares on a dense grid of b and c, with the best a >= 0 at each."""
    b = np.linspace(0, 2, 801) if kind == "power" else np.geomspace(1e-3 / sizes.max(), 20 / sizes.min(), 801)
    shape = sizes ** -b[:, None] if kind == "power" else np.exp(-b[:, None] * sizes)
    best = np.inf
    for c in np.linspace(0, 1, 401):
        a = np.maximum((shape * (errors - c) / variances).sum(1) / (shape**2 / variances).sum(1), 0)
        best = min(best, float((((a[:, None] * shape + c - errors) ** 2) / variances).sum(1).min()))
    return best


def committed_curves():
    """The measured mean accuracies of every network of the quickstart, all sizes and all but the largest."""
    table = pd.read_csv(TABLES / "LearningCurve.csv")
    for model, rows in table.groupby("model"):
        for part in (rows, rows.iloc[:-1]):
            yield pytest.param(part, id=f"{model}-{len(part)}")


@pytest.mark.parametrize("kind", ["power", "exponential"])
@pytest.mark.parametrize("rows", [*committed_curves()])
def test_no_point_of_a_dense_grid_is_nearer_to_a_committed_curve_than_its_fit(rows, kind):
    sizes, errors = rows["train_size"].to_numpy(float), 1 - rows["estimate"].to_numpy(float)
    smooth = np.polyfit(np.log(sizes), np.log(rows["high"] - rows["low"]), 1)
    variances = np.exp(2 * np.polyval(smooth, np.log(sizes)))
    found = fit(sizes, errors, variances, kind=kind)
    own = float(((found.error(sizes) - errors) ** 2 / variances).sum())
    assert own <= least_sum(sizes, errors, variances, kind) * (1 + 1e-9)
    assert found.parameters[0] >= 0
    assert 0 <= found.parameters[2] <= 1


@pytest.mark.parametrize("kind", ["power", "exponential"])
def test_a_noisy_curve_that_hardly_falls_does_not_end_in_the_wrong_one_of_two_minima(kind):
    errors = np.array([0.6273, 0.5982, 0.5883, 0.6215, 0.599])
    variances = np.array([1.22e-4, 6.02e-5, 2.96e-5, 1.46e-5, 7.17e-6])
    own = fit(SIZES[:5], errors, variances, kind=kind)
    misses = float(((own.error(SIZES[:5]) - errors) ** 2 / variances).sum())
    assert misses <= least_sum(SIZES[:5], errors, variances, kind) * (1 + 1e-9)


def test_sizes_with_small_variance_decide():
    errors = power(SIZES).copy()
    errors[0] += 0.2
    trusted = fit(SIZES, errors, np.where(SIZES == 250, 1.0, 1e-8))
    np.testing.assert_allclose(trusted.error(SIZES[1:]), power(SIZES[1:]), atol=1e-3)
    assert abs(fit(SIZES, errors, np.ones(9)).error(500.0) - power(500.0)) > 0.02


def test_the_true_kind_predicts_the_largest_size_best():
    missed = {
        kind: left_out_error(SIZES, power(SIZES), np.ones(9), kind=kind)
        for kind in ("power", "exponential", "logarithm")
    }
    assert min(missed, key=missed.get) == "power"
    assert missed["power"] < 1e-4


def test_too_few_sizes_fail_in_words_and_give_missing_numbers():
    found = fit(SIZES[:3], power(SIZES[:3]), np.ones(3))
    assert found.failed == "3 sizes are too few for 3 parameters"
    assert np.isnan(found.error(1000.0))
    assert np.isnan(found.size(0.2, low=1, high=1e6))


def test_a_fitted_curve_is_inverted_inside_its_range_only():
    found = fit(SIZES, power(SIZES), np.ones(9))
    assert found.size(power(3000.0), low=250, high=50000) == pytest.approx(3000, rel=1e-3)
    assert np.isnan(found.size(0.001, low=250, high=50000))


def curves(shift, *, seeds=4, noise=0.0):
    """Accuracies of a CNN, and of a ViT that gains 0.1 a factor of ten and crosses it at 4000 * 10 ** shift."""
    generator = np.random.default_rng(7)
    rows = []
    for seed in range(seeds):
        for size in SIZES:
            cnn = 0.5 + 0.1 * np.log10(size / 250)
            gap = 0.1 * (np.log10(size / 4000) - shift)
            rows += [
                (seed, size, "CNN", cnn + generator.normal(0, noise)),
                (seed, size, "ViT", cnn + gap + generator.normal(0, noise)),
            ]
    return pd.DataFrame(rows, columns=["seed", "train_size", "model", "value"])


PAIR = {"reference": "CNN", "other": "ViT"}


def test_curves_that_cross_between_two_sizes_are_found_there():
    found = crossover(curves(np.log10(2500 / 4000)), **PAIR)
    assert found.estimate == pytest.approx(2500)
    assert (found.low, found.high, found.n, found.said) == (pytest.approx(2500), pytest.approx(2500), 4, "2,500")


def test_curves_that_do_not_cross_are_censored():
    above = crossover(curves(2.0), **PAIR)
    assert (above.estimate, above.said) == (np.inf, "none up to 50,000")
    below = crossover(curves(-2.0), **PAIR)
    assert (below.estimate, below.said) == (0.0, "below 250")


def test_the_interval_of_the_crossover_covers_it():
    covered = 0
    for repeat in range(60):
        frame = curves(np.log10(2500 / 4000), seeds=8)
        frame["value"] += np.random.default_rng(repeat).normal(0, 0.02, len(frame))
        found = crossover(frame, **PAIR, resamples=300)
        covered += found.low <= 2500 <= found.high
    assert covered >= 51


def test_the_size_that_is_worth_as_much():
    frame = curves(0.5)
    assert equivalent_size(frame, **PAIR).said == "none up to 50,000"
    worse = equivalent_size(curves(1.5), **PAIR)
    wanted = 0.5 + 0.1 * np.log10(200) + 0.1 * (np.log10(12.5) - 1.5)
    assert worse.estimate == pytest.approx(250 * 10 ** ((wanted - 0.5) / 0.1), rel=0.02)
    assert (
        equivalent_size(frame.assign(value=frame["value"].where(frame["model"] == "CNN", 0.1)), **PAIR).said
        == "below 250"
    )


def test_means_that_only_rounding_tells_apart_are_equal():
    """The mean of 0.7, 0.8 and 0.9 is 0.7999999999999999."""
    values = {("ViT", 100): (0.1, 0.2, 0.3), ("CNN", 100): (0.3, 0.4, 0.5)}
    values |= {("ViT", 1000): (0.7, 0.8, 0.9), ("CNN", 1000): (0.8, 0.8, 0.8)}
    rows = [(model, n, seed, one) for (model, n), own in values.items() for seed, one in enumerate(own)]
    frame = pd.DataFrame(rows, columns=["model", "train_size", "seed", "value"])
    assert crossover(frame, **PAIR).said == equivalent_size(frame, **PAIR).said == "1,000"
    assert crossover(frame, reference="ViT", other="CNN").said == "below 100"
    assert equivalent_size(frame, reference="ViT", other="CNN").said == "1,000"


def test_every_size_uses_all_seeds_that_have_both_models_there():
    frame = curves(np.log10(2500 / 4000), seeds=6, noise=0.02)
    fewer = frame[(frame["seed"] < 3) | (frame["train_size"] <= 1000)]
    means = fewer.groupby(["model", "train_size"])["value"].mean()
    exact = means.reset_index().assign(seed=0)
    for size in (crossover, equivalent_size):
        found = size(fewer, **PAIR)
        assert (found.n, found.n_most, found.dropped) == (3, 6, 0)
        assert found.estimate == pytest.approx(size(exact, **PAIR).estimate)
        alone = size(fewer[fewer["seed"] < 3], **PAIR)
        assert alone.estimate != found.estimate or np.isinf(found.estimate)


def test_a_size_of_one_seed_leaves_no_interval_and_is_named():
    frame = curves(np.log10(2500 / 4000), noise=0.01)
    found = crossover(frame[(frame["seed"] == 0) | (frame["train_size"] < 50000)], **PAIR)
    assert found.said.endswith("; one seed at 50,000, no interval")
    assert np.isnan([found.low, found.high]).all()


def test_seeds_without_a_partner_are_left_out_and_named():
    frame = curves(0.0)
    lacking = frame[~((frame["seed"] == 3) & (frame["model"] == "ViT") & (frame["train_size"] > 20000))]
    found = crossover(lacking, **PAIR)
    assert (found.n, found.n_most, found.dropped) == (3, 4, 2)
    assert found.dropped_pairs == "seed=3 at 32,000 (without ViT); seed=3 at 50,000 (without ViT)"
    assert crossover(frame[frame["model"] == "CNN"], **PAIR).said.startswith("not measured")
    one = crossover(frame[frame["seed"] == 0], **PAIR)
    assert np.isnan(one.low)
    assert one.said.endswith("one seed, no interval")


def test_percentiles_of_resampled_means_are_the_bounds_of_student_of_every_cell_with_its_own_seeds():
    values = np.random.default_rng(3).normal(size=(6, 3))
    values[3:, 2] = np.nan
    values[1:, 1] = np.nan
    means = resampled_means(values, level=0.9, resamples=100_000, seed=0)
    for cell in (0, 2):
        row = mean_interval(pd.DataFrame({"value": values[:, cell], "g": 0}), by=["g"], level=0.9).iloc[0]
        bounds = np.quantile(means[:, cell], [0.05, 0.95])
        np.testing.assert_allclose(bounds, [row["low"], row["high"]], atol=0.03 * row["sd"])
    assert np.isnan(means[:, 1]).all()


def test_resampled_means_keep_pairs():
    values = np.random.default_rng(3).normal(size=(5, 1))
    means = resampled_means(np.hstack([values, values + 1]), level=0.95, resamples=50, seed=0)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 1.0)
