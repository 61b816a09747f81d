"""The only training loop."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from softprior import gathering
from softprior.checks import NotFiniteError
from softprior.training import images, schedule
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
        checkpoint_every: seconds after which a step writes a checkpoint. Without it one is
            written after an epoch, where the last is ten seconds old.
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
        taught_by = fit(recipe.teacher, store, on_epoch, checkpoint_every=checkpoint_every, cpu=cpu)
    runtime = Runtime(recipe.precision, cpu=cpu)
    data = runtime.place(load(recipe))
    session = Session.start(recipe, data, taught_by, runtime.device)
    folder = store.partial(recipe)
    behind = session.resume(folder, recipe.digest)
    runtime.wait()
    model, teacher, criterion = session.model, session.teacher, session.criterion
    network = runtime.prepare(model)
    views = Views(data.train.pixels, recipe.augment)
    clock = _Clock(session.seconds)
    often = LULL if checkpoint_every is None else checkpoint_every

    for epoch in range(session.epoch + 1, recipe.epochs + 1):
        view = views.epoch(generator("augment", recipe.seed, epoch))
        batches = order(len(data.train.labels), recipe.batch_size, recipe.seed, epoch, runtime)
        model.train()
        try:
            for step, index in enumerate(batches):
                if step < behind:
                    continue
                progress = (epoch - 1 + (step + 0.5) / len(batches)) / recipe.epochs
                for group in session.optimizer.param_groups:
                    group["lr"] = schedule.rate(recipe, progress)
                session.redraw(epoch, step)
                mine, labels = runtime.share(index, data.train.labels)
                inputs = normalise(view(mine), data.mean, data.std)
                with runtime.accelerator.autocast():
                    logits = network(inputs)
                    advice = teacher(inputs, mine) if teacher else None
                total = criterion(logits, labels, advice)  # the sum over this process's samples
                session.optimizer.zero_grad()
                runtime.accelerator.backward(total * (runtime.processes / len(index)))
                if recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
                session.optimizer.step()
                runtime.learnt_together(model)
                if teacher:
                    said = (gathering.whole(t) for t in (logits.detach(), labels, mine))
                    teacher.observe(model, *said)
                session.loss += runtime.total(total.detach())
                if checkpoint_every is not None and clock.since_saved() >= often:
                    session.seconds = clock.saved()
                    session.save(folder, recipe.digest, step + 1, runtime.is_main)
            behind = 0
            row = evaluate(session, data, epoch, clock.seconds())
        except NotFiniteError as error:
            raise FloatingPointError(
                f"training diverged; try a learning_rate below {recipe.learning_rate:g} "
                f"(epoch {epoch}: {error})"
            ) from error
        session.close_epoch(row)
        if clock.since_saved() >= often:
            session.seconds = clock.saved()
            session.save(folder, recipe.digest, 0, runtime.is_main)
        if on_epoch and runtime.is_main:
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

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def since_saved(self) -> float:
        return time.perf_counter() - self.last

    def saved(self) -> float:
        self.last = time.perf_counter()
        return self.seconds()


def load(recipe: Recipe) -> Dataset:
    """The recipe's data, decoded, split and with its label noise."""
    return images.load(
        recipe.dataset,
        seed=recipe.seed,
        validation=recipe.validation,
        resolution=recipe.resolution,
        subset=recipe.subset,
        label_noise=recipe.label_noise,
        noise_kind=recipe.noise_kind,
    )


def order(n: int, batch_size: int, seed: int, epoch: int, runtime: Runtime) -> list[Tensor]:
    """The batches' indices of one epoch: a function of (seed, epoch) alone."""
    shuffled = torch.randperm(n, generator=generator("order", seed, epoch)).to(runtime.device)
    chunks = list(torch.split(shuffled, batch_size))
    # Batch norm cannot train on one sample, and a process cannot on none.
    if len(chunks) > 1 and len(chunks[-1]) < 2 * runtime.processes:
        chunks[-2:] = [torch.cat(chunks[-2:])]
    return chunks
