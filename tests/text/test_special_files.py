"""Names of devices, pipes, circular links, files without permission, and names that are hard to print."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.commands import TEXT, TRAIN, Call, metrics
from helpers.hostile_inputs import check, outcome, tree

from charrnn import config, files
from charrnn.errors import ConfigError
from charrnn.text import blocks, expand

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes and devices have names only there")


@contextmanager
def writing(path: Path, content: bytes) -> Iterator[str]:
    """Yield the name of a pipe to which a thread writes as soon as it is read."""
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=[content])
    thread.start()
    yield str(path)
    thread.join()


@contextmanager
def passed(content: bytes) -> Iterator[str]:
    """Yield the name of a pipe such as a shell makes for `<(command)`."""
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    yield f"/dev/fd/{reader}"
    os.close(reader)


READERS = ["train X", "tune X", "eval R X", "score R X", "compare R --file=X", "sample R --prompt-file=X"]


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "link"])
@pytest.mark.parametrize("words", [*READERS, "train --config=X", "tune --config=X"])
def test_a_device_is_no_text(call: Call, trained: Path, words: str, device: str) -> None:
    """A device, which may have no end, is refused in the place of a text or a configuration, by every command."""
    Path("link").symlink_to("/dev/zero")
    before = tree(Path.cwd())
    error = call(*words.replace("R", str(trained / "r")).replace("X", device).split(), status=2)[1]
    assert f"{device}" in error
    assert "it is a device, not a text" in error
    assert tree(Path.cwd()) == before


def test_standard_input_is_a_device(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device is refused as standard input too, by any name; the null device is an empty text."""
    monkeypatch.chdir(trained)
    for device, error in (("/dev/zero", "(it is a device, not a text)"), ("/dev/null", "0 characters")):
        for words in (["train", "-"], ["eval", "r", "-"]):
            with open(device, "rb") as stream:  # noqa: PTH123
                found = outcome(words, stream)
            check(found)
            assert (found.status, error in found.err) == (2, True)
        command = [sys.executable, "-m", "charrnn", "score", "r", "/dev/stdin"]
        with open(device, "rb") as stream:  # noqa: PTH123
            result = subprocess.run(command, stdin=stream, capture_output=True, text=True, timeout=60, check=False)
        assert (result.returncode, error in result.stderr) == ((2, True) if device == "/dev/zero" else (0, False))
    check(found := outcome(["train", "/dev/null", "--out=x"]))
    assert "/dev/null: 0 characters are too few to learn from" in found.err


def test_pipes_are_read_to_their_end(call: Call, trained: Path, tmp_path: Path) -> None:
    """A named pipe with a writer, and a pipe of the shell, are texts, prompts and configurations like any file."""
    call(*TRAIN, "--out=file")
    losses = [line.get("loss") for line in metrics(tmp_path / "file")]
    with writing(tmp_path / "text", TEXT.encode()) as name:
        call("train", name, *TRAIN[2:], "--out=named")
    with passed(TEXT.encode()) as name, passed(b"[train]\nseed = 0\n") as preset:
        call("train", name, *TRAIN[2:], "--out=passed", f"--config={preset}")
    with writing(tmp_path / "text.gz", gzip.compress(TEXT.encode())) as name:
        call("train", name, *TRAIN[2:], "--out=packed")
    for run in ("named", "passed", "packed"):
        assert [line.get("loss") for line in metrics(tmp_path / run)] == losses
    with passed(b"she ") as prompt, passed(TEXT.encode()) as text:
        assert call("sample", trained / "r", f"--prompt-file={prompt}", "--length=0")[0] == "she \n"
        assert call("eval", trained / "r", text)[0] == call("eval", trained / "r", "t.txt")[0]
    with passed(b"") as name:
        assert "0 characters are too few" in call("train", name, status=2)[1]


def test_a_pipe_without_a_writer(monkeypatch: pytest.MonkeyPatch, call: Call, trained: Path, tmp_path: Path) -> None:
    """A named pipe without a writer is an error as a text, a prompt and a configuration; no command waits for it."""
    monkeypatch.setattr(files, "WRITER_TIMEOUT", 0)
    for name in ("pipe", "pipe.gz"):
        os.mkfifo(tmp_path / name)
        for words in READERS:
            error = call(*words.replace("X", name).replace("R", str(trained / "r")).split(), status=2)[1]
            assert f"{name}: cannot be read (no program writes to this pipe)" in error
    with pytest.raises(ConfigError, match="'pipe': no program writes to this pipe"):
        config.read("pipe")


