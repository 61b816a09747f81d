"""A stand-in for Hugging Face ``datasets``: the data sets of the Hub by their columns."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
from on_disk import encoded, numbered

from softprior.training.images import hub

COLUMNS = {  # of the real data sets; cifar100 has a second label, CUB a bounding box
    "cifar10": ("img", "label"),
    "cifar100": ("img", "fine_label", "coarse_label"),
    "cub200": ("image", "label", "bbox"),
    "tiny-imagenet": ("image", "label"),
}


class Split:
    """As much of ``datasets.Dataset`` as is asked for."""

    def __init__(self, name: str, ks: range, broken: int | None = None) -> None:
        image, label, *others = COLUMNS[name]
        struct = [{"bytes": encoded(numbered(k)), "path": f"{k}.png"} for k in ks]
        if broken is not None:
            struct[broken]["bytes"] = b"?"
        self.table = pa.table(
            {image: struct, label: [k % 3 for k in ks], **{o: [0] * len(ks) for o in others}}
        )
        self.features = {label: SimpleNamespace(names=["a", "b", "c"])}

    def with_format(self, kind: str, columns: list[str]) -> Split:
        assert kind == "arrow"
        view = object.__new__(Split)
        view.table = self.table.select(columns)
        return view

    def __getitem__(self, rows: slice | list[int]) -> Any:
        return self.table[rows] if isinstance(rows, slice) else self.table.take(rows)


def stand_in() -> Any:
    """A module ``datasets`` that records how it was called; image k has class k % 3 of three."""
    module: Any = ModuleType("datasets")
    module.config = SimpleNamespace(HF_HUB_OFFLINE=False)
    module.calls = []
    module.broken = None

    def load_dataset(repository: str, **kw: Any) -> dict[str, Split]:
        module.calls.append((repository, kw, module.config.HF_HUB_OFFLINE))
        name = next(n for n, r in hub.REPOSITORIES.items() if r.name == repository)
        test = "valid" if name == "tiny-imagenet" else "test"
        return {
            "train": Split(name, range(30), module.broken),
            test: Split(name, range(30, 42)),
        }

    module.load_dataset = load_dataset
    return module
