"""Diagnostics: their laws, independent implementations, cases done by hand, closed forms."""

from __future__ import annotations

import functools
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import integrate, optimize, spatial, special, stats

from softprior import diagnostics as D
from softprior import soft_labels
from softprior.counts import TwoLevel
from softprior.diagnostics import _rows, calibration, intervals

NUMBERS = (
    D.accuracy,
    D.nll,
    D.brier,
    D.ece,
    D.ece_equal_mass,
    D.ece_classwise,
    D.rms_calibration_debiased,
    D.aurc,
    D.excess_aurc,
    D.predictive_uncertainty,
    D.confidence_diversity,
    D.confidence_variance,
    D.tied_share,
    D.saturated_share,
    D.fit_temperature,
)
every_number = pytest.mark.parametrize("diagnostic", NUMBERS, ids=lambda f: f.__name__)
KEYS = [
    "n",
    "classes",
    "accuracy",
    "nll",
    "brier",
    "ece",
    "ece_bins",
    "aurc",
    "predictive_uncertainty",
    "confidence_diversity",
    "confidence_variance",
    "tied_share",
    "temperature",
    "nll_scaled",
    "ece_scaled",
]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def predictions(n=600, classes=7, scale=2.0, seed=0, dtype=torch.float64):
    """Logits with labels that follow them, though less surely than they say."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(torch.softmax(0.6 * logits, 1), 1, generator=generator).squeeze(1)
    return logits.to(dtype), labels


def with_margin(s, labels=None):
    """Two classes, log-odds s of the label."""
    s = torch.as_tensor(s, dtype=torch.float64)
    labels = torch.zeros(len(s), dtype=torch.long) if labels is None else labels
    logits = torch.stack([s, torch.zeros_like(s)], 1)
    return torch.where(labels[:, None] == 0, logits, logits.flip(1)), labels


# --- laws ------------------------------------------------------------------------------------


@every_number
@given(
    n=st.integers(20, 600),
    classes=st.integers(2, 9),
    scale=st.floats(0.5, 4.0),
    seed=st.integers(0, 2**20),
)
@example(n=600, classes=7, scale=2.0, seed=0)
def test_what_does_not_matter(diagnostic, n, classes, scale, seed):
    """The order of the samples and of the classes, a constant on the logits of a sample, chunks;
    and log-probabilities serve as logits."""
    exactly: dict[str, float] = {"rel": 1e-9, "abs": 1e-12, "nan_ok": True}
    nearly: dict[str, float] = {"rel": 1e-8, "abs": 1e-10, "nan_ok": True}
    generator = torch.Generator().manual_seed(seed + 1)
    logits, labels = predictions(n, classes, scale, seed)
    order, some = torch.randperm(n, generator=generator), n // 8
    tied = [torch.cat([t[-some:], t[some:]]) for t in (logits, labels)]
    for f, y in ((logits, labels), tied):
        assert diagnostic(f[order], y[order]) == pytest.approx(diagnostic(f, y), **exactly)
    whole = diagnostic(logits, labels)
    order = torch.randperm(classes, generator=generator)
    moved = diagnostic(logits[:, order], order.argsort()[labels])
    assert moved == pytest.approx(whole, **exactly)
    shift = torch.linspace(-30, 30, n, dtype=torch.float64)[:, None]
    assert diagnostic(logits + shift, labels) == pytest.approx(whole, **nearly)
    assert diagnostic(torch.log_softmax(logits, 1), labels) == pytest.approx(whole, **nearly)
    for entries in (1, classes * (n // 10), classes * (n - 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_rows, "ENTRIES", entries)
            chunked = diagnostic(logits, labels)
        assert chunked == pytest.approx(whole, rel=1e-12, abs=1e-14, nan_ok=True)


@every_number
def test_computed_in_float64_whatever_the_dtype(diagnostic):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        logits, labels = predictions(dtype=dtype)
        assert diagnostic(logits, labels.int()) == diagnostic(logits.double(), labels)


@every_number
def test_inputs_are_left_alone(diagnostic):
    logits, labels = predictions()
    before = logits.clone(), labels.clone()
    logits.requires_grad_()
    assert isinstance(diagnostic(logits, labels), float)
    assert torch.equal(logits, before[0])
    assert torch.equal(labels, before[1])


@every_number
@given(
    exponent=st.floats(-4, 4),
    which=st.sampled_from(["right", "wrong", "one class", "any"]),
    seed=st.integers(0, 2**20),
)
def test_numbers_are_numbers_for_extreme_logits(diagnostic, exponent, which, seed):
    y = torch.arange(200) % 5
    noise = predictions(200, 5, scale=0.1, seed=seed)[0]
    hot = torch.nn.functional.one_hot(y, 5).double()
    cases = itertools.product((-4, 0, 4), ("right", "wrong", "one class", "any"))
    for power, case in [(exponent, which), *cases]:
        size = 10.0**power
        sign = {"right": size, "wrong": -size}.get(case, 0.0)
        value = diagnostic(sign * hot + size * noise, y * 0 if case == "one class" else y)
        assert math.isfinite(value), (power, case)
        assert diagnostic is D.confidence_diversity or value >= 0, (power, case)


@every_number
def test_one_sample_is_enough(diagnostic):
    value = diagnostic(torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([1]))
    unknown = (D.confidence_diversity, D.rms_calibration_debiased)
    assert math.isnan(value) == (diagnostic in unknown)


def test_ranges():
    logits, labels = predictions()
    wrong = 1e4 * torch.nn.functional.one_hot((labels + 1) % 7, 7).double()
    assert D.brier(wrong, labels) == 2
    assert D.accuracy(wrong, labels) == 0
    assert D.ece(wrong, labels) == 1
    assert D.ece(-wrong, labels * 0 + 3) <= 1
    assert D.predictive_uncertainty(logits * 0, labels) == pytest.approx(math.log(7))
    assert D.predictive_uncertainty(wrong, labels) == 0


# --- scores ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.1, 2.0, 20.0])
def test_scores_against_scikit_learn(scale):
    from sklearn import metrics

    logits, labels = predictions(scale=scale)
    p = special.softmax(logits.numpy(), 1)
    y = labels.numpy()
    assert D.accuracy(logits, labels) == metrics.accuracy_score(y, p.argmax(1))
    # scikit-learn clips probabilities at 2e-16, so it is asked where none is smaller.
    if scale < 10:
        assert D.nll(logits, labels) == pytest.approx(metrics.log_loss(y, p, labels=range(7)))
    one_vs_rest = [metrics.brier_score_loss(y == c, p[:, c]) for c in range(7)]
    assert D.brier(logits, labels) == pytest.approx(sum(one_vs_rest))


def test_scores_by_hand():
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]], dtype=torch.float64).log()
    labels = torch.tensor([0, 2])
    assert D.accuracy(logits, labels) == 0.5
    assert D.nll(logits, labels) == pytest.approx((math.log(2) + math.log(4)) / 2)
    # (.25 + .0625 + .0625) and (.0625 + .25 + .5625), averaged
    assert D.brier(logits, labels) == pytest.approx(0.625)


def test_nll_of_a_confident_error_is_its_margin():
    assert D.nll(torch.tensor([[1e4, -1e4]]), torch.tensor([1])) == 2e4


def test_nll_at_a_temperature():
    logits, labels = predictions()
    assert D.nll(logits, labels, temperature=2.5) == pytest.approx(D.nll(logits / 2.5, labels))
    with pytest.raises(ValueError, match=r"temperature must be a number in \(0, inf\), got 0"):
        D.nll(logits, labels, temperature=0)


# --- calibration -----------------------------------------------------------------------------


def confidences(logits, labels):
    p = special.softmax(logits.double().numpy(), 1)
    return p.max(1), (p.argmax(1) == labels.numpy()).astype(float)


def ece_by_loop(p, right, low_high):
    """Bins (low, high] one by one."""
    total = 0.0
    for low, high in low_high:
        inside = (p > low) & (p <= high)
        if inside.any():
            total += abs(right[inside].mean() - p[inside].mean()) * inside.mean()
    return total


def equal_width(bins):
    return [(b / bins if b else -1.0, (b + 1) / bins) for b in range(bins)]


@pytest.mark.parametrize("bins", [1, 10, 15, 20])
def test_ece_against_torchmetrics_and_a_loop(bins):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = predictions()  # no confidence of 1.0, for which torchmetrics has an extra bin
    value = D.ece(logits, labels, bins)
    theirs = multiclass_calibration_error(torch.softmax(logits, 1), labels, 7, bins, "l1")
    assert value == pytest.approx(float(theirs), abs=1e-6)  # theirs is in float32
    assert value == pytest.approx(ece_by_loop(*confidences(logits, labels), equal_width(bins)))


def test_ece_by_hand():
    # Bins (.6, .8]: two samples of confidence .75, one right; (.8, 1]: one of 1.0, right.
    logits = torch.tensor([[0.75, 0.25], [0.75, 0.25], [1.0, 1e-300]], dtype=torch.float64).log()
    assert D.ece(logits, torch.tensor([0, 1, 0]), bins=5) == pytest.approx(0.25 * 2 / 3)


@pytest.mark.parametrize("bins", [4, 10, 15, 20, 100, 1000])
def test_a_confidence_on_an_edge_is_in_the_lower_bin(bins):
    at = torch.arange(bins // 2 + 1, bins + 1)
    p = at.double() / bins
    rest = (1 - p).clamp(min=1e-300)
    logits = torch.stack([p, rest], 1).log()
    labels = torch.zeros(len(p), dtype=torch.long)
    for shifted in (logits, logits + 5, logits.flip(1)):
        count = D.reliability(shifted, labels, bins).count
        assert count.nonzero().squeeze(1).tolist() == (at - 1).tolist()
        assert count.max() == 1
    # Just above an edge is the next bin.
    above = torch.stack([p[:-1] + 1e-9, rest[:-1] - 1e-9], 1).log()
    assert D.reliability(above, labels[:-1], bins).count.nonzero().squeeze(1).tolist() == (
        at[:-1].tolist()
    )


def test_edges_are_rounded_once():
    # 3/20 as 0.15; 3 * (1/20), or a sum of twentieths, is 0.15000000000000002.
    table = D.reliability(*predictions(), bins=20)
    assert table.high.tolist() == [float(f"{(b + 1) * 0.05:.2f}") for b in range(20)]
    assert torch.equal(table.low[1:], table.high[:-1])
    assert calibration._bin_of(
        torch.tensor([0.0, 0.15, 1.0], dtype=torch.float64),
        table.high.new_tensor([0.0, *table.high]),
    ).tolist() == [0, 2, 19]


def test_reliability_table():
    logits, labels = predictions()
    table = D.reliability(logits, labels, bins=20)
    p, right = confidences(logits, labels)
    for low, high, count, confidence, accuracy in zip(*(t.tolist() for t in table), strict=True):
        inside = (p > low) & (p <= high)
        assert count == inside.sum()
        if count == 0:
            assert math.isnan(confidence)
            assert math.isnan(accuracy)
        else:
            assert confidence == pytest.approx(p[inside].mean())
            assert accuracy == pytest.approx(right[inside].mean())
    assert int(table.count[0]) == 0  # seven classes: no confidence under 1/7
    full = table.count > 0
    weighted = table.count * (table.accuracy - table.confidence).abs()
    assert D.ece(logits, labels) == pytest.approx(weighted[full].sum().item() / len(labels))
    assert table.count.dtype == torch.int64
    assert table.count.sum() == len(labels)


@pytest.mark.parametrize("bins", [1, 7, 15, 20])
def test_ece_equal_mass_against_array_split(bins):
    logits, labels = predictions(n=20 * 7 * 15)  # divisible by every number of bins
    p, right = confidences(logits, labels)
    order = p.argsort()
    parts = np.array_split(order, bins)
    expected = sum(abs(right[i].mean() - p[i].mean()) * len(i) for i in parts) / len(p)
    assert D.ece_equal_mass(logits, labels, bins) == pytest.approx(expected)


def test_ece_equal_mass_keeps_equal_confidences_together():
    # Half of the samples have one confidence; more bins than samples leaves one bin each.
    logits, labels = predictions(n=40)
    logits[20:] = logits[0]
    p, right = confidences(logits, labels)
    groups = [p == v for v in np.unique(p)]
    expected = sum(abs(right[g].sum() - p[g].sum()) for g in groups) / len(p)
    assert D.ece_equal_mass(logits, labels, 100) == pytest.approx(expected)


@pytest.mark.parametrize("bins", [1, 15, 20])
def test_ece_classwise_against_a_loop(bins):
    logits, labels = predictions()
    p = special.softmax(logits.numpy(), 1)
    each = [
        ece_by_loop(p[:, c], (labels.numpy() == c).astype(float), equal_width(bins))
        for c in range(7)
    ]
    assert D.ece_classwise(logits, labels, bins) == pytest.approx(np.mean(each))


def test_ece_classwise_by_hand():
    # Class 0: p = .75, .75 and one of two labels: .25. Class 1: p = .25, .25: the same.
    logits = torch.tensor([[0.75, 0.25], [0.75, 0.25]]).log()
    assert D.ece_classwise(logits, torch.tensor([0, 1]), 5) == pytest.approx(0.25)


def test_rms_calibration_by_hand_and_by_loop():
    # One bin of four: confidence .9, accuracy .25: (.65)² - .25 · .75 / 3 = .36.
    logits = torch.tensor([[0.9, 0.1]], dtype=torch.float64).log().expand(4, 2)
    labels = torch.tensor([0, 1, 1, 1])
    assert D.rms_calibration_debiased(logits, labels) == pytest.approx(0.6)

    logits, labels = predictions(n=60)
    p, right = confidences(logits, labels)
    for bins in (1, 6, 20, 59):
        total = 0.0
        for i in np.array_split(p.argsort(), bins):
            if len(i) > 1:
                a = right[i].mean()
                total += len(i) / 60 * ((p[i].mean() - a) ** 2 - a * (1 - a) / (len(i) - 1))
        expected = math.sqrt(max(0.0, total))
        assert D.rms_calibration_debiased(logits, labels, bins) == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 2, 19, 20, 21])
def test_rms_calibration_of_single_samples_is_unknown(n):
    logits, labels = predictions(n=n)
    for bins in (n, n + 1, 3 * n):
        assert math.isnan(D.rms_calibration_debiased(logits, labels, bins))
        found = D.diagnose(
            logits, labels, [functools.partial(D.rms_calibration_debiased, bins=bins)]
        )
        assert math.isnan(found["rms_calibration_debiased"])
    if n > 1:
        assert not math.isnan(D.rms_calibration_debiased(logits, labels, n - 1))


def test_rms_calibration_has_no_bias_where_the_plug_in_has():
    # A calibrated model, 100 times: the mean of squares is about 0, the plug-in's about
    # bins / n · mean p(1 - p).
    squares, plug_in = [], []
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(200, 3, generator=generator, dtype=torch.float64)
        p = torch.softmax(logits, 1)
        labels = torch.multinomial(p, 1, generator=generator).squeeze(1)
        squares.append(D.rms_calibration_debiased(logits, labels) ** 2)
        c, right = confidences(logits, labels)
        parts = np.array_split(c.argsort(), 20)
        plug_in.append(np.mean([(c[i].mean() - right[i].mean()) ** 2 for i in parts]))
    assert np.mean(plug_in) > 0.01
    assert np.mean(squares) < 0.3 * np.mean(plug_in)  # above 0 only because max(0, ·) is


@pytest.mark.parametrize(
    "diagnostic",
    [
        *(D.ece, D.ece_equal_mass, D.ece_classwise, D.rms_calibration_debiased, D.reliability),
        D.ece_interval,
    ],
)
def test_bins_must_be_a_number_of_bins(diagnostic):
    for bins in (0, -3, 2.0, True, "20"):
        with pytest.raises(ValueError, match=f"bins must be an integer ≥ 1, got {bins!r}"):
            diagnostic(*predictions(), bins)


# --- interval of the calibration error -------------------------------------------------------


def resampled_ece(logits, labels, draws=400):
    rows = torch.randint(len(labels), (draws, len(labels)))
    return torch.tensor([D.ece(logits[..., r, :], labels[r]) for r in rows], dtype=torch.float64)


def test_ece_interval_is_that_of_resampled_samples():
    """Far from calibrated there is no bias, and the samples' bootstrap gives the same."""
    logits, labels = predictions(n=3000, scale=8.0)
    found = D.ece_interval(logits, labels)
    assert found.ece == pytest.approx(D.ece(logits, labels))
    theirs = resampled_ece(logits, labels)
    assert found.high - found.low == pytest.approx(4 * theirs.std().item(), rel=0.15)
    assert found.corrected == pytest.approx(found.ece, abs=0.1 * (found.high - found.low))
    assert found == D.ece_interval(logits, labels)


