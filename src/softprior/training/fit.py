"""The only training loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from softprior import diagnostics
from softprior.checks import NotFiniteError
from softprior.losses import ConfidencePenalty
from softprior.matching import teacher_temperature
from softprior.posterior import PosteriorLoss
from softprior.priors import BetaPrior, TeacherPrior
from softprior.teachers import EMATeacher, FrozenTeacher, MemoryTeacher, Teacher
from softprior.training import data, models
from softprior.training.provenance import provenance
from softprior.training.recipe import Recipe
from softprior.training.store import Run, Store


def fit(
    recipe: Recipe, store: Store, on_epoch: Callable[[dict[str, float]], None] | None = None
) -> Run:
    """Train a recipe, its teacher first where that is a recipe not in the store yet.

    A finished run is returned as it is. ``on_epoch`` is called with each row of the history.
    Order, split, initialisation and draws follow from the recipe alone, so that on one thread
    of the same machine equal recipes give equal bits.

    Raises:
        FloatingPointError: when the loss is no longer finite, with the epoch.
    """
    if (run := store.get(recipe)) is not None:
        return run
    started = time.perf_counter()
    parts = data.load(recipe.dataset, recipe.seed, recipe.validation)
    model = _network(recipe, parts)
    recipe_as_run, teacher = _teacher(recipe, store, model, parts, on_epoch)
    criterion = _criterion(recipe_as_run)
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay
    )
    drops = [round(m * recipe.epochs) for m in recipe.milestones]
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    best_epoch, best_accuracy = 0, -1.0

    for epoch in range(1, recipe.epochs + 1):
        rate = recipe.learning_rate * 0.1 ** sum(epoch > drop for drop in drops)
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.train()
        total = torch.zeros((), dtype=torch.float64)  # a tensor: reading it would be a sync
        try:
            for inputs, labels, index in data.batches(
                parts.train, recipe.batch_size, recipe.seed, epoch
            ):
                logits = model(inputs)
                advice = teacher(inputs, index) if teacher else None
                loss = criterion(logits, labels, advice)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if teacher:
                    teacher.observe(model, logits.detach(), labels, index)
                total += loss.detach() * len(labels)
            logits = predict(model, parts.validation.inputs)
            row = {
                "epoch": epoch,
                "loss": total.item() / len(parts.train.labels),
                "learning_rate": rate,
                "validation_accuracy": diagnostics.accuracy(logits, parts.validation.labels),
                "validation_nll": diagnostics.nll(logits, parts.validation.labels),
                "seconds": time.perf_counter() - started,
            }
        except NotFiniteError as error:
            raise FloatingPointError(
                f"training diverged; try a learning_rate below {recipe.learning_rate:g} "
                f"(epoch {epoch}: {error})"
            ) from error
        history.append(row)
        if row["validation_accuracy"] >= best_accuracy:  # ties: the later epoch
            best_epoch, best_accuracy = epoch, row["validation_accuracy"]
            best = {key: value.clone() for key, value in model.state_dict().items()}
        if on_epoch:
            on_epoch(row)

    return _finish(recipe, recipe_as_run, store, model, best, best_epoch, parts, history)


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor, batch_size: int = 1024) -> Tensor:
    """Logits in eval mode, in order; the mode the model came in is restored."""
    training = model.training
    model.eval()
    logits = torch.cat([model(chunk) for chunk in torch.split(inputs, batch_size)])
    model.train(training)
    return logits


def _network(recipe: Recipe, parts: data.Data) -> nn.Module:
    shape = parts.train.inputs.shape[1:]
    seed = data.generator("weights", recipe.seed, recipe.initialisation).initial_seed()
    return models.build(recipe.model, (shape[0], shape[1], shape[2]), parts.num_classes, seed)


def _teacher(
    recipe: Recipe,
    store: Store,
    model: nn.Module,
    parts: data.Data,
    on_epoch: Callable[[dict[str, float]], None] | None,
) -> tuple[Recipe, Teacher | None]:
    """The teacher, and the recipe with the temperature that matching asks for filled in."""
    if recipe.teacher is None:
        return recipe, None
    if recipe.teacher == "ema":
        return recipe, EMATeacher(model, recipe.ema_decay)
    if recipe.teacher == "memory":
        ranks_only = isinstance(recipe.prior, BetaPrior)
        size = len(parts.train.labels)
        return recipe, MemoryTeacher(size, None if ranks_only else parts.num_classes)
    run = fit(recipe.teacher, store, on_epoch)
    if recipe.match_smoothing is not None and isinstance(recipe.prior, TeacherPrior):
        logits, labels = run.predictions("train")
        temperature = teacher_temperature(
            logits, labels, smoothing=recipe.match_smoothing, weight=recipe.prior.strength
        )
        recipe = replace(recipe, prior=replace(recipe.prior, temperature=temperature))
    network = _network(recipe.teacher, parts)  # type: ignore[arg-type]
    network.load_state_dict(run.weights())
    return recipe, FrozenTeacher(network)


def _criterion(recipe: Recipe) -> nn.Module:
    if recipe.confidence_penalty:
        return ConfidencePenalty(recipe.confidence_penalty)
    seed = data.generator("prior", recipe.seed).initial_seed()
    return PosteriorLoss(recipe.prior, label_weight=recipe.label_weight, seed=seed)


def _finish(
    recipe: Recipe,
    recipe_as_run: Recipe,
    store: Store,
    model: nn.Module,
    best: dict[str, Tensor],
    best_epoch: int,
    parts: data.Data,
    history: list[dict[str, float]],
) -> Run:
    last = {key: value.clone() for key, value in model.state_dict().items()}
    splits = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    predictions = {f"{part}_labels": split.labels for part, split in splits.items()}
    for epoch, weights in (("last", last), ("best", best)):
        model.load_state_dict(weights)
        for part, split in splits.items():
            predictions[f"{part}_logits_{epoch}"] = predict(model, split.inputs)
    prior = recipe_as_run.prior
    outcome: dict[str, Any] = {
        "best_epoch": best_epoch,
        "temperature": prior.temperature if isinstance(prior, TeacherPrior) else None,
        "teacher": recipe.teacher.digest if isinstance(recipe.teacher, Recipe) else recipe.teacher,
        "seconds": history[-1]["seconds"],
    }
    return store.put(
        recipe,
        tensors={"weights": last, "best": best, "predictions": predictions},
        history=history,
        outcome=outcome,
        provenance=provenance(),
    )
