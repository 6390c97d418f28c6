"""Check a kernel on the card, in a child process, before this process uses it.

A kernel that hangs cannot be stopped, and after one that faults its process can compute nothing more on the card. So a
child process runs it first, on the sizes of the run and a few time steps, and compares its results with those of NumPy
on the functions that it replaces. A kernel that does not pass is not used: a line says which, and why. A verdict is
kept in the user's cache directory, by card, driver, CuPy, kernel sources and sizes.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from charrnn import files
from charrnn.backend.base import Backend, series
from charrnn.backend.kernels.fused import Fused
from charrnn.backend.kernels.loader import Recurrence
from charrnn.backend.kernels.source import FOLDER, REALS
from charrnn.backend.numpy import NumpyBackend

Arrays = dict[str, np.ndarray[Any, Any]]

LIMIT = 30.0
"""Seconds in which a kernel must be compiled and pass."""
START_LIMIT = 60.0
"""Seconds in which the child process must be ready."""
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
"""Largest max |a - b| / max |b| of an array a of a kernel and b of NumPy."""
STEPS = 3
"""Time steps."""
log = logging.getLogger("charrnn")
"""Prints warnings on standard error, unless the program decides otherwise."""


@dataclass(frozen=True)
class Subject:
    """A kernel on some sizes, in words that a child process understands.

    Attributes:
        name: of the cell, or of the function in `Fused`.
        replaced: the module of the cell, or `module:function`, which compute the same by array operations.
        dtype: float32 or float64.
        sizes: (B, H) of a cell; empty for a function, which is compiled alike for all sizes.
        residence: see `Recurrence`.
        definitions: see `Recurrence`, as pairs.
    """

    name: str
    replaced: str
    dtype: str
    sizes: tuple[int, ...] = ()
    residence: tuple[bool, ...] = (True, False)
    definitions: tuple[tuple[str, int | str], ...] = ()

    def __str__(self) -> str:
        """Name the kernel to users."""
        sizes = f", B={self.sizes[0]}, H={self.sizes[1]}" if self.sizes else ""
        return f"{self.name} ({self.dtype}{sizes})"


def subject_of(recurrence: Recurrence, B: int, H: int, dtype: str) -> Subject:
    """Return the kernels of a cell as a subject, for B streams of H units."""
    definitions = tuple(recurrence.definitions.items())
    return Subject(recurrence.cell.NAME, recurrence.cell.__name__, dtype, (B, H), recurrence.residence, definitions)


def subjects_of(name: str, function: Callable[..., Any]) -> list[Subject]:
    """Return the kernel that replaces a function, for each dtype."""
    return [Subject(name, f"{function.__module__}:{function.__qualname__}", dtype) for dtype in REALS]


@dataclass(frozen=True)
class Verdict:
    """The result of a check.

    Attributes:
        error: the largest error, relative to `TOLERANCE`'s measure; None if the kernel did not end.
        problem: why the kernel is not used; empty if it passed.
        final: whether the same check would end in the same way, so that the verdict is kept.
    """

    error: float | None = None
    problem: str = ""
    final: bool = field(default=True, compare=False)


class Checks:
    """Decides which kernels this process uses on one card.

    Attributes:
        index: the number of the card.
        identity: returns what a verdict depends on: the card, the driver and CuPy.
        verdicts: of the kernels that were checked, perhaps by an earlier process.
        failed: name of a kernel -> its first verdict with a problem. The kernel is not used, whatever its sizes.
    """

    def __init__(self, index: int, identity: Callable[[], dict[str, Any]]) -> None:
        self.index, self.identity = index, identity
        self.verdicts: dict[Subject, Verdict] = {}
        self.failed: dict[str, Verdict] = {}

    def trusts(self, recurrence: Recurrence, B: int, H: int, dtype: str) -> bool:
        """Return whether the kernels of a cell pass, for B streams of H units."""
        return self.passed([subject_of(recurrence, B, H, dtype)])

    def trusts_function(self, name: str, function: Callable[..., Any]) -> bool:
        """Return whether the kernel that replaces a function passes, with each dtype."""
        return self.passed(subjects_of(name, function))

    def passed(self, subjects: Sequence[Subject]) -> bool:
        """Return whether all these kernels pass. Check those that have no verdict yet."""
        self.check(subjects)
        return not any(subject.name in self.failed for subject in subjects)

    def check(self, subjects: Sequence[Subject]) -> None:
        """Check the kernels that have no verdict yet, but none that has failed on other sizes."""
        for subject in subjects:
            if subject not in self.verdicts and (verdict := read(self.path(subject))) is not None:
                self.note(subject, verdict)
        while missing := [s for s in subjects if s not in self.verdicts and s.name not in self.failed]:
            for subject, verdict in zip(missing, in_child_process(self.index, missing), strict=False):
                if verdict.final:
                    write(self.path(subject), verdict)
                self.note(subject, verdict)

    def check_again(self, subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Verdict]]:
        """Forget all verdicts of all processes, and check these kernels. Yield each with its verdict."""
        if (path := self.path(subjects[0])) is not None:
            shutil.rmtree(path.parent, ignore_errors=True)
        done = 0
        while done < len(subjects):
            for verdict in in_child_process(self.index, subjects[done:]):
                if verdict.final:
                    write(self.path(subjects[done]), verdict)
                yield subjects[done], verdict
                done += 1

    def note(self, subject: Subject, verdict: Verdict) -> None:
        """Remember a verdict. Report a kernel that is not used by one line."""
        self.verdicts[subject] = verdict
        if verdict.problem and subject.name not in self.failed:
            self.failed[subject.name] = verdict
            log.warning("the kernel %s is not used, array operations run instead: %s", subject, verdict.problem)

    def path(self, subject: Subject) -> Path | None:
        """Return the path of a verdict in the cache; None if the user has no cache directory."""
        key = json.dumps([self.identity(), sources(), asdict(subject)], sort_keys=True)
        with suppress(RuntimeError):
            return files.cache_directory() / "kernels" / f"{sha256(key.encode()).hexdigest()}.json"
        return None


def sources() -> str:
    """Return a hash of the kernels and of the code that launches them."""
    code = [path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in (".cu", ".cuh", ".py")]
    return sha256(b"".join(code)).hexdigest()


def read(path: Path | None) -> Verdict | None:
    """Return a verdict from the cache; None if there is none, or a damaged one."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        values = json.loads(path.read_bytes()) if path is not None else {}
        if isinstance(values["problem"], str) and isinstance(values["error"], float | None):
            return Verdict(values["error"], values["problem"])
    return None


