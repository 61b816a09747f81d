"""Who teaches a run: its teacher, and the temperature that is matched to it."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from softprior.priors import Prior
from softprior.teachers import FrozenTeacher, Setting, StoredTeacher, Teacher
from softprior.training import models
from softprior.training.augment import Views
from softprior.training.images import Dataset, generator
from softprior.training.prediction import predict
from softprior.training.pretrained import Pretrained
from softprior.training.recipe import Recipe
from softprior.training.run import Run


def network(recipe: Recipe, data: Dataset, stream: str = "weights") -> nn.Module:
    """The recipe's network with its initial weights, drawn from one of the seed's streams."""
    seed = generator(stream, recipe.seed, recipe.initialisation).initial_seed()
    return _to_memory_format(models.build(recipe.model, *_shape(data), seed), recipe)


def build_teacher(
    recipe: Recipe, student: nn.Module, data: Dataset, teacher_run: Run | None
) -> tuple[Prior | None, Teacher | None]:
    """The prior, with its temperature filled in, and the teacher.

    ``teacher_run`` is the finished run of a recipe that is the teacher.
    """
    prior, spec = recipe.prior, recipe.teacher
    if spec is None or prior is None:
        return prior, None
    if not isinstance(spec, (Recipe, Pretrained)):
        device = data.mean.device
        setting = Setting(
            num_samples=len(data.train.labels),
            num_classes=len(data.classes),
            ranks_only=prior.ranks_only,
            another_network=lambda: network(recipe, data, "ema").to(device),
        )
        return prior, spec.build(student, setting)
    if isinstance(spec, Pretrained):
        earlier = _to_memory_format(spec.network(*_shape(data)), recipe)
    else:
        assert teacher_run is not None
        earlier = network(spec, data)
        earlier.load_state_dict(teacher_run.weights())
    if recipe.match_smoothing is None and recipe.teacher_targets == "live":
        return prior, FrozenTeacher(earlier)
    labels = data.train.labels.cpu()
    views = recipe.teacher_targets == "live" and recipe.augment != "none"
    if teacher_run is not None and not views:
        logits = teacher_run.predictions("train")[0]
    else:
        at_work = copy.deepcopy(earlier).to(data.mean.device)
        # The student is taught on views, of which a teacher is less sure than of the images.
        seen = data.train._replace(pixels=_a_view(recipe, data)) if views else data.train
        logits = predict(at_work, seen, data, recipe.precision)
    if recipe.match_smoothing is not None:
        prior = prior.matched(recipe.match_smoothing, logits, labels)
    if recipe.teacher_targets == "live":
        return prior, FrozenTeacher(earlier)
    return prior, StoredTeacher(control_targets(replace(recipe, prior=prior), logits, labels))


def _a_view(recipe: Recipe, data: Dataset) -> Tensor:
    """A view of each training image, drawn as an epoch's are; (n, H, W, C), in memory."""
    pixels = data.train.pixels
    view = Views(pixels, recipe.augment, data.size).epoch(generator("matching", recipe.seed))
    index = torch.arange(len(pixels), device=pixels.device)
    return torch.cat([view(i).permute(0, 2, 3, 1).cpu() for i in torch.split(index, 512)])


def control_targets(recipe: Recipe, logits: Tensor, labels: Tensor) -> Tensor:
    """The targets (n, K) that ``recipe.teacher_targets`` makes of a teacher's logits, as logits.

    With p_i = softmax(logits_i / T) at the prior's temperature T, row i becomes T · log q_i,
    whose probabilities at T are

        stored:        q_i = p_i
        permuted:      q_i = p_j, j another sample of the class, by a random permutation
        class mean:    q_i = mean of p_j over the samples j of the class of i
        overall mean:  q_i = m on the label and (1 - m)/(K - 1) elsewhere, m = mean of p_{j, y_j}

    and where λ = ``recipe.target_diversity`` is below 1, stored and permuted ones become λ q_i +
    (1 - λ) · overall mean. The mean of q_{i, y_i} is the same for all. The controls remove first
    what is specific to the instance, then what is specific to its class. Source: ours.
    """
    own = recipe.target_diversity
    if recipe.teacher_targets == "stored" and own == 1:
        return logits
    K = logits.shape[1]
    if recipe.teacher_targets == "permuted":
        drawn = torch.rand(len(labels), generator=generator("targets", recipe.seed))
        to = labels.argsort(stable=True)  # by class, in order of the samples
        of = drawn.argsort()
        of = of[labels[of].argsort(stable=True)]  # by class, in random order
        logits = torch.empty_like(logits).index_copy_(0, to, logits[of])
        if own == 1:
            return logits
    temperature = 1.0 if recipe.prior is None else recipe.prior.teacher_temperature
    p = torch.softmax(logits.double() / temperature, 1)
    if recipe.teacher_targets == "class mean":
        total = p.new_zeros(K, K).index_add_(0, labels, p)
        mean = total / labels.bincount(minlength=K).clamp(min=1)[:, None]
        q = mean[labels]
    else:
        own = 0.0 if recipe.teacher_targets == "overall mean" else own
        on_label = p.gather(1, labels[:, None]).mean()
        q = torch.full_like(p, float((1 - on_label) / (K - 1)))
        q.scatter_(1, labels[:, None], float(on_label)).lerp_(p, own)
    tiny = torch.finfo(q.dtype).tiny  # at a low temperature a class may have no share at all
    return (temperature * q.clamp(min=tiny).log()).float()


def _shape(data: Dataset) -> tuple[tuple[int, int, int], int]:
    return (data.train.pixels.shape[-1], *data.size), len(data.classes)


def _to_memory_format(model: nn.Module, recipe: Recipe) -> nn.Module:
    # Convolutions are faster so, on every device, and the batches come in this order anyway.
    if recipe.channels_last:
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
    return model
