"""A trained network: what `charrnn.train` and `charrnn.load` return."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from charrnn import seeds
from charrnn import text as texts
from charrnn.checkpoint import Checkpoint, Meta, save, tensor_shapes
from charrnn.config import Config
from charrnn.errors import ConfigError, OverflowingError, TextError
from charrnn.evaluation import evaluate
from charrnn.evaluation.dynamic import Dynamic
from charrnn.evaluation.protocols import Evaluation, surprises
from charrnn.model import Network, Views
from charrnn.run.corpus import own_text
from charrnn.sampling import Settings, pieces
from charrnn.text import Corpus, Part, Vocabulary

NO_TEXT = hashlib.sha256().hexdigest()
"""Stands in a saved checkpoint for a text that nobody knows."""


class Options(TypedDict, total=False):
    """How a text is sampled; `Model.sample` says what each means."""

    length: int
    temperature: float
    top_k: int
    top_p: float
    stop: str
    seed: int | None
    unknown: str


@dataclass(eq=False, repr=False)
class Model:
    """A trained network and its vocabulary.

    Attributes:
        network: its shape and device.
        params: the weights, by name: views of one vector on the device.
        config: of the run.
        vocabulary: the characters it knows.
        step: how many updates it was trained for.
        source: the checkpoint file it was loaded from, if any.
        sha256: of the text it was trained on; empty where that is not known.
        notices: lines about how it was loaded.
        corpus: the text, if it was trained by this process.
        memory: the checkpoint with the optimiser's memory, for `evaluate(dynamic=True)`; None for weights of PyTorch.
    """

    network: Network
    params: Views
    config: Config
    vocabulary: Vocabulary
    step: int
    _: KW_ONLY
    source: Path | None = None
    sha256: str = ""
    notices: tuple[str, ...] = ()
    corpus: Corpus | None = None
    memory: Checkpoint | None = None

    def __repr__(self) -> str:
        model = self.config.model
        shape = f"{model.cell} {model.num_layers}x{model.hidden_size}"
        return f"<charrnn.Model {shape}, {len(self.vocabulary)} characters, step {self.step}>"

    def sample(self, prompt: str = "", **options: Unpack[Options]) -> str:
        """A text after `prompt`, which is not repeated.

        Args:
            prompt: the text to continue; without one the first character is drawn from the corpus's frequencies.
            length: how many characters; 500.
            temperature: divides the logits; 0 always takes the likeliest character; 0.8.
            top_k: only the k likeliest characters; 0, the default, for all.
            top_p: only the likeliest characters that reach this probability together; 1, the default, for all.
            stop: the text ends before this string.
            seed: of the random numbers; None, the default, draws one.
            unknown: `error`, `skip` or `replace` characters of the prompt that the network never saw.

        Raises `ConfigError` or `TextError`, and `OverflowingError` for a network whose numbers overflow.
        """
        return "".join(self.stream(prompt, **options))

    def stream(self, prompt: str = "", **options: Unpack[Options]) -> Iterator[str]:
        """The same text as `sample`, piece by piece as it is made. What does not fit is raised at once."""
        return (text for (text,) in self.sample_many(prompt, count=1, **options))

    def sample_many(
        self,
        prompt: str = "",
        *,
        count: int,
        length: int = 500,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: str = "",
        seed: int | None = None,
        batch: int = 0,
        unknown: str = "error",
    ) -> Iterator[list[str]]:
        """`count` texts at once, piece by piece; `batch` B makes other texts from the same seed. Else as `stream`."""
        settings = Settings(temperature, top_k, top_p)
        if length < 0 or count < 1:
            raise ConfigError(
                f"a sample needs a length of at least 0 and a count of at least 1, not {length} and {count}"
            )
        if seed is not None and seed < 0:
            raise ConfigError(f"--seed must be at least 0, not {seed}")
        ids = self.vocabulary.encode(prompt, what="the prompt", unknown=unknown)
        rng = seeds.stream(secrets.randbits(32) if seed is None else seed, "generation", batch)
        return pieces(
            self.network,
            self.params,
            self.vocabulary,
            prompt=ids,
            length=length,
            count=count,
            settings=settings,
            stop=stop,
            rng=rng,
        )

    def evaluate(
        self,
        text: str | Part | None = None,
        *,
        window: int | None = None,
        dynamic: bool | Dynamic = False,
        unknown: str = "error",
    ) -> Evaluation:
        """How well the network predicts `text`; without one, the run's own validation split.

        Args:
            text: the text, or what `part` or `validation` made of one.
            window: None carries the state over one pass; W starts every window of W characters from a cold state.
            dynamic: carry the state, and learn from each chunk after predicting it, on a copy of the weights.
            unknown: what to do with characters that the network never saw: `error`, `skip` or `replace`.
        """
        if dynamic and window is not None:
            raise ConfigError("--dynamic and --window exclude each other")
        part = text if isinstance(text, Part) else self.validation() if text is None else self.part(text, unknown)
        return evaluate(self.network, self.params, part, window=window, dynamic=dynamic, optimizer_state=self.memory)

    def score(self, text: str, *, unknown: str = "error") -> np.ndarray[Any, np.dtype[np.float64]]:
        """(N-1,) the surprise, in nats, of each character of `text` after the first, from a cold state.

        Raises `OverflowingError` for a network whose numbers do.
        """
        part = self.part(text, unknown)
        blocks = surprises(self.network, self.params, part, np.zeros(1, int), max(0, len(part.ids) - 1))
        nats = np.concatenate([np.zeros(0), *(block[:, 0] for block in blocks)])
        if np.isnan(nats).any():
            raise OverflowingError
        return nats

    def save(self, path: str | Path) -> None:
        """Write the network to a checkpoint file, as `charrnn.load`, `charrnn sample` and `--init-from` read it.

        It holds what predicts, and the optimiser's memory if that is known; no state, and no place in a text.
        Raises `CheckpointError` where the file system refuses.
        """
        corpus, V = self.corpus.name if self.corpus else "", len(self.vocabulary)
        digest = self.corpus.sha256 if self.corpus else self.sha256 or NO_TEXT
        meta = Meta(self.step, 0, self.config, self.vocabulary, corpus, digest, math.log(V), best=None, samples_size=0)
        shapes = tensor_shapes(self.config, V)
        tensors = {name: np.zeros(shape, self.network.dtype) for name, shape in shapes.items()}
        tensors |= self.memory.tensors if self.memory else {}
        tensors["guard/scale"] += 1
        for name, array in self.params.items():
            for full in {f"parameters/{name}", f"average/{name}"} & shapes.keys():
                tensors[full] = self.network.backend.to_host(array)
        save(Path(path), Checkpoint(meta, tensors))

    def learnt(self, text: str) -> bool:
        """Whether the network was trained on `text`, or all of it but the held-out part."""
        if len(text) != sum(self.vocabulary.counts):
            return False
        separator = self.config.data.document_separator
        return texts.from_text(text, separator=separator).sha256 == (self.corpus.sha256 if self.corpus else self.sha256)

    def part(self, text: str, unknown: str) -> Part:
        """`text` as ids, in the documents that the run's separator makes of it."""
        ids = self.vocabulary.encode(text, unknown=unknown)
        return Part(ids, texts.document_starts(self.vocabulary.decode(ids), self.config.data.document_separator))

    def validation(self) -> Part:
        """The held-out part of the corpus that the run was trained on, which must still be what it was."""
        data, run = self.config.data, self.source.parent.parent if self.source else None
        if self.corpus is None and not self.sha256:
            raise TextError("nobody knows which text these weights were trained on: name a text to evaluate")
        if data.val_fraction == 0:
            raise TextError("the run has no validation split: name a text to evaluate")
        try:
            corpus = self.corpus or own_text(run, data, self.vocabulary)
        except TextError as error:
            raise TextError(f"{error}: name a text to evaluate") from None
        if self.corpus is None and corpus.sha256 != self.sha256:
            raise TextError(f"{corpus.name} is not the text that the run was trained on: name a text to evaluate")
        part = texts.with_vocabulary(corpus, self.vocabulary).split(data.val_fraction)[1]
        if part is None:
            raise TextError(f"of {corpus.name} nothing is held out: name a text to evaluate")
        return part
