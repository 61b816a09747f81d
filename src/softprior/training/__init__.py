"""One training run: its recipe, its data, its network, the loop, and where it is stored."""

from softprior.training.ensemble import ensemble
from softprior.training.images import OwnData
from softprior.training.loop import fit
from softprior.training.pretrained import Pretrained
from softprior.training.recipe import Recipe, generations
from softprior.training.resolve import resolve, resolve_all
from softprior.training.run import Run
from softprior.training.store import Store

__all__ = [
    "OwnData",
    "Pretrained",
    "Recipe",
    "Run",
    "Store",
    "ensemble",
    "fit",
    "generations",
    "resolve",
    "resolve_all",
]
