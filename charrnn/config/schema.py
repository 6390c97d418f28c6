"""The configuration as frozen dataclasses: every key, its default and its bounds. `charrnn.config.files` fills them."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def bounded(default: Any, words: str, holds: Callable[[Any], bool]) -> Any:
    """A field whose value must satisfy `holds`; `words` completes the sentence "must be ..."."""
    return field(default=default, metadata={"words": words, "holds": holds})


def at_least(default: Any, least: float, most: float = math.inf) -> Any:
    """A number not below `least` and not above `most`."""
    words = f"at least {least}" + (f" and at most {most}" if most < math.inf else "")
    return bounded(default, words, lambda value: least <= value <= most)


def fraction(default: float) -> Any:
    """A part of something, never all of it."""
    return bounded(default, "at least 0 and below 1", lambda value: 0 <= value < 1)


def share(default: float) -> Any:
    """A part of something, or all of it."""
    return bounded(default, "above 0 and at most 1", lambda value: 0 < value <= 1)


def one_of(default: str, *names: str) -> Any:
    """One of a few words."""
    return bounded(default, "one of " + ", ".join(names), lambda value: value in names)


def unicode(default: str) -> Any:
    """A string that a configuration file can hold: without half characters."""
    return bounded(default, "valid Unicode", lambda value: not any("\ud800" <= c <= "\udfff" for c in value))


def size(words: str) -> int | None:
    """The bytes that "512MB" or "1.5 GiB" stand for, 0 for nothing; None for what is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", words.strip(), re.IGNORECASE)
    if not words.strip():
        return 0
    if found is None or not 0 < float(found[1]) < 1e15:
        return None
    return int(float(found[1]) * (1024 if found[3] else 1000) ** " KMGT".index(found[2].upper() or " "))


@dataclass(frozen=True)
class DataConfig:
    """Which text, and how much of its end is held out."""

    files: tuple[str, ...] = ()  # empty: the embedded corpus
    encoding: str = "utf-8"
    document_separator: str = unicode("")  # ends a document inside a file; empty: each file is one
    val_fraction: float = fraction(0.1)


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    cell: str = one_of("rnn", "rnn", "gru", "lstm")
    hidden_size: int = at_least(256, 1, 2**20)
    num_layers: int = at_least(1, 1, 100)
    dropout: float = fraction(0.1)  # of each layer's output units, locked for a chunk
    input_dropout: float = fraction(0.0)  # of the characters, locked for a chunk: they vanish from the input
    recurrent_dropout: float = fraction(0.0)  # of the recurrent weights, locked for a chunk and shared by the batch
    dtype: str = one_of("float32", "float32", "float64")
    init: str = one_of("orthogonal", "orthogonal", "min-char-rnn")
    input_std: float = at_least(2.0, 0, 100)  # standard deviation of the first layer's input weights at the start
    forget_bias: float = at_least(1.0, -100, 100)  # of an LSTM's forget gates at the start

    @property
    def has_dropout(self) -> bool:
        """Whether there is dropout of any kind."""
        return bool(self.input_dropout or self.dropout or self.recurrent_dropout)


@dataclass(frozen=True)
class TrainConfig:
    """The batch and the budget."""

    batch_size: int = at_least(32, 1, 2**30)  # B, parallel streams
    seq_length: int = at_least(64, 1, 2**30)  # T, characters between two updates
    steps: int = at_least(2000, 0)  # updates in all, as planned
    patience: int = at_least(0, 0)  # evaluations without a better validation loss after which to stop; 0: never
    random_offset: bool = True  # each sweep over the text begins up to T characters later, so that no two are alike
    shards: int = at_least(0, 0)  # slices of the batch, each computed alone; 0: 2 where batch_size >= 32, else 1
    seed: int = at_least(0, 0)
    device: str = bounded(
        "auto",
        "auto, cpu, cuda or cuda:N",
        lambda value: value in ("auto", "cpu", "cuda") or (value[:5] == "cuda:" and value[5:].isdecimal()),
    )
    precision: str = one_of("float32", "float32", "tf32")  # on a GPU, of the large products of float32 matrices
    gpu_memory_limit: str = bounded("", 'empty, or a size such as "6GB"', lambda value: size(value) is not None)
    init_from: str = unicode("")  # the run directory or checkpoint file of the first weights; empty: the seed's own
    init_sha256: str = ""  # of the tensors in that checkpoint; empty: whatever it holds
    grow_vocabulary: bool = False  # whether the text may have characters that it never saw


@dataclass(frozen=True)
class OptimizerConfig:
    """The update rule and its rate. 0 switches a clip, the decay or the average off."""

    name: str = one_of("adam", "adagrad", "rmsprop", "adam")
    # Of the schedule, at its highest. Its bound, and that of eps, keep an update finite in float32 for any gradient.
    learning_rate: float = bounded(0.003, "above 0 and at most 1e38", lambda value: 0 < value <= 1e38)
    clip_value: float = at_least(0.0, 0)  # each element of the gradient is clipped to it, after clip_norm
    clip_norm: float = at_least(5.0, 0)  # the whole gradient is scaled down to this norm
    eps: float = at_least(1e-8, 1e-30)  # keeps the update rules from dividing by zero
    beta1: float = fraction(0.9)  # adam: of the running mean of the gradient
    beta2: float = fraction(0.999)  # adam, rmsprop: of the running mean of its square
    weight_decay: float = at_least(0.0, 0, 1)  # of matrices, decoupled from the gradient; biases do not decay
    average: float = fraction(0.0)  # how much of itself the running mean of the weights keeps at a step
    schedule: str = one_of("cosine", "constant", "cosine", "step", "plateau")
    warmup: float = fraction(0.02)  # share of the planned steps in which the rate rises
    final_rate: float = at_least(0.0, 0, 1)  # cosine: the last rate, as a share of learning_rate
    decay: float = share(0.5)  # step, plateau: what the rate is multiplied by
    decay_every: float = share(0.1)  # step: between two decays, of the planned steps
    decay_patience: int = at_least(2, 1)  # plateau: evaluations without a better validation loss before a decay


@dataclass(frozen=True)
class LogConfig:
    """When to say and save what, in steps; 0 switches one off."""

    every: int = at_least(100, 0)  # a line of loss and rate
    eval_every: int = at_least(250, 0)  # the validation loss
    sample_every: int = at_least(500, 0)  # a sample of sample_length characters
    checkpoint_every: int = at_least(1000, 0)  # a checkpoint; the best and the last are saved besides
    keep: int = at_least(3, 1)  # last checkpoints kept, besides step 0 and the best
    baselines: bool = True  # count n-grams on the training split, to compare the validation loss with
    eval_chars: int = at_least(500_000, 0)  # of the validation split, evaluated while training; 0: all
    sample_length: int = at_least(200, 1, 100_000)  # characters
    keep_samples: int = at_least(1000, 0)  # last samples kept in samples.txt; 0: all
    smoothing: float = fraction(0.99)  # what smooth_loss keeps of itself at each step


@dataclass(frozen=True)
class Config:
    """A whole run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    log: LogConfig = LogConfig()
