"""What the names of a corpus mean: files, directories, globs, standard input, none at all."""

import gzip
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from charrnn.errors import TextError
from charrnn.text import blocks, expand, from_files


def test_names_expand_in_order(tmp_path: Path) -> None:
    """A directory means its visible text files, a glob its matches, both sorted; a file is itself, and none twice."""
    kept = ["a/deep/y.txt", "a/z.txt", "b.gz", "c.txt", "d[1].md"]
    left_out = [".hidden", ".git/config", "a/.x.txt", "image.bin", "damaged.gz"]
    for name in [*kept, *left_out]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"PNG\0" if name == "image.bin" else b"text")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"text"))
    paths = [str(tmp_path / name) for name in kept]
    assert expand([str(tmp_path)]) == paths
    assert expand([str(tmp_path / "**" / "*.txt")]) == [p for p in paths if p.endswith(".txt")]
    assert expand([paths[4], paths[3], str(tmp_path / "?.txt"), "-"]) == [paths[4], paths[3], "-"]


def test_names_without_meaning_are_errors(tmp_path: Path) -> None:
    """A missing file, a glob without a match, a directory without text and an endless name are errors naming them."""
    (tmp_path / ".hidden").write_text("text")
    for name in [str(tmp_path / "none.txt"), str(tmp_path / "*.txt"), "a\0b", "x" * 5000]:
        with pytest.raises(TextError, match=r"no such file|cannot be read") as caught:
            from_files([name])
        assert str(caught.value).startswith(f"{name}: ")
    with pytest.raises(TextError, match="holds no text file"):
        from_files([str(tmp_path)])
    with pytest.raises(TextError, match="cannot be read"):
        list(blocks(str(tmp_path), "utf-8"))


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name `-` means the bytes of standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO("\ufeffhé\r\n".encode())))
    corpus = from_files(["-"])
    assert (corpus.name, corpus.vocabulary.decode(corpus.ids)) == ("standard input", "hé\r\n")


def test_embedded_corpus_is_large() -> None:
    """Without a name the corpus is Python's reference topics, over 400,000 characters."""
    corpus = from_files([])
    assert corpus.name == "python-topics"
    assert len(corpus.ids) > 400_000
    assert corpus.vocabulary.decode(corpus.ids).startswith('The "assert" statement')
