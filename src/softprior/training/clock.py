"""How long a run has trained, and since when no checkpoint was written."""

from __future__ import annotations

import time


class Clock:
    """Seconds of training, those before a kill included, and since the last checkpoint."""

    def __init__(self, before: float) -> None:
        self.start = time.perf_counter() - before
        self.last = time.perf_counter()
        self.start_epoch(0)

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    def start_epoch(self, images: int) -> None:
        self.images, self.began = images, time.perf_counter()

    def images_per_second(self) -> float:
        """Of this epoch's training, evaluation aside; of what a resumed one still had to do."""
        return self.images / (time.perf_counter() - self.began)

    def since_saved(self) -> float:
        return time.perf_counter() - self.last

    def saved(self) -> float:
        self.last = time.perf_counter()
        return self.seconds()