def test_a_slow_writer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pipe that is open for writing is read, also if its text comes only after the time limit."""
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    before, waits = files.wait_for_writer, list[bool]()

    def written(stream: object) -> bool:
        monkeypatch.setattr(files, "WRITER_TIMEOUT", 0)
        waits.append(before(stream))
        os.write(writer, b"at last")
        os.close(writer)
        return waits[0]

    monkeypatch.setattr(files, "wait_for_writer", written)
    assert "".join(blocks(str(tmp_path / "pipe"), "utf-8")) == "at last"
    assert waits == [False]


def test_a_folder_with_more_than_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the files of a folder are opened: no pipe, no device, no broken or circular link."""
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    for name in ("a.txt", "below/b.txt"):
        (folder / name).write_text(TEXT)
    os.mkfifo(folder / "pipe.txt")
    links = {"zero.txt": "/dev/zero", "loop.txt": "loop.txt", "c.txt": "a.txt", "up": "..", "here": "."}
    for name, target in (links | {"below/up": ".."}).items():
        (folder / name).symlink_to(target)
    opened, before = list[str](), files.open_input
    monkeypatch.setattr(files, "open_input", lambda path: (opened.append(path), before(path))[1])
    texts = [str(folder / name) for name in ("a.txt", "below/b.txt", "c.txt")]
    assert expand([str(folder)]) == opened == texts
    assert expand([f"{folder}/**/*.txt"]) == expand([f"{tmp_path}/**/fold*/**/*.txt"]) == texts
    assert expand([f"{folder}/../*/a.tx?"]) == [f"{folder}/../folder/a.txt"]
    monkeypatch.chdir(folder)
    assert expand(["**/b*"]) == expand(["./**/be*/**"]) == ["below/b.txt"]
    assert expand(["**"]) == expand(["**/**"]) == ["a.txt", "below/b.txt", "c.txt"]
    assert expand(["[ab].txt"]) == ["a.txt"]


def test_circular_links(call: Call, tmp_path: Path) -> None:
    """A circular link is no file, for every command that reads one."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "ring").symlink_to("ring/x")
    for name in ("loop", "ring", "loop/t.txt"):
        assert f"{name}: there is no such file" in call("train", name, status=2)[1]
        assert f"cannot read the configuration '{name}'" in call("train", "t.txt", f"--config={name}", status=2)[1]
        assert f"no run directory or checkpoint {name}" in call("sample", name, status=2)[1]
        for option in ("--out", "--init-from"):
            assert name in call("train", "t.txt", f"{option}={name}", status=2)[1]


@contextmanager
def unprivileged() -> Iterator[None]:
    """Act as the user `nobody` if this process is root, because root may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_files_without_permission(call: Call, trained: Path, tmp_path: Path) -> None:
    """A file or folder without read permission is an error of one line that says so."""
    shutil.copytree(trained / "r", "r")
    (tmp_path / "locked").mkdir()
    for name in ("secret", "secret.toml", "locked/t.txt"):
        (tmp_path / name).write_text(TEXT)
        (tmp_path / name).chmod(0)
    call("eval", "r", "t.txt")  # import everything first: the user `nobody` may have no permission to read the source
    (tmp_path / "locked").chmod(0)
    tmp_path.chmod(0o755)
    with unprivileged():
        for words in (["train", "secret"], ["eval", "r", "secret"], ["sample", "r", "--prompt-file=secret"]):
            assert call(*words, status=2)[1] == "charrnn: secret: cannot be read (Permission denied)"
        error = call("train", "t.txt", "--config=secret.toml", status=2)[1]
        assert error == "charrnn: cannot read the configuration 'secret.toml': Permission denied"
        for words in (["train", "locked/t.txt"], ["eval", "r", "locked/t.txt"], ["sample", "locked/r"]):
            assert "Permission denied" in call(*words, status=2)[1]
        assert call("train", "locked", status=2)[1] == "charrnn: locked: this directory holds no text file"
    (tmp_path / "locked").chmod(0o755)


NAMES = ["a\nb", "\x1b[31mred\x07", "\u202etxt.exe", "-", "--help", "*", "[x]", " ", "🎈", "a'b\\c"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_every_kind(call: Call, tmp_path: Path, name: str) -> None:
    """Files and runs may have any name, and each message about them is one printable line."""
    (tmp_path / "folder" / name).mkdir(parents=True)
    path = tmp_path / "folder" / name / f"{name}.txt"
    path.write_text(TEXT)
    before = tree(tmp_path)
    call("train", path, *TRAIN[2:], "--out", f"runs/{name}")
    assert tree(tmp_path, ignore=("runs",)) == before
    out, err = call("eval", f"runs/{name}", path)
    assert out.endswith(f"checkpoint     runs/{name}/checkpoints/step-00000010.safetensors\n")
    checkpoint, own_text, end = err.split("\n")
    assert (checkpoint + own_text).isprintable()
    assert "is the text that the run was trained on" in own_text
    assert (call("eval", f"runs/{name}")[1], end) == (f"{checkpoint}\n", "")
    error = call("eval", f"runs/{name}", f"{path}.none", status=2)[1]
    assert error.isprintable()
    assert error.endswith(".txt.none: there is no such file")
