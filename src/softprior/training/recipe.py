"""One training run as a frozen value; a generation is a recipe whose teacher is a recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from softprior import checks, priors
from softprior.priors import Prior
from softprior.training import sound
from softprior.training.pretrained import Pretrained

FORMAT = 1  # of the JSON; part of the digest, so a change of meaning changes every digest


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run, and nothing else: equal recipes give equal runs.

    Attributes:
        dataset: name of a data set (``softprior list`` shows them), or the path of Parquet files
            or of an image folder.
        subset: such as "classes=20,per_class=200": less of it.
        resolution: bring every image to this many pixels a side.
        augment: "none", "flip", "crop" (4 pixels of padding, and flip), or "resized" (random
            resized crop, and flip).
        label_noise: share of the training labels that are made wrong, drawn from the seed.
        noise_kind: "symmetric" (any other class) or "pair" (the next class).
        model: name of a network; ``softprior list`` shows them.
        prior: imaginary labels; none is cross-entropy.
        label_weight: weight of the real label; ``1 - strength`` is the usual mix.
        confidence_penalty: subtract this multiple of the prediction's entropy (no prior then).
        teacher: who advises the prior: "ema", "memory", the recipe of an earlier generation, or
            :class:`.Pretrained` weights.
        match_smoothing: replace the teacher prior's temperature by the one at which its votes
            smooth by this much on average; found once, when the teacher is trained.
        votes: how a frozen teacher's reach the student: "live" on each view, "stored" once for
            each image, or as a control "permuted" within the class, "class mean", "overall mean".
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
        ema_decay: of the "ema" teacher.
        ema_start: "copy" starts the average at the student's weights, "random" at another
            initialisation (official code).
        ema_mode: "eval", or "train" with batch statistics of its own (official code).
        validation: fraction of the training set held out, stratified, drawn from the seed.
        select: which epoch is the run's result, and teaches its students: "best", the one with
            the best validation accuracy (of equally good ones the later), or "last".
        seed: of everything random: split, order, initialisation, draws.
        initialisation: which of the seed's initialisations: 0, 1, …; all else stays equal.
    """

    dataset: str = "digits"
    subset: str | None = None
    resolution: int | None = None
    augment: Literal["none", "flip", "crop", "resized"] = "none"
    label_noise: float = 0.0
    noise_kind: Literal["symmetric", "pair"] = "symmetric"
    model: str = "mlp"
    prior: Prior | None = None
    label_weight: float = 1.0
    confidence_penalty: float = 0.0
    teacher: Recipe | Pretrained | Literal["ema", "memory"] | None = None
    match_smoothing: float | None = None
    votes: Literal["live", "stored", "permuted", "class mean", "overall mean"] = "live"
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
    ema_decay: float = 0.999
    ema_start: Literal["copy", "random"] = "copy"
    ema_mode: Literal["eval", "train"] = "eval"
    validation: float = 0.1
    select: Literal["best", "last"] = "best"
    seed: int = 0
    initialisation: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(float(m) for m in self.milestones))
        sound.ranges(self)
        sound.compositions(self)

    @property
    def generation(self) -> int:
        """How many frozen teachers stand behind this run."""
        return self.teacher.generation + 1 if isinstance(self.teacher, Recipe) else 0

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that name the run: SHA-256 of the recipe as JSON."""
        text = json.dumps({"format": FORMAT, **self.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; :meth:`from_dict` is the inverse."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["milestones"] = list(self.milestones)
        if self.prior is not None:
            values["prior"] = {"name": _short_name(self.prior), **dataclasses.asdict(self.prior)}
        if isinstance(self.teacher, Recipe):
            values["teacher"] = self.teacher.to_dict()
        elif isinstance(self.teacher, Pretrained):
            values["teacher"] = dataclasses.asdict(self.teacher)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """From plain JSON values; an unknown name is an error that lists the known ones.

        >>> from softprior import BetaPrior
        >>> recipe = Recipe(prior=BetaPrior(a=5), label_weight=0.4, teacher="ema")
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
        """
        values = dict(values)
        known = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(checks.unknown("field of a recipe", name, known))
        if isinstance(values.get("prior"), Mapping):
            values["prior"] = _prior_from(values["prior"])
        if isinstance(teacher := values.get("teacher"), Mapping):
            elsewhere = "sha256" in teacher
            values["teacher"] = Pretrained(**teacher) if elsewhere else cls.from_dict(teacher)
        if "milestones" in values:
            values["milestones"] = tuple(values["milestones"])
        return cls(**values)


def generations(
    recipe: Recipe, prior: Prior, n: int, *, label_weight: float = 0.0
) -> Iterator[Recipe]:
    """``recipe`` and then n - 1 students, each taught by the one before it.

    Every student has ``prior`` and, unless ``label_weight`` says so, no label of its own, as in
    sequential self-distillation (paper, figure 1); each has its own initialisation, and all
    share the seed's split.

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


def _short_name(prior: Prior) -> str:
    for name, member in priors.found().items():
        if member is type(prior):
            return name
    raise ValueError(
        f"{type(prior).__name__} cannot be written to a recipe: its file is not in priors/"
    )


def _prior_from(values: Mapping[str, Any]) -> Prior:
    fields = dict(values)
    known = priors.found()
    name = fields.pop("name", None)
    if name not in known:
        raise ValueError(checks.unknown("prior", str(name), known))
    allowed = [f.name for f in dataclasses.fields(known[name])]
    for field in fields:
        if field not in allowed:
            raise ValueError(checks.unknown(f"field of prior {name!r}", field, allowed))
    return known[name](**fields)
