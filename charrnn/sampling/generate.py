"""Reading and writing text with a network: prompts, sampling as a stream of pieces, stop strings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from charrnn.backend import one_thread
from charrnn.model import Network, State, Views, Workspace, forward, next_state, project
from charrnn.sampling.distribution import HostArray, Settings, choose, first_characters
from charrnn.text import Ids, Vocabulary

PROMPT_CHUNK = 256


class Reader:
    """B streams read character by character: the network with its state, for prompts and for sampling."""

    def __init__(self, network: Network, params: Views, B: int) -> None:
        self.network, self.params, self.B = network, params, B
        self.state: State = network.zero_state(B)
        self.workspaces: dict[int, Workspace] = {}

    def read(self, ids: Ids) -> HostArray:
        """Read ids (T, B), T at least 1. Returns the logits (B, V) after the last, in float64. Waits for the device."""
        for first in range(0, len(ids), PROMPT_CHUNK):
            chunk = np.ascontiguousarray(ids[first : first + PROMPT_CHUNK], dtype=np.int64)
            T = len(chunk)
            if T not in self.workspaces:
                self.workspaces[T] = Workspace(self.network, T, self.B)
            work = self.workspaces[T]
            inputs = self.network.backend.indices(self.network.backend.from_host(chunk.reshape(-1)))
            with one_thread, self.network.backend.quiet():
                hidden = forward(self.network, self.params, inputs, None, self.state, work)
            next_state(self.network, work, out=self.state)
        logits = self.network.backend.empty((self.B, self.network.vocab_size), self.network.dtype)
        with one_thread, self.network.backend.quiet():
            project(self.network, self.params, hidden[(T - 1) * self.B :, ...], out=logits)
        return self.network.backend.to_host(logits).astype(np.float64)  # sync


def generate(
    network: Network, params: Views, prompts: Ids, settings: Settings, rng: np.random.Generator
) -> Iterator[Ids]:
    """Continue B prompts of equal length, without end.

    Args:
        network: the shape of the network.
        params: its weights.
        prompts: (T, B) ids, T at least 1.
        settings: how to choose.
        rng: one uniform number is drawn from it for each character.

    Yields:
        ids (B,), the next character of each stream.
    """
    reader = Reader(network, params, prompts.shape[1])
    logits = reader.read(prompts)
    while True:
        ids = choose(logits, rng.random(prompts.shape[1]), settings)
        yield ids
        logits = reader.read(ids[None, :])


@dataclass
class Stopper:
    """Holds back whatever may turn out to be the stop string; the stop string itself is never given out."""

    stop: str
    held: str = ""
    done: bool = False

    def feed(self, text: str) -> str:
        """Take the next piece; return what can be given out."""
        if self.done:
            return ""
        self.held += text
        if self.stop and self.stop in self.held:
            self.done = True
            text, self.held = self.held.partition(self.stop)[0], ""
            return text
        sizes = range(min(len(self.stop) - 1, len(self.held)), 0, -1)
        keep = next((n for n in sizes if self.stop.startswith(self.held[-n:])), 0)
        text, self.held = self.held[: len(self.held) - keep], self.held[len(self.held) - keep :]
        return text

    def rest(self) -> str:
        """What was held back when the text ends otherwise."""
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
    stop: str,
    rng: np.random.Generator,
) -> Iterator[list[str]]:
    """`count` samples made side by side, each of `length` characters or up to `stop`.

    Args:
        network: the shape of the network.
        params: its weights.
        vocabulary: of the network.
        prompt: (N,) ids to continue; empty: the first character is drawn from the corpus's own frequencies, and counts.
        length: characters after the prompt.
        count: B, the number of samples.
        settings: how to choose.
        stop: a sample ends before this string; empty: never.
        rng: the uniform numbers.

    Yields:
        For each character the new text of each sample, often a character, sometimes empty. The prompt is not repeated.
    """
    if length == 0:
        return
    stoppers = [Stopper(stop) for _ in range(count)]
    prompts = np.repeat(np.asarray(prompt)[:, None], count, axis=1)
    made = 0
    if len(prompt) == 0:
        prompts = first_characters(vocabulary.counts, rng.random(count))[None, :]
        made = 1
        yield [s.feed(c) for s, c in zip(stoppers, vocabulary.decode(prompts[0]), strict=True)]
    if made < length:
        for ids in generate(network, params, prompts, settings, rng):
            made += 1
            yield [s.feed(c) for s, c in zip(stoppers, vocabulary.decode(ids), strict=True)]
            if made >= length or all(s.done for s in stoppers):
                break
    yield [s.rest() for s in stoppers]
