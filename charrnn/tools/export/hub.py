"""A network as a folder that model hubs show: weights, configuration, vocabulary, and a model card.

The weights have PyTorch's names and shapes (see `charrnn.to_torch`). The card has measured numbers, a sample, and the
code that loads the network with NumPy alone and with PyTorch; the tests run both.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import safetensors.numpy

from charrnn import __version__, files
from charrnn.api import Model
from charrnn.config import ModelConfig
from charrnn.errors import CheckpointError
from charrnn.tools.export.facts import SAMPLE_SEED, Facts, visible
from charrnn.tools.torch_weights import to_torch

WEIGHTS, CONFIG, VOCABULARY, CARD = "model.safetensors", "config.json", "vocab.json", "README.md"
MODEL_TYPE = "charrnn"
PROMPT = 8
"""Characters of the sample that the code of the card reads."""
NUMPY_CELLS = {
    "rnn": ["x = h[n] = np.tanh(a + b)"],
    "gru": [
        "(ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)",
        "z, new = sigmoid(az + bz), np.tanh(an + sigmoid(ar + br) * bn)",
        "x = h[n] = (1 - z) * new + z * h[n]",
    ],
    "lstm": [
        "i, f, g, o = np.split(a + b, 4)",
        "c[n] = sigmoid(f) * c[n] + sigmoid(i) * np.tanh(g)",
        "x = h[n] = sigmoid(o) * np.tanh(c[n])",
    ],
}
ONE_HOT = "np.eye(V + 1, V)[character]"
"""Cell -> its equations in NumPy, from the products a (of the input) and b (of the hidden state)."""


def write_folder(model: Model, facts: Facts, folder: Path) -> None:
    """Write the folder, over an earlier export at most.

    Raises `CheckpointError` for a folder with other files, and where the file system refuses.
    """
    check_folder(folder)
    contents = {
        WEIGHTS: safetensors.numpy.save(to_torch(model), metadata={"format": "pt"}),
        CONFIG: json.dumps(configuration(model), indent=2).encode() + b"\n",
        VOCABULARY: json.dumps(vocabulary(model), ensure_ascii=False, indent=0).encode() + b"\n",
        CARD: card(model, facts).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            files.write_atomically(folder / name, content)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error.strerror or error}") from None


def check_folder(folder: Path) -> None:
    """Raise `CheckpointError` if files in `folder` that are no export could be lost."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        earlier = json.loads((folder / CONFIG).read_bytes())["model_type"] == MODEL_TYPE
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        earlier = False
    if not earlier:
        raise CheckpointError(f"{folder} exists and is not an earlier export, so it is left alone: name a new folder")


def configuration(model: Model) -> dict[str, object]:
    """Return the content of config.json."""
    network = model.config.model
    return {
        "model_type": MODEL_TYPE,
        "charrnn_version": __version__,
        "cell": network.cell,
        "vocab_size": len(model.vocabulary),
        "hidden_size": network.hidden_size,
        "num_layers": network.num_layers,
        "embedding_size": network.embedding_size,
        "tie_weights": network.tie_weights,
        "dtype": network.dtype,
        "start_symbol": len(model.vocabulary) if model.network.start_symbol else None,
        "document_separator": model.config.data.document_separator,
    }


def vocabulary(model: Model) -> dict[str, int]:
    """Return the content of vocab.json: character -> id."""
    return {character: n for n, character in enumerate(model.vocabulary.characters)}


def card(model: Model, facts: Facts) -> str:
    """Return the model card: what the network is, its measured numbers, a sample, and how to load it."""
    title = re.sub(r"[^\w .-]", "-", facts.run)
    return f"""---
library_name: charrnn
pipeline_tag: text-generation
tags: [character-level, recurrent, {model.config.model.cell}]
---

# {title}

A character-level recurrent network, trained with charrnn {__version__}.

{number_table(model, facts)}

## A sample

Temperature 0.8, seed {SAMPLE_SEED}:

{fenced(visible(facts.sample), "text")}

## Load it with NumPy

The input of a character is {of_input(model)}. The weights have PyTorch's shapes (out, in).

{fenced(numpy_code(model, facts), "python")}

## Load it with PyTorch

{fenced(torch_code(model, facts), "python")}

`logits` are those of the character after the text; a softmax makes probabilities of them.
"""


def number_table(model: Model, facts: Facts) -> str:
    """Return the measured numbers as a table."""
    network, size = model.config.model, sum(array.nbytes for array in to_torch(model).values())
    rows = [("network", f"{network.shape}, {network.dtype}")]
    rows += [("parameters", f"{model.network.layout.parameters:,} ({size:,} bytes as they are here)")]
    rows += [("vocabulary", f"{len(model.vocabulary):,} characters")]
    rows += [("validation loss", f"{facts.nats:.4f} nats/char, {facts.bits:.4f} bits/char")] if facts.nats else []
    if facts.baselines is not None:
        losses = (f"{order}-gram {loss:.4f}" for order, loss in enumerate(facts.baselines.losses, 1))
        rows += [("n-grams on the same text", ", ".join(losses) + " nats/char")]
    time = f", {facts.seconds:,.0f} seconds" if facts.seconds is not None else ""
    rows += [("training", f"{facts.step:,} steps{time}")]
    rows += [("text", f"{inline(facts.text)}, SHA-256 `{facts.sha256}`")] if facts.text else []
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def of_input(model: Model) -> str:
    """Return what the card says about the input vectors."""
    vector = "its row of the embedding" if model.config.model.embedding_size else "a one-hot vector"
    if not model.network.start_symbol:
        return vector
    return vector + "; that of the start symbol, with which a document begins from a zero state, is all zeros"


