"""The Python API: `train` and `load` return a `Model`, which samples, evaluates, scores and saves.

Letters: `V` characters of the vocabulary, `N` characters of a text. Losses are nats per character.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from charrnn import backend, seeds
from charrnn import checkpoint as checkpoints
from charrnn import config as configuration
from charrnn import text as texts
from charrnn.checkpoint import Checkpoint, Meta, tensor_shapes
from charrnn.config import Config
from charrnn.errors import ConfigError, DivergedError, OverflowingError, TextError
from charrnn.evaluation import Dynamic, Evaluation, evaluate
from charrnn.evaluation.protocols import surprises
from charrnn.model import Network, Views, build
from charrnn.run.corpus import own_text
from charrnn.run.request import Request
from charrnn.run.session import prepare
from charrnn.sampling import Settings, pieces
from charrnn.text import Corpus, Part, Vocabulary, join
from charrnn.training.events import Ended, Event

__all__ = ["Model", "SamplingOptions", "device_params", "load", "path_list", "train"]

HostArray = np.ndarray[Any, np.dtype[Any]]

LONGEST_FILE_NAME = 256
"""A text of at least this many characters is never the name of a file."""
UNKNOWN_TEXT = hashlib.sha256().hexdigest()
"""The hash that `Model.save` writes when the training text is unknown."""


class SamplingOptions(TypedDict, total=False):
    """The keyword arguments of `Model.sample`, which describes them."""

    length: int
    temperature: float
    top_k: int
    top_p: float
    stop: str
    seed: int | None
    unknown: str


@dataclass(eq=False, repr=False)
class Model:
    """A trained network with its vocabulary.

    Attributes:
        network: the shape of the network and its device.
        params: weight name -> array on the device; all are views of one vector.
        config: the configuration of the run.
        vocabulary: the V characters that the network knows.
        step: number of updates that the weights have had.
        source: the checkpoint file that the model was loaded from; None otherwise.
        sha256: hash of the training text; empty if unknown.
        notices: lines for the user about training or loading.
        corpus: the training text, if this process trained the model.
        optimizer_state: a checkpoint with only the optimizer's tensors, which `evaluate(dynamic=True)` needs; None for
            weights that come from PyTorch.
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
    optimizer_state: Checkpoint | None = None

    def __repr__(self) -> str:
        model = self.config.model
        shape = f"{model.cell} {model.num_layers}x{model.hidden_size}"
        return f"<charrnn.Model {shape}, {len(self.vocabulary)} characters, step {self.step}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Make `pickle` and `copy.deepcopy` work: the weights are stored as host arrays."""
        to_host = self.network.backend.to_host
        weights = {name: to_host(array) for name, array in self.params.items()}
        rest = {name: getattr(self, name) for name in ("source", "sha256", "notices", "corpus", "optimizer_state")}
        return rebuild, (weights, self.network.backend.name, self.config, self.vocabulary, self.step, rest)

    def sample(self, prompt: str = "", **options: Unpack[SamplingOptions]) -> str:
        """Return text that continues `prompt`, without the prompt.

        Args:
            prompt: the text to continue. If empty, the first character is drawn by its frequency in the training text.
            length: number of characters; default 500.
            temperature: divides the logits; 0 always chooses the most probable character; default 0.8.
            top_k: choose among the k most probable characters only; 0, the default, means all.
            top_p: choose among the most probable characters whose probabilities add up to this; 1, the default,
                means all.
            stop: end before this string.
            seed: seed of the random numbers; None, the default, draws a new one.
            unknown: `error`, `skip` or `replace` characters of the prompt that the network does not know.

        If the network knows accented letters in another Unicode form (composed or decomposed), prompt and `stop` are
        normalized to it.
        Raises `ConfigError` for an option out of range, `TextError` for a prompt that cannot be used, and
        `OverflowingError` if the network's numbers overflow.
        """
        return "".join(self.stream(prompt, **options))

    def stream(self, prompt: str = "", **options: Unpack[SamplingOptions]) -> Iterator[str]:
        """Return an iterator over the pieces of the text that `sample` returns, each as soon as it is computed.

        Errors in the arguments are raised by this call, before the first piece.
        """
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
        """Return an iterator over the pieces of `count` texts that are sampled together: lists of `count` strings.

        Another `batch` number gives other texts from the same `seed`. The other arguments and the errors are those of
        `sample` and `stream`.
        """
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
            stop=self.vocabulary.normalized(stop),
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
        """Return how well the network predicts `text`, in nats per character.

        Args:
            text: the text, or the result of `encode` or `validation`; None is the run's own validation split.
            window: None carries the state through the whole text; W starts every window of W characters from a zero
                state.
            dynamic: carry the state, and train a copy of the weights on each chunk after predicting it.
            unknown: `error`, `skip` or `replace` characters that the network does not know.

        Raises `ConfigError` for options that cannot be combined, `TextError` for a text that cannot be evaluated, and
        `OverflowingError` if the network's numbers overflow.
        """
        if dynamic and window is not None:
            raise ConfigError("use --dynamic or --window, not both")
        part = text if isinstance(text, Part) else self.validation() if text is None else self.encode(text, unknown)
        state = self.optimizer_state
        return evaluate(self.network, self.params, part, window=window, dynamic=dynamic, optimizer_state=state)

    def score(self, text: str | Part, *, unknown: str = "error") -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the surprise (N-1,) in nats of each character of `text` after the first, from a zero state.

        `text`, `unknown` and the errors are those of `evaluate`.
        """
        part = text if isinstance(text, Part) else self.encode(text, unknown)
        blocks = surprises(self.network, self.params, part, np.zeros(1, int), max(0, len(part.ids) - 1))
        nats = np.concatenate([np.zeros(0), *(block[:, 0] for block in blocks)])
        if np.isnan(nats).any():
            raise OverflowingError
        return nats

    def save(self, path: str | Path) -> None:
        """Write the network to a checkpoint file, which `charrnn.load`, `charrnn sample` and `--init-from` read.

        The file holds the weights to predict with, and the optimizer state if there is one. It has no recurrent state
        and no position in a text, so training cannot be resumed from it.
        Raises `CheckpointError` if the file cannot be written.
        """
        corpus, V = self.corpus.name if self.corpus else "", len(self.vocabulary)
        sha256 = self.training_text_hash() or UNKNOWN_TEXT
        meta = Meta(self.step, 0, self.config, self.vocabulary, corpus, sha256, math.log(V), best=None, samples_size=0)
        shapes = tensor_shapes(self.config, V)
        tensors = {name: np.zeros(shape, self.network.dtype) for name, shape in shapes.items()}
        tensors |= self.optimizer_state.tensors if self.optimizer_state else {}
        tensors["guard/scale"] += 1
        for name, array in self.params.items():
            for full in {f"parameters/{name}", f"average/{name}"} & shapes.keys():
                tensors[full] = self.network.backend.to_host(array)
        checkpoints.save(Path(path), Checkpoint(meta, tensors))

    def training_text_hash(self) -> str:
        """Return the SHA-256 of the training text; empty if unknown."""
        return self.corpus.sha256 if self.corpus else self.sha256

    def was_trained_on(self, text: str) -> bool:
        """Return whether `text`, with its validation split, is the text of the run."""
        if len(text) != sum(self.vocabulary.counts):
            return False
        separator = self.config.data.document_separator
        return texts.from_text(text, separator=separator).sha256 == self.training_text_hash()

    def encode(self, text: str | Iterable[str], unknown: str = "error") -> Part:
        """Return `text` as ids (N,), divided into documents by the separator of the run's configuration.

        Several texts are one or more documents each. If the network knows accented letters in another Unicode form, the
        text is normalized to it, which may change N: see `Vocabulary.normalized`.
        Raises `TextError` for characters that the network does not know, unless `unknown` is `skip` or `replace`.
        """
        if not isinstance(text, str):
            return join([self.encode(one, unknown) for one in text])
        ids = self.vocabulary.encode(text, unknown=unknown)
        return Part(ids, texts.document_starts(self.vocabulary.decode(ids), self.config.data.document_separator))

    def validation(self) -> Part:
        """Return the validation split of the training text, which is read again if the model was loaded.

        Raises `TextError` if the text is unknown, has changed or cannot be read, or if it has no validation split.
        """
        data, run = self.config.data, self.source.parent.parent if self.source else None
        if self.corpus is None and not self.sha256:
            raise TextError("the text that these weights were trained on is unknown: name a text to evaluate")
        if data.val_fraction == 0:
            raise TextError("the run has no validation split: name a text to evaluate")
        try:
            corpus = self.corpus or own_text(run, data, self.vocabulary)
        except TextError as error:
            raise TextError(f"{error}: name a text to evaluate") from None
        if corpus.sha256 != self.training_text_hash():
            raise TextError(f"{corpus.name} is not the text that the run was trained on: name a text to evaluate")
        part = texts.with_vocabulary(corpus, self.vocabulary).split(data.val_fraction)[1]
        if part is None:
            raise TextError(f"{corpus.name} is too short for a validation split: name a text to evaluate")
        return part


def rebuild(
    weights: Mapping[str, HostArray],
    device: str,
    config: Config,
    vocabulary: Vocabulary,
    step: int,
    rest: Mapping[str, Any],
) -> Model:
    """Return the model that `Model.__reduce__` stored, on `device`, or on the CPU if `device` cannot be used here."""
    network = build(config.model, len(vocabulary), backend.choose(device).backend)
    return Model(network, device_params(network, weights), config, vocabulary, step, **rest)


def device_params(network: Network, weights: Mapping[str, HostArray]) -> Views:
    """Return host arrays as the parameters of `network`: views of one new vector on its device."""
    params = network.views(network.backend.zeros((network.layout.size,), network.dtype))
    for name, array in weights.items():
        params[name][...] = network.backend.from_host(array, network.dtype)
    return params


def load(run: str | Path, *, checkpoint: str | int = "best", device: str = "auto", fallback: bool = True) -> Model:
    """Return the model of a run directory or checkpoint file.

    Args:
        run: the path.
        checkpoint: which one of a run directory: `best` (lowest validation loss), `last`, or a step.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        fallback: whether to use the CPU if the CUDA device cannot be used.

    Raises `CheckpointError` if there is no such checkpoint or it is damaged, `DeviceError` if the device cannot be
    used, and `ConfigError` for a device name that does not exist.
    """
    configuration.checked({"train": {"device": device}}, "--device")
    path, saved, notices = checkpoints.find(Path(run), str(checkpoint))
    choice = backend.choose(device, fallback=fallback)
    network = build(saved.meta.config.model, len(saved.meta.vocabulary), choice.backend)
    vector = choice.backend.from_host(saved.weights(network.layout))
    return Model(
        network,
        network.views(vector),
        saved.meta.config,
        saved.meta.vocabulary,
        saved.meta.step,
        source=path,
        sha256=saved.meta.sha256,
        notices=(*notices, *([choice.reason] if choice.fell_back else [])),
        optimizer_state=saved.optimizer_state,
    )


def train(
    text: str | None = None,
    *,
    files: str | Path | Iterable[str | Path] = (),
    config: str | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    init_from: str | Path | None = None,
    grow_vocabulary: bool = False,
    fallback: bool = True,
    threads: int = 0,
    minutes: float | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Model:
    """Train a network and return it as it is after the last step; `load(out)` returns the best checkpoint.

    Args:
        text: the training text itself; or use `files`.
        files: names of files, patterns or directories, or a single one. Without `text` and `files` the embedded corpus
            is used.
        config: a TOML file, or the name of a preset.
        settings: `{"section.key": value}`, which override `config`; for instance `{"train.steps": 1000}`.
        out: the run directory; None writes no files.
        resume: continue the run in `out`.
        overwrite: replace the run in `out`.
        init_from: fine-tune: a run directory (its best checkpoint) or checkpoint file with the first weights.
        grow_vocabulary: with `init_from`: allow characters that its network does not know.
        fallback: whether to use the CPU if the CUDA device cannot be used.
        threads: number of workers; 0 means one for each core.
        minutes: stop after this many minutes; the number of steps is planned to fit.
        on_event: called with every event of `charrnn.training.events`.

    Raises `CharrnnError` for arguments that cannot be used, `DivergedError` if training diverges.
    """
    values = dict(settings or {})
    if init_from is not None:
        values["train.init_from"] = str(Path(init_from))
    if grow_vocabulary:
        values["train.grow_vocabulary"] = True
    if text is not None and names_file(text):
        raise TextError(f"{text} is a file, not the text to learn: write files=[{text!r}]")
    session = prepare(
        Request(
            files=tuple(map(str, path_list(files))),
            text=text,
            preset=configuration.read(config) if config else {},
            options=configuration.merged(*(configuration.keyed(key, values[key], "settings") for key in values)),
            out=Path(out) if out is not None else None,
            resume=resume,
            overwrite=overwrite,
            fallback=fallback,
            threads=threads,
            minutes=minutes,
        )
    )
    for event in session.events():
        on_event(event)
        if isinstance(event, Ended) and event.reason == "diverged":
            raise DivergedError(f"training diverged at step {event.at.step}: lower optimizer.learning_rate")
    return Model(
        session.network,
        session.network.views(session.loop.trainer.average),
        session.config,
        session.corpus.vocabulary,
        session.loop.trainer.done,
        notices=session.notices,
        corpus=session.corpus,
        optimizer_state=session.loop.snapshot().checkpoint.optimizer_state,
    )


def path_list(paths: str | Path | Iterable[str | Path]) -> Iterable[str | Path]:
    """Return `paths`, or a list that holds it if it is a single path."""
    return [paths] if isinstance(paths, (str, Path)) else paths


def names_file(text: str) -> bool:
    """Return whether `text` is the name of an existing file."""
    with suppress(OSError):
        return len(text) < LONGEST_FILE_NAME and Path(text).is_file()
    return False
