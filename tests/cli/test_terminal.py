"""What reaches a terminal cannot drive it; what reaches a pipe is as it was; and nobody need be reading."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path
from unittest import mock

import pytest
from helpers.commands import BUFFERED, TRAIN, Call
from helpers.nasty import outcome
from helpers.properties import modest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn import cli
from charrnn.cli import terminal
from charrnn.text import from_files

tty = pytest.importorskip("tty", reason="there are no pseudo-terminals here")
termios = pytest.importorskip("termios")

DRIVING = "\x1b]0;title\x07\x1b[2J\x9b31m\u202etxt\u2066\r\b\x7f\0\x0e"
PLAIN = "e\u0301 שלום\u200f עולם 👩\u200d🚀\tnaïve\u00a0日本\n"
NAME = "a\x1b[31m\nb\u202e\x9b"
SHOWN = "a\\x1b[31m\\nb\\u202e\\x9b"


def drives(text: str) -> list[str]:
    """The characters of `text` that a terminal obeys: controls, but for line ends and tabs, and overrides."""
    overrides = {chr(n) for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
    return [c for c in text if (unicodedata.category(c) == "Cc" and c not in "\n\t") or c in overrides]


def unescaped(text: str) -> str:
    """What `text` was, if there was no backslash in it."""
    return re.sub(r"\\x(..)|\\u(....)|(\\r)", lambda m: "\r" if m[3] else chr(int(m[1] or m[2], 16)), text)


def shown(*words: object) -> tuple[str, str]:
    """What a command shows on two terminals, which are its standard output and standard error."""
    sent, streams, readers = ["", ""], [], []

    def read(n: int, master: int) -> None:
        parts = []
        try:
            while part := os.read(master, 1 << 16):
                parts.append(part)
        except OSError:  # so Linux says that nobody has the other end any more
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
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a run whose vocabulary drives terminals, whose text and directory have a name that does."""
    folder = tmp_path_factory.mktemp("evil")
    (folder / f"{NAME}.txt").write_text((DRIVING + PLAIN) * 20, newline="")
    keys = {"model.hidden_size": 8, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 2}
    keys |= {"train.device": "cpu", "log.eval_every": 1}
    charrnn.train(files=[folder / f"{NAME}.txt"], settings=keys, out=folder / "r")
    shutil.copytree(folder / "r", folder / NAME)
    return folder


@modest
@given(st.text(st.characters() | st.sampled_from(DRIVING + PLAIN)))
def test_escaped_text_drives_nothing(text: str) -> None:
    """Every control and override becomes an escape, half characters too, and no other character changes."""
    text = text.replace("\\", "")
    for escape, more in ((terminal.escaped, ""), (terminal.printable, "\n\t\u2028\u2029")):
        found = escape(text)
        assert drives(found) == []
        assert not set(found) & set(more)
        assert not re.search("[\ud800-\udfff]", found)
        if not more:
            assert unescaped(found) == text
    kept = "".join(c for c in text if c not in drives(text) and not "\ud800" <= c <= "\udfff")
    assert terminal.escaped(kept) == kept


def test_plain_text_stays() -> None:
    """Accents that combine, text from right to left, joined emoji, tabs and lines are no controls."""
    assert terminal.escaped(PLAIN) == PLAIN
    assert terminal.escaped(DRIVING) == ("\\x1b]0;title\\x07\\x1b[2J\\x9b31m\\u202etxt\\u2066\\r\\x08\\x7f\\x00\\x0e")


def test_a_sample_is_escaped_on_a_terminal_alone(evil: Path) -> None:
    """A terminal is shown every control of a sample as an escape; a pipe gets the very text."""
    options = ("--device=cpu", "--length=1500", "--temperature=9", "--seed=1", "--count=2", "-0", f"--prompt={DRIVING}")
    texts = charrnn.load(evil / "r", device="cpu").sample_many(DRIVING, count=2, length=1500, temperature=9, seed=1)
    text = "\0".join(DRIVING + "".join(parts) for parts in zip(*texts, strict=True))
    assert set(drives(text)) >= set(drives(DRIVING)) - {"\0"}
    piped = outcome(["sample", str(evil / "r"), *options])
    assert piped.out.decode() == text
    out, err = shown("sample", evil / "r", *options)
    assert drives(out) == []
    assert unescaped(out) == text
    assert err == f"checkpoint: {evil}/r/checkpoints/step-00000002.safetensors on cpu\n"


def test_names_are_escaped_on_a_terminal(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a run or text, in tables, values, notices and errors, and in a command to paste."""
    monkeypatch.chdir(evil)
    for words, output, errors in (
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
        assert drives(out) == []
        assert output in out
        assert errors in err
        if words[0] != "compare" and "--out" not in words:  # a bar is the terminal's own
            assert drives(err) == []
    assert out.splitlines()[-1].endswith(r"charrnn sample $'out/a\x1b[31m\x0ab\xe2\x80\xae\xc2\x9b'")


def test_a_pipe_gets_names_as_they_are(call: Call, evil: Path) -> None:
    """In a pipe standard output has a name as it is; a notice and an error are one line everywhere."""
    shutil.copytree(evil / "r", NAME)
    out, err = call("eval", NAME)
    assert out.endswith(f"checkpoint     {NAME}/checkpoints/step-00000002.safetensors\n")
    assert err == f"checkpoint: {SHOWN}/checkpoints/step-00000002.safetensors on cpu\n"


def test_a_sample_while_training_is_escaped(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bar stand samples, indented, that drive nothing."""
    monkeypatch.chdir(evil)
    out, err = shown("train", f"{NAME}.txt", *TRAIN[2:], "--set=log.sample_length=900", "--out=shown")
    assert drives(out) == []
    assert "\\x1b" in out
    assert "| 0/10 [" in err


@pytest.mark.parametrize("word", [NAME, "it's\x07", "\\\x1b'", "é\u202e", "\udcff\n", "plain", "two words", ""])
def test_commands_can_be_pasted(word: str) -> None:
    """A word with control characters is quoted so that a shell reads the very bytes, and a terminal none of them."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash here")
    assert drives(terminal.quoted(word)) == []
    said = subprocess.run([bash, "-c", f"printf %s {terminal.quoted(word)}"], capture_output=True, check=True).stdout
    assert said == os.fsencode(word)


def test_the_cache_is_listed_escaped(home: Path, evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text in the cache may have any name."""
    monkeypatch.chdir(evil)
    from_files([f"{NAME}.txt"])
    assert f"  {SHOWN}.txt\n" in shown("cache")[0]


def ended(words: list[str], **streams: int) -> tuple[int, str]:
    """The status of a process, and what it said on standard error but for notices."""
    command = [sys.executable, "-m", "charrnn", *words]
    result = subprocess.run(command, env=BUFFERED, text=True, timeout=60, check=False, **streams)
    said = [line for line in (result.stderr or "").splitlines() if not line.startswith("checkpoint: ")]
    return result.returncode, "\n".join(said)


@pytest.mark.parametrize(
    "words", ["--help", "tune --help", "devices", "cache", "eval r", "compare r", "score r t.txt"], ids=str
)
def test_nobody_reads(trained: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """Whoever reads may have left before the first line: status 0, and no word of it. An error keeps its status."""
    monkeypatch.chdir(trained)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert ended(words.split(), stdout=writer, stderr=subprocess.PIPE) == (0, "")
        assert ended([words.split()[0], "--bogus"], stdout=subprocess.DEVNULL, stderr=writer) == (2, "")
    finally:
        os.close(writer)
