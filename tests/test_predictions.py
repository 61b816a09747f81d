"""Reading predictions: what is read, and the one line that every mistake gets."""

from __future__ import annotations

import errno
import io
import math
import os
import re
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from softprior import memory
from softprior.predictions import read_predictions

LOGITS = np.array([[1.0, -2.0, 0.5], [0.0, 0.25, -1e4], [3.0, 3.0, 3.0], [-1.0, 2.0, 7.0]])
PROBS = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [0.125, 0.125, 0.75], [0.2, 0.3, 0.5]])
LABELS = np.array([0, 2, 1, 2])


def _table(scores, labels, kind="logit", **changed):
    columns = {f"{kind}_{c}": scores[:, c] for c in range(scores.shape[1])}
    columns = {"id": [f"s{i}" for i in range(len(scores))], **columns, "label": labels}
    columns.update(changed)
    return pyarrow.table({name: c for name, c in columns.items() if c is not None})


def _write(path: Path, scores=LOGITS, labels=LABELS, kind="logit", **changed) -> Path:
    if path.suffix == ".npz":
        arrays = {kind + "s": scores, "labels": labels, **changed}
        np.savez(path, **{name: a for name, a in arrays.items() if a is not None})
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(_table(scores, labels, kind, **changed), path)
    else:
        pyarrow.parquet.write_table(_table(scores, labels, kind, **changed), path)
    return path


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


suffixes = pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
tables = pytest.mark.parametrize("suffix", [".csv", ".parquet"])


@suffixes
def test_logits_come_back_as_they_were(tmp_path, suffix):
    logits, labels = read_predictions(_write(tmp_path / f"p{suffix}"))
    assert logits.dtype == torch.float64
    assert labels.dtype == torch.int64
    assert torch.equal(logits, torch.tensor(LOGITS))
    assert torch.equal(labels, torch.tensor(LABELS))


@suffixes
def test_probabilities_become_log_probabilities(tmp_path, suffix):
    logits, _ = read_predictions(_write(tmp_path / f"p{suffix}", PROBS, kind="prob"))
    expected = torch.tensor(PROBS).clamp(min=sys.float_info.min).log()
    assert torch.equal(logits, expected)
    assert logits[1, 1].item() == pytest.approx(math.log(sys.float_info.min))
    torch.testing.assert_close(logits.softmax(1), torch.tensor(PROBS))


@suffixes
def test_float32_stays_float32_where_the_file_knows_it(tmp_path, suffix):
    logits, _ = read_predictions(_write(tmp_path / f"p{suffix}", LOGITS.astype(np.float32)))
    assert logits.dtype == (torch.float64 if suffix == ".csv" else torch.float32)


@pytest.mark.parametrize("dtype", ["float16", ">f4", ">f8", "int32"])
def test_npz_dtypes(tmp_path, dtype):
    values = np.array([[1, 2], [3, -4]]).astype(dtype)
    logits, _ = read_predictions(_write(tmp_path / "p.npz", values, np.array([0, 1])))
    assert logits.tolist() == [[1, 2], [3, -4]]
    assert logits.dtype == (torch.float64 if dtype in (">f8", "int32") else torch.float32)


@suffixes
@pytest.mark.parametrize("dtype", ["float64", "uint8", "int32"])
def test_labels_of_integral_value(tmp_path, suffix, dtype):
    _, labels = read_predictions(_write(tmp_path / f"p{suffix}", labels=LABELS.astype(dtype)))
    assert torch.equal(labels, torch.tensor(LABELS))


@tables
def test_columns_in_any_order(tmp_path, suffix):
    scores = np.arange(24.0).reshape(2, 12)  # logit_10 sorts between logit_1 and logit_2
    table = _table(scores, [11, 0])
    table = table.select(sorted(table.column_names, reverse=True))
    path = tmp_path / f"p{suffix}"
    (pyarrow.csv.write_csv if suffix == ".csv" else pyarrow.parquet.write_table)(table, path)
    logits, labels = read_predictions(path)
    assert torch.equal(logits, torch.tensor(scores))
    assert labels.tolist() == [11, 0]


def test_probabilities_rounded_in_a_csv(tmp_path):
    path = _text(tmp_path / "p.csv", "label,prob_0,prob_1,prob_2\n0,0.3333,0.3333,0.3333\n")
    logits, _ = read_predictions(str(path))
    torch.testing.assert_close(logits.softmax(1), torch.full((1, 3), 1 / 3, dtype=torch.float64))