def prompt(model: Model, facts: Facts) -> str:
    """Return the ids that the code of the card reads, as Python code."""
    ids = f"*map(vocab.get, {facts.sample[:PROMPT]!r})"
    return f"[V, {ids}]" if model.network.start_symbol else f"[{ids}]"


def numpy_code(model: Model, facts: Facts) -> str:
    """Return the code that computes logits with NumPy."""
    network = model.config.model
    states = "h, c = np.zeros((2, L, H))" if network.cell == "lstm" else "h = np.zeros((L, H))"
    sigmoid = [] if network.cell == "rnn" else ["sigmoid = lambda a: (1 + np.tanh(a / 2)) / 2"]
    layer = [
        'a = w[f"recurrent.weight_ih_l{n}"] @ x + w[f"recurrent.bias_ih_l{n}"]',
        'b = w[f"recurrent.weight_hh_l{n}"] @ h[n] + w[f"recurrent.bias_hh_l{n}"]',
        *NUMPY_CELLS[network.cell],
    ]
    lines = [
        "import json",
        "from pathlib import Path",
        "import numpy as np",
        "from safetensors.numpy import load_file",
        "",
        'vocab, w = json.loads(Path("vocab.json").read_text("utf-8")), load_file("model.safetensors")',
        f"V, H, L = len(vocab), {network.hidden_size}, {network.num_layers}",
        *sigmoid,
        states,
        f"for character in {prompt(model, facts)}:{'  # V: the start symbol' if model.network.start_symbol else ''}",
        f"    x = {numpy_input(network)}",
        "    for n in range(L):",
        *(" " * 8 + line for line in layer),
        *(['x = w["projection.weight"] @ x'] if has_projection(network) else []),
        'logits = w["output.weight"] @ x + w["output.bias"]',
    ]
    return "\n".join(lines)


def numpy_input(network: ModelConfig) -> str:
    """Return the NumPy code for the input vector of `character`; that of the id V is all zeros."""
    return 'np.pad(w["embedding.weight"], ((0, 1), (0, 0)))[character]' if network.embedding_size else ONE_HOT


def has_projection(network: ModelConfig) -> bool:
    """Return whether a matrix leads from the hidden state to the embedding, which tied weights multiply."""
    return network.tie_weights and network.embedding_size != network.hidden_size


def torch_code(model: Model, facts: Facts) -> str:
    """Return the code that computes logits with PyTorch."""
    network = model.config.model
    double = network.dtype == "float64"
    lines = [
        "import json",
        "from pathlib import Path",
        "import torch",
        "from safetensors.torch import load_file",
        "",
        *(["torch.set_default_dtype(torch.float64)"] if double else []),
        'vocab = json.loads(Path("vocab.json").read_text("utf-8"))',
        f"V, H, L = len(vocab), {network.hidden_size}, {network.num_layers}",
        *torch_modules(network),
        'module.load_state_dict(load_file("model.safetensors"))',
        f"ids = torch.tensor({prompt(model, facts)})",
        f"x = {torch_input(network)}",
        'hidden, state = module["recurrent"](x)',
        *(['hidden = module["projection"](hidden)'] if has_projection(network) else []),
        'logits = module["output"](hidden)[-1, 0]',
    ]
    return "\n".join(lines)


def torch_modules(network: ModelConfig) -> list[str]:
    """Return the PyTorch code that makes the module: see `charrnn.to_torch`."""
    E, inputs = network.embedding_size, "E" if network.embedding_size else "V"
    layers = {"embedding": "Embedding(V, E)"} if E else {}
    layers["recurrent"] = f"{network.cell.upper()}({inputs}, H, L)"
    if has_projection(network):
        layers |= {"projection": "Linear(H, E, bias=False)", "output": "Linear(E, V)"}
    else:
        layers["output"] = "Linear(H, V)"
    lines = [f'module["{name}"] = torch.nn.{layer}' for name, layer in layers.items()]
    return [*([f"E = {E}"] if E else []), "module = torch.nn.ModuleDict()", *lines]


def torch_input(network: ModelConfig) -> str:
    """Return the PyTorch code for the input vectors (T, 1, V or E) of `ids`; that of the id V is all zeros."""
    if network.embedding_size:
        return 'torch.nn.functional.pad(module["embedding"].weight, (0, 0, 0, 1))[ids][:, None]'
    double = network.dtype == "float64"
    return f"torch.nn.functional.one_hot(ids, V + 1)[:, None, :V].{'double' if double else 'float'}()"


def fenced(text: str, language: str) -> str:
    """Return `text` as a Markdown code block, whose fence is longer than any row of backticks in it."""
    longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def inline(text: str) -> str:
    """Return `text` as Markdown code in a table's cell."""
    text = re.sub(r"[\n\t`|]", " ", visible(text))
    return f"`{text}`"
