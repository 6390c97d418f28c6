"""The Python API: `train` and `load` return a `Model`, which samples, evaluates, scores and saves.

Letters: `V` characters of the vocabulary, `N` characters of a text. Losses are nats per character.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np

from charrnn import arguments, backend, notebook, seeds
from charrnn import checkpoint as checkpoints
from charrnn import config as configuration
from charrnn import text as texts
from charrnn.checkpoint import Checkpoint, Meta, tensor_shapes
from charrnn.config import Config, Table
from charrnn.errors import ConfigError, DivergedError, OverflowingError, TextError
from charrnn.evaluation import Dynamic, Evaluation, evaluate
from charrnn.evaluation.inspection import LossAndGrad, hidden_states, loss_and_grad, next_probabilities
from charrnn.evaluation.protocols import first_position, predicted_ids, surprises
from charrnn.interrupt import Interrupt, deferred_interrupt
from charrnn.model import Network, Views, build
from charrnn.run.corpus import own_text, own_validation_text
from charrnn.run.request import Request, read_preset
from charrnn.run.session import Session, prepare
from charrnn.sampling import Settings, pieces, with_start_symbols
from charrnn.text import Corpus, Fingerprint, Ids, Part, Vocabulary, join
from charrnn.training.events import Ended, Event, Snapshot

__all__ = ["Model", "SamplingOptions", "device_params", "load", "train"]

HostArray = np.ndarray[Any, np.dtype[Any]]

BATCH = 64
"""Most texts that `sample` computes together."""
UNKNOWN_TEXT = hashlib.sha256().hexdigest()
"""The hash that `Model.save` writes when the training text is unknown."""


class SamplingOptions(TypedDict, total=False):
    """The keyword arguments of `Model.sample`, which describes them."""

    length: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    stop: str | Iterable[str] | None
    keep_stop: bool
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
        val_text: what identifies the text of `data.val_files`; None if there is none.
        test_text: the same of `data.test_files`.
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
    val_text: Fingerprint | None = None
    test_text: Fingerprint | None = None

    def __repr__(self) -> str:
        model = self.config.model
        shape = f"{model.cell} {model.num_layers}x{model.hidden_size}"
        return f"<charrnn.Model {shape}, {len(self.vocabulary)} characters, step {self.step}>"

    def _repr_html_(self) -> str:
        """Return a table of the network and its training, which a notebook shows."""
        model, steps = self.config.model, self.config.train.steps
        documents = repr(self.config.data.document_separator) if self.config.data.document_separator else ""
        rows = {
            "network": f"{model.shape}, {model.dtype}",
            "parameters": f"{self.network.layout.parameters:,}",
            "characters": f"{len(self.vocabulary):,}: {notebook.shortened(self.vocabulary.characters)}",
            "steps": f"{self.step:,} of {steps:,}" if self.step < steps else f"{self.step:,}",
            "text": self.corpus.name if self.corpus else "",
            "document separator": documents,
            "checkpoint": str(self.source or ""),
            "device": self.network.backend.name,
        }
        return notebook.html_table("charrnn.Model", rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Make `pickle` and `copy.deepcopy` work: the weights are stored as host arrays."""
        names = ("source", "sha256", "notices", "corpus", "optimizer_state", "val_text", "test_text")
        rest = {name: getattr(self, name) for name in names}
        return rebuild, (self.host_weights(), self.network.backend.name, self.config, self.vocabulary, self.step, rest)

    def host_weights(self) -> dict[str, HostArray]:
        """Return copies of the weights, by name, as NumPy arrays."""
        device = self.network.backend
        with backend.computing(device):
            return {name: device.to_host(array) for name, array in self.params.items()}  # sync

    @overload
    def sample(self, prompt: str = "", *, count: None = None, **options: Unpack[SamplingOptions]) -> str: ...

    @overload
    def sample(self, prompt: str = "", *, count: int, **options: Unpack[SamplingOptions]) -> list[str]: ...

    def sample(
        self, prompt: str = "", *, count: int | None = None, **options: Unpack[SamplingOptions]
    ) -> str | list[str]:
        """Return text that continues `prompt`, without the prompt; with `count`, a list of so many texts.

        The texts of a list are those that `charrnn sample --count` prints with the same seed.

        Args:
            prompt: the text to continue. If empty, the text begins as the documents of the training text begin. After
                training on one document, the first character is drawn by its frequency.
            count: number of texts; None, the default, returns one text that is no list.
            length: number of characters; default 500.
            temperature: divides the logits; 0 always chooses the most probable character; default 0.8.
            top_k: choose among the k most probable characters only; 0, the default, means all.
            top_p: choose among the most probable characters whose probabilities add up to this; 1, the default,
                means all.
            min_p: choose among the characters whose probability is at least this share of the most probable one's; 0,
                the default, means all.
            stop: end before this string, or before the first of several strings. None, the default, is the run's
                document separator if there is no prompt: the text is then one document. An empty string means none.
            keep_stop: end after the string instead.
            seed: seed of the random numbers; None, the default, draws a new one.
            unknown: `error`, `skip` or `replace` characters of the prompt that the network does not know.

        If the network knows accented letters in another Unicode form (composed or decomposed), prompt and `stop` are
        normalized to it.
        Raises `ConfigError` for an option out of range, `TextError` for a prompt that cannot be used, and
        `OverflowingError` if the network's numbers overflow.
        """
        if count is None:
            return "".join(self.stream(prompt, **options))
        count = arguments.whole(count, "count", 1)
        if options.get("seed") is None:
            options["seed"] = secrets.randbits(32)
        made = list[str]()
        for first in range(0, count, BATCH):
            pieces = self.sample_many(prompt, count=min(BATCH, count - first), batch=first // BATCH, **options)
            made += map("".join, zip(*pieces, strict=True))
        return made or [""] * count

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
        min_p: float = 0.0,
        stop: str | Iterable[str] | None = None,
        keep_stop: bool = False,
        seed: int | None = None,
        batch: int = 0,
        unknown: str = "error",
    ) -> Iterator[list[str]]:
        """Return an iterator over the pieces of `count` texts that are sampled together: lists of `count` strings.

        Another `batch` number gives other texts from the same `seed`. The other arguments and the errors are those of
        `sample` and `stream`.
        """
        numbers = {"temperature": temperature, "top_p": top_p, "min_p": min_p}
        temperature, top_p, min_p = (arguments.number(value, name) for name, value in numbers.items())
        settings = Settings(temperature, arguments.whole(top_k, "top_k"), top_p, min_p)
        length, count = arguments.whole(length, "length"), arguments.whole(count, "count")
        if length < 0 or count < 1:
            raise ConfigError(
                f"a sample needs a length of at least 0 and a count of at least 1, not {length} and {count}"
            )
        seed = None if seed is None else arguments.whole(seed, "--seed", 0)
        ids = self.vocabulary.encode(arguments.string(prompt, "the prompt"), what="the prompt", unknown=unknown)
        separator = self.config.data.document_separator if self.network.start_symbol else ""
        if stop is None:
            stop = "" if prompt else separator
        rng = seeds.stream(secrets.randbits(32) if seed is None else seed, "generation", batch)
        texts = pieces(
            self.network,
            self.params,
            self.vocabulary,
            prompt=ids,
            length=length,
            count=count,
            settings=settings,
            rng=rng,
            stops=tuple(self.vocabulary.normalized(one) for one in arguments.strings(stop, "stop") if one),
            keep_stop=keep_stop,
            separator=separator,
        )
        return backend.computed(self.network.backend, texts)

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
        window = None if window is None else arguments.whole(window, "--window")
        part = text if isinstance(text, Part) else self.validation() if text is None else self.encode(text, unknown)
        state = self.optimizer_state
        with backend.computing(self.network.backend):
            result = evaluate(self.network, self.params, part, window=window, dynamic=dynamic, optimizer_state=state)
        predicted = predicted_ids(self.network, part, result.characters)
        return replace(result, utf8_bytes=self.vocabulary.utf8_size(predicted))

    def score(self, text: str | Part, *, unknown: str = "error") -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the surprise in nats of each character of `text`, from a zero state.

        The result is (N,) if the network learned how documents begin, else (N-1,): the first character has no context.
        `text`, `unknown` and the errors are those of `evaluate`.
        """
        part = text if isinstance(text, Part) else self.encode(text, unknown)
        first = first_position(self.network, part)
        length = max(0, len(part.ids) - 1 - first)
        with backend.computing(self.network.backend):
            blocks = surprises(self.network, self.params, part, np.full(1, first), length)
            nats = np.concatenate([np.zeros(0), *(block[:, 0] for block in blocks)])
        if np.isnan(nats).any():
            raise OverflowingError
        return nats

    def predict(self, prompt: str = "", *, top: int = 10, unknown: str = "error") -> list[tuple[str, float]]:
        """Return the `top` most probable characters after `prompt` with their probabilities, the most probable first.

        Args:
            prompt: the text before the character. What is before its last document has no influence. If the network
                learned how documents begin, an empty prompt, and one that ends a document, mean the start of a
                document; otherwise an empty prompt means the frequencies of the training text.
            top: how many characters; 0 means all, whose probabilities add up to 1.
            unknown: `error`, `skip` or `replace` characters of the prompt that the network does not know.

        The errors are those of `sample`.
        """
        top = arguments.whole(top, "top", 0)
        ids = self.vocabulary.encode(arguments.string(prompt, "the prompt"), what="the prompt", unknown=unknown)
        ids = last_document(self, ids)
        if len(ids):
            with backend.computing(self.network.backend):
                probabilities = next_probabilities(self.network, self.params, ids)
        else:
            probabilities = np.array(self.vocabulary.counts) / sum(self.vocabulary.counts)
        order = np.argsort(-probabilities, kind="stable")[: top or None]
        return [(self.vocabulary.characters[i], float(probabilities[i])) for i in order]

    def states(self, text: str, *, unknown: str = "error") -> dict[str, HostArray]:
        """Return the states after each of the T characters of `text`: name -> (T, L, H), for L layers of H units.

        The names are `hidden` and, for an LSTM, `cell_state`. Each document is read from a zero state and, if the
        network learned how documents begin, after the start symbol. `unknown` and the errors are those of `score`.
        """
        part = self.encode(text, unknown)
        with backend.computing(self.network.backend):
            return hidden_states(self.network, self.params, part)

    def loss_and_grad(
        self,
        inputs: str | Sequence[int],
        targets: str | Sequence[int],
        state: Mapping[str, HostArray] | None = None,
        *,
        weights: Sequence[float] | None = None,
        hidden_gradient: bool = False,
    ) -> LossAndGrad:
        """Return the loss of a stretch of text and its gradient, which min-char-rnn computes in `lossFun`.

        Nothing is divided by T or clipped, and no weight changes.

        Args:
            inputs: T characters, or their ids in `vocabulary`. If the network learned how documents begin, the id V is
                the start symbol.
            targets: T characters or ids: the one after each input.
            state: name -> (L, H) before the first input, as in the result of the stretch before; None means zeros.
            weights: T factors of the surprises in the loss; None means 1.
            hidden_gradient: whether to compute dL/dh (T, L, H), too.

        Raises `ConfigError` for arguments that do not fit, `TextError` for unknown characters, and `OverflowingError`
        if the network's numbers overflow.
        """
        network, V = self.network, len(self.vocabulary)
        read = as_ids(self.vocabulary, inputs, "inputs", V + network.start_symbol)
        T, wanted = len(read), as_ids(self.vocabulary, targets, "targets", V)
        if T == 0 or len(wanted) != T:
            raise ConfigError(f"inputs and targets need the same length of at least 1, not {T} and {len(wanted)}")
        factors = np.ones(T) if weights is None else arguments.array(weights, "weights", (T,))
        shape = (network.num_layers, network.hidden_size)
        if state is not None and (not isinstance(state, Mapping) or set(state) != set(network.cell.STATES)):
            raise ConfigError(f"state must be a dict with the keys {', '.join(network.cell.STATES)}")
        before = {
            name: np.zeros(shape) if state is None else arguments.array(state[name], f"state {name}", shape)
            for name in network.cell.STATES
        }
        with backend.computing(network.backend):
            return loss_and_grad(network, self.params, read, wanted, before, factors, hidden=hidden_gradient)

    def save(self, path: str | Path) -> None:
        """Write the network to a checkpoint file, which `charrnn.load`, `charrnn sample` and `--init-from` read.

        The file holds the weights to predict with, and the optimizer state if there is one. It has no recurrent state
        and no position in a text, so training cannot be resumed from it.
        Raises `CheckpointError` if the file cannot be written.
        """
        path = arguments.path(path, "path")
        corpus, V = self.corpus.name if self.corpus else "", len(self.vocabulary)
        sha256 = self.training_text_hash() or UNKNOWN_TEXT
        meta = Meta(self.step, 0, self.config, self.vocabulary, corpus, sha256, math.log(V), best=None, samples_size=0)
        meta = replace(meta, val_text=self.val_text, test_text=self.test_text)
        shapes = tensor_shapes(self.config, V)
        tensors = {name: np.zeros(shape, self.network.dtype) for name, shape in shapes.items()}
        tensors |= self.optimizer_state.tensors if self.optimizer_state else {}
        tensors["guard/scale"] += 1
        for name, array in self.host_weights().items():
            for full in {f"parameters/{name}", f"average/{name}"} & shapes.keys():
                tensors[full] = array
        checkpoints.save(path, Checkpoint(meta, tensors))

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
        text = arguments.text_or_texts(text, "the text")
        if not isinstance(text, str):
            return join(self.encode(one, unknown) for one in text)
        ids = self.vocabulary.encode(text, unknown=unknown)
        separator = self.config.data.document_separator
        return Part(ids, texts.document_starts(self.vocabulary.decode(ids), separator), begins=True)

    def validation(self) -> Part:
        """Return the text of `data.val_files`, or else the validation split of the training text.

        If the model was loaded, the text is read again. Raises `TextError` if it is unknown, has changed or cannot be
        read, or if there is no validation split.
        """
        data = self.config.data
        if data.val_files:
            return self.val_part(self.source.parent.parent if self.source else None)
        if data.val_fraction == 0 and self.training_text_hash():
            raise TextError("the run has no validation split: name a text to evaluate")
        try:
            corpus = training_text(self)
        except TextError as error:
            raise TextError(f"{error}: name a text to evaluate") from None
        part = corpus.split(data.val_fraction, shuffle=data.shuffle_documents)[1]
        if part is None:
            raise TextError(f"{corpus.name} is too short for a validation split: name a text to evaluate")
        return part

    def val_part(self, run: Path | None) -> Part:
        """Return the text of `data.val_files`, which the run in `run` recorded. Raises as `validation` does."""
        if self.corpus is not None and self.corpus.validation is not None:
            return self.corpus.validation.whole
        try:
            corpus = own_validation_text(run, self.config.data, self.val_text)
        except TextError as error:
            raise TextError(f"{error}: name a text to evaluate") from None
        if not set(corpus.vocabulary.characters) <= set(self.vocabulary.characters):
            raise TextError(f"{corpus.name} has characters that the network never saw: the checkpoint is damaged")
        return texts.in_vocabulary(corpus, self.vocabulary.characters).whole


def training_text(model: Model) -> Corpus:
    """Return the text that a run was given to train on, in the model's vocabulary.

    It is read again if the model was loaded. Raises `TextError` if it is unknown, has changed or cannot be read.
    """
    if model.corpus is None and not model.sha256:
        raise TextError("the text that these weights were trained on is unknown")
    run = model.source.parent.parent if model.source else None
    data, characters = model.config.data, sum(model.vocabulary.counts)
    corpus = model.corpus or own_text(run, data.files, data, characters)
    if corpus.sha256 != model.training_text_hash():
        raise TextError(f"{corpus.name} is not the text that the run was trained on")
    return texts.with_vocabulary(corpus, model.vocabulary)


def last_document(model: Model, ids: Ids) -> Ids:
    """Return the last document of a text, after the start symbol if the network has one."""
    separator, V = model.config.data.document_separator, len(model.vocabulary)
    if model.network.start_symbol:
        ids = with_start_symbols(model.vocabulary, ids, separator)
        return ids[np.flatnonzero(ids == V)[-1] :]
    starts = texts.document_starts(model.vocabulary.decode(ids), separator)
    return ids[starts[-1] if len(starts) else 0 :].astype(np.int64)


def as_ids(vocabulary: Vocabulary, characters: str | Sequence[int], what: str, most: int) -> Ids:
    """Return characters, or their ids, as ids. Raises `ConfigError` for an id that is not below `most`."""
    if isinstance(characters, str):
        return vocabulary.encode(characters, what=what)
    numbers = arguments.array(characters, what, (None,))
    if not ((numbers >= 0) & (numbers < most) & (numbers % 1 == 0)).all():
        raise ConfigError(f"{what} must be a string, or ids from 0 to {most - 1}")
    return numbers.astype(np.int64)


def rebuild(
    weights: Mapping[str, HostArray],
    device: str,
    config: Config,
    vocabulary: Vocabulary,
    step: int,
    rest: Mapping[str, Any],
) -> Model:
    """Return the model that `Model.__reduce__` stored, on `device`, or on the CPU if `device` cannot be used here."""
    network = build(config.model, len(vocabulary), backend.choose(device, kernels=config.train.kernels).backend)
    return Model(network, device_params(network, weights), config, vocabulary, step, **rest)


def device_params(network: Network, weights: Mapping[str, HostArray]) -> Views:
    """Return host arrays as the parameters of `network`: views of one new vector on its device."""
    with backend.computing(network.backend):
        params = network.views(network.backend.zeros((network.layout.size,), network.dtype))
        for name, array in weights.items():
            params[name][...] = network.backend.from_host(array, network.dtype)
    return params


def load(
    run: str | Path,
    *,
    checkpoint: str | int = "best",
    device: str = "auto",
    fallback: bool = True,
    kernels: str | None = None,
) -> Model:
    """Return the model of a run directory or checkpoint file.

    Args:
        run: the path.
        checkpoint: which one of a run directory: `best` (lowest validation loss), `last`, or a step.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        fallback: whether to use the CPU if the CUDA device cannot be used.
        kernels: `auto` or `off`, see `train.kernels`; None is the run's own setting.

    Raises `CheckpointError` if there is no such checkpoint or it is damaged, `DeviceError` if the device cannot be
    used, and `ConfigError` for a device name that does not exist.
    """
    configuration.checked({"train": {"device": device}}, "--device")
    path, saved, notices = checkpoints.find(arguments.path(run, "run"), str(checkpoint))
    choice = backend.choose(device, fallback=fallback, kernels=kernels or saved.meta.config.train.kernels)
    network = build(saved.meta.config.model, len(saved.meta.vocabulary), choice.backend)
    notices += [choice.reason] if choice.fell_back else []
    return of_checkpoint(saved, network, source=path, sha256=saved.meta.sha256, notices=tuple(notices))


def of_checkpoint(saved: Checkpoint, network: Network, **rest: Any) -> Model:
    """Return the model of a checkpoint on the device of `network`; `rest` are further attributes."""
    with backend.computing(network.backend):
        params = network.views(network.backend.from_host(saved.weights(network.layout)))
    meta, state = saved.meta, saved.optimizer_state
    rest |= {"val_text": meta.val_text, "test_text": meta.test_text}
    return Model(network, params, meta.config, meta.vocabulary, meta.step, optimizer_state=state, **rest)


def train(
    text: str | Iterable[str] | None = None,
    *,
    files: str | Path | Iterable[str | Path] = (),
    val_files: str | Path | Iterable[str | Path] = (),
    test_files: str | Path | Iterable[str | Path] = (),
    config: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    best: bool = True,
    init_from: str | Path | None = None,
    grow_vocabulary: bool = False,
    fallback: bool = True,
    threads: int = 0,
    minutes: float | None = None,
    progress: bool | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> Model:
    """Train a network and return it as it was at its lowest validation loss; `Model.step` tells when.

    Args:
        text: the training text itself, or its documents: a list or any other iterable of strings, of which each is
            ended by `data.document_separator`. If that key is not set, it becomes as many line ends as no document
            has in a row. Or use `files`.
        files: names of files, patterns or directories, or a single one. Without `text` and `files` the embedded corpus
            is used.
        val_files: the same for the texts to validate on; without them a part of the training text is held out.
        test_files: the same for the texts on which the best network is evaluated at the end: an event `Tested`.
        config: a TOML file, the name of a preset, or `auto`: a network is chosen for the text and `minutes`. With
            `minutes`, `auto` is the default.
        settings: `{"section.key": value}`, which override `config`; for instance `{"train.steps": 1000}`.
        out: the run directory; None writes no files.
        resume: continue the run in `out`.
        overwrite: replace the run in `out`.
        best: whether to return the network of the lowest validation loss. False returns the one of the last step, as
            does a run without a validation split.
        init_from: fine-tune: a run directory (its best checkpoint) or checkpoint file with the first weights.
        grow_vocabulary: with `init_from`: allow characters that its network does not know.
        fallback: whether to use the CPU if the CUDA device cannot be used.
        threads: number of workers; 0 means one for each core.
        minutes: stop after this many minutes; the number of steps is planned to fit.
        progress: whether to show a progress bar; None shows one in a notebook or at a prompt, and none in a script.
        on_event: called with every event of `charrnn.training.events`.

    Ctrl-C, the stop button of a notebook, or a `KeyboardInterrupt` from `on_event` ends training after the step: the
    run in `out` is saved as by Ctrl-C on the command line, and the network so far is returned, the best one or the last
    one. `Model.notices` has a line about it, and `Ended.reason` is `interrupted`. A second Ctrl-C raises
    `KeyboardInterrupt` at once.

    Raises `CharrnnError` for arguments that cannot be used, `DivergedError` if training diverges.
    """
    values = arguments.settings(settings or {})
    if init_from is not None:
        values["train.init_from"] = str(arguments.path(init_from, "init_from"))
    for key, paths in (("val_files", val_files), ("test_files", test_files)):
        if names := arguments.paths(paths, key):
            values[f"data.{key}"] = names
    if grow_vocabulary:
        values["train.grow_vocabulary"] = True
    preset, automatic = read_preset(str(arguments.path(config, "config")) if config else None, minutes)
    options = configuration.merged(*(configuration.keyed(key, values[key], "settings") for key in values))
    if text is not None:
        text, options = as_one_text(arguments.training_text(text), preset, options)
    if not callable(on_event):
        raise ConfigError(f"on_event must be a function of one event, not {arguments.shown(on_event)}")
    with deferred_interrupt() as interrupt:
        session = prepare(
            Request(
                files=tuple(arguments.paths(files, "files")),
                text=text,
                preset=preset,
                automatic=automatic,
                options=options,
                out=arguments.path(out, "out") if out is not None else None,
                resume=resume,
                overwrite=overwrite,
                fallback=fallback,
                threads=arguments.whole(threads, "threads"),
                minutes=None if minutes is None else arguments.number(minutes, "minutes"),
                interrupted=lambda: interrupt.requested,
            )
        )
        show_progress = notebook.is_interactive() if progress is None else progress
        saved, notices = run(session, interrupt, on_event, show_progress=show_progress, best=best)
    return of_checkpoint(saved, session.network, corpus=session.corpus, notices=(*session.notices, *notices))


def run(
    session: Session, interrupt: Interrupt, on_event: Callable[[Event], None], *, show_progress: bool, best: bool
) -> tuple[Checkpoint, tuple[str, ...]]:
    """Train to the end, or until `interrupt` is requested.

    Return the best checkpoint (if `best` is true and there is one, else the last) and lines for the user, of which
    that about an interrupt is printed, too.
    """
    kept, notices = None, list[str]()
    with notebook.progress_bar(session, visible=show_progress) as show, closing(session.events()) as events:
        for event in events:
            show(event)
            if best and isinstance(event, Snapshot) and is_best(event.checkpoint.meta):
                kept = event.checkpoint
            try:
                on_event(event)
            except KeyboardInterrupt:  # between two steps, so the run can still be saved
                if interrupt.requested:
                    raise
                interrupt.requested = True
            if isinstance(event, Ended) and event.reason == "diverged":
                raise DivergedError(f"training diverged at step {event.at.step}: lower optimizer.learning_rate")
            if isinstance(event, Ended) and event.reason == "interrupted":
                saved = f"; {session.out} is saved, and resume=True continues it" if session.out else ""
                notice = f"interrupted at step {event.at.step:,} of {session.config.train.steps:,}{saved}"
                print(notice, file=sys.stderr)
                notices.append(notice)
    if best and kept is None and session.out is not None and session.checkpoint is not None:
        # An earlier process has saved the best one.
        _, kept, more = checkpoints.find(session.out)
        notices += more
    if kept is None:
        with backend.computing(session.network.backend):
            kept = session.loop.snapshot().checkpoint
    return kept, tuple(notices)


def is_best(meta: Meta) -> bool:
    """Return whether a checkpoint has the lowest validation loss of its run so far."""
    return meta.best is not None and meta.best.step == meta.step


def as_one_text(text: str | list[str], preset: Table, options: Table) -> tuple[str, Table]:
    """Return a text, or documents joined to one, and `options` with the separator that ends each document."""
    if isinstance(text, str):
        return text, options
    data = configuration.merged(preset, options).get("data", {})
    whole, separator = texts.joined(text, data.get("document_separator", ""))
    return whole, configuration.merged(options, {"data": {"document_separator": separator}})
