"""Who teaches a run: its teacher, and the temperature that is matched to it."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from softprior.matching import teacher_temperature
from softprior.priors import BetaPrior, TeacherPrior
from softprior.teachers import EMATeacher, FrozenTeacher, MemoryTeacher, StoredTeacher, Teacher
from softprior.training import models
from softprior.training.images import Dataset, generator
from softprior.training.prediction import predict
from softprior.training.pretrained import Pretrained
from softprior.training.recipe import Recipe
from softprior.training.store import Run


def network(recipe: Recipe, data: Dataset) -> nn.Module:
    """The recipe's network with its initial weights."""
    seed = generator("weights", recipe.seed, recipe.initialisation).initial_seed()
    return _laid_out(models.build(recipe.model, *_shape(data), seed), recipe)


def taught(
    recipe: Recipe, student: nn.Module, data: Dataset, taught_by: Run | None
) -> tuple[Recipe, Teacher | None]:
    """The recipe with its temperature filled in, and its teacher.

    ``taught_by`` is the finished run of a recipe that is the teacher.
    """
    if recipe.teacher == "ema":
        return recipe, _average(recipe, student, data)
    if recipe.teacher == "memory":
        ranks_only = isinstance(recipe.prior, BetaPrior)
        return recipe, MemoryTeacher(
            len(data.train.labels), None if ranks_only else len(data.classes)
        )
    if not isinstance(recipe.teacher, (Recipe, Pretrained)):
        return recipe, None
    if isinstance(recipe.teacher, Pretrained):
        earlier = _laid_out(recipe.teacher.network(*_shape(data)), recipe)
    else:
        assert taught_by is not None
        earlier = network(recipe.teacher, data)
        earlier.load_state_dict(taught_by.weights())
    if recipe.match_smoothing is None and recipe.votes == "live":
        return recipe, FrozenTeacher(earlier)
    if taught_by is not None:
        logits = taught_by.predictions("train")[0]
    else:
        at_work = copy.deepcopy(earlier).to(data.mean.device)
        logits = predict(at_work, data.train, data, recipe.precision)
    labels = data.train.labels.cpu()
    recipe = matched(recipe, logits, labels)
    if recipe.votes == "live":
        return recipe, FrozenTeacher(earlier)
    return recipe, StoredTeacher(arranged(recipe, logits, labels))


def matched(recipe: Recipe, logits: Tensor, labels: Tensor) -> Recipe:
    """The recipe with the temperature at which these votes smooth by ``match_smoothing``."""
    if recipe.match_smoothing is None or not isinstance(recipe.prior, TeacherPrior):
        return recipe
    temperature = teacher_temperature(
        logits, labels, smoothing=recipe.match_smoothing, weight=recipe.prior.strength
    )
    return replace(recipe, prior=replace(recipe.prior, temperature=temperature))


def arranged(recipe: Recipe, logits: Tensor, labels: Tensor) -> Tensor:
    """The votes (n, K) that ``recipe.votes`` makes of the teacher's logits, as logits.

    With p_i = softmax(logits_i / T) at the prior's temperature T, row i becomes T · log q_i,
    whose votes at T are

        stored:        q_i = p_i
        permuted:      q_i = p_j, j another sample of the class, by a random permutation
        class mean:    q_i = mean of p_j over the samples j of the class of i
        overall mean:  q_i = m on the label and (1 - m)/(K - 1) elsewhere, m = mean of p_{j, y_j}

    The mean of q_{i, y_i} is the same for all four: only what is specific to the instance goes,
    and at last what is specific to the class. Source: ours.
    """
    if recipe.votes == "stored":
        return logits
    K = logits.shape[1]
    if recipe.votes == "permuted":
        luck = torch.rand(len(labels), generator=generator("votes", recipe.seed))
        to = labels.argsort(stable=True)  # by class, in order of the samples
        of = luck.argsort()
        of = of[labels[of].argsort(stable=True)]  # by class, in random order
        return torch.empty_like(logits).index_copy_(0, to, logits[of])
    temperature = getattr(recipe.prior, "temperature", 1.0)
    p = torch.softmax(logits.double() / temperature, 1)
    if recipe.votes == "class mean":
        total = p.new_zeros(K, K).index_add_(0, labels, p)
        mean = total / labels.bincount(minlength=K).clamp(min=1)[:, None]
        q = mean[labels]
    else:
        on_label = p.gather(1, labels[:, None]).mean()
        q = torch.full_like(p, float((1 - on_label) / (K - 1)))
        q.scatter_(1, labels[:, None], float(on_label))
    return (temperature * q.log()).float()


def _average(recipe: Recipe, student: nn.Module, data: Dataset) -> EMATeacher:
    start = student
    if recipe.ema_start == "random":
        seed = generator("ema", recipe.seed, recipe.initialisation).initial_seed()
        start = _laid_out(models.build(recipe.model, *_shape(data), seed), recipe).to(
            data.mean.device
        )
    if recipe.ema_mode == "train":
        return EMATeacher(start, recipe.ema_decay, buffers="own", training=True)
    return EMATeacher(start, recipe.ema_decay)


def _shape(data: Dataset) -> tuple[tuple[int, int, int], int]:
    _, height, width, channels = data.train.pixels.shape
    return (channels, height, width), len(data.classes)


def _laid_out(model: nn.Module, recipe: Recipe) -> nn.Module:
    # Convolutions are faster so, on every device, and the batches come in this order anyway.
    if recipe.channels_last:
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
    return model