def _fails(path, message, error=ValueError):
    with pytest.raises(error, match=message) as caught:
        read_predictions(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text


def test_no_such_file(tmp_path):
    _fails(tmp_path / "p.npz", "no such file", FileNotFoundError)


def test_directory(tmp_path):
    _fails(tmp_path, r"is a directory, wanted one of its files \(.csv, .npz, .parquet\)")


def test_unknown_suffix_lists_the_known(tmp_path):
    _fails(
        _text(tmp_path / "p.cvs", "x"), "unknown kind of file '.cvs': did you mean '.csv'.*'.npz'"
    )
    _fails(_text(tmp_path / "p", "x"), "unknown kind of file '': known are '.csv', '.npz'")


@suffixes
def test_empty_file(tmp_path, suffix):
    _fails(_text(tmp_path / f"p{suffix}", ""), "the file is empty")


@suffixes
def test_no_rows(tmp_path, suffix):
    _fails(_write(tmp_path / f"p{suffix}", LOGITS[:0], LABELS[:0]), "there are no rows")


@suffixes
def test_one_class(tmp_path, suffix):
    path = _write(tmp_path / f"p{suffix}", LOGITS[:, :1], LABELS * 0)
    _fails(path, "K = 1 class, wanted at least 2: for a binary model give both")


@suffixes
def test_truncated(tmp_path, suffix):
    path = _write(tmp_path / f"p{suffix}")
    path.write_bytes(path.read_bytes()[:-9])
    wanted = {
        ".npz": "not an npz archive, or truncated; write it again with numpy.savez",
        ".csv": "row 3 has 2 cells, wanted 5",
        ".parquet": "the Parquet file is cut off: its end is missing; copy it again",
    }
    _fails(path, wanted[suffix])


@suffixes
def test_something_else_under_the_suffix(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    path.write_bytes(b"\x93NUMPY\x01\x00 \xff\xfe not this\n" * 30)
    _fails(path, "npz archive|no Parquet file: it begins with|UTF-8")


def test_corrupt_array(tmp_path):
    path = _write(tmp_path / "p.npz")
    data = bytearray(path.read_bytes())
    at = data.index(LOGITS.tobytes())
    data[at : at + 8] = bytes(8)
    path.write_bytes(bytes(data))
    _fails(path, "array 'logits' is corrupt: Bad CRC-32")


def test_pickle_is_refused(tmp_path):
    path = _write(tmp_path / "p.npz", np.array([[1, "x"], [None, 2.0]], dtype=object), LABELS[:2])
    _fails(path, r"array 'logits' holds Python objects \(pickle\), which are never loaded")


def test_missing_arrays(tmp_path):
    path = tmp_path / "p.npz"
    _fails(
        _write(path, None, extra=LOGITS),
        "neither 'logits' nor 'probs' is there, wanted one of them; arrays: 'labels', 'extra'",
    )
    _fails(_write(path, labels=None), r"no array 'labels', wanted class indices \(n,\); arrays: 'l")
    _fails(_write(path, probs=PROBS), "both 'logits' and 'probs' are there, keep one of them")


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (LOGITS[0], LABELS, r"'logits' must have shape \(n, K\), got \(3,\)"),
        (LOGITS[None], LABELS, r"'logits' must have shape \(n, K\), got \(1, 4, 3\)"),
        (LOGITS, LABELS[:3], r"'labels' must have shape \(4,\) to go with 'logits' \(4, 3\)"),
        (LOGITS, LABELS[:, None], r"got \(4, 1\); use labels.squeeze\(1\)"),
        (LOGITS, np.eye(3)[LABELS], r"got \(4, 3\); class indices are wanted: labels.argmax\(1\)"),
        (LOGITS + 1j, LABELS, "'logits' must hold numbers, got dtype complex128"),
        (LOGITS, LABELS > 0, "'labels' must hold numbers, got dtype bool"),
        (LOGITS, np.array(list("abcd")), "'labels' must hold numbers, got dtype <U1"),
    ],
)
def test_arrays_of_the_wrong_shape_or_kind(tmp_path, scores, labels, message):
    _fails(_write(tmp_path / "p.npz", scores, labels), message)


