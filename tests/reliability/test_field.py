"""What people bring: lists of names and passwords, tunes. Invented texts, the default network, the command line."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.commands import Call

pytestmark = pytest.mark.slow


def names(rng: random.Random) -> list[str]:
    """Return names of two to four syllables; none begins with a vowel."""
    syllables = [c + v for c in "bdklmnrstvz" for v in "aeiou"]
    return ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(2500)]


def passwords(rng: random.Random) -> list[str]:
    """Return passwords: a name, digits, and perhaps a sign."""
    return [name[:5] + f"{rng.randrange(10_000)}" + rng.choice(["", "", "!", "#", "$"]) for name in names(rng)]


def tunes(rng: random.Random) -> list[str]:
    """Return tunes in ABC notation, which begin with `X:`."""
    bars = [" ".join(rng.choice("ABcdefgG") for _ in range(6)) for _ in range(40)]
    return [f"X:{n}\nT:Tune {n}\nK:{rng.choice('DGA')}\n{' | '.join(rng.choices(bars, k=6))} |]\n" for n in range(300)]


@pytest.mark.parametrize(("make", "end"), [(names, "\n"), (passwords, "\n"), (tunes, "\n\n")])
def test_samples_begin_as_documents_begin(
    make: Callable[[random.Random], list[str]], end: str, call: Call, tmp_path: Path
) -> None:
    """None of 1,000 samples is empty; at most one in a hundred begins with a character as no document does."""
    texts = make(random.Random(1))
    Path("list.txt").write_text("".join(text.rstrip("\n") + end for text in texts))
    call("train", "list.txt", "--document-separator", end.replace("\n", r"\n"), "--steps", "500", "--out", "r")
    samples = call("sample", "r", "--count", "1000", "--length", "40", "--seed", "1", "-0")[0].split("\0")
    begins = {text[0] for text in texts}
    assert len(samples) == 1000
    assert "" not in samples
    assert sum(sample[0] not in begins for sample in samples) <= 10


def test_a_sorted_list_is_held_out_from_everywhere(call: Call, tmp_path: Path) -> None:
    """A sorted list of names has the best validation loss of the same list in a random order, within 3 %."""
    best = []
    for n, texts in enumerate((names(random.Random(1)), sorted(names(random.Random(1))))):
        Path(f"{n}.txt").write_text("".join(f"{text}\n" for text in texts))
        out = call("train", f"{n}.txt", "--document-separator", r"\n", "--steps", "500", "--out", f"r{n}")[0]
        best.append(float(re.findall(r"best validation loss ([\d.]+)", out)[0]))
    assert best[1] == pytest.approx(best[0], rel=0.03)
