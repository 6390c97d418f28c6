"""Documents inside one text: where they begin, if a separator parts them. In one pass, over blocks of any size.

A separator ends the document before it, so that the network learns to end one. Between two documents there may be
several, one right after the other; and before the first and after the last. No document is without text of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import AnyStr

import numpy as np

from charrnn.text.vocabulary import Ids


def parted(blocks: Iterable[AnyStr], separator: AnyStr) -> Iterator[tuple[AnyStr, list[int]]]:
    """The same text in blocks, none empty, each with the places in it (ascending) where a further document begins.

    Separators are found from the left, as by `str.find`, each after the end of the one before.

    Args:
        blocks: the text, as characters or as UTF-8.
        separator: not empty.
    """
    held, n = separator[:0], len(separator)
    begun = False  # whether the document has text of its own
    ended = False  # whether a separator that ends it stands right before `held`
    for block in blocks:
        held += block
        cuts, at = list[int](), 0
        while (place := held.find(separator, at)) >= 0:
            if place > at:
                if ended:
                    cuts.append(at)
                begun = True
            ended, at = begun, place + n
        if len(held) - at >= n:  # what follows `at` is no separator
            if ended:
                cuts.append(at)
            begun, ended, at = True, False, len(held) - (n - 1)
        if at:
            yield held[:at], cuts
        held = held[at:]
    if held:
        yield held, [0] * ended


def begins(text: str, separator: str) -> Ids:
    """(D,) where the documents of `text` begin but the first; for the separator `""` there is only one."""
    if not separator:
        return np.zeros(0, np.int64)
    places, position = list[int](), 0
    for block, cuts in parted([text], separator):
        places += (position + at for at in cuts)
        position += len(block)
    return np.array(places, np.int64)