@suffixes
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3, 7], r"labels must be in 0..2 \(K = 3\), got 3 in row 2"),
        ([0, -1, 1, 2], r"labels must be in 0..2 \(K = 3\), got -1 in row 1"),
        ([0.0, 1.0, 2.0, 0.5], "labels must be integers, got 0.5 in row 3"),
        ([0.0, math.nan, 2.0, 0.5], "labels must be integers, got nan in row 1"),
        ([0.0, 1.0, math.inf, 1.0], "labels must be integers, got inf in row 2"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, suffix, labels, message):
    _fails(_write(tmp_path / f"p{suffix}", labels=np.array(labels)), message)


@suffixes
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite(tmp_path, suffix, value):
    scores = LOGITS.copy()
    scores[2, 1] = value
    _fails(
        _write(tmp_path / f"p{suffix}", scores),
        "logits has 1 entries that are not finite, the first in row 2, column 1",
    )


@suffixes
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            [0.5, 0.25, 0.5],
            r"must sum to 1 over the classes \(within 0.02\), row 1 sums to 1.25",
        ),
        ([1.5, -0.5, 0.0], "probabilities must be ≥ 0 and finite, got -0.5 in row 1, class 1"),
        ([1.0, math.nan, 0.0], "probabilities must be ≥ 0 and finite, got nan in row 1, class 1"),
        ([math.inf, 0.0, 0.0], "probabilities must be ≥ 0 and finite, got inf in row 1, class 0"),
    ],
)
def test_probabilities_that_are_none(tmp_path, suffix, row, message):
    scores = PROBS.copy()
    scores[1] = row
    _fails(_write(tmp_path / f"p{suffix}", scores, kind="prob"), message)


@pytest.mark.parametrize("classes", [2, 4, 30, 1000])
@pytest.mark.parametrize("rounded", ["bfloat16", "float16", "two decimals", "four decimals"])
def test_probabilities_that_were_rounded(tmp_path, rounded, classes):
    """Are divided by their sums, which is said in one line; or it is said what to do."""
    p = torch.softmax(2 * torch.randn(40, classes, dtype=torch.float64), 1)
    if "decimals" in rounded:
        places = 2 if rounded == "two decimals" else 4
        of = p.mul(10**places).round() / 10**places
        may_fail = places == 2 and classes > 4
    else:
        of, may_fail = p.to(getattr(torch, rounded)).double(), False
    off = (of.sum(1) - 1).abs().amax()
    path = tmp_path / "p.npz"
    np.savez(path, probs=of.numpy(), labels=p.argmax(1).numpy())
    if may_fail:
        _fails(path, r"row \d+ sums to .*; if they were rounded to few decimals, divide each row")
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logits, _ = read_predictions(path)
    assert [str(w.message).startswith("probabilities were divided by") for w in caught] == (
        [True] if off > 1e-3 else []
    )
    close = torch.testing.assert_close
    close(logits.exp().sum(1), torch.ones(40, dtype=torch.float64))
    known = of > 0
    close(logits.exp()[known], (of / of.sum(1, keepdim=True))[known])


