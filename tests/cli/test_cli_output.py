"""Output: control characters are escaped on a terminal and unchanged in a pipe; closed pipes; full disks; tables."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path
from typing import TextIO
from unittest import mock

import pytest
from helpers.commands import BUFFERED, TRAIN, Call, api_samples, metrics
from helpers.hostile_inputs import outcome
from helpers.properties import modest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn import checkpoint, cli
from charrnn.cli import output
from charrnn.text import from_files

tty = pytest.importorskip("tty", reason="there are no pseudo-terminals here")
termios = pytest.importorskip("termios")

CONTROLS = "\x1b]0;title\x07\x1b[2J\x9b31m\u202etxt\u2066\r\b\x7f\0\x0e"
PROMPT = CONTROLS.replace("\0", "")
PLAIN = "e\u0301 שלום\u200f עולם 👩\u200d🚀\tnaïve\u00a0日本\n"
NAME = "a\x1b[31m\nb\u202e\x9b"
SHOWN = "a\\x1b[31m\\nb\\u202e\\x9b"


def controls_in(text: str) -> list[str]:
    """Return the characters that control a terminal: controls except line ends and tabs, and direction overrides."""
    overrides = {chr(n) for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
    return [c for c in text if (unicodedata.category(c) == "Cc" and c not in "\n\t") or c in overrides]


def unescaped(text: str) -> str:
    """Return the text before it was escaped; it had no backslash."""
    return re.sub(r"\\x(..)|\\u(....)|(\\r)", lambda m: "\r" if m[3] else chr(int(m[1] or m[2], 16)), text)


def shown(*words: object) -> tuple[str, str]:
    """Run a command whose standard output and standard error are two terminals; return what they receive."""
    sent, streams, readers = ["", ""], [], []

    def read(n: int, master: int) -> None:
        parts = []
        try:
            while part := os.read(master, 1 << 16):
                parts.append(part)
        except OSError:  # Linux reports the closed other end like this
            pass
        os.close(master)
        sent[n] = b"".join(parts).decode()

    for n in range(2):
        master, slave = os.openpty()
        tty.setraw(slave)
        termios.tcsetwinsize(slave, (24, 100))
        streams.append(open(slave, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 (a descriptor)
        readers.append(threading.Thread(target=read, args=[n, master]))
        readers[n].start()
    argv = ["charrnn", *map(str, words)]
    with mock.patch.multiple(sys, argv=argv, stdout=streams[0], stderr=streams[1]), pytest.raises(SystemExit):
        cli.main()
    for stream, reader in zip(streams, readers, strict=True):
        stream.close()
        reader.join()
    return sent[0], sent[1]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a run whose vocabulary, text name and directory name hold control characters."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / f"{NAME}.txt").write_text((PLAIN * 4 + PROMPT) * 9, newline="")
    keys = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 2}
    keys |= {"train.device": "cpu", "log.eval_every": 1}
    charrnn.train(files=[folder / f"{NAME}.txt"], settings=keys, out=folder / "r")
    shutil.copytree(folder / "r", folder / NAME)
    return folder


@modest
@given(st.text(st.characters() | st.sampled_from(CONTROLS + PLAIN)))
def test_escaped_text(text: str) -> None:
    """Every control, override and surrogate becomes an escape; no other character changes."""
    text = text.replace("\\", "")
    for escape, more in ((output.escaped, ""), (output.printable, "\n\t\u2028\u2029")):
        found = escape(text)
        assert controls_in(found) == []
        assert not set(found) & set(more)
        assert not re.search("[\ud800-\udfff]", found)
        if not more:
            assert unescaped(found) == text
    kept = "".join(c for c in text if c not in controls_in(text) and not "\ud800" <= c <= "\udfff")
    assert output.escaped(kept) == kept


def test_other_characters_are_unchanged() -> None:
    """Combining accents, right-to-left text, joined emoji, tabs and line ends are not escaped."""
    assert output.escaped(PLAIN) == PLAIN
    assert output.escaped(CONTROLS) == ("\\x1b]0;title\\x07\\x1b[2J\\x9b31m\\u202etxt\\u2066\\r\\x08\\x7f\\x00\\x0e")


def test_sample_is_escaped_only_on_a_terminal(hostile: Path) -> None:
    """A terminal receives escapes; a pipe receives the text unchanged."""
    options = (
        "--device=cpu",
        "--length=1500",
        "--temperature=9",
        "--seed=1",
        "--count=2",
        "-0",
        f"--prompt={PROMPT}",
    )
    texts = charrnn.load(hostile / "r", device="cpu").sample_many(PROMPT, count=2, length=1500, temperature=9, seed=1)
    text = "\0".join(PROMPT + "".join(parts) for parts in zip(*texts, strict=True))
    assert set(controls_in(text)) >= set(controls_in(CONTROLS)) - {"\0"}
    piped = outcome(["sample", str(hostile / "r"), *options])
    assert piped.out.decode() == text
    out, err = shown("sample", hostile / "r", *options)
    assert controls_in(out) == []
    assert unescaped(out) == text
    assert err == f"checkpoint: {hostile}/r/checkpoints/step-00000002.safetensors on cpu\n"


def test_names_are_escaped_on_a_terminal(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of runs and texts are escaped in tables, values, notices, errors and commands to paste."""
    monkeypatch.chdir(hostile)
    for words, printed, notices in (
        (["eval", NAME], f"{SHOWN}/checkpoints/".replace("\\n", "\n"), f"checkpoint: {SHOWN}/checkpoints/"),
        (["score", NAME, f"{NAME}.txt"], "", f"checkpoint: {SHOWN}/"),
        (["compare", NAME, "r"], f"\n{SHOWN}  rnn ", ""),
        (["compare", NAME, "gone\x1b"], "", "left out: there is no run directory or checkpoint gone\\x1b\n"),
        (["sample", "\x1b[2J\x9b"], "", "charrnn: there is no run directory or checkpoint \\x1b[2J\\x9b\n"),
        (["\x1b[2J\x9b"], "", "charrnn: No such command '\\x1b[2J\\x9b'.\n"),
        (["train", "\x1b[2J\r"], "", "charrnn: \\x1b[2J : there is no such file\n"),
        (["train", f"{NAME}.txt", *TRAIN[2:], "--out", f"out/{NAME}"], "sample from it: ", "device: CPU"),
    ):  # fmt: skip
        out, err = shown(*words)
        assert controls_in(out) == []
        assert printed in out
        assert notices in err
        if words[0] != "compare" and "--out" not in words:  # the progress bar uses control characters
            assert controls_in(err) == []
    assert out.splitlines()[-1].endswith(r"charrnn sample $'out/a\x1b[31m\x0ab\xe2\x80\xae\xc2\x9b'")