def write(path: Path | None, verdict: Verdict) -> None:
    """Keep a verdict, if the cache directory can be written."""
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_atomically(path, json.dumps({"error": verdict.error, "problem": verdict.problem}).encode())


# -- the parent's side ------------------------------------------------------------------------------------------------


def in_child_process(index: int, subjects: Sequence[Subject]) -> list[Verdict]:
    """Return the verdicts about the first kernels, up to one that does not pass; about all if no child can start."""
    request = {"index": index, "limit": LIMIT, "subjects": [asdict(subject) for subject in subjects]}
    path = os.pathsep.join(folder or "." for folder in sys.path)
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": path, "NVIDIA_TF32_OVERRIDE": "0"},
            timeout=START_LIMIT + LIMIT * len(subjects) + 5,  # the child ends itself before
            start_new_session=True,  # Ctrl-C in a terminal does not reach it
        )
        status, output, errors = ended.returncode, ended.stdout, ended.stderr.strip()
    except subprocess.TimeoutExpired as expired:
        status, output, errors = 1, (expired.stdout or b"").decode(), "Timeout"
    except OSError as error:
        status, output, errors = 1, "", str(error)
    timed_out = "Timeout" in errors  # as `faulthandler` writes
    ready, *lines = output.splitlines() or [""]
    if ready != "ready":
        reason = f"no answer within {START_LIMIT:g} s" if timed_out else errors.split("\n")[-1]
        return [Verdict(problem=f"it cannot be checked ({reason})", final=False) for _ in subjects]
    verdicts = [Verdict(**json.loads(line)) for line in lines if line.endswith("}")]
    if len(verdicts) < len(subjects) and not any(verdict.problem for verdict in verdicts):  # ended in the next one
        words = f"it does not end within {LIMIT:g} s" if timed_out else f"its process ended with status {status}"
        verdicts.append(Verdict(problem=words))
    return verdicts


