"""The only training loop."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from softprior import diagnostics, own
from softprior.checks import NotFiniteError
from softprior.priors import Prior
from softprior.training import schedule
from softprior.training.augment import Views, normalise
from softprior.training.clock import Clock
from softprior.training.divergence import check_finite, diverged
from softprior.training.images import Dataset, Images, generator
from softprior.training.job import warn_of_changed_source
from softprior.training.order import order, parts_of
from softprior.training.prediction import predict
from softprior.training.provenance import provenance
from softprior.training.recipe import Recipe
from softprior.training.resolve import Progress, check_networks, load, resolve
from softprior.training.run import Run
from softprior.training.runtime import Runtime, first_says, launched
from softprior.training.state import StepPart, TrainingState
from softprior.training.store import Store

EpochCallback = Callable[[dict[str, float]], None]
MIN_CHECKPOINT_AGE = 10.0  # seconds: a younger one is not worth replacing after an epoch


@torch.random.fork_rng(devices=[])  # dropout draws from torch's own generator: leave the user's
def fit(
    recipe: Recipe,
    store: Store | str | Path | None = None,
    on_epoch: EpochCallback | None = None,
    *,
    on_images: Progress | None = None,
    checkpoint_every: float | None = None,
    cpu: bool = False,
) -> Run:
    """Train a recipe, its teacher first where that is a recipe not in the store yet.

    A finished run is returned as it is; one that was killed goes on from its newest checkpoint.
    Order, views, split, initialisation and draws follow from the recipe alone, so that on one
    thread of the same machine equal recipes give equal bits, disturbed or not.

    Args:
        recipe: what to train.
        store: where finished runs are, and this one goes; a folder, or a :class:`.Store`. By
            default results/runs here, where the command ``softprior`` has them, too.
        on_epoch: called with each row of the history.
        on_images: called with (images done, images in all) while the data is looked at and loaded.
        checkpoint_every: checkpoint interval in seconds; one is also written at the end of an
            epoch if the last is older than 10 s.
        cpu: stay on the CPU where there is an accelerator.

    Under ``accelerate launch`` or ``torchrun`` all processes train the one run together.

    Raises:
        FloatingPointError: when training diverges, with the epoch.
        ValueError: when the data has changed since the recipe was written.
    """
    own.refuse_while_loading()
    store = store if isinstance(store, Store) else Store(_default() if store is None else store)
    if launched() > 1:
        Runtime(recipe.precision, cpu=cpu)  # so that they can agree on what follows
    if recipe.fingerprint is None or not first_says(lambda: store.get(recipe) is not None):
        recipe = resolve(recipe, store.root, on_images)
    finished = store.get(recipe)
    if first_says(lambda: finished is not None):
        return finished or Run(recipe, store.root / recipe.digest)
    store.check_readable(recipe)
    warn_of_changed_source(recipe, store)
    teacher_run = None
    if isinstance(recipe.teacher, Recipe):
        if store.get(recipe.teacher) is None:
            check_networks([recipe])  # not after the teacher has been trained
        again = partial(fit, on_images=on_images, checkpoint_every=checkpoint_every, cpu=cpu)
        teacher_run = again(recipe.teacher, store, on_epoch)
    runtime = Runtime(recipe.precision, cpu=cpu)
    data = runtime.place(load(recipe, on_images if runtime.is_main else None))
    state = TrainingState.start(recipe, data, teacher_run, runtime.device)
    folder = store.partial(recipe)
    start_step = state.resume(folder, recipe.digest)
    if runtime.is_main and (state.epoch or start_step):
        _say_where_it_goes_on(recipe, state.epoch, start_step)
    runtime.wait()
    model, teacher, criterion = state.model, state.teacher, state.criterion
    network, ask_teacher = runtime.prepare(model, teacher, recipe.compile)
    views = Views(data.train.pixels, recipe.augment, data.size)
    clock = Clock(state.seconds)
    interval = math.inf if checkpoint_every is None else checkpoint_every

    for epoch in range(state.epoch + 1, recipe.epochs + 1):
        view = views.epoch(generator("augment", recipe.seed, epoch))
        batches = order(len(data.train.labels), recipe.batch_size, recipe.seed, epoch, runtime)
        model.train()
        clock.start_epoch(sum(map(len, batches[start_step:])))
        try:
            for step, index in enumerate(batches):
                if step < start_step:
                    continue
                state.begin_step(epoch, step, len(batches))
                parts: list[StepPart] = []
                for part in parts_of(index, recipe.accumulate, runtime):
                    mine, labels = runtime.share(part, data.train.labels)
                    inputs = normalise(runtime.batch_views(view, mine), data.mean, data.std)
                    teacher_logits = None
                    with runtime.accelerator.autocast():
                        logits = network(inputs)
                        if ask_teacher is not None:
                            teacher_logits = ask_teacher(inputs, mine, labels)
                    # The sum over this process's samples; the step is that of the batch's mean.
                    total = criterion(
                        logits / recipe.student_temperature,
                        labels,
                        teacher_logits,
                        index=mine,
                        epoch=epoch,
                        epochs=recipe.epochs,
                    )
                    runtime.accelerator.backward(total * (runtime.processes / len(index)))
                    state.loss += runtime.total(total.detach())
                    state.smoothing += runtime.total(criterion.smoothing.sum())
                    parts.append(StepPart(logits.detach(), labels, mine, teacher_logits))
                if recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
                state.optimizer.step()
                runtime.sync_buffers(model)
                state.observe(parts, epoch)
                if clock.since_saved() >= interval:
                    state.seconds = clock.saved()
                    state.save(folder, recipe.digest, step + 1, runtime.is_main)
            start_step = 0
            state.end_epoch()
            speed = clock.images_per_second()
            row = _evaluate(state, data, epoch, clock.seconds(), speed)
        except ValueError as error:
            if "more than 1 value per channel" in str(error):  # torch, of batch norm
                raise ValueError(
                    f"network {recipe.model} has batch norm, which cannot train on one image at a "
                    f"time: make batch_size = {recipe.batch_size} larger, or accumulate = "
                    f"{recipe.accumulate} smaller"
                ) from error
            if not isinstance(error, NotFiniteError):
                raise
            raise diverged(recipe, f"epoch {epoch}: {error}") from error
        state.close_epoch(row)
        if clock.since_saved() >= min(interval, MIN_CHECKPOINT_AGE):
            state.seconds = clock.saved()
            state.save(folder, recipe.digest, 0, runtime.is_main)
        if runtime.is_main:
            _write_history(store, recipe, state)
            if on_epoch:
                on_epoch(row)
    if runtime.is_main:
        _finish(recipe, state, store, data)
    runtime.wait()
    return Run(recipe, store.root / recipe.digest)


def _say_where_it_goes_on(recipe: Recipe, epoch: int, step: int) -> None:
    steps = f", and {step} steps of the next one" if step else ""
    warnings.warn(
        f"run {recipe.digest} goes on from its checkpoint: {epoch} of {recipe.epochs} epochs are "
        f"done{steps}",
        stacklevel=3,
    )


def _default() -> Path:
    folder = Path("results", "runs")
    warnings.warn(
        f"no store was named: the run goes to {folder.resolve()}, and is found there again; pass "
        "a folder as second argument for another",
        stacklevel=3,
    )
    return folder


def _evaluate(
    state: TrainingState, data: Dataset, epoch: int, seconds: float, images_per_second: float
) -> dict[str, float]:
    """A row of the history; its learning rate is that of the epoch's end."""
    logits = predict(state.model, data.validation, data, state.recipe.precision)
    labels = data.validation.labels.cpu()
    loss = state.loss.item() / len(data.train.labels)
    if not math.isfinite(loss):
        raise NotFiniteError(f"the loss is {loss}")
    return {
        "epoch": epoch,
        "loss": loss,
        "smoothing": state.smoothing.item() / len(data.train.labels),
        "learning_rate": schedule.rate(state.recipe, (epoch - 1e-6) / state.recipe.epochs),
        "validation_accuracy": diagnostics.accuracy(logits, labels),
        "validation_nll": diagnostics.nll(logits, labels),
        "seconds": seconds,
        "images_per_second": images_per_second,
    }


