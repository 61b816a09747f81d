"""What changes while a run trains, in one place: so that it can be saved, and set back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from softprior.losses import ConfidencePenalty
from softprior.matching import teacher_temperature
from softprior.posterior import PosteriorLoss
from softprior.priors import BetaPrior, TeacherPrior
from softprior.teachers import EMATeacher, FrozenTeacher, MemoryTeacher, Teacher
from softprior.training import checkpoint, models, schedule
from softprior.training.images import Dataset, generator
from softprior.training.recipe import Recipe
from softprior.training.store import Run


@dataclass
class Session:
    """A run in the making. ``epoch`` epochs and ``step`` steps of the next are behind it."""

    recipe: Recipe  # with the temperature that matching asks for filled in
    model: nn.Module
    teacher: Teacher | None
    criterion: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Tensor  # sum over the samples of this epoch; a tensor, for reading it is a sync
    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_accuracy: float = -1.0

    @classmethod
    def start(
        cls, recipe: Recipe, data: Dataset, taught_by: Run | None, device: torch.device
    ) -> Session:
        """A fresh session; ``taught_by`` is the finished run of a recipe that is the teacher."""
        torch.manual_seed(generator("dropout", recipe.seed).initial_seed())
        model = network(recipe, data).to(device)
        teacher = _teacher(recipe, model, data, taught_by)
        if taught_by is not None:
            recipe = matched(recipe, taught_by)
        return cls(
            recipe=recipe,
            model=model,
            teacher=teacher.to(device) if teacher else None,
            criterion=_criterion(recipe),
            optimizer=schedule.optimizer(recipe, model.parameters()),
            loss=torch.zeros((), dtype=torch.float64, device=device),
        )

    def close_epoch(self, row: dict[str, float]) -> None:
        """Take an epoch's row into the history; of equally good epochs the later is the best."""
        self.epoch = int(row["epoch"])
        self.loss = torch.zeros_like(self.loss)
        self.history.append(row)
        if row["validation_accuracy"] >= self.best_accuracy:
            self.best_epoch, self.best_accuracy = self.epoch, row["validation_accuracy"]
            self.best = {key: value.clone() for key, value in self.model.state_dict().items()}

    def redraw(self, epoch: int, step: int) -> None:
        """Make the criterion's draws a function of (seed, epoch, step): the same on every rank."""
        if isinstance(self.criterion, PosteriorLoss):
            key = generator("prior", self.recipe.seed, epoch, step).initial_seed()
            self.criterion.generator.manual_seed(key)

    def save(self, folder: Path, digest: str, step: int, is_main: bool) -> None:
        """Write a checkpoint from which the run goes on to the same bits; one process does."""
        if not is_main:
            return
        tensors = {
            "model": self.model.state_dict(),
            "teacher": self.teacher.state_dict() if self.teacher else {},
            "optimizer": checkpoint.optimizer_tensors(self.optimizer),
            "best": self.best,
            "rest": {"loss": self.loss, "generator": torch.get_rng_state()},
        }
        names = ("epoch", "seconds", "history", "best_epoch", "best_accuracy")
        state = {name: getattr(self, name) for name in names}
        checkpoint.save(folder, digest, tensors, state, step)

    def resume(self, folder: Path, digest: str) -> int:
        """Set everything back to the newest checkpoint, if any; returns the step to go on at."""
        found = checkpoint.load(folder, digest)
        if found is None:
            return 0
        tensors, state, step = found
        self.model.load_state_dict(tensors["model"])
        if self.teacher and "teacher" in tensors:
            self.teacher.load_state_dict(tensors["teacher"])
        checkpoint.load_optimizer(self.optimizer, tensors.get("optimizer", {}))
        self.best = {k: v.to(self.loss.device) for k, v in tensors.get("best", {}).items()}
        self.loss = tensors["rest"]["loss"].to(self.loss.device)
        torch.set_rng_state(tensors["rest"]["generator"])
        for name, value in state.items():
            setattr(self, name, value)
        return step


def network(recipe: Recipe, data: Dataset) -> nn.Module:
    """The recipe's network with its initial weights."""
    _, height, width, channels = data.train.pixels.shape
    seed = generator("weights", recipe.seed, recipe.initialisation).initial_seed()
    model = models.build(recipe.model, (channels, height, width), len(data.classes), seed)
    # Convolutions are faster so, on every device, and the batches come in this order anyway.
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def matched(recipe: Recipe, taught_by: Run) -> Recipe:
    """The recipe with the temperature at which the teacher smooths by ``match_smoothing``."""
    if recipe.match_smoothing is None or not isinstance(recipe.prior, TeacherPrior):
        return recipe
    logits, labels = taught_by.predictions("train")
    temperature = teacher_temperature(
        logits, labels, smoothing=recipe.match_smoothing, weight=recipe.prior.strength
    )
    return replace(recipe, prior=replace(recipe.prior, temperature=temperature))


def _teacher(
    recipe: Recipe, model: nn.Module, data: Dataset, taught_by: Run | None
) -> Teacher | None:
    if recipe.teacher == "ema":
        return EMATeacher(model, recipe.ema_decay)
    if recipe.teacher == "memory":
        ranks_only = isinstance(recipe.prior, BetaPrior)
        return MemoryTeacher(len(data.train.labels), None if ranks_only else len(data.classes))
    if isinstance(recipe.teacher, Recipe) and taught_by is not None:
        earlier = network(recipe.teacher, data)
        earlier.load_state_dict(taught_by.weights())
        return FrozenTeacher(earlier)
    return None


def _criterion(recipe: Recipe) -> nn.Module:
    if recipe.confidence_penalty:
        return ConfidencePenalty(recipe.confidence_penalty, reduction="sum")
    return PosteriorLoss(recipe.prior, label_weight=recipe.label_weight, reduction="sum")
