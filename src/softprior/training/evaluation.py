"""What a network says once it is trained, and what is kept of a run."""

from __future__ import annotations

from typing import Any

from softprior import diagnostics
from softprior.training import schedule
from softprior.training.images import Dataset
from softprior.training.prediction import predict
from softprior.training.pretrained import Pretrained
from softprior.training.provenance import provenance
from softprior.training.recipe import Recipe
from softprior.training.session import Session
from softprior.training.store import Run, Store


def evaluate(
    session: Session, data: Dataset, epoch: int, seconds: float, images_per_second: float
) -> dict[str, float]:
    """A row of the history; its learning rate is that of the epoch's end."""
    logits = predict(session.model, data.validation, data, session.recipe.precision)
    labels = data.validation.labels.cpu()
    return {
        "epoch": epoch,
        "loss": session.loss.item() / len(data.train.labels),
        "learning_rate": schedule.rate(session.recipe, (epoch - 1e-6) / session.recipe.epochs),
        "validation_accuracy": diagnostics.accuracy(logits, labels),
        "validation_nll": diagnostics.nll(logits, labels),
        "seconds": seconds,
        "images_per_second": images_per_second,
    }


def _named(teacher: Recipe | Pretrained | str | None) -> str | None:
    """A teacher in a word: the digest of its run, or the hash of its file."""
    if isinstance(teacher, Recipe):
        return teacher.digest
    return teacher.sha256 if isinstance(teacher, Pretrained) else teacher


def finish(recipe: Recipe, session: Session, store: Store, data: Dataset) -> Run:
    """Predictions of the last and the best epoch on every part, and all of it into the store."""
    last = {key: value.clone() for key, value in session.model.state_dict().items()}
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    predictions = {f"{name}_labels": part.labels for name, part in parts.items()}
    if recipe.label_noise:
        predictions["train_clean"] = data.train.clean
    for epoch, weights in (("last", last), ("best", session.best)):
        session.model.load_state_dict(weights)
        for name, part in parts.items():
            logits = predict(session.model, part, data, recipe.precision)
            predictions[f"{name}_logits_{epoch}"] = logits
    outcome: dict[str, Any] = {
        "best_epoch": session.best_epoch,
        "temperature": getattr(session.recipe.prior, "temperature", None),
        "teacher": _named(recipe.teacher),
        "data": data.told,
        "seconds": session.history[-1]["seconds"],
    }
    return store.put(
        recipe,
        tensors={"weights": last, "best": session.best, "predictions": predictions},
        history=session.history,
        outcome=outcome,
        provenance=provenance(),
    )
