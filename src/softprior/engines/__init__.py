"""Where the runs of a study execute."""

from softprior.engines.local import Failure, LocalEngine, with_teachers

__all__ = ["Failure", "LocalEngine", "with_teachers"]
