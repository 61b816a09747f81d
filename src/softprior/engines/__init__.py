"""Where the runs of a study execute."""

from softprior.engines.estimate import estimated_seconds
from softprior.engines.local import Failure, LocalEngine, with_teachers

__all__ = ["Failure", "LocalEngine", "estimated_seconds", "with_teachers"]
