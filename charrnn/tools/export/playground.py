"""A network as a web page that runs it: one file, which needs no server and sends no request.

`network.js` computes, `playground.js` shows. The weights are in the page as float32, or float16, in base64.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import __version__
from charrnn.api import Model
from charrnn.errors import ConfigError
from charrnn.tools.export.facts import Facts
from charrnn.tools.pages import page
from charrnn.tools.torch_weights import to_torch

HERE = Path(__file__).parent
STYLES, SCRIPTS = [HERE / "playground.css"], [HERE / "network.js", HERE / "playground.js"]


def playground_page(model: Model, facts: Facts, *, half: bool = False) -> str:
    """Return the page. `half` stores the weights as float16. Raises `ConfigError` for weights too large for that."""
    data = {"network": network_data(model, half=half), "facts": shown_facts(model, facts)}
    return page(facts.run, styles=STYLES, scripts=SCRIPTS, data=data)


def network_data(model: Model, *, half: bool = False) -> dict[str, Any]:
    """Return the network as `Network.load` of network.js reads it.

    Raises `ConfigError` for weights that the number format cannot hold.
    """
    state, dtype = to_torch(model), "<f2" if half else "<f4"
    if model.config.model.tie_weights:
        del state["output.weight"]  # it is embedding.weight
    with np.errstate(over="ignore"):
        arrays = [array.astype(dtype) for array in state.values()]
    if not all(np.isfinite(array).all() for array in arrays):
        raise ConfigError(f"a weight is too large for float{'16: leave out --half' if half else '32'}")
    network, vocabulary, separator = model.config.model, model.vocabulary, model.config.data.document_separator
    return {
        "cell": network.cell,
        "hidden_size": network.hidden_size,
        "num_layers": network.num_layers,
        "characters": vocabulary.characters,
        "counts": list(vocabulary.counts),
        "never_first": list(vocabulary.never_first(separator if model.network.start_symbol else "")),
        "start_symbol": model.network.start_symbol,
        "separator": list(vocabulary.ids_of(separator)),
        "tensors": [[name, list(array.shape)] for name, array in state.items()],
        "half": half,
        "weights": base64.b64encode(b"".join(array.tobytes() for array in arrays)).decode(),
    }


def shown_facts(model: Model, facts: Facts) -> dict[str, Any]:
    """Return what the page says about the network."""
    return {
        "run": facts.run,
        "text": facts.text,
        "characters": sum(model.vocabulary.counts),
        "parameters": model.network.layout.parameters,
        "step": facts.step,
        "nats": facts.nats,
        "version": __version__,
    }
