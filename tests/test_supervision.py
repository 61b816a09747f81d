"""No process outlives its parent, none is waited for in vain, and Ctrl-C ends a command."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from bits import same_bits

from softprior.engines import LocalEngine, ProcessesError, Together, child, local, together
from softprior.training import Recipe, Run, Store

# Signals of each kind, and pairs, in the slow tests; SOFTPRIOR_TRIALS=20 is a full round.
TRIALS = int(os.environ.get("SOFTPRIOR_TRIALS", "1"))
pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")

SECONDS = 5.0  # after which nothing may be left
FIRST, SECOND = Recipe(epochs=1), Recipe(epochs=1, seed=1)
DONE = 'input(); print(\'{"event": "done"}\', flush=True); input()'


def report(line: bytes) -> str:
    """The source of a worker that writes this and stays."""
    return f"import os, time; input(); os.write(1, {line!r}); time.sleep(600)"


def death(number: int) -> str:
    return f"import os; input(); os.kill(os.getpid(), {number})"


# How a worker may end or fall silent, and what is said of it.
WORKERS = {
    "half an event": (report(b'{"event": "ep\n'), r"wrote what is no event: '{\"event\": \"ep'"),
    "an event that is unknown": (report(b'{"event": "dnoe"}\n'), "wrote what is no event"),
    "no object": (report(b"[1]\n"), r"wrote what is no event: '\[1\]'"),
    "nothing": (report(b"null\n"), "wrote what is no event: 'null'"),
    "no text": (report(b"\xff\xfe\n"), "wrote what is no event"),
    "half an event, then death": (
        "import os; input(); os.write(1, b'{\"event'); os._exit(4)",
        "wrote what is no event|exit status 4",
    ),
    "killed": (death(signal.SIGKILL), r"exit status -9 \(SIGKILL: .* memory had run out\)"),
    "crashed": (death(signal.SIGSEGV), r"exit status -11 \(SIGSEGV\)"),
    "terminated": (death(signal.SIGTERM), r"exit status -15 \(SIGTERM\)"),
    "last words": (
        "import sys; input(); sys.stderr.write('the\\nlast words\\n'); sys.exit(3)",
        "exit status 3: last words$",
    ),
    "words that are no text": (
        "import os; input(); os.write(2, b'caf\\xe9'); os._exit(3)",
        "exit status 3: caf",
    ),
    "dead at once": ("raise SystemExit(7)", "exit status 7: it printed nothing"),
    "deaf": ("import os, time; os.close(1); time.sleep(600)", r"exit status -9"),
    "silent": ("import time; input(); time.sleep(600)", "gave no sign of life for"),
    "stopped": (death(signal.SIGSTOP), "gave no sign of life for .* stopped"),
    "stopped before it listens": (death(signal.SIGSTOP).replace("input(); ", ""), "no sign of"),
}


def fake(sources: list[str]) -> Callable[..., subprocess.Popen[str]]:
    """Starts workers of these sources, one after the other."""
    left = iter(sources)

    def launched(words: object, stderr: IO[bytes], environment: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", next(left)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    return launched


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "SILENCE", 3.0)
    monkeypatch.setattr(child, "ENDING", 0.3)
    monkeypatch.setattr(together, "LAST_WORDS", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_that_fails_is_named_and_replaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, message = WORKERS[name]
    monkeypatch.setattr(local, "launch", fake([source, DONE]))
    (failure,) = LocalEngine(1).run([FIRST, SECOND], Store(tmp_path))
    assert failure.recipe.seed == 0
    assert "\n" not in failure.message
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(failure.message)
    assert children() == []


@pytest.mark.usefixtures("impatient")
def test_each_dead_worker_has_its_own_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [WORKERS["last words"][0], WORKERS["killed"][0]]
    monkeypatch.setattr(local, "launch", fake(sources))
    first, second = LocalEngine(1).run([FIRST, SECOND], Store(tmp_path))
    assert "last words" in first.message
    assert second.message.endswith("it printed nothing")


@pytest.mark.usefixtures("impatient")
def test_a_job_for_a_worker_that_has_ended_finds_nobody() -> None:
    """Whether it has died, or its end was already seen."""
    launched = fake(["raise SystemExit(7)"])
    guard = child.Guard()
    try:
        worker = child.Child(lambda stderr: launched([], stderr, {}), guard, "one")
        worker.process.wait()
        with pytest.raises(OSError, match="Broken pipe"):
            worker.send({"job": 1})
        assert worker.end() == "one ended with exit status 7: it printed nothing"
        with pytest.raises(OSError, match="Broken pipe"):
            worker.send({"job": 1})
    finally:
        guard.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOENT])
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_that_cannot_be_started(
    number: int, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launched(*_: object) -> subprocess.Popen[str]:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(local, "launch", launched)
    recipes = [replace(FIRST, seed=seed) for seed in range(5)]
    failures = LocalEngine(workers).run(recipes, Store(tmp_path))
    assert len(failures) == 5
    assert {failure.message for failure in failures} == {
        f"no worker process can be started ({os.strerror(number)}): try fewer workers"
    }


def failed(kind: str, message: str, expected: str | None = None, system: object = None) -> str:
    """The source of a process that reports a failure and stays."""
    event = {"event": "failed", "kind": kind, "message": message}
    line = json.dumps({**event, "expected": expected, "system": system})
    return report(f"{line}\n".encode())


LOST = failed("DistBackendError", "Connection closed by peer [127.0.0.1]:1\nmore")
WAITS = """
import time
input()
while True:
    print('{"event": "alive"}', flush=True)
    time.sleep(0.2)
