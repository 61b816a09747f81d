"""What a criterion's prior is shown of a linear head, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from softprior import checks, devices
from softprior.component import without_autocast
from softprior.counts import Counts, Sparse, TwoLevel, check_counts
from softprior.criterion import PosteriorLoss
from softprior.linear.batch import HeadBatch
from softprior.linear.head import TeacherHead, products_dtype
from softprior.linear.kernel import label_margins
from softprior.linear.loss import check_teacher
from softprior.linear.target import Problem, Rows, cut
from softprior.priors import Prior


def shown_teacher(
    prior: object, teacher: object, problem: Problem, weight: Tensor, labels: Tensor
) -> tuple[Tensor | None, TeacherHead | None]:
    """One confidence per sample, or the head of which the prior is asked chunk by chunk."""
    asks = not isinstance(prior, Prior) or prior.uses_teacher
    ranks = isinstance(prior, Prior) and prior.ranks_only
    if teacher is None:
        if isinstance(prior, Prior) and prior.needs_teacher:
            raise ValueError(
                f"{type(prior).__name__} needs a teacher, got None: pass "
                "teacher=softprior.TeacherHead(teacher_hidden, teacher_weight)"
            )
        return None, None
    if isinstance(teacher, TeacherHead):
        check_teacher(teacher, "teacher", weight, labels)
        if (teacher.strength, teacher.temperature, teacher.weighting) != (1.0, 1.0, "none"):
            raise ValueError(
                "teacher must leave strength, temperature and weighting to the prior, "
                f"{prior}: got {teacher.strength:g}, {teacher.temperature:g} and "
                f"{teacher.weighting!r}"
            )
    else:
        if not isinstance(teacher, Tensor):
            raise TypeError(
                "teacher must be a softprior.TeacherHead or one confidence per sample, got "
                f"{checks.shown(teacher)}"
            )
        checks.floating(teacher, "teacher")
        if teacher.shape != labels.shape or teacher.device != labels.device:
            raise ValueError(
                f"teacher of one confidence per sample must have shape {tuple(labels.shape)} "
                f"on {labels.device}, got {tuple(teacher.shape)} on {teacher.device}"
            )
    if prior is None or not asks:
        return None, None
    if isinstance(teacher, Tensor):
        if not ranks:
            raise ValueError(
                f"teacher must be a softprior.TeacherHead for {prior}: one confidence per "
                "sample does not tell it enough"
            )
        flat = teacher.detach().reshape(-1)
        wrong = flat.isnan() if problem.valid is None else flat.isnan() & problem.valid
        if devices.values_visible(flat) and bool(wrong.any()):
            raise ValueError("teacher of one confidence per sample contains NaN")
        return flat, None
    if ranks:
        of_teacher = replace(
            problem,
            product=products_dtype(teacher.hidden),
            scale=teacher.scale,
            softcap=teacher.softcap,
        )
        return label_margins(of_teacher, teacher.hidden, teacher.weight, teacher.bias), None
    if not (isinstance(prior, Prior) and prior.by_sample):
        raise ValueError(
            f"teacher cannot be shown to {prior} part by part: its counts of one sample may "
            "come from others. If they do not, let it say by_sample = True; else use "
            "softprior.PosteriorLoss on whole logits"
        )
    return None, teacher


def with_counts_of(
    outer: PosteriorLoss,
    problem: Problem,
    batch: HeadBatch,
    like: Tensor,
    teacher: TeacherHead | None,
    when: dict[str, Any],
) -> Problem:
    """The problem with the prior's counts, and its weight of the label."""
    prior = outer.prior
    weight: Tensor | float | None = outer.label_weight
    if weight is None:
        assert isinstance(prior, Prior)
        with torch.no_grad(), without_autocast(like.device):
            weight = prior.label_weight_of(batch)
    problem = replace(problem, label_weight=weight)
    if prior is None:
        return replace(problem, two_level=TwoLevel(0.0, 0.0))
    if teacher is not None:
        product = products_dtype(teacher.hidden)

        def part(rows: Rows) -> Counts:
            known = {**when, "index": cut(batch.index, rows)}
            logits, labels = teacher.logits(rows, product), batch.labels[rows]
            part_like = like[: len(labels)]  # by numbers it would be copied
            of_rows = HeadBatch(part_like, labels, logits, _no_margins, **known)
            return _checked(outer, prior(of_rows), of_rows, part_like)

        return replace(problem, counts=part)
    own = isinstance(prior, Prior) and prior.ranks_only and batch.teacher_logits is None
    if (
        own
        and isinstance(prior, Prior)
        and prior.fixed_total
        and problem.softcap is None
        and problem.class_weight is None
        and not isinstance(weight, Tensor)
    ):

        def of_margins(margins: Tensor) -> TwoLevel:
            batch.margins = lambda: margins
            counts = _checked(outer, prior(batch), batch, like)
            if not isinstance(counts, TwoLevel):
                raise ValueError(f"counts of {prior} must be two-level for a linear head")
            if not outer.tested:
                _check_total(counts, batch, prior)
            return counts

        # The gradient is made with this sum before the counts are known.
        return replace(problem, of_margins=of_margins, total=weight + prior.strength)
    counts = _checked(outer, prior(batch), batch, like)
    if isinstance(counts, TwoLevel):
        return replace(problem, two_level=counts)
    if isinstance(counts, Tensor):
        raise ValueError(
            f"counts of {prior} are of all classes, as large as the logits: use "
            "softprior.PosteriorLoss on logits = hidden @ weight.T, or a prior that gives "
            "softprior.Sparse or softprior.TwoLevel"
        )
    sparse = counts
    return replace(problem, counts=lambda rows: Sparse(*(cut(v, rows) for v in sparse)))


def _check_total(counts: TwoLevel, batch: HeadBatch, prior: Prior) -> None:
    """Raise unless the counts of a sample add up to the prior's strength."""
    total = torch.as_tensor(counts.total(batch.num_classes), device=batch.labels.device)
    if batch.valid is not None:
        total = torch.where(batch.valid, total, prior.strength)
    message = (
        f"counts of {prior} must add up to its strength, {prior.strength:g}: for others it says "
        "fixed_total = False"
    )
    near = 1e-4 * max(1.0, prior.strength)
    if not devices.values_visible(total):
        devices.assert_later(lambda t: (t - prior.strength).abs() <= near, total, message)
    elif not float((total - prior.strength).abs().max()) <= near:
        raise ValueError(message)


def _checked(outer: PosteriorLoss, counts: Counts, batch: HeadBatch, like: Tensor) -> Counts:
    # The package's own priors are tested for the values of their counts.
    check_counts(like, counts, values=not outer.tested, signed=outer.signed, valid=batch.valid)
    return counts


def _no_margins() -> Tensor:
    raise ValueError(
        "the student's confidence is asked for chunk by chunk, where only the teacher's is known: "
        "use softprior.PosteriorLoss on logits = hidden @ weight.T"
    )
