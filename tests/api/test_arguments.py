"""What callers pass by mistake to the Python API, and the forms of a text that it accepts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import TEXT
from helpers.models import TINY
from helpers.texts import split_text
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.text import joined

NAMES = ["anna", "ben", "cleo", "dora"] * 20


@pytest.fixture(scope="module")
def model() -> charrnn.Model:
    """Return a small model."""
    return charrnn.train(TEXT, settings=TINY)


class Module:
    """Something like a module of PyTorch."""

    def state_dict(self) -> dict[str, Any]:
        """Return no tensors."""
        return {}


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("'input.txt' looks like a file name.*files=", lambda _: charrnn.train("input.txt")),
        ("looks like a file name", lambda _: charrnn.train("C:\\texts\\my book.txt")),
        ("looks like a file name", lambda _: charrnn.train("data/texts/book")),
        ("looks like a file name", lambda _: charrnn.train("texts/*.md")),
        ("is a path.*files=['\\[]+t.txt", lambda _: charrnn.train(Path("t.txt"))),
        ("text is bytes: decode it", lambda _: charrnn.train(b"she sells")),
        (r"text must be a string, not 7 \(int\)", lambda _: charrnn.train(7)),
        (r"text must be a string, not \{'a': 1\} \(dict\)", lambda _: charrnn.train({"a": 1})),
        (r"document 1 of text must be a string, not 3 \(int\)", lambda _: charrnn.train(["a", 3])),
        ("document 0 of text is bytes", lambda _: charrnn.train([b"a"])),
        (r"document 0 of text is a path: write files=", lambda _: charrnn.train([Path("t.txt")])),
        ("no documents", lambda _: charrnn.train([])),
        ("no documents", lambda _: charrnn.train(text for text in ("", ""))),
        ("files must be a path or a list of paths, not 3", lambda _: charrnn.train(files=3)),
        ("every item of files must be a string or a Path, not 3", lambda _: charrnn.train(files=[3])),
        ("settings must be a dict", lambda _: charrnn.train(TEXT, settings=["train.steps"])),
        ("settings must be a dict", lambda _: charrnn.train(TEXT, settings={1: 2})),
        ("config must be a string or a Path", lambda _: charrnn.train(TEXT, config={"train.steps": 1})),
        ("out must be a string or a Path", lambda _: charrnn.train(TEXT, out=1)),
        ("init_from must be a string or a Path", lambda m: charrnn.train(TEXT, init_from=m)),
        (r"threads must be a whole number, not '2' \(str\)", lambda _: charrnn.train(TEXT, threads="2")),
        ("minutes must be a number", lambda _: charrnn.train(TEXT, minutes="2")),
        ("on_event must be a function", lambda _: charrnn.train(TEXT, on_event=3)),
        ("run must be a string or a Path, not None", lambda _: charrnn.load(None)),
        ("train.device must be a string, not 3", lambda _: charrnn.load("r", device=3)),
        ("the prompt must be a string, not 5", lambda m: m.sample(5)),
        ("the prompt is bytes", lambda m: m.sample(b"she")),
        ("length must be a whole number, not 1.5", lambda m: m.sample(length=1.5)),
        ("length must be a whole number, not None", lambda m: m.sample(length=None)),
        ("count must be a whole number, not True", lambda m: m.sample_many(count=True)),
        ("temperature must be a number, not 'hot'", lambda m: m.sample(temperature="hot")),
        ("temperature must be a number, not '1'", lambda m: m.sample(temperature="1")),
        ("top_k must be a whole number", lambda m: m.sample(top_k=2.0)),
        ("top_p must be a number", lambda m: m.sample(top_p=None)),
        ("--seed must be a whole number", lambda m: m.sample(seed="1")),
        ("stop must be a string or several, not 3", lambda m: m.sample(stop=3)),
        ("stop must be a string or several, not b'a'", lambda m: m.sample(stop=["s", b"a"])),
        ("unknown must be error", lambda m: m.sample("s", unknown=None)),
        ("the text must be a string", lambda m: m.evaluate(5)),
        ("the text is a path", lambda m: m.evaluate(Path("t.txt"))),
        ("--window must be a whole number", lambda m: m.evaluate("shell", window="3")),
        ("the text is bytes", lambda m: m.score(b"shell")),
        ("every item of the text must be a string", lambda m: m.encode(["shell", 5])),
        ("path must be a string or a Path", lambda m: m.save(3)),
        ("--dynamic-chunk must be a whole number", lambda _: charrnn.Dynamic(chunk="3")),
        ("--dynamic-rate must be a number", lambda _: charrnn.Dynamic(rate="3")),
        ("runs must be a path or a list", lambda _: charrnn.compare(5)),
        ("the text is bytes", lambda _: charrnn.compare("r", b"text")),
        ("needs a charrnn.Model, not 'r'", lambda _: charrnn.to_torch("r")),
        ("pass module.state_dict", lambda _: charrnn.from_torch(Module(), "ab")),
        ("needs a state dict, not 3", lambda _: charrnn.from_torch(3, "ab")),
        ("single characters, not '<unk>'", lambda m: charrnn.from_torch(charrnn.to_torch(m), ["a", "b", "<unk>"])),
        ("a dict has no order", lambda m: charrnn.from_torch(charrnn.to_torch(m), {"a": 0, "b": 1})),
        ("characters must be a string or several", lambda m: charrnn.from_torch(charrnn.to_torch(m), [1, 2])),
        ("characters must be a string or several", lambda m: charrnn.from_torch(charrnn.to_torch(m), None)),
    ],
)
def test_a_wrong_argument_is_one_line(model: charrnn.Model, words: str, call: Callable[..., Any]) -> None:
    """A wrong argument raises a `CharrnnError` of one line that names it."""
    with pytest.raises(charrnn.CharrnnError, match=words) as raised:
        call(model)
    assert "\n" not in str(raised.value)


def test_an_open_file_is_an_error(tmp_path: Path) -> None:
    """An open file is no list of its lines."""
    path = tmp_path / "t.txt"
    path.write_text(TEXT)
    with path.open() as file, pytest.raises(charrnn.CharrnnError, match=r"open file: .*files=\['.*t.txt'\]"):
        charrnn.train(file)


@pytest.mark.parametrize("text", ["e.g. this.", "hello. world", "either/or", "a.b\nc.txt", "x" * 300 + ".txt"])
def test_a_short_text_is_a_text(text: str) -> None:
    """A text with a dot or a slash in it is no file name."""
    assert charrnn.train(text, settings=TINY | {"train.steps": 0}).vocabulary.characters == "".join(sorted(set(text)))


@pytest.mark.parametrize("form", [list, tuple, iter, lambda names: (name for name in names), np.array])
def test_any_iterable_of_strings_is_a_list_of_documents(form: Callable[[list[str]], Any], tmp_path: Path) -> None:
    """The documents are those of a text with a separator, and the run can be resumed without them."""
    model = charrnn.train(form(NAMES), settings=TINY, out=tmp_path / "r")
    settings = TINY | {"data.document_separator": "\n"}
    same = charrnn.train("".join(f"{name}\n" for name in NAMES), settings=settings)
    assert model.corpus.starts.tolist() == same.corpus.starts.tolist()
    assert len(model.corpus.starts) == len(NAMES)
    assert model.config.data.document_separator == "\n"
    assert model.sample(seed=1) == same.sample(seed=1)
    assert charrnn.train(settings=TINY | {"train.steps": 4}, out=tmp_path / "r", resume=True).step == 4


def test_numbers_of_numpy_are_numbers(model: charrnn.Model) -> None:
    """A count, a seed, a temperature and a setting may be NumPy's."""
    numbers = {"length": np.int64(20), "seed": np.uint8(1), "temperature": np.float32(0.5)}
    assert model.sample(**numbers) == model.sample(length=20, seed=1, temperature=0.5)
    assert charrnn.train(TEXT, settings=TINY | {"train.steps": np.int32(2)}).step == 2


@given(st.lists(st.from_regex(r"\A\n{0,2}[ab][ab\n]{0,6}\Z"), min_size=2, max_size=5))
def test_joined_documents_can_be_divided_again(documents: list[str]) -> None:
    """A separator of line ends is inside no document: it divides the text into them, without their last line ends."""
    whole, separator = joined(documents)
    assert set(separator) == {"\n"}
    assert split_text(whole, separator) == [text.rstrip("\n") + separator for text in documents]


def test_joined_documents_with_the_separator_of_the_user() -> None:
    """A document that lacks the separator at its end gets it."""
    assert joined(["X:1\nA\n\n", "", "X:2\nB"], "\n\n") == ("X:1\nA\n\nX:2\nB\n\n", "\n\n")
    assert joined(["a\nb\n", "c"]) == ("a\nb\n\nc\n\n", "\n\n")
    assert joined(["ann\n", "bob\n"]) == ("ann\nbob\n", "\n")
