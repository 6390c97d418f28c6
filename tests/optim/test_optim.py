"""Update rules, weight decay, averages and schedules, each against its formula or PyTorch's own."""

from __future__ import annotations

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.namespaces import Case
from helpers.networks import close
from helpers.trainers import TINY, three_documents, trainer
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn import config, optim
from charrnn.backend import numpy
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import OptimizerConfig
from charrnn.optim import learning_rate

GRADS = np.random.default_rng(5).standard_normal((6, 20)) * np.logspace(-3, 3, 20)


def updated(case: Case | None, said: OptimizerConfig, *, skip: int = -1) -> SimpleNamespace:
    """Return twenty parameters after an update with each row of `GRADS`; update `skip` is skipped."""
    backend = case.make() if case else NumpyBackend()
    dtype = case.dtype if case else "float64"
    params = backend.from_host(np.linspace(-1, 1, 20), dtype) + 0.0
    rule = optim.rule(said)
    slots = {name: backend.zeros((20,), dtype) for name in rule.slots}
    mean, rate = params + 0.0, backend.zeros((), dtype) + said.learning_rate
    for n, row in enumerate(GRADS):
        grad = backend.from_host(row * (n != skip), dtype) + 0.0
        update = optim.Update(n + 1, rate, rate * float(n != skip) > 0, backend)
        if said.weight_decay:
            everything = backend.zeros((20,), dtype) + 1.0
            optim.decay(params, everything, said.weight_decay, update)
        rule.apply(params, grad, slots, update)
        optim.update_average(mean, params, optim.average_share(said.average, n + 1), update)
        if n == skip - 1:
            before = [backend.to_host(a) for a in (params, mean, *slots.values())]
        if n == skip:
            after = [backend.to_host(a) for a in (params, mean, *slots.values())]
            assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
            assert all(np.any(a) for a in before)
    return SimpleNamespace(params=backend.to_host(params), mean=backend.to_host(mean))


RULES = {
    "adagrad": OptimizerConfig(name="adagrad", learning_rate=0.1),
    "rmsprop": OptimizerConfig(name="rmsprop", learning_rate=0.01, beta2=0.9, eps=1e-4),
    "adam": OptimizerConfig(name="adam", learning_rate=0.01, beta1=0.8, beta2=0.95, eps=1e-4),
    "adamw": OptimizerConfig(name="adam", learning_rate=0.01, beta1=0.8, beta2=0.95, eps=1e-4, weight_decay=0.3),
}


def by_hand(said: OptimizerConfig) -> list[float]:
    """Return the parameters by the formulas of the papers, one number at a time."""
    result = []
    for n, p in enumerate(np.linspace(-1, 1, 20).tolist()):
        m = v = 0.0
        for t, g in enumerate(GRADS[:, n].tolist(), 1):
            p -= said.learning_rate * said.weight_decay * p
            if said.name == "adagrad":
                v += g * g
                p -= said.learning_rate * g / math.sqrt(v + said.eps)
            elif said.name == "rmsprop":
                v = said.beta2 * v + (1 - said.beta2) * g * g
                p -= said.learning_rate * g / (math.sqrt(v) + said.eps)
            else:
                m = said.beta1 * m + (1 - said.beta1) * g
                v = said.beta2 * v + (1 - said.beta2) * g * g
                corrected = m / (1 - said.beta1**t), v / (1 - said.beta2**t)
                p -= said.learning_rate * corrected[0] / (math.sqrt(corrected[1]) + said.eps)
        result.append(p)
    return result


@pytest.mark.parametrize("name", RULES)
def test_rule_is_the_papers(case: Case, name: str) -> None:
    """Six steps with gradients from 1e-3 to 1e3 move every parameter as the formula does."""
    assert close(updated(case, RULES[name]).params, np.array(by_hand(RULES[name])), case.tolerance)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw"])
