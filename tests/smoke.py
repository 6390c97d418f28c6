"""Run what a user does first, on any system and any Python, in less than a minute; exit with 1 at a failure.

    python tests/smoke.py

It needs the installed package and nothing else: no pytest, no network, no GPU. Everything happens in a temporary
directory, which is also the user's home.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

TIMEOUT = 300
ENGLISH = b"she sells sea shells by the sea shore;\nthe shells she sells are sea shells, sure.\n" * 20
CRLF = ("Ёж и 🦔, naïve café\r\n" * 60).encode()
SMALL = ["--device=cpu", "--seed=1", "--set=model.hidden_size=12", "--set=train.seq_length=8", "--set=train.shards=2"]
OFTEN = ["--set=log.every=2", "--set=log.eval_every=4", "--set=log.sample_every=5", "--set=log.checkpoint_every=5"]
TRAIN = [*SMALL, *OFTEN, "--set=train.batch_size=4"]
CALL = [sys.executable, "-m", "charrnn"]
WINDOWS = sys.platform == "win32"


def charrnn(*words: object, status: int = 0, stdin: bytes = b"") -> tuple[bytes, str]:
    """Run a command; return the bytes of standard output, and standard error. Its exit status must be `status`."""
    command = [*CALL, *map(str, words)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=TIMEOUT, check=False)
    err = done.stderr.decode()
    assert done.returncode == status, f"status {done.returncode}, not {status}: {' '.join(command)}\n{err}"
    assert "Traceback" not in err, err
    assert "Warning" not in err, err
    return done.stdout, err


def contents(run: str) -> dict[str, bytes]:
    """Return every file of a run but those that hold times or describe the last process."""
    files = {path.relative_to(run).as_posix(): path for path in Path(run).rglob("*") if path.is_file()}
    return {
        name: path.read_bytes() for name, path in files.items() if name not in ("metrics.jsonl", "environment.json")
    }


def stop_and_resume() -> None:
    """A run that is stopped and resumed with other threads leaves the same bytes as one without a stop."""
    charrnn("train", "english.txt", *TRAIN, "--steps=13", "--out=whole", "--threads=1")
    charrnn("train", "english.txt", *TRAIN, "--steps=13", "--out=parts", "--threads=2", "--stop-after=7")
    charrnn("train", "--resume", "--out=parts")
    whole, parts = contents("whole"), contents("parts")
    assert "checkpoints/step-00000013.safetensors" in whole
    assert set(whole) == set(parts), set(whole) ^ set(parts)
    assert [name for name in whole if whole[name] != parts[name]] == []
    assert {".lock", ".pid"}.isdisjoint(whole)


def sampling() -> None:
    """The same seed writes the same text, and another seed another; only the text is on standard output."""
    one, other = (charrnn("sample", "whole", "--length=60", f"--seed={seed}")[0] for seed in (1, 2))
    assert charrnn("sample", "whole", "--length=60", "--seed=1")[0] == one != other
    assert len(one) == 61
    assert set(one) <= set(ENGLISH)
    prompt = "e*"  # matches english.txt, which no program may put in its place
    assert charrnn("sample", "whole", "--prompt", prompt, "--unknown=skip", "--length=0")[0] == b"e*\n"


def losses() -> None:
    """`eval`, `score` and `compare` measure the same loss."""
    loss = json.loads(charrnn("eval", "whole", "english.txt", "--json")[0])["nats_per_char"]
    assert 1 < loss < math.log(len(set(ENGLISH))) + 1
    lines = charrnn("score", "whole", "english.txt")[0].decode("ascii").splitlines()
    assert "".join(json.loads(line.partition("\t")[2]) for line in lines).encode() == ENGLISH
    surprises = [float(line.partition("\t")[0]) for line in lines[1:]]
    assert abs(sum(surprises) / len(surprises) - loss) < 1e-4
    rows = json.loads(charrnn("compare", "w*e", "parts", "english.txt", "--json")[0])["rows"]
    assert [row["run"] for row in rows] == ["whole", "parts"]
    assert all(abs(row["losses"]["carried"] - loss) < 1e-9 for row in rows)


def tools() -> None:
    """`devices`, `gradcheck`, `tune`, `cache`, and `report` and `export` with their styles and scripts, work."""
    lines = dict(line.split(maxsplit=1) for line in charrnn("devices")[0].decode("ascii").splitlines())
    assert lines["python"].startswith(platform.python_version())
    assert len(charrnn("gradcheck", "--device=cpu", "--layers=1", "--cell=gru")[0].splitlines()) == 6
    words = ["english.txt", *SMALL[2:], "--device=cpu", "--seconds=1", "--json", "--write=tuned.toml"]
    assert json.loads(charrnn("tune", *words)[0])["best"]["shards"] >= 1
    assert b"shards" in Path("tuned.toml").read_bytes()
    charrnn("report", "whole", "parts", "-o", "page.html")
    page = Path("page.html").read_text("utf-8")
    assert all(part in page for part in ("<title>whole, parts: ", ".passage {", "const Page", "const Report"))
    charrnn("export", "whole", "play.html")
    page = Path("play.html").read_text("utf-8")
    assert all(part in page for part in ("<title>whole</title>", ".colored {", "const Page", "const Network"))
    charrnn("export", "whole", "hub/")
    assert {path.name for path in Path("hub").iterdir()} >= {"model.safetensors", "config.json", "README.md"}
    assert charrnn("cache")[0].decode().splitlines()[-1] == "total: 0 texts, 0.0 MB"


def fine_tuning() -> None:
    """A network continues on another text, with new characters."""
    words = ["--init-from=whole", "--grow-vocabulary", "--steps=4", "--out=tuned", "--device=cpu"]
    charrnn("train", "crlf.txt", *words)
    assert json.loads(charrnn("eval", "tuned", "crlf.txt", "--json")[0])["characters"] == len(CRLF.decode()) - 1


def other_characters() -> None:
    """Windows line ends, Cyrillic and emoji are read and written byte for byte, from a file and from a pipe."""
    import charrnn as api

    charrnn("train", "crlf.txt", *TRAIN, "--steps=6", "--out=emoji")
    charrnn("train", "-", *TRAIN, "--steps=6", "--out=piped", stdin=CRLF)
    assert Path("piped", "corpus.txt").read_bytes() == CRLF
    model = api.load("emoji", device="cpu")
    assert model.vocabulary.characters == api.load("piped").vocabulary.characters == "".join(sorted(set(CRLF.decode())))
    text = model.sample("Ёж\r\n", length=200, seed=3, temperature=9)
    assert {"🦔", "\r", "\n"} <= set(text)
    written = charrnn("sample", "emoji", "--prompt=Ё", "--no-echo", "--length=200", "--seed=3", "--temperature=9")[0]
    assert written.decode() == model.sample("Ё", length=200, seed=3, temperature=9) + "\n"


def interruption() -> None:
    """A signal saves and stops; meanwhile other processes read the run but do not train in it."""
    flags = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if WINDOWS else {}
    number = signal.CTRL_BREAK_EVENT if WINDOWS else signal.SIGINT
    status = 128 + (signal.SIGBREAK if WINDOWS else signal.SIGINT)
    command = [*CALL, "train", "english.txt", *TRAIN, "--steps=1000000", "--out=long"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **flags) as process:
        try:
            while not list(Path("long").glob("checkpoints/step-*")):
                assert process.stdout.readline(), "training ended"
            err = charrnn("train", "--resume", "--out=long", status=2)[1]
            assert re.fullmatch(r"charrnn: process \d+ is training in long: .*\s*", err), err
            charrnn("compare", "long", "--no-eval")
            process.send_signal(number)
            out, err = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert process.returncode == status, (process.returncode, err)
    step = int(re.search(rb"interrupted at step ([\d,]+)", out)[1].replace(b",", b""))
    assert b"resuming long at step" in charrnn("train", "--resume", "--out=long", f"--steps={step + 2}")[0]


def errors() -> None:
    """A mistake is one line on standard error and status 2."""
    wrong = [["train", "nosuch.txt"], ["sample", "nosuch"], ["train", "--bogus"], ["eval", "whole", "crlf.txt"]]
    for words in [
        *wrong,
        ["train", "english.txt", "--set=model.hidden_size=0"],
        ["train", "english.txt", "--out=whole"],
    ]:
        out, err = charrnn(*words, status=2)
        assert out == b""
        assert re.search(r"^charrnn: \S.*$", err.splitlines()[-1]), err
        assert sum(line.startswith("charrnn: ") for line in err.splitlines()) == 1, err


def python_interface() -> None:
    """`charrnn.train`, `load`, `sample` and `evaluate`; a text in the cache trains as one in memory."""
    import charrnn as api
    from charrnn.text import cache

    settings = {"model.hidden_size": 8, "train.steps": 5, "train.seq_length": 8, "train.device": "cpu"}
    model = api.train(files="english.txt", out="api", settings=settings)
    again = api.load("api", device="cpu")
    text = model.sample("she", length=40, seed=5)
    assert text == again.sample("she", length=40, seed=5)
    assert len(text) == 40
    assert again.evaluate().nats_per_char == model.evaluate().nats_per_char
    cache.SMALL = 100
    cached = api.train(files="english.txt", out="cached", settings=settings)
    assert (len(cache.entries()), cache.directory().is_relative_to(Path.cwd())) == (1, True)
    checkpoint = "checkpoints/step-00000005.safetensors"
    assert contents("api")[checkpoint] == contents("cached")[checkpoint]
    del cached  # it has the entry mapped, which keeps Windows from removing it
    cache.clear()
    assert cache.entries() == []


CHECKS = (
    *(stop_and_resume, sampling, losses, tools, fine_tuning, other_characters, interruption, errors),
    python_interface,
)


def passes(check: Callable[[], None]) -> bool:
    """Run a check, print a line about it, and return whether it passes."""
    start = time.monotonic()
    try:
        check()
    except Exception:
        print(f"FAILED  {check.__name__}: {check.__doc__}\n{traceback.format_exc()}", flush=True)
        return False
    print(f"ok      {check.__name__}, {time.monotonic() - start:.1f} s", flush=True)
    return True


def main() -> int:
    """Run all checks in a temporary directory."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    del sys.path[0]  # the folder of this file, whose subdirectories are no packages
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="charrnn-smoke-", ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        Path("english.txt").write_bytes(ENGLISH)
        Path("crlf.txt").write_bytes(CRLF)
        home = str(Path("home").absolute())
        Path(home).mkdir()
        os.environ |= dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA"), home)
        os.environ.pop("XDG_CACHE_HOME", None)
        version = charrnn("--version")[0].decode().split()[-1]
        print(f"charrnn {version}, Python {platform.python_version()}, {platform.platform()}", flush=True)
        failed = [check for check in CHECKS if not passes(check)]
        os.chdir(before)
    print(f"{len(CHECKS) - len(failed)} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
