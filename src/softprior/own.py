"""Objects from outside the package: how a recipe names them, and how they are found again.

Only what the user names in a call is ever imported, never what a stored file names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import os
import reprlib
import sys
import types
import weakref
from pathlib import Path
from typing import Any, NamedTuple

from softprior import checks

_loading: list[str] = []  # files and modules that are being imported just now
_known: weakref.WeakKeyDictionary[Any, Origin] = weakref.WeakKeyDictionary()


class Origin(NamedTuple):
    """Where an object comes from.

    Attributes:
        name: ``module:Name``; of a script that is run its file's name stands for the module.
        source: SHA-256 of the file that defines it: changed source is another object.
        file: the file to load it from where its module cannot be imported by name.
        importable: whether another process can load it: not what stands in a notebook, or lambdas.
    """

    name: str
    source: str
    file: str | None
    importable: bool


def origin(thing: Any) -> Origin:
    """Where a class or a function comes from; its source as it was when first asked for.

    Raises:
        TypeError: a function that carries values which its source does not show.
        ValueError: its source cannot be found.
    """
    if not isinstance(thing, (type, types.FunctionType)):
        raise TypeError(
            f"{thing!r} is neither a class nor a function: what it holds would not be part of the "
            "recipe; write a function at the top of a file"
        )
    if thing not in _known:
        _known[thing] = _look(thing)
    return _known[thing]


def _look(thing: Any) -> Origin:
    name = thing.__qualname__
    if carried := _carried(thing):
        raise TypeError(
            f"{name} uses the values of {', '.join(carried)} around it, which would not be part of "
            "the recipe; write them into the function, or make it a class with these as fields"
        )
    module, file = _module_and_file(thing)
    extra = b""
    if isinstance(thing, types.FunctionType) and "<" in name:
        # Several lambdas, and functions within a function, of a file have one name.
        defaults = thing.__defaults__, thing.__kwdefaults__
        extra = repr((_content(thing.__code__), defaults)).encode()
    try:
        path = inspect.getsourcefile(thing)
        if path is not None and Path(path).is_file():
            content = Path(path).read_bytes()
        else:
            content = inspect.getsource(thing).encode()  # a notebook's cell
    except (OSError, TypeError) as error:
        raise ValueError(
            f"the source of {module}:{name} cannot be found, and a recipe stores its hash: put it "
            "into a file"
        ) from error
    importable = "<" not in name and (file is not None or module != "__main__")
    return Origin(f"{module}:{name}", hashlib.sha256(content + extra).hexdigest(), file, importable)


def _carried(thing: Any) -> list[str]:
    """Names around a function, or the methods of a class, whose values it uses."""
    if isinstance(thing, types.FunctionType):
        return sorted(_free(thing))
    if "<locals>" not in thing.__qualname__:  # what a dataclass adds carries its own helpers
        return []
    generated = {"<string>", dataclasses.__file__, reprlib.__file__}
    methods = [m for m in vars(thing).values() if isinstance(m, types.FunctionType)]
    own_methods = [m for m in methods if m.__code__.co_filename not in generated]
    return sorted({name for method in own_methods for name in _free(method)})


def _free(function: types.FunctionType) -> list[str]:
    return [name for name in function.__code__.co_freevars if name != "__class__"]  # of super()


def _content(code: types.CodeType) -> tuple[object, ...]:
    """What a function does, in the same words in every process: no address in memory."""
    constants = [_content(c) if isinstance(c, types.CodeType) else c for c in code.co_consts]
    shown = [sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c) for c in constants]
    return code.co_code, shown, code.co_names


def _module_and_file(thing: Any) -> tuple[str, str | None]:
    """The module's name, and the file of a module that was not imported by its name."""
    module = thing.__module__
    loaded = sys.modules.get(module)
    spec = getattr(loaded, "__spec__", None)
    file = getattr(loaded, "__file__", None)
    if module == "__main__":
        if spec is not None and spec.name:  # python -m package.module
            return spec.name.removesuffix(".__main__"), None
        if file is None:  # a notebook, an interactive session
            return module, None
        return Path(file).stem, str(Path(file).resolve())
    by_path = file if getattr(loaded, "__softprior_by_path__", False) else None
    return module, by_path


def load(name: str, file: str | None = None) -> Any:
    """The object of ``module:Name``, or of ``path/file.py:Name``, imported.

    Args:
        name: what the user named.
        file: load the module from this file, as a script that was run must be.

    Raises:
        ValueError: it cannot be found, with what is there instead.
    """
    module_name, _, path = name.rpartition(":")
    if not module_name or not path:
        raise ValueError(f"{name!r} must look like package.module:Name or path/file.py:Name")
    found: Any = _import_file(Path(file)) if file is not None else load_module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(checks.unknown(f"name in {module_name}", part, _own_names(found)))
        found = getattr(found, part)
    return found


def _own_names(holder: Any) -> list[str]:
    """What a module or class has of its own; all that is public where it has nothing."""
    public = {n: value for n, value in vars(holder).items() if not n.startswith("_")}
    module = getattr(holder, "__name__", None)
    own = [n for n, value in public.items() if getattr(value, "__module__", None) == module]
    return own or list(public)


def load_module(name: str) -> types.ModuleType:
    """The module ``package.module``, or of ``path/file.py``, imported."""
    return _import_file(Path(name)) if name.endswith(".py") else _import(name)


def _import(name: str) -> types.ModuleType:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as python itself does; a console script's path lacks it
    if name in sys.modules:
        return sys.modules[name]
    _loading.append(name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise  # a module that it imports itself
        raise ValueError(
            f"there is no module {error.name!r} to import (looked in {here} and where Python "
            f"looks); a file can be named by its path: {name.rpartition('.')[2]}.py:Name"
        ) from error
    finally:
        _loading.pop()


def _import_file(path: Path) -> types.ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    name = path.stem
    for known in (name, "__main__"):
        module = sys.modules.get(known)
        file = getattr(module, "__file__", None)
        if module is not None and file is not None and Path(file).resolve() == path:
            return module
    if name in sys.modules:
        raise ValueError(f"{path}: a module named {name!r} is loaded already; rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__softprior_by_path__ = True  # type: ignore[attr-defined]
    sys.modules[name] = module  # dataclasses look their module up there
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # as for a script that is run
    _loading.append(str(path))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        _loading.pop()
    return module


def refuse_while_loading() -> None:
    """Raise where a file that is being imported for its objects begins to train itself."""
    if _loading:
        raise RuntimeError(
            f"{_loading[-1]} trains as soon as it is imported, and another process imports it for "
            'what is its own: put that part below if __name__ == "__main__":'
        )
