"""Wrong labels in training: which methods learn them, and which lose accuracy.

Claim: under label noise every regulariser is more accurate than cross-entropy, and the gain grows
    with the share of wrong labels; self-distillation is then best with a soft weight above 1.
Paper: not in it (label smoothing under noise: Lukasik et al., ICML 2020; soft weights above 1: Das
    and Sanghavi, ICML 2023).
Run: softprior study noise
Cost: 420 runs at desk scale, 9 min 23 s of training in total on one core of an AMD EPYC.
Expected: on digits every regulariser predicts fewer of the wrong labels than cross-entropy; where
    many labels are wrong, soft weights above 1 are worse than those below 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from softprior.evidence import Claim, Comparison, Figure, Method, Panel, Table, curves
from softprior.priors import TeacherPrior
from softprior.studies._shared.methods import by_method, method, named
from softprior.studies._shared.recipes import (
    WEIGHT,
    Scale,
    average,
    base,
    beta,
    distilled,
    smoothed,
    teacher,
)
from softprior.studies._shared.scores import ACCURACY, ECE, NLL, TRAINING_ACCURACY, compare
from softprior.studies.noise.samples import (
    by_correctness,
    confidences,
    samples_table,
    smoothing_table,
    teachers_table,
)
from softprior.studies.noise.settings import (
    Kind,
    Setting,
    reference,
    score_tables,
    setting_label,
    settings,
)
from softprior.training import Recipe, Run

SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
# Above one half most labels of a class are of the next one: no method could know.
SHARES: dict[Kind, tuple[float, ...]] = {"symmetric": (0.2, 0.4, 0.6), "pair": (0.2, 0.4)}
SHOWN = 0.4  # the share that both kinds have, at every scale
# Taken from the label by every method: about the least that a teacher takes at any temperature
# which disagrees with three in five of its labels.
SMOOTHING = 0.4
WEIGHTS = (WEIGHT, 1.0, 1.2)
TEMPERATURE = 1.0  # the probabilities of a teacher that saw wrong labels are soft as they are
CLEAN: Setting = ("symmetric", 0.0)

_LAST = ACCURACY.column.with_name("Accuracy, last epoch")
SCORES = {
    "accuracy": ACCURACY,
    "nll": NLL,
    "ece": ECE,
    "last": replace(ACCURACY, column=_LAST, epoch="last"),
    "training_accuracy": replace(TRAINING_ACCURACY, epoch="last"),
}

ABOUT = (
    "The test labels are right. Of the training and validation labels, the share in the column's "
    "heading is wrong; where the best epoch is selected, the validation labels select it. Every "
    f"method takes {100 * SMOOTHING:g} % from the label on average; only where w stands, "
    f"self-distillation takes what its teacher says at T = {TEMPERATURE:g}: w is the soft weight, "
    "the label has weight 1 - w."
)


def recipes(scale: Scale) -> Iterable[Recipe]:
    """Each kind and share of noise, and for each the same methods on the same wrong labels.

    A teacher that disagrees with many of its labels takes much from them at every temperature: so
    all methods take as much. Soft weights are compared at a fixed temperature, each with what it
    takes, as one above 1 is meant to undo the label.
    """
    wanted = [CLEAN]
    for kind, shares in SHARES.items():
        wanted += [(kind, s) for s in shares if scale.name != "smoke" or s == SHOWN]
    for seed in scale.seeds:
        for kind, share in wanted:
            first = replace(base(scale, seed), label_noise=share, noise_kind=kind)
            earlier = teacher(first)
            yield from (earlier, first, smoothed(first, SMOOTHING))
            yield beta(first, average(scale), SMOOTHING)
            yield distilled(first, SMOOTHING)
            for weight in WEIGHTS:
                yield replace(
                    first,
                    prior=TeacherPrior(strength=weight, temperature=TEMPERATURE),
                    label_weight=round(1 - weight, 6),  # below 0 where the weight is above 1
                    teacher=earlier,
                )


def variant(recipe: Recipe) -> Method:
    """The method under its noise; self-distillation with its soft weight."""
    noise: Setting = (recipe.noise_kind, recipe.label_noise)
    # Without noise there is no kind.
    kind = recipe.noise_kind if recipe.label_noise else None
    facts: dict[str, Any] = {"noise": noise, "share": recipe.label_noise, "kind": kind}
    if recipe.prior is not None and recipe.generation and recipe.match_smoothing is None:
        w = recipe.prior.strength
        return method(recipe).but(f"self-distillation, w = {w:g}", w=w, **facts)
    is_teacher = recipe.prior is None and recipe.initialisation > 0
    return named(recipe).but(teacher=is_teacher, **facts)


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Test scores by kind and share of noise; training samples with right and wrong labels."""
    groups = by_method(runs, variant)
    teachers = {m: groups.pop(m) for m in list(groups) if m.facts.get("teacher")}
    found = compare(groups, SCORES)
    marked = [setting for setting in settings(found) if setting[1] == SHOWN]
    samples = {
        setting: by_correctness({m: groups[m] for m in found.where(noise=setting)})
        for setting in marked
    }
    yield from _claims(found, samples)

    yield from score_tables(found, ABOUT)
    for (kind, _), comparison in samples.items():
        label = setting_label((kind, SHOWN))
        yield samples_table(f"samples_{kind}", label, comparison)
    by_setting = {setting_label(m["noise"]): of for m, of in teachers.items()}
    yield teachers_table(by_setting)
    yield smoothing_table(groups)
    yield _accuracy_figure(found)
    first = {m: groups[m] for m in found.where(noise=marked[0])}
    yield confidences(setting_label(marked[0]), first)


