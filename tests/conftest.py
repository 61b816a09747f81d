"""One thread, and the same random numbers for a test whatever ran before it."""

from __future__ import annotations

import zlib

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(zlib.crc32(request.node.nodeid.rpartition("/")[2].encode()))
