"""The configuration as frozen dataclasses: each key with its default and its bounds."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


def bounded(default: Any, requirement: str, is_valid: Callable[[Any], bool]) -> Any:
    """Return a field whose value must satisfy `is_valid`; `requirement` completes the sentence "must be ..."."""
    return field(default=default, metadata={"requirement": requirement, "is_valid": is_valid})


def at_least(default: Any, least: float, most: float = math.inf) -> Any:
    """Return a field for a number from `least` to `most`."""
    requirement = f"at least {least}" + (f" and at most {most}" if most < math.inf else "")
    return bounded(default, requirement, lambda value: least <= value <= most)


def fraction(default: float) -> Any:
    """Return a field for a number from 0 to below 1."""
    return bounded(default, "at least 0 and below 1", lambda value: 0 <= value < 1)


def share(default: float) -> Any:
    """Return a field for a number above 0, up to 1."""
    return bounded(default, "above 0 and at most 1", lambda value: 0 < value <= 1)


def one_of(default: str, *names: str) -> Any:
    """Return a field for one of `names`."""
    return bounded(default, "one of " + ", ".join(names), lambda value: value in names)


def unicode(default: str) -> Any:
    """Return a field for a string without lone surrogates, which a file cannot hold."""
    return bounded(default, "valid Unicode", lambda value: not any("\ud800" <= c <= "\udfff" for c in value))


def size(text: str) -> int | None:
    """Return the bytes in a size such as "512MB" or "1.5 GiB", 0 for an empty string, None for text that is no size."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    if not text.strip():
        return 0
    if match is None or not 0 < float(match[1]) < 1e15:
        return None
    return int(float(match[1]) * (1024 if match[3] else 1000) ** " KMGT".index(match[2].upper() or " "))


@dataclass(frozen=True)
class DataConfig:
    """The text, and how much of it is held out for validation."""

    files: tuple[str, ...] = ()  # the texts: files, folders or patterns; empty: the embedded corpus
    encoding: str = "utf-8"  # the encoding of the files
    document_separator: str = unicode("")  # the text that ends a document inside a file; empty: each file is one
    jsonl: str = unicode("")  # the field of JSON Lines that is a document in each line; empty: the files are plain text
    csv: str = unicode("")  # the column of CSV that is a document in each row; empty: the files are plain text
    val_fraction: float = fraction(0.1)  # the share of the text, at its end, that is held out for validation
    val_files: tuple[str, ...] = ()  # other texts to validate on, in place of val_fraction; in the format of files
    test_files: tuple[str, ...] = ()  # texts on which the best network is evaluated once, at the end of the run
    shuffle_documents: bool = True  # whether documents are shuffled before the split; false in a run with few documents


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    cell: str = one_of("rnn", "rnn", "gru", "lstm")  # the kind of recurrent cell
    hidden_size: int = at_least(256, 1, 2**20)  # H, hidden units in each layer
    num_layers: int = at_least(1, 1, 100)  # layers of recurrent cells
    embedding_size: int = at_least(0, 0, 2**20)  # E, the numbers that represent a character; 0: one-hot, no embedding
    tie_weights: bool = False  # whether the output layer uses the table of the embedding, transposed
    dropout: float = fraction(0.1)  # the share of each layer's outputs that is dropped; one mask for each chunk
    input_dropout: float = fraction(0.0)  # the share of the input characters that is dropped; one mask for each chunk
    recurrent_dropout: float = fraction(0.0)  # the share of the recurrent weights that is dropped in a chunk
    dtype: str = one_of("float32", "float32", "float64")  # the type of weights and activations
    init: str = one_of("orthogonal", "orthogonal", "min-char-rnn")  # how the first weights are drawn
    input_std: float = at_least(2.0, 0, 100)  # the standard deviation of the first layer's input weights at the start
    forget_bias: float = at_least(1.0, -100, 100)  # the bias of an LSTM's forget gates at the start
    start_symbol: bool = True  # whether the network learns how documents begin; false in a run on one document

    @property
    def has_dropout(self) -> bool:
        """Whether any kind of dropout is on."""
        return bool(self.input_dropout or self.dropout or self.recurrent_dropout)

    @property
    def shape(self) -> str:
        """The cell and the sizes, for users."""
        tied = ", tied" if self.tie_weights else ""
        embedding = f", embedding {self.embedding_size}{tied}" if self.embedding_size else ""
        return f"{self.cell}, {self.num_layers} x {self.hidden_size}{embedding}"


