"""Data sets of the Hub, with a stand-in for Hugging Face ``datasets``: no test needs a network."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from on_disk import identity
from on_hub import COLUMNS, stand_in

from softprior.training.images import NAMES, drawn, hub, load


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    module = stand_in()
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr(hub, "reachable", lambda: True)
    return module


@pytest.mark.parametrize("name", COLUMNS)
def test_every_data_set_of_the_hub(name: str, fake: Any, tmp_path: Path) -> None:
    d = load(name, seed=0, validation=0.2, cache=tmp_path)
    assert d.classes == ("a", "b", "c")
    assert sorted(identity(d.train.pixels) + identity(d.validation.pixels)) == list(range(30))
    assert identity(d.test.pixels) == list(range(30, 42))
    assert d.test.labels.tolist() == [k % 3 for k in range(30, 42)]
    repository = hub.REPOSITORIES[name]
    ((called, kw, offline),) = fake.calls
    assert called == repository.name
    assert kw == {"revision": repository.revision, "cache_dir": str(tmp_path)}
    assert not offline
    assert d.description.endswith(f"from {repository.name} at {repository.revision[:7]}")


def test_every_revision_is_a_full_commit() -> None:
    assert set(NAMES) == {"digits", *hub.REPOSITORIES} == {"digits", *COLUMNS}
    for repository in hub.REPOSITORIES.values():
        assert re.fullmatch("[0-9a-f]{40}", repository.revision)


def test_only_the_chosen_rows_are_read(fake: Any) -> None:
    (left_out,) = {0, 1, 2} - set(drawn(3, 2, seed=0).tolist())
    fake.broken = left_out  # the row of that number is of that class
    d = load("cifar10", seed=0, validation=0.2, subset="classes=2")
    assert len(d.test.labels) == 8
    with pytest.raises(ValueError, match=r"uoft-cs/cifar10, train, row \d: the image cannot"):
        load("cifar10", seed=0, validation=0.2)


def test_without_a_network_the_cache_is_asked_once(
    fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    load("cifar10", seed=0, validation=0.2)
    assert [offline for *_, offline in fake.calls] == [True]
    assert fake.config.HF_HUB_OFFLINE is False  # as it was


def test_what_cannot_be_fetched_says_what_to_do(
    fake: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(*args: object, **kw: object) -> None:
        fake.calls.append(args)
        raise ConnectionError("Couldn't reach 'uoft-cs/cifar100' on the Hub\nand a second line")

    fake.load_dataset = unreachable
    monkeypatch.setenv("HF_HOME", "/somewhere/huggingface")
    for cache, place in ((None, "/somewhere/huggingface"), (tmp_path, str(tmp_path))):
        with pytest.raises(ConnectionError) as caught:
            load("cifar100", seed=0, validation=0.2, cache=cache)
        said = str(caught.value)
        assert "\n" not in said
        for part in (
            "data set 'cifar100' could not be fetched (Couldn't reach 'uoft-cs/cifar100' on the",
            "hf download uoft-cs/cifar100 --repo-type dataset --revision aadb3af77e",
            "pass that folder as --dataset PATH",
            f"the cache is {place}, and HF_HUB_OFFLINE=1 uses it alone",
        ):
            assert part in said
    assert len(fake.calls) == 2  # one attempt each
    assert fake.config.HF_HUB_OFFLINE is False


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'softprior\[hub\]', or pass the"):
        load("cub200", seed=0, validation=0.2)


def test_reachable_asks_the_endpoint_and_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert not hub.reachable()
    monkeypatch.setenv("HF_ENDPOINT", "not an address")
    assert not hub.reachable()