def _finish(recipe: Recipe, state: TrainingState, store: Store, data: Dataset) -> None:
    """Predictions of the last and the best epoch on every part, and all of it into the store.

    On what a subset leaves out those of the epoch that the recipe selects alone: it may be most
    of the data, and nothing is decided by the other epoch.
    """
    last = {key: value.clone() for key, value in state.model.state_dict().items()}
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    predictions = {f"{name}_labels": part.labels for name, part in parts.items()}
    if recipe.label_noise:
        predictions["train_clean"] = data.train.clean
    for epoch, weights in (("last", last), ("best", state.best)):
        state.model.load_state_dict(weights)
        for name, part in parts.items():
            if name == "test" and epoch != recipe.select:
                part = Images(*(of[: data.official] for of in part))
            logits = predict(state.model, part, data, recipe.precision)
            predictions[f"{name}_logits_{epoch}"] = logits
    tensors = {"weights": last, "best": state.best, "predictions": predictions}
    check_finite(recipe, tensors)
    prior = state.criterion.prior
    outcome: dict[str, Any] = {
        "best_epoch": state.best_epoch,
        "prior": dataclasses.asdict(prior) if isinstance(prior, Prior) else None,
        "data": data.description,
        "seconds": state.history[-1]["seconds"],
    }
    state.model.load_state_dict(last)
    try:
        store.put(
            recipe,
            tensors=tensors,
            history=state.history,
            outcome=outcome,
            provenance=provenance(),
        )
    except OSError as error:
        state.save(store.partial(recipe), recipe.digest, 0, True)  # smaller: it may have room
        path = str(store.root / recipe.digest)
        raise OSError(error.errno, f"{error.strerror}: the finished run", path) from error


def _write_history(store: Store, recipe: Recipe, state: TrainingState) -> None:
    """For whoever looks on: training does without it."""
    try:
        store.write_history(recipe, state.history)
    except OSError as error:
        warnings.warn(f"{store.root}: no history is written: {error.strerror}", stacklevel=2)
