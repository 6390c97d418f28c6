"""Choose a network, and how to train it, for a text and a time: what `train` does without a preset.

The rule knows the text only by its size, and the machine by the rate of its training steps. `benchmarks/study.py`
compares its choices with other networks on six texts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Any

from charrnn import config
from charrnn.config import Config, Table
from charrnn.model import character_axes, layout_of
from charrnn.model.cells import CELLS
from charrnn.model.sampled_softmax import number_of_candidates
from charrnn.text import fit_batch

WIDTHS = (48, 64, 96, 128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 2048)
"""Hidden units to choose from."""
CELL = "lstm"
BATCH, LENGTH, SHORT_LENGTH = 32, 64, 32
"""Streams, and characters of a stream in a step."""
FEW_STEPS = 3000
"""If there are fewer steps, they are shortened, so that there are twice as many."""
WORTH = 2000.0
"""Characters that are worth a parameter: see `shortfall`."""
OWN = 1.0
"""Parameters for each character of the training split, at most."""
RATES, HIGHEST_RATE = {"lstm": 3.2, "gru": 1.2, "rnn": 1.2}, 0.02
"""The learning rate times H, by the cell: the wider a network, the more its outputs change by an update of weights."""
WIDE, EMBEDDING, SAMPLED = 300, 96, 128
"""From so many distinct characters on, they are embedded in so many numbers, and the output layer is tied to these. The
softmax of a training step is over its own characters and so many others."""
DECAY, WIDE_DECAY = (1.0, 0.1), (2.5, 0.2)
"""The weight decay shrinks the first weights by exp(-S) in all: S, and the highest weight decay. The second pair is for
a wide alphabet."""
DROPOUTS = ((3.0, 0.0, 0.0), (6.0, 0.1, 0.0), (15.0, 0.2, 0.1), (inf, 0.3, 0.3))
"""Up to so many sweeps over the training split: the dropout of outputs, and of recurrent weights."""
MOST_SWEEPS = 60.0
"""After so many sweeps over the training split a network has learned what it can."""
SETUP, TRAINING = 4.0, 0.93
"""Seconds of a run before its first step, about, and the share of the others that training steps fill."""
EVALUATED, FEWEST_EVALUATED = 0.05, 50_000
"""The time of evaluations, at most, as a share of that of training steps. An evaluation reads at least so many
characters, unless the text has fewer."""
FEWEST_EVALUATIONS, MOST_EVALUATIONS = 3, 20
"""Between these numbers there are as many evaluations as their time allows."""
ALL_EVALUATIONS = FEWEST_EVALUATIONS + 2
"""With the one before the first step, and the one that is measured for the plan."""
ASSUMED_SECONDS = 20.0
"""The time for which a network is chosen if no time is given."""


@dataclass(frozen=True)
class Text:
    """What the rule knows of a text: its characters to train and to evaluate on, and the size V of its vocabulary."""

    length: int
    evaluated: int
    distinct: int


@dataclass(frozen=True)
class Choice:
    """A network, and how to train it.

    Attributes:
        text: what it was chosen for.
        fixed: the settings of the user.
        table: the keys that were chosen, with those of the user.
        is_enough: whether the text is worth no more steps, although more would fit.
    """

    text: Text
    fixed: Mapping[str, Mapping[str, Any]]
    table: Table
    is_enough: bool

    @property
    def config(self) -> Config:
        """The configuration, complete."""
        return config.build(self.table)

    @property
    def parameters(self) -> int:
        """The parameters of the network, without those of single characters."""
        return own_parameters(self.config, self.text.distinct)

    @property
    def steps(self) -> int:
        """The steps: those of the user, or as many as fit into the time, or as the text is worth."""
        return self.config.train.steps

    @property
    def is_given(self) -> bool:
        """Whether the user has set the steps."""
        return "steps" in self.fixed.get("train", {})

    @property
    def sweeps(self) -> float:
        """The sweeps over the training split, at the end."""
        return self.steps * characters_of_a_step(self.text, self.config) / self.text.length

    def for_steps(self, steps: int) -> Choice:
        """Return the same network for so many steps, with the weight decay and the evaluations for them."""
        table = config.merged(self.table, {"train": {"steps": steps}})
        keys = keys_for_steps(self.text, config.build(table))
        return replace(self, table=config.merged(table, keys, self.fixed))

    def notices(self, minutes: float | None) -> tuple[str, str]:
        """Return two lines for the user: what was chosen, and why. `minutes` is the time that the user gave."""
        wanted = self.config
        model, train, optimizer = wanted.model, wanted.train, wanted.optimizer
        batch = f"{train.batch_size} streams of {train.seq_length} characters"
        batch += ", sampled softmax" * (train.sampled_softmax > 0)
        dropout = f"{model.dropout:g}" + (f" and recurrent {model.recurrent_dropout:g}" * (model.recurrent_dropout > 0))
        update = f"learning rate {optimizer.learning_rate:g}, weight decay {optimizer.weight_decay:g}"
        time = f"about {ASSUMED_SECONDS:g} s (--minutes sets the time)" if minutes is None else f"{minutes:g} min"
        sweeps = f"{self.sweeps:.1f} sweeps over the training text"
        if self.is_given:
            time, why = f"{self.steps:,} steps", f"they are {sweeps}: a wider network needs more, a narrower one fewer"
        elif self.is_enough:
            why = f"{self.steps:,} steps are {sweeps}: more are not worth it, and a wider network learns it by heart"
        else:
            why = f"the time allows about {self.steps:,} steps, {sweeps}: a wider network would read too little"
        return (
            f"chosen for this text and {time}: {model.shape}, {batch}, {update}, dropout {dropout}",
            f"because {why}",
        )


def training_seconds(seconds: float) -> float:
    """Return the time that a run of so many seconds has for its training steps."""
    return max(0.0, TRAINING * (seconds - SETUP))


def choose(text: Text, seconds: float, fixed: Mapping[str, Mapping[str, Any]], speed: float = 1.0) -> Choice:
    """Return the network that should learn most of the text in `seconds`, and how to train it.

    Args:
        text: the text.
        seconds: the time for training steps.
        fixed: the settings of the user, which are kept. The rule chooses the other keys.
        speed: the rate of this machine's steps, as a multiple of the rate that `assumed_seconds` assumes.
    """
    if "steps" in fixed.get("train", {}):
        return choose_for_steps(text, fixed)
    choices = [candidate(text, H, seconds * speed, fixed) for H in WIDTHS]
    fit = [choice for choice in choices[1:] if choice.parameters <= OWN * text.length]
    return min([choices[0], *fit], key=lambda choice: shortfall(choice.parameters, text.length, choice.sweeps))


def choose_for_steps(text: Text, fixed: Mapping[str, Mapping[str, Any]]) -> Choice:
    """Return the widest network that is also chosen for the time which the steps of the user take it."""
    others = {key: value for key, value in fixed["train"].items() if key != "steps"}
    free = {**fixed, "train": others}
    best = candidate(text, WIDTHS[0], inf, fixed)
    for H in WIDTHS[1:]:
        wider = candidate(text, H, inf, fixed)
        seconds = wider.steps * assumed_seconds(wider.config, text.distinct)
        if choose(text, seconds, free).config.model.hidden_size < H:
            break
        best = wider
    return best


def shortfall(parameters: float, length: int, sweeps: float, worth: float = WORTH) -> float:
    """Return how far a network is from the best possible one, up to a factor.

    The form is that of Hoffmann et al. (2022): (worth N)^-1/4 because a network of N parameters is too small, and
    D^-1/4 because it has read D characters only. A text read a second time teaches less: D is L (1 - exp(-sweeps)) for
    a training split of L characters.
    """
    different = max(1e-9, length * -math.expm1(-sweeps))
    return float((worth * parameters) ** -0.25 + different**-0.25)


def candidate(text: Text, H: int, seconds: float, fixed: Mapping[str, Mapping[str, Any]]) -> Choice:
    """Return a network of H units as it would be trained in `seconds` of the assumed machine."""
    is_wide = text.distinct >= WIDE
    network: Table = {"model": {"cell": CELL, "hidden_size": H}, "train": {"batch_size": BATCH, "seq_length": LENGTH}}
    if is_wide:
        network["model"] |= {"embedding_size": EMBEDDING, "tie_weights": True}
        is_tied = config.build(config.merged(network, fixed)).model.tie_weights
        network["train"] |= {"sampled_softmax": SAMPLED} if is_tied else {}
    if min(fitting_steps(text, config.build(config.merged(network, fixed)), seconds)) < FEW_STEPS:
        network["train"]["seq_length"] = SHORT_LENGTH
    wanted = config.build(config.merged(network, fixed))
    possible, worth = fitting_steps(text, wanted, seconds)
    chunk = characters_of_a_step(text, wanted)
    if not number_of_candidates(SAMPLED, chunk, text.distinct):  # it would do nothing
        network["train"].pop("sampled_softmax", None)
    given = fixed.get("train", {}).get("steps")
    steps = max(1, int(min(possible, worth))) if given is None else given
    sweeps = steps * chunk / text.length
    _, dropout, recurrent = next(row for row in DROPOUTS if sweeps <= row[0])
    cell, hidden_size = wanted.model.cell, wanted.model.hidden_size
    readable = readable_characters(text, config.build(config.merged(network, {"train": {"steps": steps}}, fixed)))
    rule: Table = {
        "model": {"dropout": dropout, "recurrent_dropout": recurrent},
        "train": {"steps": steps},
        "optimizer": {"learning_rate": min(HIGHEST_RATE, rounded(RATES[cell] / hidden_size))},
        "log": {"eval_chars": min(text.evaluated, max(FEWEST_EVALUATED, int(rounded(readable / ALL_EVALUATIONS))))},
    }
    table = config.merged(network, rule, fixed)
    return Choice(text, fixed, table, possible > worth).for_steps(steps)


def keys_for_steps(text: Text, wanted: Config) -> Table:
    """Return the keys that depend on the steps: the weight decay of a network, its evaluations and its samples."""
    shrinking, highest_decay = WIDE_DECAY if text.distinct >= WIDE else DECAY
    steps = wanted.train.steps
    decay = min(highest_decay, rounded(2 * shrinking / max(1e-9, wanted.optimizer.learning_rate * steps)))
    affordable = int(readable_characters(text, wanted) / max(1, text.evaluated))
    if 0 < wanted.log.eval_chars < text.evaluated:  # because there is not time for more
        affordable = FEWEST_EVALUATIONS
    evaluations = min(MOST_EVALUATIONS, max(FEWEST_EVALUATIONS, affordable))
    every = max(1, math.ceil(steps / evaluations))
    return {"optimizer": {"weight_decay": decay}, "log": {"eval_every": every, "sample_every": every}}


def readable_characters(text: Text, wanted: Config) -> float:
    """Return how many characters all evaluations together may read. Their softmax is over all characters."""
    whole = replace(wanted, train=replace(wanted.train, sampled_softmax=0))
    forward = assumed_seconds(whole, text.distinct) / 3 / characters_of_a_step(text, wanted)
    return EVALUATED * wanted.train.steps * assumed_seconds(wanted, text.distinct) / forward


def rounded(value: float) -> float:
    """Return the value with two digits, for readers."""
    return float(f"{value:.2g}")


def fitting_steps(text: Text, wanted: Config, seconds: float) -> tuple[float, float]:
    """Return how many steps fit into `seconds` of the assumed machine, and how many the text is worth."""
    worth = MOST_SWEEPS * text.length / characters_of_a_step(text, wanted)
    return max(0.0, seconds) / assumed_seconds(wanted, text.distinct), worth


def characters_of_a_step(text: Text, wanted: Config) -> int:
    """Return the characters that a step trains on, of all streams."""
    return prod(fit_batch(text.length, wanted.train.batch_size, wanted.train.seq_length))


def own_parameters(wanted: Config, V: int) -> int:
    """Return the parameters of a network without those that belong to single characters, which few steps train."""
    layout = layout_of(wanted.model, V)
    axes = character_axes(layout)
    return sum(prod(shape) for name, shape in layout.shapes if name not in axes)


def assumed_seconds(wanted: Config, V: int) -> float:
    """Return the seconds of a training step on the machine that the rule assumes if none is measured.

    It is fitted to two cores of a server (AMD EPYC, Zen 4): 27 billion multiplications a second, some time for every
    element of the gates, of the logits and of the table of an embedding, and some for every step in time.
    """
    model, train = wanted.model, wanted.train
    G, H, L, E = CELLS[model.cell].GATES, model.hidden_size, model.num_layers, model.embedding_size
    inputs = E * G * H if E else 0
    candidates = number_of_candidates(train.sampled_softmax, train.seq_length * train.batch_size, V)
    softmax = candidates or V
    outputs = H * E + E * softmax if model.tie_weights else H * V
    products = inputs + (2 * L - 1) * G * H * H + outputs
    character = products / 27e9 + (G * H * L + softmax) * 2e-9
    return train.seq_length * (60e-6 * L + train.batch_size * character) + E * V * 3e-9


def for_this_machine(
    text: Text, seconds: float, fixed: Mapping[str, Mapping[str, Any]], measure: Callable[[Config], float]
) -> Choice:
    """Return the choice for the speed of this machine.

    `measure` returns the seconds of a training step of a configuration. As a machine is not equally fast for all sizes,
    the network that is chosen is measured again until the choice stays the same.
    """
    speed, choice = 1.0, choose(text, seconds, fixed)
    for _ in range(3):
        wanted = choice.config
        speed = assumed_seconds(wanted, text.distinct) / measure(wanted)
        before, choice = choice, choose(text, seconds, fixed, speed)
        if choice.config.model == before.config.model:
            break
    return choice
