"""Predictions from a file: logits or probabilities of a set of samples, and their labels.

One file per format.
"""

from __future__ import annotations

import os
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softprior import checks
from softprior.labels import sum_tolerance
from softprior.predictions import csv, npz, parquet
from softprior.predictions._columns import BINARY, REMEDY

# What the libraries below raise of files that are damaged, or larger than memory.
WRONG = (
    *(ValueError, TypeError, OSError, RuntimeError),
    *(MemoryError, ArithmeticError, LookupError, EOFError),
)

__all__ = ["read_predictions"]

_ROUNDING = 1e-9  # of sums of decimals: 0.49 + 0.49 is not 0.98


def read_predictions(path: str | Path) -> tuple[Tensor, Tensor]:
    """Logits or log-probabilities (n, K) and labels int64 (n,) from an npz, CSV or Parquet file.

    * ``.npz``: arrays ``logits`` or ``probs`` (n, K) and ``labels`` (n,). Pickled objects are
      never loaded.
    * ``.csv``, ``.parquet``: a column ``label`` and one column per class, ``logit_0`` to
      ``logit_{K-1}`` or ``prob_0`` to ``prob_{K-1}``, in any order; other columns are ignored.
      CSV is separated by commas, semicolons or tabs.

    Labels are class indices; floats of integral value are accepted. Logits must be finite; they
    stay float32 or become float64. Probabilities must be ≥ 0 and sum to 1 as nearly as they do when
    rounded to bfloat16 or four decimals: within 0.02, or K / 20,000 where that is more. They are
    divided by their sums, with a warning where one is off by more than 0.001, and returned as
    float64 log-probabilities, those below the smallest normal number raised to it: log 0 is
    taken as -708.4.

    Rows are counted from 0, a CSV's header not included.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: anything else that is wrong with it, in one line that begins with its path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be text or a pathlib.Path, got {checks.shown(path)}")
    path = Path(path)
    readers = {".csv": csv.read, ".npz": npz.read, ".parquet": parquet.read}
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path}: is a directory, wanted one of its files ({', '.join(readers)})")
    if not path.is_file():  # opening a pipe would wait for ever
        raise ValueError(f"{path}: is a pipe or a device, wanted a file; write the data to one")
    suffix = path.suffix.lower()
    try:
        if suffix not in readers:
            raise ValueError(checks.unknown("kind of file", suffix, readers))
        if path.stat().st_size == 0:
            raise ValueError("the file is empty")
        scores, are_probabilities, labels = readers[suffix](path)
        logits = _logits(scores, are_probabilities)
        return logits, _labels(logits, labels)
    except MemoryError as error:
        raise ValueError(f"{path}: there is not enough memory for it; {REMEDY}") from error
    except (*WRONG, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ValueError(f"{path}: cannot be read: {os.strerror(error.errno)}") from error
        # Libraries' own errors may have many lines; the first says what is wrong.
        raise ValueError(f"{path}: {(str(error).splitlines() or ['unreadable'])[0]}") from error


def _logits(scores: Any, are_probabilities: bool) -> Tensor:
    """Scores (n, K) as finite logits or log-probabilities."""
    rows, classes = scores.shape
    if rows == 0:
        raise ValueError("there are no rows")
    if classes < 2:
        raise ValueError(f"there is K = {classes} class, {BINARY}")
    keep = scores.dtype.kind == "f" and scores.dtype.itemsize <= 4 and not are_probabilities
    # A fresh array in the machine's byte order, as torch wants it.
    values = torch.from_numpy(scores.astype(np.float32 if keep else np.float64))
    if not are_probabilities:
        checks.finite_logits(values)
        return values
    wrong = ~(values >= 0) | values.isinf()  # NaN too
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"probabilities must be ≥ 0 and finite, got {values[row, column].item():g} in row "
            f"{row}, class {column}; if these are logits, name them so"
        )
    sums = values.sum(1, keepdim=True)
    off = (sums - 1).abs()
    tolerance = max(sum_tolerance(torch.bfloat16, classes), classes / 2 * 1e-4)
    row = int(off.argmax())
    found = f"row {row} sums to {sums[row].item():.6g}"
    if off[row] > tolerance + _ROUNDING:
        raise ValueError(
            f"probabilities must sum to 1 over the classes (within {tolerance:.2g}), {found}; if "
            "they were rounded to few decimals, divide each row by its sum; if these are logits, "
            "name them so"
        )
    if off[row] > 1e-3:
        warnings.warn(
            f"probabilities were divided by their sums, as of {int((off > 1e-3).sum())} of {rows} "
            f"rows they do not sum to 1: {found}",
            stacklevel=3,
        )
    return (values / sums).clamp_(min=sys.float_info.min).log_()


def _labels(logits: Tensor, labels: Any) -> Tensor:
    """Labels (n,) as int64, in range."""
    if labels.dtype.kind == "f":
        fractional = ~(np.isfinite(labels) & (labels == np.floor(labels)))
        if fractional.any():
            row = int(fractional.argmax())
            raise ValueError(f"labels must be integers, got {labels[row]:g} in row {row}")
    wrong = (labels < 0) | (labels >= logits.shape[1])
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"labels must be in 0..{logits.shape[1] - 1} (K = {logits.shape[1]}), got "
            f"{labels[row]:g} in row {row}"
        )
    return torch.from_numpy(labels.astype(np.int64))