"""
TOGETHER: dict[str, tuple[list[str], type[Exception], str]] = {
    **{
        name: ([WAITS, source], ProcessesError, f"process 2 of 2 .*({message})")
        for name, (source, message) in WORKERS.items()
    },
    "the first": ([death(signal.SIGKILL), WAITS], ProcessesError, "process 1 of 2 ended .*SIGKILL"),
    "dead, and the other lost it": ([LOST, death(9)], ProcessesError, "process 2 of 2 .* memory"),
    "a mistake, and the other lost it": (
        [LOST, failed("PartError", "what is wrong", "ValueError")],
        ValueError,
        "^what is wrong$",
    ),
    "diverged": (
        [failed("FloatingPointError", "training diverged", "FloatingPointError")] * 2,
        FloatingPointError,
        "^training diverged$",
    ),
    "full disk": (
        [failed("OSError", "…", "OSError", [errno.ENOSPC, "No space left on device", "f"]), WAITS],
        OSError,
        "No space left on device: 'f'",
    ),
    "unforeseen": ([LOST, WAITS], ProcessesError, "process 1 of 2 failed: DistB.* by peer .{13}$"),
}


# Alone all of them are quick tests; of several one for each way to learn of it.
QUICK = {*TOGETHER.keys() - WORKERS.keys(), "killed", "dead at once", "half an event", "silent"}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in TOGETHER]
)
def test_of_several_processes_the_one_that_failed_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, error, message = TOGETHER[name]
    monkeypatch.setattr(together, "launch", fake(sources))
    with pytest.raises(error, match=message) as caught, Together(2) as processes:
        processes.fit(FIRST, Store(tmp_path))
    assert "\n" not in str(caught.value)
    assert children() == []


def children() -> list[int]:
    """Processes that this one has started and that live, but for pytest's own."""
    return [pid for pid, parent in _parents().items() if parent == os.getpid()]


def _parents() -> dict[int, int]:
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if state != "Z":
            found[int(status.parent.name)] = int(parent)
    return found


def marked(mark: str) -> list[int]:
    """Living processes with this in their environment: those of a command and all below it."""
    found = []
    for pid in _parents():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in environment:
            found.append(pid)
    return found


def gone(mark: str) -> float:
    """Seconds until none of them lives any more."""
    began = time.monotonic()
    while left := marked(mark):
        assert time.monotonic() - began < SECONDS, [
            Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left
        ]
        time.sleep(0.05)
    return time.monotonic() - began


# Holds workers of every kind, until it is killed.
PARENT = """
import subprocess, sys, time
from softprior.engines.child import Child, Guard
guard = Guard()
for source in sys.argv[1:]:
    def launched(stderr):
        return subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True)
    one = Child(launched, guard, "one")
    if "ready" in source:
        one.process.stdout.readline()
print("ready", flush=True)
time.sleep(600)
"""
BELOW = {
    "busy": "while True: pass",
    "stopped": death(signal.SIGSTOP).replace("input(); ", ""),
    "deaf to SIGTERM and SIGHUP": (
        "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)];"
        "print('ready', flush=True); time.sleep(600)"
    ),
    "with a grandchild": (
        "import subprocess, sys, time;"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "print('ready', flush=True); time.sleep(600)"
    ),
}


