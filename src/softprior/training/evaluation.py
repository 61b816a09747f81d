"""What a network says once it is trained, and what is kept of a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softprior import diagnostics
from softprior.training import schedule
from softprior.training.augment import normalise
from softprior.training.images import Dataset, Images
from softprior.training.provenance import provenance
from softprior.training.recipe import Recipe
from softprior.training.session import Session
from softprior.training.store import Run, Store


@torch.no_grad()
def predict(
    model: nn.Module, part: Images, data: Dataset, precision: str, batch_size: int = 512
) -> Tensor:
    """Float32 logits in eval mode, in order; the mode the model came in is restored."""
    training = model.training
    model.eval()
    logits = []
    for pixels in torch.split(part.pixels, batch_size):
        inputs = normalise(pixels.permute(0, 3, 1, 2), data.mean, data.std)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits.append(model(inputs).float())
    model.train(training)
    return torch.cat(logits).cpu()


def evaluate(session: Session, data: Dataset, epoch: int, seconds: float) -> dict[str, float]:
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
    }


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
        "teacher": recipe.teacher.digest if isinstance(recipe.teacher, Recipe) else recipe.teacher,
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
