"""Properties in place of grids: all the cases of a grid as examples, and drawn ones beside them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st


def one_test_of_each(
    groups: Mapping[str, Mapping[str, Any]], argument: str
) -> Callable[[Callable[..., None]], Any]:
    """One test of each group in place of one of each of its values; the one that fails is named."""

    def decorate(test: Callable[..., None]) -> Any:
        def of_group(group: str, **rest: Any) -> None:
            for name, value in groups[group].items():
                try:
                    test(**{argument: value}, **rest)
                except Exception as error:
                    raise AssertionError(f"of {name}: {error}") from error

        taken_by(of_group, test, add="group", drop=argument)
        return pytest.mark.parametrize("group", groups)(of_group)

    return decorate


def taken_by(function: Any, test: Callable[..., None], *, add: str, drop: str = "") -> None:
    """Gives a function the name, place, marks and arguments of the test that it runs."""
    kind = inspect.Parameter.KEYWORD_ONLY
    given_ = inspect.signature(test).parameters
    parameters = [p.replace(kind=kind) for name, p in given_.items() if name != drop]
    function.__signature__ = inspect.Signature([inspect.Parameter(add, kind), *parameters])
    function.__name__, function.__qualname__ = test.__name__, test.__qualname__
    function.__module__, function.__doc__ = test.__module__, test.__doc__
    function.pytestmark = getattr(test, "pytestmark", [])


def every(**choices: Sequence[Any]) -> Callable[[Callable[..., None]], Any]:
    """A test of every combination of the choices, each with random numbers of its own.

    Hypothesis draws more combinations, with other random numbers. Whatever else the test wants
    (parametrized arguments, fixtures of the session) comes as ever.
    """

    def decorate(test: Callable[..., None]) -> Any:
        def seeded(seed: int, **rest: Any) -> None:
            torch.manual_seed(seed)
            test(**rest)

        taken_by(seeded, test, add="seed")
        decorated: Any = seeded
        for seed, values in enumerate(itertools.product(*choices.values())):
            decorated = example(seed=seed, **dict(zip(choices, values, strict=True)))(decorated)
        drawn = {name: st.sampled_from(list(values)) for name, values in choices.items()}
        return settings()(given(seed=st.integers(0, 2**31), **drawn)(decorated))

    return decorate
