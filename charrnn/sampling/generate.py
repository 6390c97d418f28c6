"""Generate text with a network: prompts, documents, sampling in pieces, stop strings."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from charrnn.backend import Array, cores, one_thread
from charrnn.errors import OverflowingError
from charrnn.model import Network, State, Views, Workspace, forward, next_state, prepare
from charrnn.model.bptt import output_weights, to_embedding
from charrnn.sampling.distribution import HostArray, Settings, choose, first_characters
from charrnn.text import Ids, Vocabulary, document_starts

PROMPT_CHUNK = 256
"""Characters of a prompt that are read at a time."""
GROUP = 64
"""Streams that are generated together. Fixed, so that a text does not depend on the number of threads."""
BLOCK, WORK = 64, 2**30
"""The most characters of each stream, and about the most multiplications, between two pieces of text."""


@dataclass(frozen=True)
class Documents:
    """How generated texts are divided into documents. Without a start symbol the network knows nothing of them.

    Attributes:
        separator: ids of the string that ends a document; empty: a document has no end.
        never_first: ids that do not begin a sample without a prompt.
    """

    separator: tuple[int, ...] = ()
    never_first: tuple[int, ...] = ()


NO_DOCUMENTS = Documents()


class DocumentEnds:
    """Notices where streams end a document: at the last character of a separator."""

    def __init__(self, separator: tuple[int, ...]) -> None:
        self.separator = separator
        self.recent = deque[Ids](maxlen=len(separator))

    def after(self, ids: Ids) -> HostArray | None:
        """Add the next character (B,) of the streams. Return (B,) whether it ends a document; None if none does."""
        if not self.separator:
            return None
        self.recent.append(ids.copy())
        if len(self.recent) < len(self.separator) or not (ids == self.separator[-1]).any():
            return None
        ended: HostArray = np.all([row == c for row, c in zip(self.recent, self.separator, strict=True)], axis=0)
        for row in self.recent:
            row[ended] = -1  # separators do not overlap
        return ended if ended.any() else None


class Writer:
    """Writes B streams together: it has the network, their state, and the logits (B, V) of their next characters.

    Args:
        network: the shape of the network.
        params: its weights.
        prompts: (T, B) ids to read first, T at least 1. An id V is a start symbol, before which the state is reset.
        documents: where the generated text begins and ends documents.
    """

    def __init__(self, network: Network, params: Views, prompts: Ids, documents: Documents = NO_DOCUMENTS) -> None:
        B, V, backend = prompts.shape[1], network.vocab_size, network.backend
        self.network, self.params, self.work = network, params, Workspace(network, 1, B)
        W_hy, E = output_weights(network, params), network.embedding_size
        self.embedded = backend.empty((B, E), network.dtype) if "output.W_he" in params else None
        self.W_hy = backend.packed_weights((W_hy.shape[0], V), network.dtype, rows=B)
        self.W_hy.use(W_hy)
        self.b_y = backend.zeros((B, V), network.dtype) + params["output.b_y"]
        self.logits = backend.empty((B, V), network.dtype)
        state: State = network.zero_state(B)
        self.ends = DocumentEnds(documents.separator if network.start_symbol else ())
        with one_thread, backend.quiet():
            prepare(network, params, self.work)
            work = None
            for first in range(0, len(prompts) - 1, PROMPT_CHUNK):
                chunk = prompts[first : min(first + PROMPT_CHUNK, len(prompts) - 1)]
                if work is None or len(chunk) != work.T:
                    work = Workspace(network, len(chunk), B)
                    prepare(network, params, work)
                forward(network, params, backend.host_indices(chunk.reshape(-1)), self.keep(chunk == V), state, work)
                next_state(work, out=state)
            self.read(prompts[-1], prompts[-1] == V, state)
        for ids in prompts:
            self.ends.after(ids)
        for character in documents.never_first:
            self.logits[:, character] = -np.inf

    def keep(self, begins: HostArray) -> Array | None:
        """Return the mask `keep` (T, B) that resets the state where a document begins; None if none does."""
        return self.network.backend.from_host(np.logical_not(begins), self.network.dtype) if begins.any() else None

    def read(self, ids: Ids, begins: HostArray | None = None, state: State | None = None) -> None:
        """Read one character (B,) of each stream, from `state` or from the current state, and compute the logits.

        Where `begins` (B,) is true, read the start symbol from a zero state instead.
        """
        keep = None
        if begins is not None:
            ids, keep = np.where(begins, self.network.vocab_size, ids), self.keep(begins[None, :])
        hidden = forward(self.network, self.params, self.network.backend.host_indices(ids), keep, state, self.work)
        self.W_hy.affine(to_embedding(self.network, self.params, hidden, out=self.embedded), self.b_y, self.logits)

    def check(self) -> None:
        """Raise `OverflowingError` if the largest logit of a stream is not finite."""
        with self.network.backend.quiet():
            largest = self.network.backend.to_host(self.network.backend.row_max(self.logits))  # sync
        if not np.isfinite(largest).all():
            raise OverflowingError

    def write(self, uniforms: HostArray, settings: Settings) -> Ids:
        """Return the next N characters (N, B), chosen by uniform numbers (N, B). Waits for the device at each."""
        backend, result = self.network.backend, np.empty(uniforms.shape, np.intp)
        with one_thread, backend.quiet():
            for n, uniform in enumerate(uniforms):
                result[n] = ids = choose(backend.to_host(self.logits), uniform, settings)  # sync
                self.read(ids, self.ends.after(ids))
        return result


def generate(
    network: Network,
    params: Views,
    prompts: Ids,
    settings: Settings,
    rng: np.random.Generator,
    documents: Documents = NO_DOCUMENTS,
) -> Iterator[Ids]:
    """Continue B prompts of equal length without end.

    Args:
        network: the shape of the network.
        params: its weights.
        prompts: (T, B) ids, T at least 1; see `Writer`.
        settings: how to choose characters.
        rng: draws one uniform number for each character.
        documents: where the generated text begins and ends documents.

    Yields:
        ids (N, B), the next N characters of each stream: first one, then more at a time.

    Raises `OverflowingError` for a network whose numbers overflow; the logits at the start of each block are checked.
    """
    B = prompts.shape[1]
    width = B if network.backend.one_thread_only else GROUP
    groups = [slice(first, first + width) for first in range(0, B, width)]
    size, most = 1, max(1, min(BLOCK, WORK // (B * network.layout.size)))
    thread_pool = network.backend.thread_pool(min(cores(), len(groups)))
    try:
        writers = thread_pool.map(lambda group: Writer(network, params, prompts[:, group], documents), groups)
        while True:
            uniforms = rng.random((size, B))
            parts = thread_pool.map(partial(write_group, uniforms, settings), writers, groups)
            yield np.concatenate(parts, axis=1)
            size = min(2 * size, most)
    finally:
        thread_pool.close()


def write_group(uniforms: HostArray, settings: Settings, writer: Writer, group: slice) -> Ids:
    """Return the next characters of one group of streams. Raise `OverflowingError` as `Writer.check` does."""
    writer.check()
    return writer.write(uniforms[:, group], settings)


@dataclass
class Stopper:
    """Cuts a stream of text at a stop string. It holds back text that may be the beginning of one.

    The stop string that is complete first ends the text; if two end together, the longer one does.

    Attributes:
        stops: the stop strings, none of them empty.
        keep: whether the text ends after the stop string, not before it.
    """

    stops: tuple[str, ...]
    keep: bool = False
    held: str = ""
    done: bool = False

    def feed(self, text: str) -> str:
        """Add the next piece and return the text that is certain."""
        if self.done:
            return ""
        self.held += text
        ends = [(start + len(stop), start) for stop in self.stops if (start := self.held.find(stop)) >= 0]
        if ends:
            self.done = True
            end, start = min(ends)
            text, self.held = self.held[: end if self.keep else start], ""
            return text
        longest = min(max(map(len, self.stops), default=1) - 1, len(self.held))
        sizes = (n for n in range(longest, 0, -1) if any(stop.startswith(self.held[-n:]) for stop in self.stops))
        certain = len(self.held) - next(sizes, 0)
        text, self.held = self.held[:certain], self.held[certain:]
        return text

    def rest(self) -> str:
        """Return the text that was held back, at the end of the stream."""
        text, self.held = self.held, ""
        return text


def pieces(
    network: Network,
    params: Views,
    vocabulary: Vocabulary,
    *,
    prompt: Ids,
    length: int,
    count: int,
    settings: Settings,
    rng: np.random.Generator,
    stops: tuple[str, ...] = (),
    keep_stop: bool = False,
    separator: str = "",
) -> Generator[list[str]]:
    """Generate `count` samples side by side, each of `length` characters or up to a stop string.

    Args:
        network: the shape of the network.
        params: its weights.
        vocabulary: of the network.
        prompt: (N,) ids to continue. If it is empty, each sample begins as a document begins; with a network that does
            not know that, its first character is drawn from the frequencies of the corpus, and counts.
        length: characters after the prompt.
        count: B, the number of samples.
        settings: how to choose characters.
        rng: the uniform numbers.
        stops: a sample ends before the first of these strings.
        keep_stop: whether it ends after the string instead.
        separator: the text that ends a document. After it the network begins another one.

    Yields:
        The new text of each sample: some characters, or none. The prompt is not repeated.

    Raises `OverflowingError` as `generate` does.
    """
    if length == 0:
        return
    stoppers = [Stopper(stops, keep_stop) for _ in range(count)]
    never_first = () if len(prompt) else vocabulary.never_first
    ids = with_start_symbols(vocabulary, prompt, separator) if network.start_symbol else np.asarray(prompt)
    prompts = np.repeat(ids[:, None], count, axis=1)
    made = 0
    if len(ids) == 0:
        prompts = first_characters(vocabulary.counts, rng.random(count), never_first)[None, :]
        made, never_first = 1, ()
        yield [s.feed(c) for s, c in zip(stoppers, vocabulary.decode(prompts[0]), strict=True)]
    if made < length:
        documents = Documents(vocabulary.ids_of(separator), never_first)
        for ids in generate(network, params, prompts, settings, rng, documents):
            ids = ids[: length - made]
            made += len(ids)
            yield [stopper.feed(vocabulary.decode(stream)) for stopper, stream in zip(stoppers, ids.T, strict=True)]
            if made >= length or all(s.done for s in stoppers):
                break
    yield [s.rest() for s in stoppers]


def with_start_symbols(vocabulary: Vocabulary, prompt: Ids, separator: str) -> Ids:
    """Return the ids (T,) that a network with a start symbol reads for a prompt.

    The symbol, id V, is before the prompt, and in place of the last character of a document that ends in it.
    """
    V, text = len(vocabulary), vocabulary.decode(prompt)
    ids = np.append(V, np.asarray(prompt, np.int64))  # ids[i] is the character before place i of the prompt
    ids[document_starts(text, separator)] = V
    if separator and text.endswith(separator):
        ids[-1] = V
    return ids