@tables
def test_missing_columns(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    scores = np.hstack([LOGITS, LOGITS])
    _fails(
        _write(path, scores, logit_3=None),
        "no column 'logit_3', but there is 'logit_5': classes must be numbered from 0",
    )
    _fails(_write(path, label=None), "no column 'label', wanted class indices; columns: 'id', 'log")
    _fails(_write(path, kind="score"), "neither logit_0, … nor prob_0, … is there.*'score_0'")
    _fails(_write(path, prob_0=PROBS[:, 0]), "both logit_0, … and prob_0, … are there, keep one")
    _fails(_write(path, logit_01=PROBS[:, 0]), "two columns for class 1: 'logit_01' is the second")


@tables
def test_cells(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    _fails(
        _write(path, logit_1=[1.0, None, 2.0, 3.0]),
        "column 'logit_1', row 1: the cell is empty, wanted a number",
    )
    _fails(_write(path, label=[0, 1, None, 2]), "column 'label', row 2: the cell is empty")
    _fails(
        _write(path, logit_2=["1.0", "2.0", "three", "4"]),
        "column 'logit_2', row 2: 'three' is not a number",
    )
    _fails(
        _write(path, label=[True, False, True, False]), "column 'label', row 0: '?[Tt]rue'? is not"
    )


def test_numbers_written_as_text_in_parquet(tmp_path):
    path = _write(tmp_path / "p.parquet", logit_2=["1", "2", "3", "4"])
    _fails(path, "column 'logit_2' holds string, wanted numbers")


def test_ragged_csv(tmp_path):
    path = _text(tmp_path / "p.csv", "label,logit_0,logit_1\n0,1,2\n1,3\n")
    _fails(path, "row 1 has 2 cells, wanted 3")  # row 0 is the first of data


def test_two_label_columns(tmp_path):
    path = _text(tmp_path / "p.csv", "label,logit_0,logit_1,label\n0,1,2,0\n")
    _fails(path, "there are 2 columns 'label', wanted one")


def test_a_huge_class_number_stops_at_the_first_gap(tmp_path):
    header = "label,logit_0,logit_1,logit_2,logit_99999999999"
    path = _text(tmp_path / "p.csv", f"{header}\n0,1,2,3,4\n")
    _fails(path, "no column 'logit_3', but there is 'logit_99999999999'")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_spaces_around_names(tmp_path, mark, encoding):
    path = tmp_path / "p.csv"
    rows = [["label ", " logit_0", '"logit_1"'], ["1", "0.5", "-2"]]
    path.write_text("\r\n".join(mark.join(row) for row in rows) + "\r\n", encoding=encoding)
    logits, labels = read_predictions(path)
    assert logits.tolist() == [[0.5, -2.0]]
    assert labels.tolist() == [1]


def test_utf_16_and_another_case(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("label,logit_0,logit_1\n0,1,2\n", encoding="utf-16")
    _fails(path, "the text is in UTF-16, or none at all; save it as CSV in UTF-8")
    _fails(_text(path, "Label;logit_0;logit_1\n0;1;2\n"), "found column 'Label', rename it to 'lab")


@tables
def test_one_column_of_a_binary_model(tmp_path, suffix):
    path = _write(tmp_path / f"p{suffix}", PROBS[:, :2], LABELS % 2, "prob", prob_0=None)
    _fails(path, "'prob_1' is the only column of a class, wanted at least 2: for a binary model")


def test_text_of_several_lines_in_a_large_csv(tmp_path):
    """pyarrow reads a megabyte at a time."""
    rows = "".join(f'"a,\nb\n{"x" * 900}",{i % 2},0.75,0.25\n' for i in range(3000))
    path = _text(tmp_path / "p.csv", f"text,label,prob_0,prob_1\n{rows}")
    assert len(read_predictions(path)[1]) == 3000


# --- malformed tables: in our own words ----------------------------------------------------------

HEADER = b"label,logit_0,logit_1\n"
ROWS = HEADER + b"0,1,2\n" * 3
MALFORMED_CSV = {
    "a quote that is never closed": (ROWS + b'1,"3,4\n', "row 3: a quote opens and is not closed"),
    "a quote over many rows": (HEADER + b'0,"1,2\n' + b"0,1,2\n" * 9, "row 0: a quote opens"),
    "text after a quote": (HEADER + b'0,1,"2"x\n', "row 0: a quote opens and is not closed"),
    "a header in half a quote": (b'"' + ROWS, "a quote opens in the first line"),
    "the same, of megabytes": (b'"' + ROWS * 9999, "a quote opens in the first line"),
    "NUL in a cell": (ROWS + b"0,\x001,2\n", r"column 'logit_0', row 3: b'.*1' is not a number"),
    "NUL in the header": (b"label,\x00\n0,1\n", "UTF-16, or none at all; save it as CSV in UTF-8"),
    "Latin-1 in a cell": (ROWS + b"0,\xe9,2\n", r"column 'logit_0', row 3: b'.xe9' is not a"),
    "Latin-1 in a name": (b"\xe9," + ROWS, "names of the columns are not in UTF-8; write it again"),
    "UTF-16 without a mark": (ROWS.decode().encode("utf-16-be"), "UTF-16, or none at all"),
    "UTF-32": (ROWS.decode().encode("utf-32"), "UTF-16, or none at all"),
    "a compressed file": (b"\x1f\x8b\x08\x00\x00" + b"\xfe\xed" * 99, "in UTF-16, or none at all"),
    "no header": (b"0,1,2\n1,3,4\n", "no column 'label', wanted class indices; columns: '0'"),
    "a header alone": (HEADER, "there are no rows"),
    "a header alone, not ended": (HEADER.strip(), "there are no rows"),
    "empty lines": (b"\n\r\n\n", "the file is empty"),
    "a cell too many": (ROWS + b"0,1,2,3\n", "row 3 has 4 cells, wanted 3"),
    "too few, late": (HEADER + b"0,1,2\n" * 150_000 + b"0,1\n", "row 150000 has 2 cells, wanted 3"),
    "text, late": (HEADER + b"0,1,2\n" * 150_000 + b"0,1,x\n", "row 150000: 'x' is not a number"),
    "a date": (HEADER + b"0,2020-01-01,2\n", "column 'logit_0', row 0: '2020-01-01' is not a"),
    "decimal commas": (b"label;logit_0;logit_1\n0;1,5;2\n", "row 0: '1,5' is not a number"),
    "a number in Python's spelling": (HEADER + b"0,1_000,2\n", "row 0: '1_000' is not a number"),
    "a long text": (HEADER + b"0,1," + b"x" * 9_000 + b"\n", "'x{40}'… is not a number"),
    "a longer one": (
        HEADER + b"0,1," + b"x" * 900_000 + b"\n",
        "row 0: .* or the cell is too long",
    ),
    "another program's mark": (HEADER + b"0,1,2\n\x1a", "row 1 has 1 cells, wanted 3"),
}
# Whoever reads Parquet and CSV for us, and words of theirs.
THEIRS = re.compile(r"[Aa]rrow|Invalid|thrift|parse error|magic|codec|straddl|footer|snappy|errno")


def _fails_in_our_words(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_predictions(path)
    _in_our_words(path, str(caught.value))


def _in_our_words(path: Path, text: str) -> None:
    assert text.startswith(f"{path}: ")
    assert not THEIRS.search(text.removeprefix(f"{path}: "))
    assert len(text) < 500
    assert "\n" not in text


@pytest.mark.parametrize("member", MALFORMED_CSV)
def test_a_malformed_csv_is_told_in_our_words(tmp_path, member):
    content, message = MALFORMED_CSV[member]
    path = tmp_path / "p.csv"
    path.write_bytes(content)
    _fails_in_our_words(path, message)


def _parquet(tmp_path: Path, **how) -> bytes:
    path = tmp_path / "whole.parquet"
    pyarrow.parquet.write_table(_table(LOGITS, LABELS), path, **how)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: b"PAR1", "the Parquet file is damaged"),
        (lambda whole: whole[:-1], "cut off: its end is missing; copy it again, or write it again"),
        (lambda whole: whole[: len(whole) // 2], "cut off: its end is missing"),
        (lambda whole: whole + b"\n", "cut off: its end is missing"),
        (lambda whole: ROWS, "no Parquet file: it begins with b'labe', wanted b'PAR1'; write it"),
        (lambda whole: bytes(999), r"no Parquet file: it begins with b'.x00"),
        (lambda whole: whole[:-4] + b"PARE", "the Parquet file is encrypted"),
        (lambda whole: whole[:-8] + b"\xff\xff\xff\x7fPAR1", "is damaged, or written in a way"),
        (lambda whole: whole[:-8] + bytes(4) + b"PAR1", "is damaged, or written in a way"),
        (lambda whole: whole[:8] + bytes(200) + whole[208:], "is damaged, or written in a way"),
    ],
)
def test_a_malformed_parquet_file_is_told_in_our_words(tmp_path, change, message):
    path = tmp_path / "p.parquet"
    path.write_bytes(change(_parquet(tmp_path)))
    _fails_in_our_words(path, message)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_wrong_inside_a_parquet_file_is_told_in_our_words(tmp_path, seed):
    """Bytes that are changed or missing; with sums of its pages, never other numbers."""
    random = np.random.default_rng(seed)
    whole = bytearray(_parquet(tmp_path, write_page_checksum=True))
    if seed % 3:
        for place in random.integers(4, len(whole) - 4, size=int(random.choice([1, 3, 30]))):
            whole[place] = random.integers(256)
    else:
        start = int(random.integers(4, len(whole) - 64))
        del whole[start : start + int(random.integers(1, 60))]
    path = tmp_path / "p.parquet"
    path.write_bytes(whole)
    message = ""
    try:
        read_predictions(path)
    except ValueError as error:
        message = str(error)
    if message:
        _in_our_words(path, message)


def test_columns_of_a_csv_that_were_hard_to_read(tmp_path):
    """Integers that go on as fractions after megabytes; a header of megabytes; a long cell."""
    path = tmp_path / "p.csv"
    path.write_bytes(b"id," + HEADER + b"a,0,1,2\n" * 140_000 + b"b,1,0.5,0.25\n")
    assert read_predictions(path)[0][-1].tolist() == [0.5, 0.25]
    other = b",".join(b"x" * 100_000 for _ in range(12))
    path.write_bytes(other + b"," + HEADER + b"," * 12 + b"0,1,2\n")
    assert read_predictions(path)[0].tolist() == [[1, 2]]
    path.write_bytes(b"text," + HEADER + b"x" * 3_000_000 + b",0,1,2\n")
    assert read_predictions(path)[0].tolist() == [[1, 2]]


@suffixes
def test_what_the_system_refuses_is_told_in_our_words(tmp_path, suffix, monkeypatch):
    path = _write(tmp_path / f"p{suffix}")

    def refused(*_, **__):
        raise OSError(errno.EIO, "[Errno 5] whatever a library says")

    monkeypatch.setattr(io, "open", refused)
    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(np, "load", refused)
    monkeypatch.setattr(zipfile, "is_zipfile", lambda _: True)
    _fails(path, "cannot be read: Input/output error$")


# --- memory, pipes -----------------------------------------------------------------------------


@suffixes
def test_a_pipe_or_a_device_is_never_opened(tmp_path, suffix):
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / f"p{suffix}")
    (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
    for name in ("p", "zero"):
        _fails(tmp_path / f"{name}{suffix}", "is a pipe or a device, wanted a file")


def _npy(shape: tuple[int, ...], kind: str = "<f8", rows: bytes = b"") -> bytes:
    """An array that has fewer values than its header says."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + rows


@pytest.mark.parametrize(
    ("shape", "kind"), [((10**9, 10), "<f8"), ((10**6, 10**3), "<f2"), ((2**62, 4), "<f4")]
)
@pytest.mark.parametrize("name", ["logits", "labels"])
def test_an_npz_that_states_more_than_there_is_room_for(tmp_path, shape, kind, name, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2**30)
    path = tmp_path / "p.npz"
    arrays = {"logits": _npy((4, 3), rows=LOGITS.tobytes()), "labels": _npy((4,), rows=bytes(32))}
    arrays[name] = _npy(shape, kind)
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in arrays.items():
            archive.writestr(f"{each}.npy", content)
    size = 2 * math.prod(shape) * np.dtype(kind).itemsize / 2**20
    _fails(path, f"array '{name}' and a copy of it would take {size:,.0f} MiB as the file states")


@suffixes
def test_a_small_file_that_unpacks_to_much(tmp_path, suffix, monkeypatch):
    """Zeros: a thousandth on the disk of what they take in memory."""
    path = tmp_path / f"p{suffix}"
    scores, labels = np.zeros((400_000, 3), np.float32), np.zeros(400_000, np.int8)
    if suffix == ".npz":
        np.savez_compressed(path, logits=scores, labels=labels)
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(_table(scores, labels, id=None), path)
    else:  # nothing to unpack: of a file with a hole, only its size says how large it is
        path.write_text("label,logit_0,logit_1\n0,1,2\n")
        os.truncate(path, 2**40)
    assert path.stat().st_blocks * 512 < 2**18
    monkeypatch.setattr(memory, "SMALL", 2**20)
    monkeypatch.setattr(memory, "available", lambda: 2**23)
    _fails(path, r"would take [0-9,]+ MiB as the file states, more than half of the memory")


def test_other_columns_and_arrays_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 2**10)
    monkeypatch.setattr(memory, "available", lambda: 2**12)
    for suffix in (".npz", ".parquet"):
        more = np.zeros((4, 2**20)) if suffix == ".npz" else [bytes(2**20)] * 4
        logits, _ = read_predictions(_write(tmp_path / f"p{suffix}", more=more))
        assert torch.equal(logits, torch.tensor(LOGITS))