def test_names_in_a_pipe(call: Call, hostile: Path) -> None:
    """Standard output in a pipe has the name unchanged; a notice is one escaped line."""
    shutil.copytree(hostile / "r", NAME)
    out, err = call("eval", NAME)
    assert out.endswith(f"checkpoint     {NAME}/checkpoints/step-00000002.safetensors\n")
    assert err == f"checkpoint: {SHOWN}/checkpoints/step-00000002.safetensors on cpu\n"


def test_sample_during_training_is_escaped(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples above the progress bar are escaped."""
    monkeypatch.chdir(hostile)
    out, err = shown("train", f"{NAME}.txt", *TRAIN[2:], "--set=log.sample_length=900", "--out=shown")
    assert controls_in(out) == []
    assert "\\x1b" in out
    assert "| 0/10 [" in err


@pytest.mark.parametrize("word", [NAME, "it's\x07", "\\\x1b'", "é\u202e", "\udcff\n", "plain", "two words", ""])
def test_commands_can_be_pasted(word: str) -> None:
    """A shell reads a quoted word as the same bytes; the quoted word holds no control characters."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    assert controls_in(output.shell_quoted(word)) == []
    printed = subprocess.run(
        [bash, "-c", f"printf %s {output.shell_quoted(word)}"], capture_output=True, check=True
    ).stdout
    assert printed == os.fsencode(word)


def test_names_in_the_cache_list(home: Path, hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a cached text is escaped on a terminal."""
    monkeypatch.chdir(hostile)
    from_files([f"{NAME}.txt"])
    assert f"  {SHOWN}.txt\n" in shown("cache")[0]


def end_of(words: list[str], **streams: int) -> tuple[int, str]:
    """Run a process; return its status and its standard error without the notice of the checkpoint."""
    command = [sys.executable, "-m", "charrnn", *words]
    result = subprocess.run(command, env=BUFFERED, text=True, timeout=60, check=False, **streams)
    lines = [line for line in (result.stderr or "").splitlines() if not line.startswith("checkpoint: ")]
    return result.returncode, "\n".join(lines)


@pytest.mark.parametrize(
    "words", ["--help", "tune --help", "devices", "cache", "eval r", "compare r", "score r t.txt"], ids=str
)
def test_pipe_that_is_closed_at_the_start(trained: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Output into a closed pipe ends with status 0 and no message; an error keeps its status."""
    monkeypatch.chdir(trained)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert end_of(words.split(), stdout=writer, stderr=subprocess.PIPE) == (0, "")
        assert end_of([words.split()[0], "--bogus"], stdout=subprocess.DEVNULL, stderr=writer) == (2, "")
    finally:
        os.close(writer)


def test_pipe_that_is_closed_early(trained: Path) -> None:
    """A reader that closes the pipe, as `head` does, ends `sample` with status 0 and no message."""
    command = [sys.executable, "-m", "charrnn", "sample", "r", "--device=cpu", "--length=100000000", "--seed=1"]
    with subprocess.Popen(
        command, cwd=trained, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED
    ) as process:
        assert process.stdout.read(5).decode() == api_samples(trained, "", 1)[0][:5]
        process.stdout.close()
        err = process.stderr.read().decode()
    assert (process.returncode, err) == (0, "checkpoint: r/checkpoints/step-00000010.safetensors on cpu\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_standard_output_is_full(trained: Path) -> None:
    """Standard output that cannot be written is an error of one line with status 2."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        command = [sys.executable, "-m", "charrnn", "devices"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, env=BUFFERED)
    assert (result.returncode, result.stderr) == (2, b"charrnn: No space left on device\n")


NOTE = "standard output cannot be written (No space left on device): training continues without it\n"


@pytest.mark.parametrize("word", ["  loss ", "a sample:", "done at step", "run: "])
def test_training_continues_when_standard_output_is_full(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """If standard output cannot be written from some line on, the run is complete, and one notice is printed."""
    right, out, failed = output.put, sys.stdout, list[str]()

    def put(text: str, stream: TextIO) -> None:
        if stream is out and (failed or word in text):
            failed.append(text)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        right(text, stream)

    with Path(os.devnull).open("w") as null, monkeypatch.context() as patched:
        patched.setattr(output, "put", put)
        patched.setattr(output, "null_stream", lambda: null)
        patched.setattr(sys, "stdout", out)  # so that it is restored at the end
        printed, err = call(*TRAIN, "--out=r")
    assert len(failed) == 1
    assert word not in printed
    assert err.endswith(NOTE)
    assert err.count("standard output") == 1
    assert checkpoint.steps(tmp_path / "r")[-1] == metrics(tmp_path / "r")[-1]["step"] == 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_standard_output_is_full_at_the_start(call: Call, tmp_path: Path) -> None:
    """The command fails and writes no run."""
    call(*TRAIN, "--steps=1", "--out=q")  # creates the text
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "charrnn", *TRAIN, "--out=r"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "charrnn: No space left on device"
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows does not remove a current directory")
@pytest.mark.parametrize("command", [["train", "t.txt"], ["sample", "../q"], ["train"]])
def test_removed_current_directory(call: Call, tmp_path: Path, command: list[str]) -> None:
    """The error names the directory, not the text or the run."""
    call(*TRAIN, "--steps=1", "--out=q")
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = "charrnn: the current directory no longer exists: change to another directory"
    assert call(*command, status=2)[1] == line


def test_table_lines() -> None:
    """Columns are as wide as their widest cell or the given minimum; lines have no spaces at the end."""
    rows = [["a", "b", "c"], ["long", "1", ""], ["x\n", "22", "y"]]
    assert output.table_lines(rows, "<><") == ["a      b  c", "long   1", "x\\n   22  y"]
    assert output.table_lines(rows, "<><", (6, 4)) == ["a          b  c", "long       1", "x\\n       22  y"]
