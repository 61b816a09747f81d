"""Parts of a data set into Parquet files, as :mod:`.parquet` and Hugging Face read them."""

from __future__ import annotations

import json
from pathlib import Path

from softprior.training import files
from softprior.training.images import arrow
from softprior.training.images.encoding import chunks, encoded
from softprior.training.images.source import Part

ROWS = 1000  # of a row group, at most: what a reader of a few rows has to decompress


def write(file: Path, part: Part, classes: tuple[str, ...]) -> None:
    """One part into one file, a few images at a time, forced to the disk."""
    pa, parquet = arrow.pyarrow("pyarrow"), arrow.pyarrow("pyarrow.parquet")
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
    }
    schema = pa.schema(
        [("image", image), ("label", pa.int64())],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = range(len(part.labels))
    # Images differ: a dictionary of them, or the least of them, would be of no use.
    with parquet.ParquetWriter(
        file, schema, use_dictionary=["label"], write_statistics=["label"]
    ) as writer:
        for chunk in chunks(zip(rows, part.read(list(rows)), strict=True), ROWS):
            images = [{"bytes": encoded(content), "path": None} for _, content in chunk]
            labels = part.labels[[row for row, _ in chunk]].tolist()
            columns = [pa.array(images, image), pa.array(labels, pa.int64())]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    files.flush(file)
