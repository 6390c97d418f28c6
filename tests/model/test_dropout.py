"""Locked dropout: loss and gradients are those of the textbook network."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from helpers import textbook
from helpers.namespaces import Case
from helpers.networks import close, problem

from charrnn.model import Workspace, loss_and_grad
from charrnn.model.dropout import drop_inputs


def problem_with_dropout(case: Case, cell: str, *, start_symbol: bool) -> SimpleNamespace:
    """Return the textbook's example with dropout, on a namespace."""
    net = problem(case, cell, dropout=True, start_symbol=start_symbol)
    backend, host = net.backend, net.host
    outputs, recurrent = (backend.from_host(mask, case.dtype) for mask in (host.output_masks, host.recurrent_masks))
    masks = {"input_mask": backend.from_host(host.input_mask), "output_masks": outputs, "recurrent_masks": recurrent}
    net.chunk = net.chunk._replace(**masks)
    net.work = Workspace(net.network, net.T, net.B, dropout=True)
    return net


@pytest.mark.parametrize("start_symbol", [False, True])
def test_loss_and_gradients_agree_with_the_textbook(case: Case, cell: str, start_symbol: bool) -> None:
    """With all three kinds of dropout in two layers, the loss and every gradient equal those of the textbook.

    A start symbol is never dropped.
    """
    net = problem_with_dropout(case, cell, start_symbol=start_symbol)
    loss = loss_and_grad(net.network, net.params, net.grads, net.chunk, net.state, net.work, scale=0.25)
    expected = textbook.loss(net.host, net.host.weights, 1.0)
    assert float(net.backend.to_host(loss)) == pytest.approx(expected.real, rel=net.case.tolerance)
    for name, gradient in textbook.example_gradient(cell, 0.25, dropout=True, start_symbol=start_symbol).items():
        assert close(net.backend.to_host(net.grads[name]), gradient, net.case.tolerance), name


def test_dropped_characters_become_id_v(case: Case) -> None:
    """In each stream exactly the ids of its dropped characters become V, which means "no character"."""
    backend, host = case.make(), textbook.example("rnn", dropout=True)
    inputs = backend.indices(backend.from_host(host.inputs.reshape(-1)))
    ids = drop_inputs(inputs, backend.from_host(host.input_mask), backend=backend)
    expected = [[7 if host.input_mask[b, n] else n for b, n in enumerate(row)] for row in host.inputs.tolist()]
    assert backend.to_host(ids).reshape(host.inputs.shape).tolist() == expected
    assert any(7 in row for row in expected)
