"""What a recipe may not be: told when it is made, before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from softprior import checks
from softprior.priors import Prior, TeacherPrior, UniformPrior
from softprior.training import augment, models
from softprior.training.pretrained import Pretrained

if TYPE_CHECKING:
    from softprior.training.recipe import Recipe

LIVE_TEACHERS = ("ema", "memory")
VOTES = ("live", "stored", "permuted", "class mean", "overall mean")


def ranges(r: Recipe) -> None:
    """Every value by itself."""
    models.check(r.model)
    checks.choice("augmentation", r.augment, augment.KINDS)
    checks.choice("kind of label noise", r.noise_kind, ("symmetric", "pair"))
    checks.choice("optimizer", r.optimizer, ("sgd", "adamw"))
    checks.choice("schedule", r.schedule, ("step", "cosine"))
    checks.choice("precision", r.precision, ("fp32", "bf16"))
    checks.choice("ema_start", r.ema_start, ("copy", "random"))
    checks.choice("epoch to select", r.select, ("best", "last"))
    checks.choice("kind of votes", r.votes, VOTES)
    checks.choice("ema_mode", r.ema_mode, ("eval", "train"))
    checks.number("label_noise", r.label_noise, 0, 1)
    checks.number("warmup", r.warmup, 0, 1)
    if r.clip_norm is not None:
        checks.number("clip_norm", r.clip_norm, 0, open_low=True)
    if r.resolution is not None and r.resolution < 4:
        raise ValueError(f"resolution must be at least 4 pixels, got {r.resolution}")
    for what in ("epochs", "batch_size", "accumulate"):
        value = getattr(r, what)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{what} must be an integer ≥ 1, got {value!r}")
    for what in ("seed", "initialisation"):
        value = getattr(r, what)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"{what} must be an integer ≥ 0, got {value!r}")
    checks.number("label_weight", r.label_weight, -1)
    checks.number("confidence_penalty", r.confidence_penalty, 0)
    checks.number("learning_rate", r.learning_rate, 0, open_low=True)
    checks.number("momentum", r.momentum, 0, 1)
    checks.number("weight_decay", r.weight_decay, 0)
    checks.number("student_temperature", r.student_temperature, 0, open_low=True)
    checks.number("ema_decay", r.ema_decay, 0, 1)
    checks.number("validation", r.validation, 0, 0.9, open_low=True)
    for m in r.milestones:
        checks.number("milestones (fractions of training)", m, 0, 1)
    if list(r.milestones) != sorted(r.milestones):
        raise ValueError(f"milestones must ascend, got {r.milestones}")


def compositions(r: Recipe) -> None:
    """Values that do not go together."""
    chained = type(r)  # a teacher that is a recipe
    frozen = (chained, Pretrained)
    if not isinstance(r.prior, (Prior, type(None))):
        raise TypeError(f"prior must be a Prior or None, got {type(r.prior).__name__}")
    if not isinstance(r.teacher, (*frozen, type(None))):
        checks.choice("teacher", str(r.teacher), LIVE_TEACHERS)
    if r.prior is None and r.label_weight <= 0:
        raise ValueError(
            f"label_weight is {r.label_weight:g} and there is no prior: nothing is left to "
            "learn from"
        )
    if r.prior is not None and r.confidence_penalty:
        raise ValueError("confidence_penalty goes with cross-entropy: leave prior out")
    if r.prior is not None and r.prior.needs_teacher and r.teacher is None:
        raise ValueError(f"prior {r.prior} needs a teacher: 'ema', 'memory' or a recipe")
    if isinstance(r.prior, UniformPrior) and r.teacher is not None:
        raise ValueError("prior 'uniform' asks no teacher: leave teacher out")
    if r.accumulate > r.batch_size:
        raise ValueError(
            f"accumulate must be at most batch_size = {r.batch_size}, got {r.accumulate}"
        )
    for what, default in (("ema_decay", 0.999), ("ema_start", "copy"), ("ema_mode", "eval")):
        if getattr(r, what) != default and r.teacher != "ema":
            raise ValueError(f"{what} goes with teacher 'ema': leave it out")
    if r.noise_kind != "symmetric" and not r.label_noise:
        raise ValueError("noise_kind goes with label_noise: give its share, or leave it out")
    if r.prior is None and r.teacher is not None:
        raise ValueError("a teacher needs a prior to advise: give prior, or leave teacher out")
    if isinstance(r.teacher, chained):
        for what in ("dataset", "subset", "seed", "validation"):
            mine, theirs = getattr(r, what), getattr(r.teacher, what)
            if mine != theirs:
                raise ValueError(
                    f"teacher has {what} {theirs!r} and student {mine!r}: they must share it, or "
                    "the teacher has trained on the student's validation set"
                )
    if r.votes != "live" and not isinstance(r.teacher, frozen):
        raise ValueError(f"votes {r.votes!r} are a frozen teacher's: teacher must be a recipe")
    if r.match_smoothing is not None:
        checks.number("match_smoothing", r.match_smoothing, 0, 1, open_low=True)
        if not (isinstance(r.prior, TeacherPrior) and isinstance(r.teacher, frozen)):
            raise ValueError(
                "match_smoothing finds a temperature: it wants prior 'teacher' and a frozen "
                "teacher (a recipe, or weights); for Beta smoothing use BetaPrior.matching"
            )