def matched(found: Comparison) -> list[Method]:
    """The regularisers that all take the same from the label."""
    return [m for m in found.methods if m["family"] != "none" and "w" not in m.facts]


def _claims(found: Comparison, samples: Mapping[Setting, Comparison]) -> Iterable[Claim]:
    gains = found.relative_to(lambda m: reference(found, m["noise"]))
    clean = {m.label: m for m in found.where(noise=CLEAN)}
    for setting in samples:
        ce = reference(found, setting)
        noisy = matched(found.only(found.where(noise=setting)))
        label = setting_label(setting)
        yield found.claim(
            f"With {label} wrong labels every regulariser is more accurate than {ce.label}.",
            noisy,
            ce,
            "accuracy",
            "higher",
        )
        yield found.claim_gaps(
            f"Every regulariser gains more over {ce.label} with {label} wrong labels than with "
            "none.",
            {m.label: gains.gap(m, clean[m.label], "accuracy") for m in noisy},
            "accuracy",
            "higher",
        )
    most, *less = sorted(WEIGHTS, reverse=True)
    for w in less:
        yield found.claim_gaps(
            f"With wrong labels self-distillation has a higher test accuracy at w = {most:g} than "
            f"at w = {w:g}.",
            {
                setting_label(s): found.gap(
                    found.the(noise=s, w=most), found.the(noise=s, w=w), "accuracy"
                )
                for s in settings(found)
                if s[1]
            },
            "accuracy",
            "higher",
        )
    for setting, of in samples.items():
        ce, ls = of.the(family="none"), of.the(family="uniform")
        start = f"With {setting_label(setting)} wrong labels, at the last epoch,"
        yield of.claim(
            f"{start} every regulariser predicts fewer of them than {ce.label}.",
            *(matched(of), ce, "memorised"),
            "lower",
        )
        yield of.claim(
            f"{start} confidence tells wrong labels from right ones better (AUROC) after Beta "
            f"smoothing and self-distillation than after {ls.label}.",
            *([m for m in matched(of) if m != ls], ls, "auroc"),
            "higher",
        )


def _accuracy_figure(found: Comparison) -> Figure:
    """Above: accuracy by share of noise, a panel for each kind. Below: the gain over CE."""

    def panel(kind: Kind, gain: bool) -> Panel:
        # The runs without noise stand at the left of both kinds.
        drawn = found.only([*found.where(kind=None), *found.where(kind=kind)]).panel(
            "accuracy",
            "share",
            "Wrong labels, %",
            reference=(lambda m: reference(found, m["noise"])) if gain else None,
            x=lambda share: 100 * share,
        )
        return replace(drawn, title=f"Gain, {kind} noise" if gain else f"{kind.capitalize()} noise")

    return curves(
        "accuracy",
        "Test accuracy by the share of wrong labels",
        [panel(kind, gain) for gain in (False, True) for kind in SHARES],
        caption=f"{found.only(found.methods, ['accuracy']).about} The epoch is chosen on labels as "
        "noisy as those of training. Points: mean over seeds; below: the paired difference to "
        "cross-entropy. The points of one share stand side by side.",
        alt="Four panels. Above, the test accuracy of each method against the share of wrong "
        "labels, for symmetric and for pair noise. Below, each method's gain over cross-entropy.",
        size=(6.9, 6.0),
        names="below",
        bars=True,
    )
