"""Wrong labels in training: who learns them, and whom it costs.

Claim: under label noise every regulariser is more accurate than cross-entropy, and the more so the
    more labels are wrong; there self-distillation does best with a soft weight above 1.
Paper: not in it (label smoothing under noise: Lukasik et al., ICML 2020; soft weights above 1: Das
    and Sanghavi, ICML 2023).
Run: softprior study noise
Cost: with the eight other studies 5 min 16 s (softprior study all, desk scale) on 2 cores of
    an AMD EPYC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from softprior import diagnostics
from softprior.priors import TeacherPrior
from softprior.studies._kit import (
    INTERVALS,
    Claim,
    Column,
    Difference,
    Figure,
    Measured,
    Scale,
    Table,
    method,
    verdict,
)
from softprior.studies._noise import Apart, apart, taken_apart, teachers
from softprior.studies._noise_figures import accuracy_curves, confidences
from softprior.studies._settings import WEIGHT, base, beta, smoothed, teacher
from softprior.teachers import EMA
from softprior.training import Recipe, Run

Kind = Literal["symmetric", "pair"]
SEEDS = {"smoke": 2, "desk": 10, "paper": 10}
# Above one half most labels of a class are of the next one: no method could know.
SHARES: dict[Kind, tuple[float, ...]] = {"symmetric": (0.2, 0.4, 0.6), "pair": (0.2, 0.4)}
SHOWN = 0.4  # the share that both kinds have, at every scale
WEIGHTS = (WEIGHT, 1.0, 1.2)
TEMPERATURE = 1.0  # a teacher that saw wrong labels votes softly as it is

Setting = tuple[Kind, float]  # kind and share of the noise
CLEAN: Setting = ("symmetric", 0.0)
TEACHER = "teacher"
CE, LS = "cross-entropy", "label smoothing"


def recipes(scale: Scale) -> Iterable[Recipe]:
    """Each kind and share of noise, and for each the same methods on the same wrong labels.

    Self-distillation has a fixed temperature: a teacher that disagrees with many of its labels
    takes more from them than any small amount of smoothing at every temperature, so that nothing
    can be matched.
    """
    settings = [CLEAN]
    for kind, shares in SHARES.items():
        settings += [(kind, s) for s in shares if scale.name != "smoke" or s == SHOWN]
    for seed in range(scale.seeds):
        for kind, share in settings:
            first = replace(base(scale, seed), label_noise=share, noise_kind=kind)
            earlier = teacher(first)
            yield from (earlier, first, smoothed(first), beta(first, EMA()))
            for weight in WEIGHTS:
                yield replace(
                    first,
                    prior=TeacherPrior(strength=weight, temperature=TEMPERATURE),
                    label_weight=round(1 - weight, 6),  # below 0 where the weight is above 1
                    teacher=earlier,
                )


def show(runs: Sequence[Run]) -> Iterable[Table | Figure | Claim]:
    """Test scores by kind and share of noise; training samples with wrong labels apart."""
    groups = grouped(runs)
    earlier = {told(s): methods.pop(TEACHER) for s, methods in groups.items()}
    numbers = {
        s: {name: [measure(run) for run in of] for name, of in methods.items()}
        for s, methods in groups.items()
    }
    marked = [s for s in groups if s[1] == SHOWN]
    samples = {s: {n: [apart(run) for run in of] for n, of in groups[s].items()} for s in marked}
    yield from _claims(numbers, samples)
    yield _levels("accuracy_best", "Test accuracy, selected epoch", 0, numbers)
    yield _differences("differences_best", "Test accuracy, selected epoch", 0, numbers)
    yield _levels("accuracy_last", "Test accuracy, last epoch", 3, numbers)
    yield _differences("differences_last", "Test accuracy, last epoch", 3, numbers)
    yield _levels("nll", "Test NLL, selected epoch", 1, numbers)
    yield _levels("ece", "Test ECE, selected epoch", 2, numbers)
    yield _levels("train", "Training accuracy on the labels as given, last epoch", 4, numbers)
    for setting, rows in samples.items():
        yield taken_apart(f"samples_{setting[0]}", told(setting), rows)
    yield teachers(earlier, WEIGHTS, TEMPERATURE)
    by_kind = {kind: [CLEAN, *(s for s in groups if s[0] == kind and s[1])] for kind in SHARES}
    accuracy = {s: {n: [r[0] for r in rows] for n, rows in of.items()} for s, of in numbers.items()}
    yield accuracy_curves({k: {s[1]: accuracy[s] for s in of} for k, of in by_kind.items()}, CE)
    yield confidences(told(marked[0]), groups[marked[0]])


COLUMNS = (
    Column(name="Accuracy", percent=True, better="high"),
    Column(name="NLL", digits=4, better="low"),
    Column(name="ECE", percent=True, better="low"),
    Column(name="Accuracy, last epoch", percent=True, better="high"),
    Column(name="Training accuracy", percent=True),
)
Rows = Mapping[str, Sequence[tuple[float, ...]]]  # of one setting: by method, then seed
Numbers = Mapping[Setting, Rows]


def measure(run: Run) -> tuple[float, ...]:
    """One number for each of COLUMNS: on the test set, the last on the training labels as given."""
    test = run.predictions("test")
    return (
        diagnostics.accuracy(*test),
        diagnostics.nll(*test),
        diagnostics.ece(*test),
        diagnostics.accuracy(*run.predictions("test", "last")),
        diagnostics.accuracy(*run.predictions("train", "last")),
    )


def grouped(runs: Sequence[Run]) -> dict[Setting, dict[str, list[Run]]]:
    """Runs by noise and then by method, in the order of first appearance; each in that of seeds."""
    groups: dict[Setting, dict[str, list[Run]]] = {}
    for run in sorted(runs, key=lambda run: run.recipe.seed):
        setting = (run.recipe.noise_kind, run.recipe.label_noise)
        groups.setdefault(setting, {}).setdefault(named(run.recipe), []).append(run)
    return groups


def named(recipe: Recipe) -> str:
    """The method; self-distillation with its soft weight, and "teacher" for who teaches it."""
    if recipe.prior is None and recipe.initialisation:
        return TEACHER
    name = method(recipe).partition(",")[0]
    return distilled(recipe.prior.strength) if recipe.prior and recipe.generation else name


def distilled(weight: float) -> str:
    return f"self-distillation, w = {weight:g}"


def told(setting: Setting) -> str:
    kind, share = setting
    return f"{kind} {share:.0%}".replace("%", " %") if share else "no noise"


def paired(numbers: Numbers, setting: Setting, name: str, reference: str, at: int) -> Difference:
    """``name`` minus ``reference`` in the number ``at``, seed by seed."""
    of = numbers[setting]
    return Difference.paired([r[at] for r in of[name]], [r[at] for r in of[reference]])


def _gains(numbers: Numbers, setting: Setting, name: str) -> list[float]:
    of = numbers[setting]
    return [ours[0] - theirs[0] for ours, theirs in zip(of[name], of[CE], strict=True)]


def _claims(
    numbers: Numbers, samples: Mapping[Setting, Mapping[str, Sequence[Apart]]]
) -> Iterable[Claim]:
    regularised = [name for name in numbers[CLEAN] if name != CE]
    noisy = [s for s in numbers if s[1]]
    for setting in samples:
        yield verdict(
            f"With {told(setting)} wrong labels every regulariser is more accurate than {CE}.",
            {n: paired(numbers, setting, n, CE, 0) for n in regularised},
            sign=+1,
            percent=True,
        )
        yield verdict(
            f"Every regulariser gains more over {CE} with {told(setting)} wrong labels than with "
            "none.",
            {
                n: Difference.paired(_gains(numbers, setting, n), _gains(numbers, CLEAN, n))
                for n in regularised
            },
            sign=+1,
            percent=True,
        )
    most, *less = reversed([distilled(w) for w in WEIGHTS])
    for other in less:
        yield verdict(
            f"Of noisy labels a student learns better by {most} than by {other}.",
            {told(s): paired(numbers, s, most, other, 0) for s in noisy},
            sign=+1,
            percent=True,
        )
    for setting, of in samples.items():
        start = f"With {told(setting)} wrong labels, at the last epoch,"
        yield verdict(
            f"{start} every regulariser has learned fewer of them than {CE}.",
            {n: _gap(of, n, CE, "learned") for n in regularised},
            sign=-1,
            percent=True,
        )
        yield verdict(
            f"{start} confidence tells wrong labels from right ones better (AUROC) after Beta "
            f"smoothing and self-distillation than after {LS}.",
            {n: _gap(of, n, LS, "auroc") for n in regularised if n != LS},
            sign=+1,
        )


def _gap(of: Mapping[str, Sequence[Apart]], name: str, reference: str, field: str) -> Difference:
    ours, theirs = ([getattr(a, field) for a in of[n]] for n in (name, reference))
    return Difference.paired(ours, theirs)


CAPTION = (
    "The test labels are right; those of training and validation, which may choose the epoch, "
    "have the share of wrong ones that heads the column. w: soft weight, the label having 1 - w; "
    f"the teacher's temperature is {TEMPERATURE:g} throughout."
)


def _levels(key: str, title: str, at: int, numbers: Numbers) -> Table:
    notes = {1: " NLL in nats.", 2: " ECE: 20 equal-width bins."}.get(at, "")
    return Table(
        key=key,
        title=title,
        caption=f"Mean ± standard deviation over seeds. {CAPTION}{notes}",
        columns=(Column(name="Method"), *(replace(COLUMNS[at], name=told(s)) for s in numbers)),
        rows=[
            (name, *(Measured.of([r[at] for r in of[name]]) for of in numbers.values()))
            for name in numbers[CLEAN]
        ],
    )


def _differences(key: str, title: str, at: int, numbers: Numbers) -> Table:
    columns = [replace(COLUMNS[at], name=told(s)) for s in numbers]
    return Table(
        key=key,
        title=f"{title}: difference to {CE}",
        caption="In points: mean paired difference over seeds (same split, wrong labels, order "
        f"and initialisation) with its 95 % t interval. {INTERVALS}",
        columns=(Column(name="Method"), *columns),
        rows=[
            (name, *(paired(numbers, s, name, CE, at) for s in numbers))
            for name in numbers[CLEAN]
            if name != CE
        ],
    )
