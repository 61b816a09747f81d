"""Which name was meant by one that is unknown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

# What other programs call an option of ours: no letters lead from one to the other.
_ELSEWHERE = {
    "learning_rate": "lr eta base_lr",
    "batch_size": "bs b batch batchsize train_batch_size",
    "weight_decay": "wd decay l2",
    "epochs": "n_epochs num_epochs max_epochs e",
    "dataset": "data data_dir data_path dataset_dir d",
    "model": "net network arch architecture backbone m",
    "out": "output output_dir out_dir save_dir o",
    "seed": "random_seed random_state",
    "seeds": "runs repeats",
    "optimizer": "opt optim",
    "schedule": "scheduler lr_scheduler sched",
    "accumulate": "grad_accum gradient_accumulation_steps accumulation_steps",
    "clip_norm": "clip_grad grad_clip max_grad_norm",
    "validation": "val val_split valid",
    "resolution": "image_size img_size input_size size",
    "view_size": "crop_size crop",
    "normalisation": "normalization normalize normalise mean std",
    "precision": "fp16 bf16 amp dtype",
    "cpu": "device no_cuda",
    "processes": "nproc gpus world_size",
    "workers": "jobs j num_workers",
    "prior.strength": "label_smoothing smoothing alpha",
    "prior": "loss method",
    "teacher.decay": "ema_decay",
    "formats": "format",
}
_OURS = {theirs: ours for ours, names in _ELSEWHERE.items() for theirs in names.split()}


def ours(name: str) -> str | None:
    """The option that is meant by somebody else's name for it, if any is."""
    return _OURS.get(name.lower())


def nearest(
    what: str, name: str, known: Iterable[str], hint: str, meant: Sequence[str] = ()
) -> str:
    """An unknown name, and the three known ones that are nearest to it, or those ``meant``."""
    bare = {option.lstrip("-"): option for option in known}  # all begin alike
    near = [option.lstrip("-") for option in meant[:3]] or difflib.get_close_matches(
        name.lstrip("-").replace("-", "_").lower(), bare, n=3
    )
    near = near or [option for option in bare if option.startswith(name.lstrip("-"))][:3]
    near = near or list(bare)[:3]
    wanted = " or ".join(repr(bare[option]) for option in near)
    return f"unknown {what} {name!r}: did you mean {wanted}? {hint}"
