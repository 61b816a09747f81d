"""Where the runs of a study execute, and the processes that train one run together.

Nothing is loaded until a name is asked for: a worker watches its parent before it imports torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from softprior.engines.estimate import estimated_seconds as estimated_seconds
    from softprior.engines.local import Failure as Failure
    from softprior.engines.local import LocalEngine as LocalEngine
    from softprior.engines.local import with_teachers as with_teachers
    from softprior.engines.together import ProcessesError as ProcessesError
    from softprior.engines.together import Together as Together

_NAMES = {
    "estimate": ("estimated_seconds",),
    "local": ("Failure", "LocalEngine", "with_teachers"),
    "together": ("ProcessesError", "Together"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
