"""What a network says about a part of the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softprior.training.augment import Views, normalise
from softprior.training.images import Dataset, Images


@torch.no_grad()
def predict(
    model: nn.Module, part: Images, data: Dataset, precision: str, batch_size: int = 512
) -> Tensor:
    """Float32 logits in eval mode, in order; the mode the model came in is restored.

    Each image is seen whole, brought to the size of the views that the model trains on.
    """
    training, device = model.training, data.mean.device
    model.eval()
    logits = []
    whole = Views(part.pixels, "none", data.size).epoch(torch.Generator())
    rows = torch.arange(len(part.pixels), device=part.pixels.device)
    for index in torch.split(rows, batch_size):
        inputs = normalise(whole(index).to(device), data.mean, data.std)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits.append(model(inputs).float())
    model.train(training)
    return torch.cat(logits).cpu()
