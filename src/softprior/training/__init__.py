"""One training run: its recipe, its data, its network, the loop, and where it is stored."""

from softprior.training.ensemble import ensemble
from softprior.training.fit import fit
from softprior.training.pretrained import Pretrained
from softprior.training.recipe import Recipe, generations
from softprior.training.store import Run, Store

__all__ = ["Pretrained", "Recipe", "Run", "Store", "ensemble", "fit", "generations"]
