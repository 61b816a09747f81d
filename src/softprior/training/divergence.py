"""Training that diverged: it ends with an error, and is never stored as finished."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from softprior.training.recipe import Recipe


def diverged(recipe: Recipe, where: str) -> FloatingPointError:
    """The error, which says what to do."""
    return FloatingPointError(
        f"training diverged; try a learning_rate below {recipe.learning_rate:g} ({where})"
    )


def check_finite(recipe: Recipe, files: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Raise unless all weights and predictions that are to be stored are finite."""
    for file, tensors in files.items():
        for name, values in tensors.items():
            if values.is_floating_point() and not values.isfinite().all():
                raise diverged(recipe, f"not all of {name} in the {file} is finite")
