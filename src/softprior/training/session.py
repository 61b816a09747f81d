"""What changes while a run trains, in one place: so that it can be saved, and set back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from softprior.losses import ConfidencePenalty
from softprior.posterior import PosteriorLoss
from softprior.teachers import Teacher
from softprior.training import checkpoint, schedule
from softprior.training.images import Dataset, generator
from softprior.training.recipe import Recipe
from softprior.training.store import Run
from softprior.training.taught import network, taught


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
        recipe, teacher = taught(recipe, model, data, taught_by)
        return cls(
            recipe=recipe,
            model=model,
            teacher=teacher.to(device) if teacher else None,
            criterion=_criterion(recipe).to(device),
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

    def begin_step(self, epoch: int, step: int, steps: int) -> None:
        """Set the learning rate, forget the gradient, and make the criterion's draws a function
        of (seed, epoch, step): the same on every rank, and after every resume."""
        progress = (epoch - 1 + (step + 0.5) / steps) / self.recipe.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.rate(self.recipe, progress)
        self.optimizer.zero_grad()
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
            "criterion": self.criterion.state_dict(),
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
        self.criterion.load_state_dict(tensors.get("criterion", {}))
        checkpoint.load_optimizer(self.optimizer, tensors.get("optimizer", {}))
        self.best = {k: v.to(self.loss.device) for k, v in tensors.get("best", {}).items()}
        self.loss = tensors["rest"]["loss"].to(self.loss.device)
        torch.set_rng_state(tensors["rest"]["generator"])
        for name, value in state.items():
            setattr(self, name, value)
        return step


def _criterion(recipe: Recipe) -> nn.Module:
    if recipe.confidence_penalty:
        return ConfidencePenalty(recipe.confidence_penalty, reduction="sum")
    return PosteriorLoss(recipe.prior, label_weight=recipe.label_weight, reduction="sum")