# -- the child's side -------------------------------------------------------------------------------------------------


def main() -> None:
    """Check the kernels that standard input names, until one does not pass, and print a line for each."""
    from charrnn.backend.cupy import CupyBackend

    request = json.load(sys.stdin)
    faulthandler.dump_traceback_later(START_LIMIT, exit=True)  # it ends this process even if the driver hangs
    backend = CupyBackend(request["index"], kernels="off")
    backend.device.use()
    print("ready", flush=True)
    for values in request["subjects"]:
        faulthandler.dump_traceback_later(request["limit"], exit=True)
        values["definitions"] = tuple(map(tuple, values["definitions"]))
        verdict = examined(backend, Subject(**values))
        print(json.dumps(asdict(verdict)), flush=True)
        if verdict.problem:
            break  # after a fault nothing else works in this process
    os._exit(0)  # without the driver's clean-up, which can hang


def examined(backend: Any, subject: Subject) -> Verdict:
    """Run a kernel and the functions that it replaces, and return the verdict."""
    try:
        compute = recurrence if subject.sizes else FUNCTIONS[subject.name]
        error = worst(*compute(backend, subject))
    except Exception as failure:  # of the compiler, the driver, or a barrier
        words = str(failure).strip().splitlines() or [type(failure).__name__]
        out_of_memory = "out of memory" in words[0].lower()
        return Verdict(problem=f"it fails ({words[0].strip()})", final=not out_of_memory)
    if not np.isfinite(error):
        return Verdict(problem="its results are not finite")
    if error > TOLERANCE[subject.dtype]:
        return Verdict(error, f"its results differ from NumPy's by {error:.1e}, more than {TOLERANCE[subject.dtype]:g}")
    return Verdict(error)


def worst(actual: Arrays, expected: Arrays) -> float:
    """Return the largest max |a - b| / max |b| of all arrays; where b is zero, max |a|. NaN is larger than all."""
    errors = []
    for name, b in expected.items():
        scale = np.max(np.abs(b)) or 1.0
        errors.append(float(np.max(np.abs(actual[name] - b)) / scale))
    return max(errors, key=lambda error: (error != error, error))


def recurrence(backend: Any, subject: Subject) -> tuple[Arrays, Arrays]:
    """Return what the kernels of a cell compute in both passes, and what its own loop computes."""
    cell: Any = import_module(subject.replaced)
    options: Any = {"residence": subject.residence, "definitions": dict(subject.definitions)}
    kernels = Recurrence(backend.cupy, cell, backend.card, **options)
    actual = both_passes(kernels, cell, subject, backend)
    if not any(kernels.kernels.values()):
        raise RuntimeError("it does not fit this card")
    if backend.to_host(kernels.gave_up).any():
        raise RuntimeError("a block waited too long for the others")
    return actual, both_passes(cell, cell, subject, NumpyBackend())


def both_passes(subject: Any, cell: Any, on: Subject, backend: Backend) -> Arrays:
    """Run both passes of a cell, or of its kernels, on random numbers. Return the states and the gradients."""
    (B, H), G, rng = on.sizes, cell.GATES, np.random.default_rng(0)
    tape = cell.tape(STEPS, B, H, on.dtype, backend=backend)

    def uploaded(*shape: int) -> Any:
        return backend.from_host(rng.standard_normal(shape), on.dtype)

    tape.z[...] = uploaded(STEPS, B, G * H)
    for state in cell.STATES:
        getattr(tape, state)[0, ...] = uploaded(B, H)
    for gate in cell.BIASES.values():
        tape.bias[gate, ...] = uploaded(B, H)[:1, :]
    W = backend.from_host(rng.standard_normal((H, G * H)) / np.sqrt(H), on.dtype)
    tape.by_W.use(W)
    tape.by_W_T.use(W.T)
    keep = backend.from_host(rng.random((STEPS, B)) > 0.2, on.dtype)
    subject.recurrence_forward(tape, keep, backend=backend)
    subject.recurrence_backward(tape, series(uploaded(STEPS, B, H)), keep, backend=backend)
    return {name: np.array(backend.to_host(getattr(tape, name))) for name in (*cell.STATES, "z", "z_hidden")}


