"""A corpus in a wider vocabulary than its own: that of a network which knows more characters than the text has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from charrnn.errors import TextError
from charrnn.text import cache
from charrnn.text.corpus import Corpus
from charrnn.text.entry import About
from charrnn.text.vocabulary import BLOCK, Ids, Vocabulary, code_points


def widened(corpus: Corpus, characters: str) -> Corpus:
    """`corpus` in the vocabulary of its own characters and `characters`; those that the text lacks are counted 0 times.

    Text, documents and hash stay; the ids are new. Those of a text that is too large for memory go to an entry of
    their own in the cache, where the next run finds them: so nothing that reads a corpus has to know of it.

    Raises `TextError` where the cache cannot take it.
    """
    own = corpus.vocabulary
    union = "".join(sorted({*own.characters, *characters}))
    if union == own.characters:
        return corpus
    counted = dict(zip(own.characters, own.counts, strict=True))
    vocabulary = Vocabulary(union, tuple(counted.get(c, 0) for c in union))
    new = vocabulary.ids_by_code_point[code_points(own.characters)].astype(vocabulary.dtype)
    size = sum(count * len(c.encode()) for c, count in counted.items())
    if size <= cache.SMALL:
        return replace(corpus, ids=new.take(corpus.ids), vocabulary=vocabulary)
    key = hashlib.sha256(f"{corpus.sha256} {union}".encode()).hexdigest()
    about = About(corpus.name, key, size, len(corpus.ids), len(corpus.starts), vocabulary)
    found = cache.opened(key, corpus.name) or cache.put(about, corpus.starts, renumbered(corpus.ids, new))
    return replace(found, sha256=corpus.sha256)


def known(corpus: Corpus, vocabulary: Vocabulary) -> Corpus:
    """`corpus` in the vocabulary of a network that was trained on it.

    Raises `TextError` where that counts other characters in it than there are.
    """
    if vocabulary.used != corpus.vocabulary.used:
        raise TextError(f"{corpus.name} has other characters than the checkpoint says: the checkpoint is damaged")
    return widened(corpus, vocabulary.characters)


def renumbered(ids: Ids, new: Ids) -> Iterator[tuple[int, Ids]]:
    """`ids` (N,) mapped by `new` (V,), block by block from the back, with their positions."""
    for first in reversed(range(0, len(ids), BLOCK)):
        yield first, new.take(ids[first : first + BLOCK])
