"""The only training loop."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from softprior import diagnostics, own
from softprior.checks import NotFiniteError
from softprior.priors import Prior
from softprior.training import images, schedule
from softprior.training.augment import Views, normalise
from softprior.training.images import Dataset, Images, generator
from softprior.training.job import warn_of_changed_source
from softprior.training.prediction import predict
from softprior.training.provenance import provenance
from softprior.training.recipe import Recipe
from softprior.training.resolve import Progress, resolve
from softprior.training.runtime import Runtime
from softprior.training.state import StepPart, TrainingState
from softprior.training.store import Run, Store

EpochCallback = Callable[[dict[str, float]], None]
MIN_CHECKPOINT_AGE = 10.0  # seconds: a younger one is not worth replacing after an epoch


@torch.random.fork_rng(devices=[])  # dropout draws from torch's own generator: leave the user's
def fit(
    recipe: Recipe,
    store: Store | str | Path,
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
        store: where finished runs are, and this one goes; a folder, or a :class:`.Store`.
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
    store = store if isinstance(store, Store) else Store(store)
    if recipe.fingerprint is None or store.get(recipe) is None:
        recipe = resolve(recipe, store.root, on_images)
    if (run := store.get(recipe)) is not None:
        return run
    warn_of_changed_source(recipe, store)
    teacher_run = None
    if isinstance(recipe.teacher, Recipe):
        again = partial(fit, on_images=on_images, checkpoint_every=checkpoint_every, cpu=cpu)
        teacher_run = again(recipe.teacher, store, on_epoch)
    runtime = Runtime(recipe.precision, cpu=cpu)
    data = runtime.place(load(recipe, on_images if runtime.is_main else None))
    state = TrainingState.start(recipe, data, teacher_run, runtime.device)
    folder = store.partial(recipe)
    start_step = state.resume(folder, recipe.digest)
    runtime.wait()
    model, teacher, criterion = state.model, state.teacher, state.criterion
    network, ask_teacher = runtime.prepare(model, teacher, recipe.compile)
    views = Views(data.train.pixels, recipe.augment)
    clock = _Clock(state.seconds)
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
                for part in _parts(index, recipe.accumulate, runtime):
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
        except NotFiniteError as error:
            raise FloatingPointError(
                f"training diverged; try a learning_rate below {recipe.learning_rate:g} "
                f"(epoch {epoch}: {error})"
            ) from error
        state.close_epoch(row)
        if clock.since_saved() >= min(interval, MIN_CHECKPOINT_AGE):
            state.seconds = clock.saved()
            state.save(folder, recipe.digest, 0, runtime.is_main)
        if runtime.is_main:
            store.write_history(recipe, state.history)
            if on_epoch:
                on_epoch(row)
    if runtime.is_main:
        _finish(recipe, state, store, data)
    runtime.wait()
    return Run(recipe, store.root / recipe.digest)


def _evaluate(
    state: TrainingState, data: Dataset, epoch: int, seconds: float, images_per_second: float
) -> dict[str, float]:
    """A row of the history; its learning rate is that of the epoch's end."""
    logits = predict(state.model, data.validation, data, state.recipe.precision)
    labels = data.validation.labels.cpu()
    return {
        "epoch": epoch,
        "loss": state.loss.item() / len(data.train.labels),
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
    prior = state.criterion.prior
    outcome: dict[str, Any] = {
        "best_epoch": state.best_epoch,
        "prior": dataclasses.asdict(prior) if isinstance(prior, Prior) else None,
        "data": data.description,
        "seconds": state.history[-1]["seconds"],
    }
    store.put(
        recipe,
        tensors={"weights": last, "best": state.best, "predictions": predictions},
        history=state.history,
        outcome=outcome,
        provenance=provenance(),
    )


class _Clock:
    """Seconds of training, those before a kill included, and since the last checkpoint."""

    def __init__(self, before: float) -> None:
        self.start = time.perf_counter() - before
        self.last = time.perf_counter()
        self.start_epoch(0)

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def start_epoch(self, images: int) -> None:
        self.images, self.began = images, time.perf_counter()

    def images_per_second(self) -> float:
        """Of this epoch's training, evaluation aside; of what a resumed one still had to do."""
        return self.images / (time.perf_counter() - self.began)

    def since_saved(self) -> float:
        return time.perf_counter() - self.last

    def saved(self) -> float:
        self.last = time.perf_counter()
        return self.seconds()


def load(recipe: Recipe, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """The recipe's data, decoded, split and with its label noise."""
    return images.load(
        str(recipe.dataset),
        seed=recipe.seed,
        validation=recipe.validation,
        resolution=recipe.resolution,
        subset=recipe.subset,
        label_noise=recipe.label_noise,
        noise_kind=recipe.noise_kind,
        progress=progress,
    )


def order(n: int, batch_size: int, seed: int, epoch: int, runtime: Runtime) -> list[Tensor]:
    """The batches' indices of one epoch: a function of (seed, epoch) alone."""
    shuffled = torch.randperm(n, generator=generator("order", seed, epoch)).to(runtime.device)
    return _split(shuffled, batch_size, runtime)


def _parts(index: Tensor, accumulate: int, runtime: Runtime) -> list[Tensor]:
    """A batch in the parts in which it is computed."""
    return _split(index, math.ceil(len(index) / accumulate), runtime)


def _split(index: Tensor, size: int, runtime: Runtime) -> list[Tensor]:
    chunks = list(torch.split(index, size))
    # Batch norm cannot train on one sample, and a process cannot on none.
    if len(chunks) > 1 and len(chunks[-1]) < min(size, 2 * runtime.processes):
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks
