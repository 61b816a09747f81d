"""A penalty, a teacher and data sets of one's own: the package stays as it is.

softprior fit --penalty examples/own_parts.py:LogitPenalty --penalty.weight 0.01
softprior fit --prior teacher --teacher examples/own_parts.py:ClassMean --teacher.momentum 0.9
softprior fit --dataset examples/own_parts.py:tensors
softprior fit --dataset examples/own_parts.py:torch_dataset
softprior fit --dataset examples/own_parts.py:hugging_face  # wants Hugging Face datasets
"""

from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset

from softprior import Batch, Penalty, Teacher, TeacherSpec
from softprior.teachers import Setting


@dataclass(frozen=True)
class LogitPenalty(Penalty):
    """Keeps logits near their mean: weight · the variance over classes."""

    weight: float = 0.01

    def losses(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.weight * logits.var(dim=1, correction=0)


@dataclass(frozen=True)
class ClassMean(TeacherSpec):
    """The mean logits of each class, as the student has had them."""

    momentum: float = 0.9
    label = "class mean"

    def build(self, student: nn.Module, setting: Setting) -> Teacher:
        return ClassMeanTeacher(setting.num_classes, self.momentum)


class ClassMeanTeacher(Teacher):
    """Keeps its table in a buffer, so that a run that was killed goes on with it."""

    def __init__(self, num_classes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("table", torch.zeros(num_classes, num_classes))

    def forward(
        self, inputs: Tensor, index: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        assert labels is not None
        return self.table[labels.clamp(min=0)]

    @torch.no_grad()
    def observe(self, model: nn.Module, logits: Tensor, labels: Tensor, index: Tensor) -> None:
        for c in range(len(self.table)):
            of_class = logits[labels == c]
            if len(of_class):
                self.table[c].lerp_(of_class.mean(0).to(self.table), 1 - self.momentum)


def tensors() -> tuple[Tensor, Tensor]:
    """Images and labels: tensors (n, H, W) or (n, C, H, W); arrays would have C last."""
    digits = load_digits()
    return torch.from_numpy(digits.images.astype("uint8")), torch.from_numpy(digits.target)


class Digits(Dataset[tuple[Tensor, int]]):
    """Anything with a length and items (image, label); images as uint8 or from PIL."""

    def __init__(self, part: slice) -> None:
        images, labels = tensors()
        self.images, self.labels = images[part], labels[part]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        return self.images[at], int(self.labels[at])


def torch_dataset() -> dict[str, Digits]:
    """Both parts; without a test part a stratified fifth is one."""
    return {"train": Digits(slice(0, 1200)), "test": Digits(slice(1200, None))}


def hugging_face() -> Any:
    """A Dataset with an Image and a ClassLabel column; a DatasetDict has both parts."""
    import datasets
    from PIL import Image

    images, labels = tensors()
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=[str(c) for c in range(10)]),
    }
    return datasets.Dataset.from_dict(
        {
            "image": [Image.fromarray(image) for image in images.numpy()],
            "label": labels.tolist(),
        },
        features=datasets.Features(features),
    )