def test_ece_interval_of_a_model_that_is_calibrated_by_luck():
    """One bin, as many right as promised: |g| is 0, and an interval of 0 would be luck's.

    |N(m, s²)| has the median of |N(0, s²)|, 0.674 s, as its 2.5 % quantile at m = 2.63 s.
    """
    p = torch.full((10_000,), 0.62, dtype=torch.float64)
    labels = (torch.arange(10_000) >= 6200).long()
    found = D.ece_interval(torch.stack([p, 1 - p], 1).log(), labels)
    assert tuple(found[:3]) == pytest.approx((0, 0, 0), abs=1e-9)
    s = math.sqrt(0.62 * 0.38 / 10_000)
    m = optimize.brentq(lambda m: stats.foldnorm.cdf(0.6745, m) - 0.025, 0.1, 5)
    assert found.high == pytest.approx(m * s, rel=0.05)


def test_ece_interval_of_one_bin_is_that_of_a_mean():
    """Far from 0: mean gap ± 1.96 s / √n."""
    p = torch.full((1000,), 0.9, dtype=torch.float64)
    labels = (torch.arange(1000) >= 700).long()
    found = D.ece_interval(torch.stack([p, 1 - p], 1).log(), labels)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 1000)
    assert tuple(found) == pytest.approx((0.2, 0.2, 0.2 - half, 0.2 + half), abs=0.1 * half)