def heed_signals() -> None:
    """Whoever runs the tests in the background, or under nohup, has told its children to ignore
    Ctrl-C, or that the terminal is gone."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_whatever_ends_the_parent_ends_all_below_it(number: int) -> None:
    mark = f"SOFTPRIOR_TEST={os.getpid()}-{number}"
    name, value = mark.split("=")
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *BELOW.values()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, name: value},
        preexec_fn=heed_signals,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            assert len(marked(mark)) >= 1 + len(BELOW)
            process.send_signal(number)
            process.wait(SECONDS)
            gone(mark)
        finally:
            process.kill()


# Where Ctrl-C may find a command; each says that it is there, and would go on for long.
HOLD = "def hold():\n    print('ready\\n', end='', flush=True)\n    time.sleep(60)\n"  # at one go
PLACES = {
    "asleep": "hold()",
    "at work": "print('ready', flush=True)\nwhile True: pass",
    "swallowed": "try: hold()\nexcept BaseException: time.sleep(60)",
    "swallowed again and again": (
        "print('ready', flush=True)\nwhile True:\n"
        "    try: time.sleep(0.1)\n    except BaseException: pass"
    ),
    "in a pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(2) as pool: pool.map(lambda _: hold(), range(9))"
    ),
    "in an import": "import holds",
    "in an import that swallows it": "try: import holds\nexcept BaseException: time.sleep(60)",
    "while it cleans up": "try: hold()\nfinally: time.sleep(60)",
}


@pytest.mark.parametrize("place", PLACES)
def test_ctrl_c_ends_a_command_wherever_it_is(place: str, tmp_path: Path) -> None:
    (tmp_path / "holds.py").write_text(f"import time\n{HOLD}hold()\n")
    source = (
        "import sys, time\nfrom softprior.cli import _interrupts\n_interrupts.PATIENCE = 0.3\n"
        f"_interrupts.end_on_ctrl_c('stopped')\n{HOLD}"
        f"try:\n{''.join(f'    {line}' for line in PLACES[place].splitlines(True))}\n"
        "except KeyboardInterrupt:\n    print('stopped', file=sys.stderr)\n"
        "    _interrupts.has_been_told()\n    sys.exit(130)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=heed_signals,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(3.0) == 130
            assert process.stderr.read() == "stopped\n"
        finally:
            process.kill()


def start(*words: str, temporary: Path, mark: str = "A=B") -> subprocess.Popen[str]:
    name, value = mark.split("=")
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "softprior", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": os.fspath(temporary), name: value},
        preexec_fn=heed_signals,
    )


LONG = {
    "processes": ("fit", "--processes", "2", "--epochs", "100000"),
    "study": ("study", "smoothing", "--workers", "2", "--seeds", "50"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_a_random_signal_to_the_parent_leaves_no_process(name: str, tmp_path: Path) -> None:
    """At a random moment: while torch is imported, while workers start, while they train."""
    draw, temporary = random.Random(), tmp_path / "temporary"
    for trial in range(3 * TRIALS):
        mark = f"SOFTPRIOR_TEST={os.getpid()}-{name}-{trial}"
        number = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)[trial % 3]
        with start(*LONG[name], "--out", str(tmp_path), temporary=temporary, mark=mark) as process:
            try:
                time.sleep(draw.uniform(0.5, 10.0))
                process.send_signal(number)
                _, stderr = process.communicate(timeout=SECONDS)
                gone(mark)
            finally:
                process.kill()
        assert "Traceback" not in stderr
        if number == signal.SIGINT:
            assert process.returncode == 130
            assert "the same command goes on" in stderr
    assert list(temporary.glob("torchelastic_*")) == []


OFTEN = ("--checkpoint_minutes", "0.00001")
FIT = ("fit", "--epochs", "3", "--prior", "beta", "--label_weight", "0.4", "--teacher", "ema")
PAIRS = {
    "fit": FIT,
    "fit, a checkpoint at each step": (*FIT, *OFTEN),
    "processes, a checkpoint at each step": (*FIT, "--processes", "2", *OFTEN),
    "study": ("study", "smoothing", "--scale", "smoke", "--seeds", "1", "--workers", "1"),
}


def finished(folder: Path) -> dict[str, Run]:
    assert [path for path in (folder / "runs").iterdir() if path.name.startswith(".")] == []
    return {run.path.name: run for run in Store(folder / "runs").runs()}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_two_of_the_same_command_at_once(name: str, tmp_path: Path) -> None:
    """Both end well, with the bits of an undisturbed one."""
    temporary = tmp_path / "temporary"
    with start(*PAIRS[name], "--out", str(tmp_path / "alone"), temporary=temporary) as alone:
        _, stderr = alone.communicate(timeout=600)
    assert alone.returncode == 0, stderr
    undisturbed = finished(tmp_path / "alone")
    draw = random.Random()
    for trial in range(TRIALS):
        folder = tmp_path / str(trial)
        pair = [start(*PAIRS[name], "--out", str(folder), temporary=temporary)]
        time.sleep(draw.uniform(0, 1))
        pair.append(start(*PAIRS[name], "--out", str(folder), temporary=temporary))
        for process in pair:
            with process:
                _, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr
        runs = finished(folder)
        assert runs.keys() == undisturbed.keys()
        for digest, run in runs.items():
            same_bits(undisturbed[digest], run)
