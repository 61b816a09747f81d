"""The only training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from softprior.checks import NotFiniteError
from softprior.training import images
from softprior.training.augment import Views, normalise
from softprior.training.evaluation import evaluate, finish
from softprior.training.images import Dataset, generator
from softprior.training.recipe import Recipe
from softprior.training.runtime import Runtime
from softprior.training.session import Session
from softprior.training.store import Run, Store

Told = Callable[[dict[str, float]], None]
LULL = 10.0  # seconds: a younger checkpoint is not worth replacing after an epoch


@torch.random.fork_rng(devices=[])  # dropout draws from torch's own generator: leave the user's
def fit(
    recipe: Recipe,
    store: Store,
    on_epoch: Told | None = None,
    *,
    on_images: Callable[[int, int], None] | None = None,
    checkpoint_every: float | None = None,
    cpu: bool = False,
) -> Run:
    """Train a recipe, its teacher first where that is a recipe not in the store yet.

    A finished run is returned as it is; one that was killed goes on from its newest checkpoint.
    Order, views, split, initialisation and draws follow from the recipe alone, so that on one
    thread of the same machine equal recipes give equal bits, disturbed or not.

    Args:
        recipe: what to train.
        store: where finished runs are, and this one goes.
        on_epoch: called with each row of the history.
        on_images: called with (images decoded, images in all) while the data is loaded.
        checkpoint_every: seconds after which a step writes a checkpoint, too. One is written
            after each epoch, where the last is ten seconds old.
        cpu: stay on the CPU where there is an accelerator.

    Under ``accelerate launch`` or ``torchrun`` all processes train the one run together.

    Raises:
        FloatingPointError: when training diverges, with the epoch.
    """
    if (run := store.get(recipe)) is not None:
        return run
    images.check(recipe.dataset)
    taught_by = None
    if isinstance(recipe.teacher, Recipe):
        again = partial(fit, on_images=on_images, checkpoint_every=checkpoint_every, cpu=cpu)
        taught_by = again(recipe.teacher, store, on_epoch)
    runtime = Runtime(recipe.precision, cpu=cpu)
    data = runtime.place(load(recipe, on_images if runtime.is_main else None))
    session = Session.start(recipe, data, taught_by, runtime.device)
    folder = store.partial(recipe)
    behind = session.resume(folder, recipe.digest)
    runtime.wait()
    model, teacher, criterion = session.model, session.teacher, session.criterion
    network, advise = runtime.prepare(model, teacher, recipe.compile)
    views = Views(data.train.pixels, recipe.augment)
    clock = _Clock(session.seconds)
    often = math.inf if checkpoint_every is None else checkpoint_every

    for epoch in range(session.epoch + 1, recipe.epochs + 1):
        view = views.epoch(generator("augment", recipe.seed, epoch))
        batches = order(len(data.train.labels), recipe.batch_size, recipe.seed, epoch, runtime)
        model.train()
        clock.start_epoch(sum(map(len, batches[behind:])))
        try:
            for step, index in enumerate(batches):
                if step < behind:
                    continue
                session.begin_step(epoch, step, len(batches))
                said: list[tuple[Tensor, Tensor, Tensor]] = []
                for part in _parts(index, recipe.accumulate, runtime):
                    mine, labels = runtime.share(part, data.train.labels)
                    inputs = normalise(runtime.seen(view, mine), data.mean, data.std)
                    with runtime.accelerator.autocast():
                        logits = network(inputs)
                        advice = advise(inputs, mine) if advise is not None else None
                    # The sum over this process's samples; the step is that of the batch's mean.
                    total = criterion(logits / recipe.student_temperature, labels, advice)
                    runtime.accelerator.backward(total * (runtime.processes / len(index)))
                    session.loss += runtime.total(total.detach())
                    said.append((logits.detach(), labels, mine))
                if recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
                session.optimizer.step()
                runtime.learnt_together(model)
                if teacher:
                    teacher.observe(model, *runtime.whole(said))
                if clock.since_saved() >= often:
                    session.seconds = clock.saved()
                    session.save(folder, recipe.digest, step + 1, runtime.is_main)
            behind = 0
            speed = clock.images_per_second()
            row = evaluate(session, data, epoch, clock.seconds(), speed)
        except NotFiniteError as error:
            raise FloatingPointError(
                f"training diverged; try a learning_rate below {recipe.learning_rate:g} "
                f"(epoch {epoch}: {error})"
            ) from error
        session.close_epoch(row)
        if clock.since_saved() >= min(often, LULL):
            session.seconds = clock.saved()
            session.save(folder, recipe.digest, 0, runtime.is_main)
        if runtime.is_main:
            store.tell(recipe, session.history)
            if on_epoch:
                on_epoch(row)
    if runtime.is_main:
        finish(recipe, session, store, data)
    runtime.wait()
    return Run(recipe, store.root / recipe.digest)


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
        recipe.dataset,
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
