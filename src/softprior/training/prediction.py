"""What a network says about a part of the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softprior.training.augment import normalise
from softprior.training.images import Dataset, Images


@torch.no_grad()
def predict(
    model: nn.Module, part: Images, data: Dataset, precision: str, batch_size: int = 512
) -> Tensor:
    """Float32 logits in eval mode, in order; the mode the model came in is restored."""
    training, device = model.training, data.mean.device
    model.eval()
    logits = []
    for pixels in torch.split(part.pixels, batch_size):
        inputs = normalise(pixels.to(device).permute(0, 3, 1, 2), data.mean, data.std)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits.append(model(inputs).float())
    model.train(training)
    return torch.cat(logits).cpu()
