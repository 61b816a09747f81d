"""What a study is asked for, looked at before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

from softprior.studies import Scale, Study
from softprior.training import Recipe, images
from softprior.training.resolve import check_networks


def with_data(scale: Scale, progress: Callable[[int, int], None] | None = None) -> Scale:
    """The scale, and what is in its data set; what is left out of it is told once."""
    if scale.dataset is None:
        return scale
    images.check(scale.dataset)
    fingerprint = images.fingerprint(scale.dataset, progress=progress)
    if notes := images.notes(scale.dataset):  # its runs are many, and each would say so
        warnings.warn(f"{scale.dataset}: {'; '.join(notes)}", stacklevel=2)
    counts = images.class_counts(scale.dataset)
    return replace(scale, fingerprint=fingerprint, counts=counts)


def part_taken(scale: Scale) -> str | None:
    """A line on the part of the data that a scale takes, where it is less than it would be."""
    usual = replace(scale, counts=None).part
    if scale.subset is not None or scale.part == usual:
        return None
    return (
        f"{scale.dataset} has less than {usual}, which scale {scale.name} takes: taken is "
        f"{scale.part}; --subset takes another part, --subset all everything"
    )


def recipes_of(name: str, study: Study, scale: Scale) -> list[Recipe]:
    """The recipes of a study.

    Raises:
        ValueError: it does not do what was asked for, there is too little data for it, or the
            images are too small for a network.
    """
    recipes = list(study.recipes(scale))
    for option, value in _asked(scale).items():
        if recipes and all(_field(recipe, option) != value for recipe in recipes):
            raise ValueError(
                f"study {name} has recipes of its own, and takes no --{option}: leave it out"
            )
    for data, subset, validation in {(r.dataset, r.subset, r.validation) for r in recipes}:
        if isinstance(data, str):
            try:
                images.check_split(data, subset, validation)
            except ValueError as error:
                raise ValueError(f"study {name}: {error}") from error
    try:
        check_networks(recipes)
    except ValueError as error:
        raise ValueError(f"study {name}: {error}") from error
    return recipes


def _asked(scale: Scale) -> dict[str, str | int | float]:
    """What somebody asked for, by the field of a recipe that it is."""
    asked = dict(scale.options)
    if scale.dataset is not None:
        asked["dataset"] = scale.dataset
    if scale.model is not None:
        asked["model"] = scale.model
    if scale.subset not in (None, "all"):
        asked["subset"] = images.parse(str(scale.subset)).text  # in one spelling, as a recipe's
    return asked


def _field(recipe: Recipe, name: str) -> object:
    value = getattr(recipe, name)
    return "all" if name == "subset" and value is None else value
