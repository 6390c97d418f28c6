"""Update rules, clipping, the guard, weight decay and averages, against their formulas and PyTorch's optimizers."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers.namespaces import Case
from helpers.networks import close
from helpers.trainers import TINY, three_documents, trainer

from charrnn import config, optim
from charrnn.backend import numpy
from charrnn.backend.numpy import NumpyBackend
from charrnn.config import OptimizerConfig
from charrnn.optim import Guard

GRADS = np.random.default_rng(5).standard_normal((6, 20)) * np.logspace(-3, 3, 20)


def updated(case: Case | None, optimizer: OptimizerConfig, *, skip: int = -1) -> SimpleNamespace:
    """Return twenty parameters after an update with each row of `GRADS`; update `skip` is skipped."""
    backend = case.make() if case else NumpyBackend()
    dtype = case.dtype if case else "float64"
    params = backend.from_host(np.linspace(-1, 1, 20), dtype) + 0.0
    rule = optim.rule(optimizer)
    slots = {name: backend.zeros((20,), dtype) for name in rule.slots}
    mean, rate = params + 0.0, backend.zeros((), dtype) + optimizer.learning_rate
    for n, row in enumerate(GRADS):
        grad = backend.from_host(row * (n != skip), dtype) + 0.0
        update = optim.Update(n + 1, rate, rate * float(n != skip) > 0, backend)
        if optimizer.weight_decay:
            all_ones = backend.zeros((20,), dtype) + 1.0
            optim.decay(params, all_ones, optimizer.weight_decay, update)
        rule.apply(params, grad, slots, update)
        optim.update_average(mean, params, optim.average_share(optimizer.average, n + 1), update)
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


def formula_of(optimizer: OptimizerConfig) -> list[float]:
    """Return the parameters after the same updates by the formulas of the papers, one number at a time."""
    result = []
    for n, p in enumerate(np.linspace(-1, 1, 20).tolist()):
        m = v = 0.0
        for t, g in enumerate(GRADS[:, n].tolist(), 1):
            p -= optimizer.learning_rate * optimizer.weight_decay * p
            if optimizer.name == "adagrad":
                v += g * g
                p -= optimizer.learning_rate * g / math.sqrt(v + optimizer.eps)
            elif optimizer.name == "rmsprop":
                v = optimizer.beta2 * v + (1 - optimizer.beta2) * g * g
                p -= optimizer.learning_rate * g / (math.sqrt(v) + optimizer.eps)
            else:
                m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
                v = optimizer.beta2 * v + (1 - optimizer.beta2) * g * g
                corrected = m / (1 - optimizer.beta1**t), v / (1 - optimizer.beta2**t)
                p -= optimizer.learning_rate * corrected[0] / (math.sqrt(corrected[1]) + optimizer.eps)
        result.append(p)
    return result


@pytest.mark.parametrize("name", RULES)
def test_a_rule_equals_its_formula(case: Case, name: str) -> None:
    """After six steps with gradients from 1e-3 to 1e3 every parameter is that of the formula."""
    assert close(updated(case, RULES[name]).params, np.array(formula_of(RULES[name])), case.tolerance)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw"])
def test_a_rule_equals_pytorchs(name: str) -> None:
    """The same steps of `torch.optim` end at the same parameters."""
    torch: Any = pytest.importorskip("torch")
    ours = RULES[name]
    params = torch.nn.Parameter(torch.linspace(-1, 1, 20, dtype=torch.float64))
    betas = {"betas": (ours.beta1, ours.beta2)} if name != "rmsprop" else {"alpha": ours.beta2}
    decay = {"weight_decay": ours.weight_decay} if name == "adamw" else {}
    rule = {"rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    optimizer = rule([params], lr=ours.learning_rate, eps=ours.eps, **betas, **decay)
    for row in GRADS:
        params.grad = torch.from_numpy(row.copy())
        optimizer.step()
    assert close(updated(None, ours).params, params.detach().numpy(), 1e-12)


@pytest.mark.parametrize("name", RULES)
def test_a_skipped_step_changes_nothing(case: Case, name: str) -> None:
    """A skipped step changes no bit of the parameters, the slots and the average, with or without momentum."""
    updated(case, config.build({"optimizer": vars(RULES[name]) | {"average": 0.9}}).optimizer, skip=3)


@pytest.mark.parametrize("name", RULES)
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An update of a few elements at a time gives the bits of an update of whole vectors."""
    whole = updated(None, RULES[name])
    monkeypatch.setattr(numpy, "PASS", 7)
    assert np.array_equal(whole.params, updated(None, RULES[name]).params)


