"""One row of the main table by hand: NumPy and SciPy alone, from the predictions that are stored.

    softprior study smoothing --out results; python examples/row_by_hand.py results/runs

prints how much more accurate self-distillation is than label smoothing, in points, with the 95 %
interval over other seeds and other test images. Seeds (rows) are crossed with 50 blocks of images.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.stats import t


def accuracy(runs: Path, prior: str) -> np.ndarray:
    """Of every seed (rows) and block of test images (columns), and of all images (last column)."""
    rows = {}
    for path in runs.glob("[0-9a-f]*/recipe.json"):
        recipe = json.loads(path.read_text())
        if (recipe["prior"] or {}).get("name") == prior:
            found = load_file(path.with_name("predictions.safetensors"))
            logits = found[f"test_logits_{recipe['select']}"]
            right = logits.argmax(1) == found["test_labels"][: len(logits)]
            block = np.random.RandomState(0).permutation(len(right)) % 50
            rows[recipe["seed"]] = [*(right[block == g].mean() for g in range(50)), right.mean()]
    return np.asarray([rows[seed] for seed in sorted(rows)])


gaps = accuracy(Path(sys.argv[1]), "teacher") - accuracy(Path(sys.argv[1]), "uniform")
d, mean = gaps[:, :-1], gaps[:, -1].mean()
(S, G), seeds, images = d.shape, d.mean(1), d.mean(0)
rest = ((d - seeds[:, None] - images + d.mean()) ** 2).sum() / ((S - 1) * (G - 1))
by_seed, by_image = G * seeds.var(ddof=1), S * images.var(ddof=1)
if min(by_seed, by_image) > rest:
    total = by_seed + by_image - rest
    parts = by_seed**2 / (S - 1), by_image**2 / (G - 1), rest**2 / ((S - 1) * (G - 1))
    df = total**2 / sum(parts)
else:  # the larger of the two alone
    total, df = max((by_seed, S - 1), (by_image, G - 1))
half = t.ppf(0.975, df) * np.sqrt(total / (S * G))
print(f"{100 * mean:+.14g} [{100 * (mean - half):+.14g}, {100 * (mean + half):+.14g}]")