def function_of(subject: Subject) -> Callable[..., Any]:
    """Return the function that a kernel replaces."""
    module, _, name = subject.replaced.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def both(backend: Any, subject: Subject, compute: Callable[[Any, Backend], Arrays]) -> tuple[Arrays, Arrays]:
    """Return what `compute(function, backend)` returns for a kernel and for the function that it replaces."""
    kernel, numpy = Fused(backend.cupy, backend.card).function(subject.name), NumpyBackend()
    with numpy.quiet():
        return compute(kernel, backend), compute(function_of(subject), numpy)


def cross_entropy(backend: Any, subject: Subject) -> tuple[Arrays, Arrays]:
    """Compare the loss of rows of logits, and its gradient."""

    def compute(function: Any, on: Backend) -> Arrays:
        rng = np.random.default_rng(0)
        logits = on.from_host(4 * rng.standard_normal((5, 300)), subject.dtype)
        nats = function(logits, on.host_indices(rng.integers(0, 300, 5)), 0.25, backend=on)
        return {"nats": on.to_host(nats), "gradient": on.to_host(logits)}

    return both(backend, subject, compute)


def apply_update(backend: Any, subject: Subject) -> tuple[Arrays, Arrays]:
    """Compare an update by each rule, with everything that can follow a gradient."""
    module: Any = import_module(subject.replaced.partition(":")[0])

    def compute(function: Any, on: Backend) -> Arrays:
        rng, results = np.random.default_rng(0), Arrays()

        def uploaded() -> Any:
            return on.from_host(rng.random(1000), subject.dtype)

        for name in ("adagrad", "rmsprop", "adam"):
            config = SimpleNamespace(name=name, eps=1e-8, beta1=0.9, beta2=0.99, weight_decay=0.1, **CLIPS)
            rule, guard, trace = module.rule(config), module.Guard(on, subject.dtype), on.zeros((4,), subject.dtype)
            vector, decayed, average, after, state, grad = (uploaded() for _ in range(6))
            slots = {slot: uploaded() for slot in rule.slots}
            arrays = module.TrainedArrays(vector, decayed, average, slots, [(after, state)], guard)
            inputs = module.UpdateInputs(number=2, learning_rate=0.01, characters=10, average_share=0.1)
            loss = on.from_host(np.array(20.0), subject.dtype)
            function(arrays, grad, loss, inputs, trace=trace, rule=rule, config=config, backend=on)
            parts = {"vector": vector, "average": average, "state": state, "trace": trace} | slots
            results |= {f"{name} {part}": on.to_host(array) for part, array in parts.items()}
        return results

    return both(backend, subject, compute)


def draw_masks(backend: Any, subject: Subject) -> tuple[Arrays, Arrays]:
    """Compare the masks of two layers at three steps."""

    def compute(function: Any, on: Backend) -> Arrays:
        key, kept = np.array([1, 2**63], np.uint64), np.dtype(subject.dtype).type(1.25)
        out = on.zeros((3, 2, 1000), subject.dtype)
        function(key, range(5, 8), range(1, 5, 2), 13107, kept, out=out, backend=on)
        return {"masks": on.to_host(out)}

    return both(backend, subject, compute)


CLIPS = {"clip_norm": 1.0, "clip_value": 0.05}
FUNCTIONS = {"cross_entropy": cross_entropy, "apply_update": apply_update, "draw_masks": draw_masks}
"""Name of a function in `Fused` -> its check."""


if __name__ == "__main__":
    main()
