"""What is known of samples whose logits are never whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from softprior.batch import Batch

_MAY_BE_ASKED = {
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "layout", "ndim")),
    *(getattr(Tensor, name).__get__ for name in ("is_nested", "is_meta", "requires_grad")),
    *(Tensor.__len__, Tensor.size, Tensor.dim, Tensor.numel, Tensor.is_floating_point),
    *(Tensor.new_zeros, Tensor.new_ones, Tensor.new_full, Tensor.new_empty, Tensor.new_tensor),
}


class Unread(Tensor):
    """Logits that have a shape, a dtype and a device, and no values: to read them is an error."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.detach:
            return args[0]
        if func in _MAY_BE_ASKED:
            with torch._C.DisableTorchFunctionSubclass():
                made = func(*args, **(kwargs or {}))
                return made.as_subclass(Tensor) if isinstance(made, Tensor) else made
        raise ValueError(
            "all logits of a batch are asked for, and a linear head has none that are whole: use "
            "softprior.PosteriorLoss on logits = hidden @ weight.T instead of LinearPosteriorLoss"
        )


class HeadBatch(Batch):
    """A batch whose logits are :class:`Unread`.

    Args:
        like: of the shape, dtype and device of the logits.
        labels: class indices (N,), < 0 where ignored.
        margins: from nothing to the label margins (N,), for who asks for them.
        teacher_logits, options: as of :class:`softprior.Batch`.
    """

    def __init__(
        self,
        like: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        margins: Callable[[], Tensor],
        **options: Any,
    ) -> None:
        super().__init__(like.as_subclass(Unread), labels, teacher_logits, **options)
        self.margins = margins

    @property
    def label_margin(self) -> Tensor:
        if self._label_margin is None:
            self._label_margin = self.margins()
        return self._label_margin
