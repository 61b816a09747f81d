"""Does a prior of one's own beat two built-in ones, on a network and data of one's own?

Claim: counts that lean on the student's own confidence train a more accurate student.
Paper: not in it; an example of all that can be brought from outside the package.
Run: python examples/own_study.py, or softprior study examples/own_study.py
Cost: about 15 s on 2 cores of an AMD EPYC.
Expected: cannot tell.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sklearn.datasets import load_digits
from torch import nn

import softprior
from softprior import Batch, OwnData, Prior, Recipe, TwoLevel
from softprior.evidence import Claim, Table
from softprior.studies import Scale, by_method, compare
from softprior.training import Run


@dataclass(frozen=True)
class BoldPrior(Prior):
    """Imaginary labels on the label as far as the student believes it, else on the others."""

    strength: float = 0.3
    label = "bold"

    def counts(self, batch: Batch) -> TwoLevel:
        p = batch.label_margin.sigmoid()  # of the label
        return TwoLevel(self.strength * p, self.strength * (1 - p) / (batch.num_classes - 1))


def network(shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Whatever makes a network from (channels, height, width) and the number of classes."""
    channels, height, width = shape
    convolution = nn.Conv2d(channels, 16, 3, padding=1)
    head = nn.Linear(16 * height * width, num_classes)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), head)


def data() -> OwnData:
    """Any arrays of uint8 images and labels from 0; here the even digits."""
    digits = load_digits()
    even = digits.target % 2 == 0
    arrays = digits.images[even].astype("uint8"), digits.target[even] // 2
    return OwnData.of(arrays, classes=tuple("02468"), name="even digits")


def recipes(scale: Scale) -> Iterator[Recipe]:
    """The runs: three priors for each seed, and all else alike."""
    for seed in scale.seeds:
        for prior in (BoldPrior(), softprior.UniformPrior(), softprior.BetaPrior()):
            yield Recipe(dataset=data(), model=network, prior=prior, epochs=8, seed=seed)


def show(runs: Sequence[Run]) -> Iterator[Claim | Table]:
    """A verdict and a table."""
    found = compare(by_method(runs))
    bold, *others = found.methods
    gaps = {f"over {m.label}": found.gap(bold, m, "accuracy") for m in others}
    yield found.claim_gaps("The bold prior is the most accurate.", gaps, "accuracy", "higher")
    yield found.levels("scores", "Test scores")


if __name__ == "__main__":
    print(
        "run:",
        softprior.fit(next(recipes(Scale(name="desk", seeds=range(1)))), "results/runs").path,
    )
    print("report:", softprior.run_study(sys.modules[__name__]))