def test_the_average_is_a_running_mean(case: Case) -> None:
    """mean = k · mean + (1 - k) · p with k = min(keep, t / (t + 9)), so young averages forget the start."""
    optimizer = OptimizerConfig(name="adam", learning_rate=0.01, average=0.3)
    backend = case.make()
    mean = backend.from_host(np.full(20, 100.0), case.dtype) + 0.0
    params, rate = backend.from_host(np.linspace(-1, 1, 20), case.dtype), backend.zeros((), case.dtype)
    expected = np.full(20, 100.0)
    for t in range(1, 8):
        optim.update_average(
            mean, params, optim.average_share(optimizer.average, t), optim.Update(t, rate, rate == 0, backend)
        )
        keep = min(0.3, t / (t + 9))
        expected = keep * expected + (1 - keep) * np.linspace(-1, 1, 20)
    assert close(backend.to_host(mean), expected, case.tolerance)


def test_adagrad_and_clip_by_value_equal_min_char_rnn(case: Case) -> None:
    """Each element is updated by: clip to ±c, mem += g², p -= lr · g / sqrt(mem + eps)."""
    backend, rng = case.make(), np.random.default_rng(7)
    p, g, m = rng.standard_normal(20), rng.standard_normal(20) * 9, rng.random(20)
    expected_p, expected_m = [], []
    for value, gradient, memory in zip(p, g, m, strict=True):
        gradient = max(-5.0, min(5.0, gradient))
        expected_m.append(memory + gradient**2)
        expected_p.append(value - 0.1 * gradient / math.sqrt(expected_m[-1] + 1e-8))
    params, grad, memory = (backend.from_host(a, case.dtype) + 0.0 for a in (p, g, m))
    config = OptimizerConfig(name="adagrad", clip_value=5.0, learning_rate=0.1)
    rate = (backend.zeros((), case.dtype) + 1.0) * config.learning_rate
    optim.clip(grad, backend.zeros((), case.dtype) + 1.0, config, backend=backend)
    optim.rule(config).apply(params, grad, {"square_sum": memory}, optim.Update(1, rate, rate > 0, backend))
    assert close(backend.to_host(params), np.array(expected_p), case.tolerance)
    assert close(backend.to_host(memory), np.array(expected_m), case.tolerance)


@pytest.mark.parametrize(("bound", "factor"), [(2.0, 0.4), (6.0, 1.0)])
def test_clip_by_norm_scales_only_above_the_bound(case: Case, bound: float, factor: float) -> None:
    """A gradient of norm 5 is scaled to norm 2 by a bound of 2, and is not changed by a bound of 6."""
    backend = case.make()
    grad = backend.from_host(np.array([3.0, 4.0]), case.dtype) + 0.0
    norm = backend.xp.sqrt(backend.dot(grad, grad))
    optim.clip(grad, norm, OptimizerConfig(clip_norm=bound), backend=backend)
    assert np.allclose(backend.to_host(grad), np.array([3.0, 4.0]) * factor, rtol=1e-6)


def test_guard_skips_halves_and_stops(case: Case) -> None:
    """A step that is not finite halves the rate; after three in a row the guard skips all steps."""
    backend = case.make()
    guard, nan, one = Guard(backend, case.dtype), math.nan, 1.0
    results = []
    for loss, norm in [
        (one, one),
        (nan, one),
        (one, one),
        (one, math.inf),
        (nan, nan),
        (nan, one),
        (one, one),
        (nan, one),
    ]:
        scalars = (backend.from_host(np.array(v), case.dtype) for v in (loss, norm))
        ok = guard.judge(*scalars)
        results.append(
            [bool(backend.to_host(ok)), float(backend.to_host(guard.scale)), int(backend.to_host(guard.bad))]
        )
    assert results == [
        [True, 1.0, 0],
        [False, 0.5, 1],
        [True, 0.5, 0],
        [False, 0.25, 1],
        [False, 0.125, 2],
        [False, 0.0625, 3],
        [False, 0.0625, 3],
        [False, 0.0625, 3],
    ]


def test_weight_decay_does_not_change_biases(text: str) -> None:
    """In a step with a zero gradient every matrix shrinks by rate times decay, and no bias changes."""
    settings = {"optimizer": {"weight_decay": 0.5, "learning_rate": 0.1, "clip_value": 0.0, "warmup": 0.0}}
    subject = trainer(config.build(config.merged(TINY, settings)), three_documents(text))
    subject.vector += 1.0
    before = {name: view.copy() for name, view in subject.params.items()}
    subject.update(*subject.add_shards())  # all gradients are still zero
    for name, view in subject.params.items():
        assert np.allclose(view, before[name] * (0.95 if ".W_" in name else 1.0), rtol=1e-6), name


def test_the_average_is_a_vector_of_its_own(text: str) -> None:
    """With `average` the average differs from the parameters after some steps; without, they are one vector."""
    settings = {"optimizer": {"average": 0.9}}
    subject, plain = (
        trainer(config.build(config.merged(TINY, more)), three_documents(text)) for more in (settings, {})
    )
    assert np.array_equal(subject.average, subject.vector)
    for _ in range(5):
        subject.step(), plain.step()
    assert np.array_equal(subject.vector, plain.vector)
    assert plain.average is plain.vector
    assert not np.array_equal(subject.average, subject.vector)
    assert np.abs(subject.average - subject.vector).max() < 0.5