def test_ece_interval_shrinks_with_the_samples_and_the_level():
    logits, labels = predictions(n=4000, scale=8.0)
    wide, narrow = D.ece_interval(logits[:1000], labels[:1000]), D.ece_interval(logits, labels)
    assert wide.high - wide.low == pytest.approx(2 * (narrow.high - narrow.low), rel=0.2)
    half = D.ece_interval(logits, labels, level=0.5)
    ratio = (half.high - half.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx(0.6745 / 1.96, rel=0.15)
    for level in (0, 1.5, math.nan):
        with pytest.raises(ValueError, match="level must be a number"):
            D.ece_interval(logits, labels, level=level)


def test_ece_interval_of_several_runs_on_the_same_samples():
    logits, labels = predictions(n=2000, scale=8.0)
    other = logits.flip(1)
    one = D.ece_interval(logits, labels)
    # The same run twice tells nothing new; runs that err on other samples do.
    twice = D.ece_interval(torch.stack([logits, logits]), labels)
    assert tuple(twice) == pytest.approx(tuple(one), abs=2e-3)
    both = D.ece_interval(torch.stack([logits, other]), labels)
    assert both.ece == pytest.approx((one.ece + D.ece(other, labels)) / 2)
    assert D.ece_interval(logits[None], labels) == one
    theirs = [resampled_ece(run, labels, 300) for run in (logits, other)]
    alone = sum(t.var().item() for t in theirs) / 4  # were the two runs' samples apart
    assert (both.high - both.low) ** 2 / 16 < 1.3 * alone
    with pytest.raises(ValueError, match="logits have no runs"):
        D.ece_interval(logits[None][:0], labels)


def test_ece_interval_does_not_depend_on_the_order_of_samples_or_chunks(monkeypatch):
    logits, labels = predictions()
    found = D.ece_interval(logits, labels)
    order = torch.randperm(len(labels))
    assert tuple(D.ece_interval(logits[order], labels[order])) == pytest.approx(
        tuple(found), abs=1e-6
    )
    monkeypatch.setattr(intervals, "_ROWS", 7)
    assert tuple(D.ece_interval(logits, labels)) == pytest.approx(tuple(found), abs=1e-6)


def test_ece_interval_of_one_sample_is_unknown():
    found = D.ece_interval(torch.tensor([[0.75, 0.25]]).log(), torch.tensor([0]))
    assert found.ece == pytest.approx(0.25)
    assert all(map(math.isnan, found[1:]))


# --- selective prediction --------------------------------------------------------------------


def aurc_by_orders(confidence, wrong):
    """Definition: the mean over all orders that put no less confident sample first."""
    n, areas = len(wrong), []
    for order in itertools.permutations(range(n)):
        if all(confidence[a] >= confidence[b] for a, b in itertools.pairwise(order)):
            areas.append(sum(sum(wrong[i] for i in order[:k]) / k for k in range(1, n + 1)) / n)
    return sum(areas) / len(areas)


@pytest.mark.parametrize("seed", range(5))
def test_aurc_against_its_definition(seed):
    logits, labels = predictions(n=7, classes=3, seed=seed)
    logits[4], logits[5], logits[6] = logits[0], logits[0], logits[1].roll(1)  # ties
    labels[4] = (labels[0] + 1) % 3
    p, right = confidences(logits, labels)
    p = p.round(12)
    expected = aurc_by_orders(p, 1 - right)
    assert D.aurc(logits, labels) == pytest.approx(expected)
    best = aurc_by_orders(right, 1 - right)
    assert D.excess_aurc(logits, labels) == pytest.approx(expected - best, abs=1e-12)


def test_aurc_by_hand():
    # Right, wrong, right: risks 0, 1/2, 1/3. Best: 0, 0, 1/3.
    logits, labels = with_margin([3.0, -2.0, 1.0])
    assert D.aurc(logits, labels) == pytest.approx(5 / 18)
    assert D.excess_aurc(logits, labels) == pytest.approx(1 / 6)


def test_aurc_of_the_best_the_worst_and_no_order():
    n, errors = 1000, 200
    size = torch.arange(n, 0, -1).double() / 100
    sign = torch.ones(n, dtype=torch.float64)
    sign[n - errors :] = -1
    logits, labels = with_margin(size * sign)  # errors come last
    assert D.excess_aurc(logits, labels) == 0
    r = errors / n
    assert D.aurc(logits, labels) == pytest.approx(r + (1 - r) * math.log(1 - r), abs=2 / n)
    worst = D.aurc(*with_margin(size * sign.flip(0)))
    k = np.arange(1, n + 1)
    assert worst == pytest.approx((np.minimum(k, errors) / k).mean())
    assert D.aurc(logits, labels) < r < worst
    # Equal confidence throughout says nothing: the error rate at every coverage.
    assert D.aurc(*with_margin(sign)) == pytest.approx(r)
    assert D.aurc(*with_margin(torch.ones(n))) == 0
    assert D.aurc(*with_margin(-torch.ones(n))) == 1
    assert D.excess_aurc(*with_margin(-torch.ones(n))) == 0


def test_excess_is_the_area_above_the_best_order():
    logits, labels = predictions()
    _, right = confidences(logits, labels)
    last = torch.zeros(len(labels), 2, dtype=torch.float64)
    last[:, 0] = torch.as_tensor(np.where(right, 10.0, 1.0))
    flipped = torch.as_tensor(1 - right).long()
    assert 0 < D.excess_aurc(logits, labels) < D.aurc(logits, labels)
    best = D.aurc(last, flipped)
    assert D.aurc(logits, labels) - D.excess_aurc(logits, labels) == pytest.approx(best)


def test_saturated_confidences_are_ranked_all_the_same():
    # All are 1 in float32, and most in float64; the least confident one is the error.
    logits, labels = with_margin([60.0, 50.0, 40.0, -30.0])
    assert torch.softmax(logits.float(), 1).amax(1).unique().numel() == 1
    assert D.excess_aurc(logits.float(), labels) == 0
    assert D.aurc(logits.float(), labels) == pytest.approx(1 / 16)


def test_ties_up_to_the_place_of_the_classes():
    row = torch.randn(10, dtype=torch.float64)
    logits = torch.stack([row.roll(i) for i in range(10)]).repeat(3, 1)
    labels = logits.argmax(1)
    labels[:6] = (labels[:6] + 1) % 10
    assert D.aurc(logits, labels) == pytest.approx(0.2)
    assert D.risk_coverage(logits, labels).risk.tolist() == pytest.approx([0.2] * 30)


def test_risk_coverage_curve():
    logits, labels = predictions()
    p, right = confidences(logits, labels)
    order = (-p).argsort()
    curve = D.risk_coverage(logits, labels, points=10_000)
    risk = (1 - right[order]).cumsum() / np.arange(1, 601)
    assert curve.coverage.tolist() == pytest.approx((np.arange(1, 601) / 600).tolist())
    assert curve.risk.tolist() == pytest.approx(risk.tolist())
    assert curve.confidence.tolist() == pytest.approx(p[order].tolist())
    assert curve.risk.mean().item() == pytest.approx(D.aurc(logits, labels))
    assert curve.risk[-1].item() == pytest.approx(1 - D.accuracy(logits, labels))
    for points in (1, 7, 200, 599):
        few = D.risk_coverage(logits, labels, points)
        at = (few.coverage * 600).round().long() - 1
        assert len(at) == points
        assert at[-1] == 599
        assert (at.diff() > 0).all()
        for column, whole in zip(few, curve, strict=True):
            assert torch.equal(column, whole[at])
        if points > 1:
            assert at.diff().max() - at.diff().min() <= 1  # evenly


@pytest.mark.parametrize("points", [0, 2.0, True])
def test_points_must_be_a_number_of_points(points):
    with pytest.raises(ValueError, match=f"points must be an integer ≥ 1, got {points!r}"):
        D.risk_coverage(*predictions(), points)


# --- uncertainty -----------------------------------------------------------------------------


def test_uncertainty_and_variance_against_scipy_and_numpy():
    logits, labels = predictions()
    p = special.softmax(logits.numpy(), 1)
    assert D.predictive_uncertainty(logits, labels) == pytest.approx(stats.entropy(p.T).mean())
    c = p[np.arange(len(p)), labels.numpy()]
    assert D.confidence_variance(logits, labels) == pytest.approx(np.var(c))


def test_uncertainty_and_variance_by_hand():
    logits = torch.tensor([[0.5, 0.25, 0.25], [1.0, 1e-300, 1e-300]], dtype=torch.float64).log()
    labels = torch.tensor([1, 0])
    assert D.predictive_uncertainty(logits, labels) == pytest.approx(0.75 * math.log(2))
    assert D.confidence_variance(logits, labels) == pytest.approx(0.375**2)  # of .25 and 1


# --- confidence diversity --------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [6, 7, 500])
def test_diversity_against_a_kd_tree(n, k):
    logits, labels = predictions(n=n)
    p = special.softmax(logits.numpy(), 1)
    c = p[np.arange(n), labels.numpy()]
    s = special.logit(c)[:, None]
    distance = spatial.cKDTree(s).query(s, k=k + 1)[0][:, k]
    h = special.digamma(n) - special.digamma(k) + math.log(2) + np.log(distance).mean()
    h += np.log(c * (1 - c)).mean()
    assert D.confidence_diversity(logits, labels, k) == pytest.approx(h, abs=1e-8)


def test_diversity_by_hand():
    # Margins 0, 1, 3, 7 and k = 2: distances 3, 2, 3, 6.
    logits, labels = with_margin([3.0, 0.0, 7.0, 1.0])
    digamma_4, digamma_2 = -np.euler_gamma + 1 + 1 / 2 + 1 / 3, -np.euler_gamma + 1
    h = digamma_4 - digamma_2 + math.log(2) + math.log(3 * 2 * 3 * 6) / 4
    c = special.expit(np.array([0.0, 1.0, 3.0, 7.0]))
    assert D.confidence_diversity(logits, labels, 2) == pytest.approx(
        h + np.log(c * (1 - c)).mean()
    )


@pytest.mark.parametrize(("a", "w"), [(3.0, 0.6), (1.0, 1.0), (11.0, 0.6)])
def test_diversity_of_beta_smoothed_labels(a, w):
    """t = (1 - w) + w b, b ~ Beta(a, 1): h = -log a + (a - 1)/a + log w."""
    generator = torch.Generator().manual_seed(0)
    b = torch.rand(50_000, generator=generator, dtype=torch.float64) ** (1 / a)
    u = w * (1 - b)  # 1 - t
    labels = torch.randint(2, (50_000,), generator=generator)
    logits, labels = with_margin((1 - u).log() - u.log(), labels)
    expected = -math.log(a) + (a - 1) / a + math.log(w)
    if (a, w) == (3.0, 0.6):
        assert expected == pytest.approx(-0.9428, abs=5e-5)
    assert D.confidence_diversity(logits, labels) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (5.0, 2.0), (15.0, 5.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_diversity_of_saturated_confidences(mean, sd, dtype):
    """Margins N(mean, sd²): h(C) = log(sd sqrt(2πe)) + E[log c + log(1 - c)]."""
    generator = torch.Generator().manual_seed(0)
    s = mean + sd * torch.randn(50_000, generator=generator, dtype=torch.float64)
    logits, labels = with_margin(s)
    slope, _ = integrate.quad(
        lambda t: stats.norm.pdf(t, mean, sd) * (special.log_expit(t) + special.log_expit(-t)),
        mean - 12 * sd,
        mean + 12 * sd,
        points=[0.0, mean],
        limit=200,
    )
    expected = stats.norm.entropy(mean, sd) + slope
    # The sampling error of the mean of -s has standard deviation sd / sqrt(n).
    tolerance = 0.02 + 4 * sd / math.sqrt(50_000)
    logits = logits.to(dtype)
    assert D.confidence_diversity(logits, labels) == pytest.approx(expected, abs=tolerance)
    share = stats.norm.sf(math.log(2**24 - 1), mean, sd)
    assert D.saturated_share(logits, labels) == pytest.approx(share, abs=0.01)
    assert D.tied_share(logits, labels) < (0.5 if dtype == torch.float32 else 1e-12)


def test_constant_confidence_has_no_diversity():
    labels = torch.arange(500) % 10
    smoothed = soft_labels(labels, TwoLevel(0.02, 0.02), label_weight=0.8, num_classes=10)
    hot = 5 * torch.nn.functional.one_hot(labels, 10).double()
    base = torch.randn(10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rolled = torch.stack([base.roll(int(y)) for y in labels])
    # Equal up to the rounding that the place of the label and a log-softmax bring.
    for f in (smoothed.log(), hot, hot.log_softmax(1), rolled, rolled.log_softmax(1)):
        assert D.confidence_diversity(f, labels) == -math.inf
        assert D.tied_share(f, labels) == 1
        assert D.confidence_variance(f, labels) == pytest.approx(0, abs=1e-15)


def test_ties():
    # Up to k equal margins: finite. One more: some distance to the k-th neighbour is 0.
    for equal, finite in ((3, True), (4, False)):
        s = torch.arange(20).double()
        s[:equal] = 0.0
        logits, labels = with_margin(s)
        assert math.isfinite(D.confidence_diversity(logits, labels, k=3)) == finite
        assert D.tied_share(logits, labels) == equal / 20
    assert D.tied_share(*with_margin([1.0, 1.0 + 1e-9, 2.0])) == 0


def test_a_narrow_density_is_not_taken_for_ties():
    c = 0.5 + 1e-8 * torch.rand(
        5_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    logits, labels = with_margin(torch.logit(c))
    assert D.confidence_diversity(logits, labels) == pytest.approx(math.log(1e-8), abs=0.05)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_diversity_of_too_few_samples_is_nan(n):
    assert math.isnan(D.confidence_diversity(*with_margin(torch.arange(n)), k=3))
    assert math.isfinite(D.confidence_diversity(*with_margin(torch.arange(4)), k=3))


@pytest.mark.parametrize("k", [0, 1.0, True])
def test_k_must_be_a_number_of_neighbours(k):
    with pytest.raises(ValueError, match=f"k must be an integer ≥ 1, got {k!r}"):
        D.confidence_diversity(*predictions(), k)


# --- temperature -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.05, 0.6, 2.0, 30.0])
@pytest.mark.parametrize("seed", range(3))
def test_temperature_against_scipy(scale, seed):
    logits, labels = predictions(scale=2.0, seed=seed)
    logits = logits * scale
    found = optimize.minimize_scalar(
        lambda u: D.nll(logits, labels, temperature=math.exp(u)),
        bounds=(math.log(0.01), math.log(100)),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert D.fit_temperature(logits, labels) == pytest.approx(math.exp(found.x), rel=1e-6)


def test_slope_is_zero_at_the_optimum():
    logits, labels = predictions()
    log_t = torch.tensor(
        math.log(D.fit_temperature(logits, labels)), dtype=torch.float64, requires_grad=True
    )
    torch.nn.functional.cross_entropy(logits / log_t.exp(), labels).backward()
    assert abs(log_t.grad.item()) < 1e-12


@pytest.mark.parametrize("factor", [0.05, 0.5, 3.0, 20.0])
def test_scaled_logits_have_a_scaled_temperature(factor):
    logits, labels = predictions()
    assert D.fit_temperature(factor * logits, labels) == pytest.approx(
        factor * D.fit_temperature(logits, labels), rel=1e-9
    )


def test_temperature_by_hand():
    # Margin 4, right 3 times of 4: sigmoid(4 / T) = 3/4, so T = 4 / log 3.
    logits, labels = with_margin([4.0, 4.0, 4.0, -4.0])
    assert D.fit_temperature(logits, labels) == pytest.approx(4 / math.log(3), rel=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_temperature_outside_the_bounds_is_the_bound(size):
    right, labels = with_margin(size * torch.ones(50))
    assert D.fit_temperature(right, labels) == 0.01
    assert D.fit_temperature(-right, labels) == 100
    chance, labels = with_margin(size * torch.tensor([1.0, -1.0]))
    assert D.fit_temperature(chance, labels) == 100


def test_temperature_where_it_makes_no_difference():
    logits = torch.arange(6.0)[:, None].expand(6, 4) * 0.1
    assert D.fit_temperature(logits, torch.arange(6) % 4) == 1


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_temperature_of_one_error_among_many(size):
    # Nearly separable: the slope has long exponential tails, where bare Newton runs away.
    margins = size * torch.linspace(0.5, 1, 1000, dtype=torch.float64)
    margins[0] = -0.01 * size
    logits, labels = with_margin(margins)
    T = D.fit_temperature(logits, labels)
    assert 0.01 <= T <= 100
    best = D.nll(logits, labels, temperature=T)
    for other in (0.01, T * 0.99, T * 1.01, 100):
        assert best <= D.nll(logits, labels, temperature=max(other, 0.01)) or T == 100


def test_the_search_is_short(monkeypatch):
    from softprior.diagnostics import temperature

    for scale in (1e-3, 1.0, 1e3):
        logits, labels = predictions()
        passes = []
        monkeypatch.setattr(
            temperature,
            "per_sample",
            lambda *given, passes=passes: passes.append(1) or _rows.per_sample(*given),
        )
        D.fit_temperature(scale * logits, labels)
        assert len(passes) <= 25


def test_temperature_scaling_reports_what_it_changes():
    logits, labels = predictions()
    T = D.fit_temperature(logits, labels)
    assert D.temperature_scaling(logits, labels) == {
        "temperature": T,
        "nll_scaled": pytest.approx(D.nll(logits / T, labels)),
        "ece_scaled": pytest.approx(D.ece(logits / T, labels)),
    }
    assert D.nll(logits, labels, temperature=T) < D.nll(logits, labels)


# --- diagnose --------------------------------------------------------------------------------


def test_diagnose_has_these_keys_in_this_order(monkeypatch):
    logits, labels = predictions()
    fits = []
    module = __import__("softprior.diagnostics.temperature", fromlist=["fit_temperature"])
    fit = module.fit_temperature
    monkeypatch.setattr(module, "fit_temperature", lambda *a: fits.append(1) or fit(*a))
    result = D.diagnose(logits, labels)
    assert list(result) == KEYS
    assert len(fits) == 1
    for name in ("n", "classes", "ece_bins"):
        assert type(result[name]) is int
    assert (result["n"], result["classes"], result["ece_bins"]) == (600, 7, 20)
    floats = ("accuracy", "nll", "brier", "ece", "aurc", "predictive_uncertainty", "tied_share")
    for name in floats:
        assert result[name] == getattr(D, name)(logits, labels)
        assert type(result[name]) is float
    assert result["temperature"] == fit(logits, labels)


def test_diagnose_few_samples():
    result = D.diagnose(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    assert list(result) == KEYS
    assert math.isnan(result.pop("confidence_diversity"))
    assert all(math.isfinite(value) for value in result.values())


def test_diagnose_with_own_diagnostics():
    def mean_margin(logits, labels):
        top = logits.topk(2).values
        return (top[:, 0] - top[:, 1]).mean()  # a tensor

    def seen(logits, labels):
        return np.int64(len(labels))

    logits, labels = predictions()
    result = D.diagnose(logits, labels, [mean_margin, seen, functools.partial(D.ece, bins=15)])
    assert list(result) == ["n", "classes", "mean_margin", "seen", "ece"]
    assert result["ece"] == D.ece(logits, labels, 15)
    assert type(result["mean_margin"]) is float
    assert list(D.diagnose(logits, labels, ())) == ["n", "classes"]
    assert list(D.diagnose(logits, labels, [*D.DEFAULT, mean_margin])) == [*KEYS, "mean_margin"]


def test_diagnose_refuses_what_it_cannot_show():
    logits, labels = predictions()

    def per_sample(logits, labels):
        return logits.sum(1)

    with pytest.raises(TypeError, match=r"'per_sample' must return one number.* got Tensor"):
        D.diagnose(logits, labels, [per_sample])
    with pytest.raises(ValueError, match="two diagnostics give 'nll': rename one"):
        D.diagnose(logits, labels, [D.nll, D.nll])
    with pytest.raises(TypeError, match="must be a sequence of functions, got one"):
        D.diagnose(logits, labels, D.nll)


@pytest.mark.parametrize(
    "diagnostic", [*NUMBERS, D.reliability, D.risk_coverage, D.ece_interval, D.diagnose]
)
def test_wrong_inputs(diagnostic):
    logits, labels = predictions(n=10)
    with pytest.raises(TypeError, match=r"hard labels.*shape \(10, 7\); use labels.argmax\(1\)"):
        diagnostic(logits, torch.softmax(logits, 1))
    with pytest.raises(ValueError, match=r"labels must be in 0..6 \(K = 7\), got 9 at position 4"):
        diagnostic(logits, torch.where(torch.arange(10) == 4, 9, labels))
    with pytest.raises(ValueError, match="not finite, the first in row 3, column 2"):
        diagnostic(torch.where(torch.arange(70).view(10, 7) == 23, torch.nan, logits), labels)
    with pytest.raises(ValueError, match=r"logits must have shape \(B, K\)"):
        diagnostic(logits[0], labels)
    with pytest.raises(ValueError, match="the batch is empty"):
        diagnostic(logits[:0], labels[:0])
    with pytest.raises(TypeError, match=r"must be a torch.Tensor, got list"):
        diagnostic(logits.tolist(), labels)


@pytest.mark.parametrize(
    ("wrong", "hint"), [("nll", ": use softprior.diagnostics.nll"), (3, ""), ("nil", "")]
)
def test_what_is_not_a_diagnostic(wrong: object, hint: str) -> None:
    with pytest.raises(TypeError, match=rf"a diagnostic is a function .*got {wrong!r}{hint}$"):
        D.diagnose(torch.zeros(2, 3), torch.tensor([0, 1]), [wrong])  # type: ignore[list-item]
