"""What only Windows refuses or renames, simulated on every system."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.runs import TINY
from helpers.windows import NOT_ON_WINDOWS, pretend_windows, reason_to_skip, write_texts_as_elsewhere

from charrnn import config, files
from charrnn.run import lock, logs
from charrnn.run.corpus import locate
from charrnn.run.directory import RUNS, default_out, is_run
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.run_files import CHECKPOINTS, CONFIG, CORPUS, LOCK, OWNER, SAMPLES


@pytest.mark.parametrize("text", ["con.txt", "texts/AUX.md", "nul", "Com1.tar.gz", "lpt9.txt"])
def test_a_run_is_not_named_like_a_device(text: str) -> None:
    """Windows has no directory `con` or `com1`, so the run of such a text has a longer name."""
    name = default_out(text, resume=False, overwrite=True).relative_to(RUNS).name
    assert name == text.rpartition("/")[2].partition(".")[0] + "-run"
    for other in ("console.txt", "com10.txt", "my-nul.txt", "com.txt"):
        assert default_out(other, resume=False, overwrite=True) == RUNS / other.removesuffix(".txt")


def refuse(monkeypatch: pytest.MonkeyPatch, times: int) -> list[float]:
    """Let the first `times` renames fail as if the file were open. Return the pauses between the tries."""
    pauses, right = list[float](), Path.replace

    def replace(self: Path, target: Path) -> Path:
        if len(refused) < times:
            refused.append(target)
            raise PermissionError(13, "Access is denied")
        return right(self, target)

    refused: list[Path] = []
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", pauses.append)
    return pauses


def test_a_file_that_is_open_for_a_moment_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename is tried again on Windows, for about a second; then, and at once elsewhere, the error is raised."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    pauses = refuse(monkeypatch, 1)
    with pytest.raises(PermissionError):
        files.write_atomically(path, b"new")
    assert (pauses, path.read_bytes()) == ([], b"old")
    pretend_windows(monkeypatch, files)
    pauses = refuse(monkeypatch, 3)
    files.write_atomically(path, b"new")
    assert (len(pauses), path.read_bytes()) == (3, b"new")
    pauses = refuse(monkeypatch, 99)
    with pytest.raises(PermissionError):
        files.write_atomically(path, b"newer")
    assert 0.5 < sum(pauses) < 2
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"new", [path])


def test_samples_that_another_program_shows_are_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training continues while an editor has samples.txt open, and cuts the file later."""
    samples = [b"--- step %d ---\ntext\n" % step for step in range(5)]
    (tmp_path / SAMPLES).write_bytes(b"".join(samples))
    refuse(monkeypatch, 1)
    logs.prune(tmp_path, 2)
    assert (tmp_path / SAMPLES).read_bytes() == b"".join(samples)
    logs.prune(tmp_path, 2)
    assert logs.split_samples((tmp_path / SAMPLES).read_bytes()) == (3 * len(samples[0]), b"".join(samples[3:]))


def test_the_lock_file_is_removed_where_an_open_file_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run leaves no `.lock` on Windows, which removes only files that no process has open."""
    right, held = Path.unlink, lock.Lock(tmp_path)

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.name == LOCK and not held.stream.closed:
            raise PermissionError(13, "The process cannot access the file")
        right(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    pretend_windows(monkeypatch, lock)
    assert {path.name for path in tmp_path.iterdir()} == {LOCK, OWNER}
    held.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["C:\\runs\\r\\", r"\\server\share\r" + "\\", "D:/r/", "/home/me/r/"])
def test_a_run_of_another_system_finds_its_text(tmp_path: Path, text: str, folder: str) -> None:
    """The text that a run keeps is read where the run is now, even if its path was that of another system."""
    out, name = tmp_path / "r", folder + CORPUS
    list(prepare(Request(text=text, out=out, options=TINY)).events())
    for path in (out / CHECKPOINTS).iterdir():
        path.unlink()
    settings = config.build(config.read(str(out / CONFIG)))
    settings = replace(settings, data=replace(settings.data, files=(name,)))
    (out / CONFIG).write_bytes(config.dump(settings).encode())
    assert is_run(out)
    assert locate(out, [name]) == (str(out / CORPUS),)
    (out / CORPUS).rename(out / "mine.txt")
    assert locate(out, [folder + "mine.txt", "c.txt"]) == (str(out / "mine.txt"), "c.txt")


def test_what_is_left_out_exists() -> None:
    """Each test that is left out on Windows exists; tests with longer names are not left out with it."""
    tests = Path(__file__).parent.parent
    for name in NOT_ON_WINDOWS:
        path, _, function = name.partition("::")
        assert (tests / path).exists(), name
        assert not function or f"\ndef {function}(" in (tests / path).read_text("utf-8"), name
        assert all(reason_to_skip(name + end) for end in ("", "/test_a.py", "::test_a", "[rnn]"))
        assert reason_to_skip(name + "_more") is None


def test_texts_are_written_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows the suite writes its texts as UTF-8 and without other line ends, unless a test asks for them."""
    write_texts_as_elsewhere(monkeypatch)
    monkeypatch.setattr("io.text_encoding", lambda encoding, _=2: encoding or "cp1252")
    (tmp_path / "a").write_text("é\n")
    (tmp_path / "b").write_text("é\n", "latin-1", newline="\r\n")
    assert [(tmp_path / name).read_bytes() for name in "ab"] == ["é\n".encode(), b"\xe9\r\n"]
    assert (tmp_path / "a").read_text() == "é\n"
