"""How much the real label weighs beside the imaginary ones, where nobody says."""

from __future__ import annotations

from softprior import checks
from softprior.priors import Prior


def resolved_label_weight(prior: object, label_weight: float | None) -> float | None:
    """The weight of the real label; None where the prior decides it batch by batch.

    Raises:
        ValueError: an explicit one beside a prior that decides it, or a usual mix below 0.
    """
    own = isinstance(prior, Prior) and prior.decides_label_weight
    if label_weight is not None:
        checks.number("label_weight", label_weight, -1)
        if own:
            raise ValueError(
                f"{prior} decides the weight of the label itself, as training goes on: leave "
                f"label_weight out, got {label_weight:g}"
            )
        return label_weight
    if own:
        return None
    if not isinstance(prior, Prior):
        return 1.0
    usual = prior.usual_label_weight
    if usual < 0:
        raise ValueError(
            f"the usual mix of {prior} leaves {usual:g} to the label: pass label_weight (1 for "
            "the MAP objective, 0 for the imaginary labels alone)"
        )
    return usual
