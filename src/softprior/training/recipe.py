"""One training run as a frozen value; a generation is a recipe whose teacher is a recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

from softprior import checks, records
from softprior.component import Component
from softprior.label_weight import resolved_label_weight
from softprior.penalties import Penalty
from softprior.priors import Prior
from softprior.records import Objects
from softprior.teachers import TeacherSpec
from softprior.training import augment, images, models
from softprior.training.models import OwnNetwork
from softprior.training.pretrained import Pretrained

FORMAT = 3  # of the JSON; part of the digest, so a change of meaning changes every digest
TEACHER_TARGETS = ("live", "stored", "permuted", "class mean", "overall mean")
_TARGETS_VERSION = {"permuted": 2}  # raised whenever equal recipes give other targets


class OldFormatError(ValueError):
    """A recipe that an earlier version has stored: its run is left alone."""


class NewFormatError(ValueError):
    """A recipe that a newer version has stored: its run is left alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recipe:
    """Everything that decides a run, and nothing else: equal recipes give equal runs.

    Two recipes are equal where their runs are: however teachers are spelled, wherever the same
    data lies.

    Attributes:
        dataset: name of a data set (``softprior list`` shows them), the path of Parquet files
            or of an image folder, or :class:`.OwnData` from memory.
        fingerprint: hash of the data set's content, by which a run knows its data wherever they
            are stored. Computed before training; one that is given must be the same.
        subset: a part of the data set, such as "classes=20,per_class=200", drawn from a seed of
            its own (``seed=0`` unless it says otherwise). What it leaves out is tested on.
        resolution: bring every image to this many pixels a side.
        augment: "none", "flip", "crop" (4 pixels of padding, and flip), or "resized" (random
            resized crop, and flip).
        view_size: pixels a side of what the network sees of an image, in training and after it:
            "resized" crops are brought to this size, and so are whole images; the image's own
            size unless given.
        normalisation: mean and standard deviation that the pixels are brought to 0 and 1 by:
            "training", those of the training images, or the constants that are in use for
            "cifar10", "cifar100" or "imagenet".
        label_noise: share of the training labels that are made wrong, drawn from the seed.
        noise_kind: "symmetric" (any other class) or "pair" (the next class).
        model: name of a network (``softprior list`` shows them), or a function or class of your
            own, called with (channels, height, width) and the number of classes.
        prior: imaginary labels, by name or as an object; none is cross-entropy.
        penalty: what else is added to the loss, by name or as an object.
        label_weight: weight of the real label; None is the usual mix of the prior,
            ``1 - strength`` for most.
        teacher: who teaches the prior: "ema", "memory" or another teacher's name or object, the
            recipe of an earlier generation, or :class:`.Pretrained` weights.
        match_smoothing: replace the teacher prior's temperature by the one at which the teacher
            smooths by this much on average; found once, when the teacher is trained.
        teacher_targets: how a frozen teacher reaches the student: "live" on each view, "stored"
            once for each image, or as a control "permuted" within the class, "class mean",
            "overall mean".
        target_diversity: λ, how much of the teacher's own target there is in one that is stored or
            permuted, the rest is the mean over all: λ = 0 is "overall mean". The same on the
            label on average, whatever λ.
        student_temperature: divides the student's logits in the loss, and nowhere else.
        epochs: passes over the training set.
        batch_size: samples a step; a last batch of one sample joins the one before it.
        accumulate: parts that a batch is computed in, one after the other, where all of it does
            not fit: the gradient is the whole batch's. Batch norm, and a Beta prior that does
            not rank among "running", see a part at a time.
        optimizer: "sgd" (no Nesterov) or "adamw".
        learning_rate: at the start, or after the warm-up.
        momentum: of SGD.
        weight_decay: on every parameter.
        schedule: "step" divides the learning rate by ten at each milestone, "cosine" ends at 0.
        milestones: fractions of training.
        warmup: fraction of training in which the learning rate rises from 0.
        clip_norm: bring the gradient's norm down to this.
        precision: "fp32", or "bf16" (autocast in the network; losses stay float32).
        channels_last: keep images as rows of pixels in the network: faster convolutions.
        compile: hand student and teacher to ``torch.compile``.
        validation: fraction of the training set held out, stratified, drawn from the seed.
        split_seed: draw what is held out from this seed instead: the same for every seed.
        select: which epoch is the run's result, and teaches its students: "best", the one with
            the best validation accuracy (of equally good ones the later), or "last".
        seed: of everything random: split, order, initialisation, draws.
        initialisation: which of the seed's initialisations: 0, 1, …; all else stays equal.
    """

    dataset: str | images.OwnData = "digits"
    fingerprint: str | None = None
    subset: str | None = None
    resolution: int | None = None
    augment: Literal["none", "flip", "crop", "resized"] = "none"
    view_size: int | None = None
    normalisation: Literal["training", "cifar10", "cifar100", "imagenet"] = "training"
    label_noise: float = 0.0
    noise_kind: Literal["symmetric", "pair"] = "symmetric"
    model: str | OwnNetwork = "mlp"
    prior: Prior | None = None
    penalty: Penalty | None = None
    label_weight: float | None = None
    teacher: Recipe | Pretrained | TeacherSpec | None = None
    match_smoothing: float | None = None
    teacher_targets: Literal["live", "stored", "permuted", "class mean", "overall mean"] = "live"
    target_diversity: float = 1.0
    student_temperature: float = 1.0
    epochs: int = 30
    batch_size: int = 64
    accumulate: int = 1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[float, ...] = (1 / 3, 2 / 3)
    warmup: float = 0.0
    clip_norm: float | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = True
    compile: bool = False
    validation: float = 0.1
    split_seed: int | None = None
    select: Literal["best", "last"] = "best"
    seed: int = 0
    initialisation: int = 0

    def __post_init__(self) -> None:
        change = partial(object.__setattr__, self)
        change("milestones", tuple(float(m) for m in self.milestones))
        for role in records.BASES:
            value = getattr(self, role)
            if isinstance(value, str):
                change(role, records.from_record(role, value, {}))
            elif isinstance(value, Component):
                records.check_storable(role, value)
        model: Any = self.model
        if not isinstance(model, (str, OwnNetwork)):
            change("model", OwnNetwork.of(model))
        dataset: Any = self.dataset
        if isinstance(dataset, os.PathLike):
            change("dataset", os.fspath(dataset))
        if self.subset is not None:
            change("subset", images.parse(self.subset).text)
        if isinstance(self.dataset, images.OwnData):
            change("fingerprint", self.dataset.fingerprint)
        _check_values(self)
        _check_combinations(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def generation(self) -> int:
        """How many frozen teachers stand behind this run."""
        return self.teacher.generation + 1 if isinstance(self.teacher, Recipe) else 0

    @property
    def split(self) -> int:
        """The seed that the validation part is drawn from."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def effective_label_weight(self) -> float | None:
        """Weight of the real label; None where the prior changes it while it trains."""
        if self.label_weight is not None:
            return self.label_weight
        if self.prior is None:
            return 1.0
        return None if self.prior.decides_label_weight else self.prior.usual_label_weight

    @property
    def data(self) -> str | None:
        """The fingerprint of the data; None for a path whose content was not looked at yet."""
        if self.fingerprint is None and self.dataset in images.NAMES:
            return images.fingerprint(str(self.dataset))
        return self.fingerprint

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that name the run: SHA-256 of what decides it, as JSON.

        Raises:
            ValueError: it is not known yet which data lies under a path: see :func:`.resolve`.
        """
        at: object = self
        while isinstance(at, Recipe):
            if at.data is None:
                raise ValueError(
                    f"what is in {at.dataset} decides the run, and was not looked at yet: use "
                    "softprior.training.resolve(recipe)"
                )
            at = at.teacher
        return hashlib.sha256(self._identity.encode()).hexdigest()[:16]

    def but_for_source(self, other: Recipe) -> bool:
        """Whether the two are one but for the source of what is somebody's own in them."""
        return self != other and _without_source(self._identity) == _without_source(other._identity)

    @cached_property
    def _identity(self) -> str:
        return json.dumps({"format": FORMAT, **self._canonical()}, sort_keys=True)

    def _canonical(self) -> dict[str, Any]:
        """What decides the run: fields at their defaults are left out, and numbers are numbers."""
        values = {
            f.name: value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        }
        values.pop("fingerprint", None)
        # Where the data lies decides nothing; until it is looked at, the path stands for it.
        values["dataset"] = self.data or str(self.dataset)
        if isinstance(self.model, OwnNetwork):
            values["model"] = self.model.to_record()
        elif (version := models.version(self.model)) != 1:
            values["model"] = {"name": self.model, "version": version}
        # What the usual mix of somebody's own prior is, a plain record of it does not know.
        if self.split_seed == self.seed:
            del values["split_seed"]  # as it is by itself
        known = self.prior is None or records.short_name("prior", self.prior) is not None
        if known and self.label_weight is not None and _is_usual(self.prior, self.label_weight):
            del values["label_weight"]
        for role in records.BASES:
            if isinstance(component := values.get(role), Component):
                values[role] = records.canonical(role, component)
        if (version := _TARGETS_VERSION.get(self.teacher_targets, 1)) != 1:
            values["teacher_targets"] = {"name": self.teacher_targets, "version": version}
        if isinstance(self.teacher, Recipe):
            values["teacher"] = self.teacher._canonical()
        elif isinstance(self.teacher, Pretrained):
            values["teacher"] = {"model": self.teacher.model, "sha256": self.teacher.sha256}
        return {name: _number(value) for name, value in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; :meth:`from_dict` is the inverse."""
        values: dict[str, Any] = {"format": FORMAT}
        values |= {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["dataset"] = str(self.dataset)
        values["milestones"] = list(self.milestones)
        if isinstance(self.model, OwnNetwork):
            values["model"] = self.model.to_record()
        for role in records.BASES:
            if isinstance(component := values[role], Component):
                values[role] = records.to_record(role, component)
        if isinstance(self.teacher, Recipe):
            values["teacher"] = self.teacher.to_dict()
        elif isinstance(self.teacher, Pretrained):
            values["teacher"] = dataclasses.asdict(self.teacher)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], objects: Objects | None = None) -> Recipe:
        """From plain JSON values; an unknown name is an error that lists the known ones.

        Args:
            values: as :meth:`to_dict` gives them; what is missing is at its default.
            objects: classes and functions of the user's own, by ``module:Name``, that the
                values may name. Others are not imported: such a recipe can be shown, not trained.

        >>> from softprior import BetaPrior
        >>> recipe = Recipe(prior=BetaPrior(a=5), teacher="ema")
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
        """
        if not isinstance(values, Mapping):
            raise TypeError(f"a recipe is a mapping of its fields, got {values!r:.60}")
        values, objects = dict(values), objects or {}
        known = [f.name for f in dataclasses.fields(cls)]
        written = values.pop("format", FORMAT)
        if isinstance(written, int) and written > FORMAT:
            raise NewFormatError(
                f"the recipe is of format {written}, and this version reads {FORMAT}: upgrade"
            )
        if written != FORMAT or values.keys() & _OLD_FIELDS:
            raise OldFormatError(f"the recipe is of another format than {FORMAT}, this version's")
        for name in values:
            if name not in known:
                raise ValueError(checks.unknown("field of a recipe", name, known))
        teacher = values.get("teacher")
        if isinstance(teacher, Mapping) and "name" not in teacher:
            elsewhere = "sha256" in teacher
            values["teacher"] = (
                Pretrained(**teacher) if elsewhere else cls.from_dict(teacher, objects)
            )
        for role in records.BASES:
            if isinstance(record := values.get(role), (Mapping, str)):
                values[role] = records.from_record(role, record, objects)
        model: Any = values.get("model")
        if isinstance(model, Mapping) or model in objects:
            values["model"] = OwnNetwork.from_record(model, objects)
        if "milestones" in values:
            values["milestones"] = tuple(values["milestones"])
        return cls(**values)


_OLD_FIELDS = {"ema_decay", "ema_start", "ema_mode", "confidence_penalty"}


def generations(
    recipe: Recipe, prior: Prior, n: int, *, label_weight: float | None = None
) -> Iterator[Recipe]:
    """``recipe`` and then n - 1 students, each with the one before it as its teacher.

    Every student has ``prior`` and, unless ``label_weight`` says so, its usual mix: at strength 1
    no label of its own, as in sequential self-distillation (paper, figure 1). Each has its own
    initialisation, and all share the seed's split.

    >>> from softprior import TeacherPrior
    >>> chain = list(generations(Recipe(), TeacherPrior(strength=1.0, temperature=1.0), 3))
    >>> [r.generation for r in chain], chain[2].teacher == chain[1]
    ([0, 1, 2], True)
    """
    if n < 1:
        raise ValueError(f"n must be at least 1 generation, got {n}")
    yield recipe
    for _ in range(1, n):
        recipe = replace(
            recipe,
            prior=prior,
            label_weight=label_weight,
            teacher=recipe,
            initialisation=recipe.initialisation + 1,
        )
        yield recipe


def _is_usual(prior: Prior | None, label_weight: float) -> bool:
    usual = 1.0 if prior is None else prior.usual_label_weight
    return math.isclose(label_weight, usual, abs_tol=1e-9)


def _without_source(identity: str) -> str:
    return re.sub(r'"source": "[0-9a-f]{64}"', "", identity)


def _number(value: Any) -> Any:
    """30.0 as 30, at any depth: a number has one spelling."""
    if isinstance(value, Mapping):
        return {key: _number(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_number(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_values(r: Recipe) -> None:
    """Raise unless every value is right by itself."""
    if not isinstance(r.dataset, (str, images.OwnData)):
        raise TypeError(
            f"dataset must be a name, a path, or OwnData.of(...), got {type(r.dataset).__name__}: "
            "for images and labels in memory write dataset=OwnData.of((images, labels))"
        )
    if isinstance(r.model, str):
        models.check(r.model)
    checks.choice("augmentation", r.augment, augment.KINDS)
    checks.choice("normalisation", r.normalisation, images.NORMALISATIONS)
    checks.choice("kind of label noise", r.noise_kind, ("symmetric", "pair"))
    checks.choice("optimizer", r.optimizer, ("sgd", "adamw"))
    checks.choice("schedule", r.schedule, ("step", "cosine"))
    checks.choice("precision", r.precision, ("fp32", "bf16"))
    checks.choice("epoch to select", r.select, ("best", "last"))
    checks.choice("kind of teacher_targets", r.teacher_targets, TEACHER_TARGETS)
    checks.number("label_noise", r.label_noise, 0, 1)
    checks.number("warmup", r.warmup, 0, 1)
    if r.clip_norm is not None:
        checks.number("clip_norm", r.clip_norm, 0, open_low=True)
    for what in ("epochs", "batch_size", "accumulate"):
        _check_integer(what, getattr(r, what), 1)
    for what in ("seed", "initialisation"):
        _check_integer(what, getattr(r, what), 0)
    for what, low in {"resolution": 4, "view_size": 4, "split_seed": 0}.items():
        if getattr(r, what) is not None:
            _check_integer(what, getattr(r, what), low)
    if r.label_weight is not None:
        checks.number("label_weight", r.label_weight, -1)
    checks.number("learning_rate", r.learning_rate, 0, open_low=True)
    checks.number("momentum", r.momentum, 0, 1)
    checks.number("weight_decay", r.weight_decay, 0)
    checks.number("student_temperature", r.student_temperature, 0, open_low=True)
    checks.number("validation", r.validation, 0, 0.9, open_low=True)
    for m in r.milestones:
        checks.number("milestones (fractions of training)", m, 0, 1)
    if list(r.milestones) != sorted(r.milestones):
        raise ValueError(f"milestones must ascend, got {r.milestones}")
    for role, base in records.BASES.items():
        value = getattr(r, role)
        teaches = role == "teacher" and isinstance(value, (Recipe, Pretrained))
        if not (value is None or isinstance(value, base) or teaches):
            raise TypeError(f"{role} must be a {base.__name__} or None, got {value!r}")


def _check_integer(what: str, value: object, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"{what} must be an integer ≥ {low}, got {value!r}")


def _check_combinations(r: Recipe) -> None:
    """Raise unless the values go together."""
    if r.prior is None and r.label_weight is not None and r.label_weight <= 0:
        raise ValueError(
            f"label_weight is {r.label_weight:g} and there is no prior: nothing is left to "
            "learn from"
        )
    if records.imported(r.prior):
        resolved_label_weight(r.prior, r.label_weight)
    _check_teacher(r)
    if r.accumulate > r.batch_size:
        raise ValueError(
            f"accumulate must be at most batch_size = {r.batch_size}, got {r.accumulate}"
        )
    if r.noise_kind != "symmetric" and not r.label_noise:
        raise ValueError("noise_kind goes with label_noise: give its share, or leave it out")


def _check_teacher(r: Recipe) -> None:
    """Raise unless prior and teacher go together."""
    if r.prior is not None and r.prior.needs_teacher and r.teacher is None:
        known = ", ".join(map(repr, records.found("teacher")))
        raise ValueError(f"prior {r.prior} needs a teacher: {known} or a recipe")
    if r.prior is None and r.teacher is not None:
        raise ValueError("a teacher needs a prior to teach: give prior, or leave teacher out")
    asks = r.prior is not None and (r.prior.uses_teacher or r.prior.needs_teacher)
    if r.teacher is not None and not asks:
        raise ValueError(f"prior {r.prior} asks no teacher: leave teacher out")
    if isinstance(r.teacher, Recipe):
        own = None not in (r.split_seed, r.teacher.split_seed)
        of_both = {
            "subset": (r.subset, r.teacher.subset),
            "split_seed" if own else "seed": (r.split, r.teacher.split),
            "validation": (r.validation, r.teacher.validation),
        }
        for what, (mine, theirs) in of_both.items():
            if mine != theirs:
                raise _shared_split(what, mine, theirs)
        for what in ("view_size", "normalisation"):
            mine, theirs = getattr(r, what), getattr(r.teacher, what)
            if mine != theirs:
                raise ValueError(
                    f"teacher has {what} {theirs!r} and student {mine!r}: they must share it, as "
                    "the teacher sees the student's inputs"
                )
        # Two paths may be one data set: what is in them is compared when they are resolved.
        mine, theirs = r.data, r.teacher.data
        if mine is not None and theirs is not None and mine != theirs:
            raise _shared_split("dataset", str(r.dataset), str(r.teacher.dataset))
    frozen = isinstance(r.teacher, (Recipe, Pretrained))
    if r.teacher_targets != "live" and not frozen:
        raise ValueError(
            f"teacher_targets {r.teacher_targets!r} are a frozen teacher's: teacher must be a "
            "recipe, or weights"
        )
    checks.number("target_diversity", r.target_diversity, 0, 1)
    if r.target_diversity != 1 and r.teacher_targets not in ("stored", "permuted"):
        raise ValueError(
            f"target_diversity {r.target_diversity:g} mixes targets that are stored or permuted, "
            f"and teacher_targets is {r.teacher_targets!r}"
        )
    if r.match_smoothing is not None:
        checks.number("match_smoothing", r.match_smoothing, 0, 1, open_low=True)
        if r.prior is None or not r.prior.matches_smoothing or not frozen:
            raise ValueError(
                "match_smoothing finds a temperature: it wants prior 'teacher' and a frozen "
                "teacher (a recipe, or weights); for Beta smoothing use BetaPrior.matching"
            )


def _shared_split(what: str, mine: object, theirs: object) -> ValueError:
    return ValueError(
        f"teacher has {what} {theirs!r} and student {mine!r}: they must share it, or the teacher "
        "has trained on the student's validation set"
    )