@dataclass(frozen=True)
class TrainConfig:
    """The batch, the length of training, and the device."""

    batch_size: int = at_least(32, 1, 2**30)  # B, parallel streams
    seq_length: int = at_least(64, 1, 2**30)  # T, characters of a stream in each step
    steps: int = at_least(2000, 0)  # planned steps; a step is one update of the weights
    patience: int = at_least(0, 0)  # stop after this many evaluations without a better validation loss; 0: never
    random_offset: bool = True  # start each sweep over the text at another character, less than 2 T from its start
    sampled_softmax: int = at_least(0, 0)  # other characters in the softmax of a step, drawn at random; 0: all
    shards: int = at_least(0, 0)  # parts of the batch that are computed in parallel; 0: 2 if batch_size >= 32, else 1
    seed: int = at_least(0, 0)  # the seed of all random numbers
    device: str = bounded(  # where to compute; auto: the GPU if it can be used, else the CPU
        "auto",
        "auto, cpu, cuda or cuda:N",
        lambda value: value in ("auto", "cpu", "cuda") or (value[:5] == "cuda:" and value[5:].isdecimal()),
    )
    precision: str = one_of("float32", "float32", "tf32")  # the precision of large float32 matrix products on a GPU
    kernels: str = one_of("auto", "auto", "off")  # auto: a GPU's own kernels, after a check; off: array operations only
    gpu_memory_limit: str = bounded(  # the most GPU memory to use, as in "6GB"; empty: no limit
        "", 'empty, or a size such as "6GB"', lambda value: size(value) is not None
    )
    init_from: str = unicode("")  # the run or checkpoint with the first weights; empty: draw them
    init_sha256: str = ""  # the hash that the tensors of init_from must have; empty: any
    grow_vocabulary: bool = False  # whether the text may have characters that the network of init_from lacks


@dataclass(frozen=True)
class OptimizerConfig:
    """The update rule and its learning rate. For clip_value, clip_norm, weight_decay and average, 0 means off."""

    name: str = one_of("adam", "adagrad", "rmsprop", "adam")  # the update rule
    # The bounds of learning_rate and eps keep an update finite in float32 for any gradient.
    learning_rate: float = bounded(  # the highest learning rate of the schedule
        0.003, "above 0 and at most 1e38", lambda value: 0 < value <= 1e38
    )
    clip_value: float = at_least(0.0, 0)  # the largest absolute value of an element of the gradient, after clip_norm
    clip_norm: float = at_least(5.0, 0)  # the largest norm of the gradient
    eps: float = at_least(1e-8, 1e-30)  # a small number that keeps the update rules from dividing by zero
    beta1: float = fraction(0.9)  # adam: the decay of the running mean of the gradient
    beta2: float = fraction(0.999)  # adam, rmsprop: the decay of the running mean of the squared gradient
    weight_decay: float = at_least(0.0, 0, 1)  # decoupled weight decay of the matrices; biases do not decay
    average: float = fraction(0.0)  # the decay of the running mean of the weights, which is used instead of them
    schedule: str = one_of("cosine", "constant", "cosine", "step", "plateau")  # how the learning rate changes
    warmup: float = fraction(0.02)  # the share of the planned steps in which the learning rate rises from 0
    final_rate: float = at_least(0.0, 0, 1)  # cosine: the last learning rate, as a share of learning_rate
    decay: float = share(0.5)  # step, plateau: the factor of each reduction of the learning rate
    decay_every: float = share(0.1)  # step: the share of the planned steps between two reductions
    decay_patience: int = at_least(2, 1)  # plateau: evaluations without a better validation loss before a reduction


@dataclass(frozen=True)
class LogConfig:
    """How often to report, evaluate, sample and save, in steps; 0 means never."""

    every: int = at_least(100, 0)  # steps between two lines with loss and learning rate
    eval_every: int = at_least(250, 0)  # steps between two evaluations; fewer on a short text, unless it is set
    sample_every: int = at_least(500, 0)  # steps between two samples
    checkpoint_every: int = at_least(1000, 0)  # steps between two checkpoints; the best and the last are always saved
    keep: int = at_least(3, 1)  # the number of latest checkpoints to keep, besides step 0 and the best
    baselines: bool = True  # whether to count n-grams on the training split, to compare the validation loss with
    eval_chars: int = at_least(500_000, 0)  # characters of the validation split to evaluate on during training; 0: all
    sample_length: int = at_least(200, 1, 100_000)  # characters in a sample
    keep_samples: int = at_least(1000, 0)  # the number of latest samples to keep in samples.txt; 0: all
    smoothing: float = fraction(0.99)  # the decay of smooth_loss, the running mean of the loss


@dataclass(frozen=True)
class Config:
    """The configuration of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    log: LogConfig = LogConfig()
