"""Parts of one's own, as a user would write them, that change at the ends of epochs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softprior import Batch, Penalty, Prior, State, Teacher, TeacherSpec, TwoLevel
from softprior.counts import Counts
from softprior.teachers import Setting
from softprior.teachers.base import frozen_copy, unwrapped


class ClassMeans(State):
    """What the last epoch has said of each class, on average; the running sum is the next one's."""

    means: Tensor
    sums: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.full((num_classes, num_classes), 1 / num_classes))
        self.register_buffer("sums", torch.zeros(num_classes, num_classes))

    def observe(self, batch: Batch) -> None:
        valid = batch.labels >= 0
        p = torch.softmax(batch.logits[valid].float(), 1)
        self.sums.index_add_(0, batch.labels[valid], p)

    def end_epoch(self) -> None:
        total = self.sums.sum(1, keepdim=True)
        self.means.copy_(torch.where(total > 0, self.sums / total, self.means))
        self.sums.zero_()


@dataclass(frozen=True)
class ClassMeansPrior(Prior):
    """Imaginary labels as the last epoch has said them of the class."""

    strength: float = 0.3

    def state(self, num_samples: int | None, num_classes: int | None) -> ClassMeans:
        assert num_classes is not None
        return ClassMeans(num_classes)

    def counts(self, batch: Batch) -> Counts:
        means = batch.state(self).means
        assert isinstance(means, Tensor)
        return self.strength * means[batch.labels.clamp(min=0)].to(batch.dtype)


@dataclass(frozen=True)
class FallingPrior(Prior):
    """Label smoothing with a label that weighs less from epoch to epoch."""

    strength: float = 0.2
    decides_label_weight = True

    def counts(self, batch: Batch) -> Counts:
        return TwoLevel(0.0, self.strength / (batch.num_classes - 1))

    def label_weight_of(self, batch: Batch) -> Tensor | float:
        return 1 - 0.5 * batch.progress


class Epochs(State):
    """How many epochs are over."""

    done: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("done", torch.zeros(()))

    def end_epoch(self) -> None:
        self.done += 1


@dataclass(frozen=True)
class GrowingPenalty(Penalty):
    """The sum of squared probabilities, more of it from epoch to epoch."""

    weight: float = 0.1

    def state(self, num_samples: int | None, num_classes: int | None) -> Epochs:
        return Epochs()

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        done = batch.state(self).done
        assert isinstance(done, Tensor)
        return self.weight * done * torch.softmax(logits, 1).square().sum(1)


class SnapshotTeacher(Teacher):
    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.network = frozen_copy(student)

    @torch.no_grad()
    def forward(
        self, inputs: Tensor, index: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        logits: Tensor = self.network(inputs)
        return logits

    def end_epoch(self, model: nn.Module) -> None:
        self.network.load_state_dict(unwrapped(model).state_dict())


@dataclass(frozen=True)
class Snapshot(TeacherSpec):
    """The student as it was at the end of the last epoch."""

    has_network = True

    def build(self, student: nn.Module, setting: Setting) -> SnapshotTeacher:
        return SnapshotTeacher(student)


def network(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """A linear network."""
    channels, height, width = shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, num_classes))