def test_rule_is_pytorchs(name: str) -> None:
    """The same steps by `torch.optim` end at the same parameters."""
    torch: Any = pytest.importorskip("torch")
    said = RULES[name]
    params = torch.nn.Parameter(torch.linspace(-1, 1, 20, dtype=torch.float64))
    betas = {"betas": (said.beta1, said.beta2)} if name != "rmsprop" else {"alpha": said.beta2}
    decay = {"weight_decay": said.weight_decay} if name == "adamw" else {}
    maker = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    optimizer = maker([params], lr=said.learning_rate, eps=said.eps, **betas, **decay)
    for row in GRADS:
        params.grad = torch.from_numpy(row.copy())
        optimizer.step()
    assert close(updated(None, said).params, params.detach().numpy(), 1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_skipped_step_changes_nothing(case: Case, name: str) -> None:
    """A skipped step leaves the parameters, the slots and the average bit for bit, momentum or not."""
    updated(case, config.build({"optimizer": vars(RULES[name]) | {"average": 0.9}}).optimizer, skip=3)


@pytest.mark.parametrize("name", RULES)
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Vectors updated a few elements at a time have the bits of vectors updated whole."""
    whole = updated(None, RULES[name])
    monkeypatch.setattr(numpy, "PASS", 7)
    assert np.array_equal(whole.params, updated(None, RULES[name]).params)


def test_average_is_the_running_mean(case: Case) -> None:
    """mean = k · mean + (1 - k) · p with k = min(keep, t / (t + 9)): young averages forget the start."""
    said = OptimizerConfig(name="adam", learning_rate=0.01, average=0.3)
    backend = case.make()
    mean = backend.from_host(np.full(20, 100.0), case.dtype) + 0.0
    params, rate = backend.from_host(np.linspace(-1, 1, 20), case.dtype), backend.zeros((), case.dtype)
    expected = np.full(20, 100.0)
    for t in range(1, 8):
        optim.update_average(
            mean, params, optim.average_share(said.average, t), optim.Update(t, rate, rate == 0, backend)
        )
        keep = min(0.3, t / (t + 9))
        expected = keep * expected + (1 - keep) * np.linspace(-1, 1, 20)
    assert close(backend.to_host(mean), expected, case.tolerance)


def test_decay_spares_biases(text: str) -> None:
    """Every matrix shrinks by rate times decay in a step whose gradient is zero, and no bias does."""
    said = {"optimizer": {"weight_decay": 0.5, "learning_rate": 0.1, "clip_value": 0.0, "warmup": 0.0}}
    subject = trainer(config.build(config.merged(TINY, said)), three_documents(text))
    subject.vector += 1.0
    before = {name: view.copy() for name, view in subject.params.items()}
    subject.update()  # of gradients that nobody has written to
    for name, view in subject.params.items():
        assert np.allclose(view, before[name] * (0.95 if ".W_" in name else 1.0), rtol=1e-6), name


def test_average_is_what_is_evaluated_and_saved(text: str) -> None:
    """With an average, predictions come from it and not from the parameters; without, they are one vector."""
    said = {"optimizer": {"average": 0.9}}
    subject, plain = (trainer(config.build(config.merged(TINY, more)), three_documents(text)) for more in (said, {}))
    assert np.array_equal(subject.average, subject.vector)
    for _ in range(5):
        subject.step(), plain.step()
    assert np.array_equal(subject.vector, plain.vector)
    assert plain.average is plain.vector
    assert not np.array_equal(subject.average, subject.vector)
    assert np.abs(subject.average - subject.vector).max() < 0.5


rates = st.builds(
    OptimizerConfig,
    learning_rate=st.floats(1e-4, 1),
    schedule=st.sampled_from(["constant", "cosine", "step", "plateau"]),
    warmup=st.floats(0, 0.99),
    final_rate=st.floats(0, 1),
    decay=st.floats(0.01, 1),
    decay_every=st.floats(0.01, 1),
)


@settings(deadline=None, max_examples=100)
@given(rates, st.integers(1, 500), st.integers(0, 5))
def test_rate_rises_then_never_rises_again(said: OptimizerConfig, total: int, drops: int) -> None:
    """Rates stay within 0 and the configured one, rise while warming up and never after it."""
    found = [learning_rate(said, step, total, drops) for step in range(total + 1)]
    warm = math.ceil(said.warmup * total)
    assert all(0 <= rate <= said.learning_rate for rate in found)
    assert all(a < b for a, b in pairwise(found[:warm]))
    assert all(a >= b * (1 - 1e-12) for a, b in pairwise(found[warm:]))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, [1, 1, 1, 1, 1]),
        ({"warmup": 0.5}, [1 / 3, 2 / 3, 1, 1, 1]),
        ({"schedule": "cosine"}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0]),
        ({"schedule": "cosine", "final_rate": 0.2}, [1, 0.2 + 0.4 * (1 + math.sqrt(0.5)), 0.6, 0.31716, 0.2]),
        ({"schedule": "cosine", "warmup": 0.5}, [1 / 3, 2 / 3, 1, 0.5, 0]),
        ({"schedule": "step", "decay": 0.1, "decay_every": 0.5}, [1, 1, 0.1, 0.1, 0.01]),
        ({"schedule": "plateau", "decay": 0.5}, [0.25] * 5),
    ],
)
def test_schedule_at_each_step(said: dict[str, Any], expected: list[float]) -> None:
    """The rates of a run of four steps, and of one step more, by hand."""
    settings = OptimizerConfig(**{"learning_rate": 1.0, "schedule": "constant", "warmup": 0.0} | said)
    assert [learning_rate(settings, step, 4, 2) for step in range(5)] == pytest.approx(expected, abs=1e-5)


def test_a_decay_comes_at_its_share_of_the_steps() -> None:
    """0.07 of 100 steps are 7, although 0.07 * 100 is a little more in floating point."""
    settings = OptimizerConfig(learning_rate=1.0, schedule="step", warmup=0.0, decay=0.5, decay_every=0.07)
    assert [learning_rate(settings, step, 100) for step in (6, 7, 13, 14)] == [1.0, 0.5, 0.5, 0.25]
