"""Options that users know from other programs, and what to write here in their place.

The words are those of min-char-rnn, char-rnn, torch-rnn, textgenrnn, nanoGPT and PyTorch's examples. A word is in
lower case, with hyphens for underscores. The bare names of the configuration's keys need no row.
"""

from __future__ import annotations

import re

import click

KEYS = {
    "optimizer.learning_rate": "lr learn-rate learningrate max-lr base-lr initial-lr base-learning-rate",
    "optimizer.final_rate": "min-lr min-learning-rate final-lr",
    "optimizer.name": "optimizer optim opt optimiser algorithm",
    "optimizer.clip_norm": "clip grad-clip clip-grad max-grad-norm gradient-clip grad-norm clip-gradients gradclip",
    "optimizer.weight_decay": "wd l2 reg weight-decay-rate",
    "optimizer.schedule": "scheduler lr-schedule lr-scheduler decay-lr anneal",
    "optimizer.decay": "lr-decay learning-rate-decay lr-decay-factor gamma decay-rate",
    "optimizer.decay_every": "lr-decay-every learning-rate-decay-after lr-decay-after lr-step",
    "optimizer.warmup": "warmup-iters warmup-steps lr-warmup",
    "optimizer.average": "ema ema-decay",
    "optimizer.eps": "epsilon adam-eps",
    "model.dropout": "drop dropout-rate drop-rate drop-prob p-drop dropouth",
    "model.input_dropout": "dropouti dropoute embedding-dropout input-drop",
    "model.recurrent_dropout": "wdrop recurrent-drop weight-drop",
    "model.hidden_size": "hidden hiddens hidden-dim hidden-units hidden-layer-size n-hidden num-hidden nhid hid-size "
    "rnn-size lstm-size state-size units num-units n-units n-embd hidden-sizes neurons",
    "model.num_layers": "layers n-layers nlayers n-layer num-layer rnn-layers depth",
    "model.embedding_size": "emsize embed embed-size embed-dim embedding-dim emb-size emb-dim dim-embeddings "
    "embeddings wordvec-size",
    "model.tie_weights": "tied tie weight-tying tie-embeddings",
    "model.cell": "model model-type rnn-type cell-type rnn arch architecture type lstm gru",
    "model.dtype": "double float64 fp64 float32",
    "train.batch_size": "batch bs batchsize n-batch mini-batch-size train-batch-size num-streams",
    "train.seq_length": "seq-len sequence-length seqlen seq bptt block-size context-length context ctx-len chunk-len "
    "chunk-size unroll num-unrollings timesteps time-steps max-length maxlen window window-size",
    "log.every": "log-interval log-every print-every print-interval log-freq logging-steps",
    "log.eval_every": "eval-interval eval-val-every val-every val-interval validate-every eval-steps",
    "log.sample_every": "sample-interval sample-freq gen-epochs",
    "log.checkpoint_every": "save-every save-interval save-freq checkpoint-interval save-steps",
    "data.val_fraction": "val-frac val-split valid-frac validation-split val-size val-ratio validation-fraction "
    "test-frac train-frac train-size train-split",
}
"""Key of the configuration -> words for it."""
VALUES = {
    "the share that is held out, as in data.val_fraction=0.1": "train-frac train-size train-split",
    "a share of the steps, as in optimizer.warmup=0.02": "warmup-iters warmup-steps lr-warmup",
    "a share of the steps, as in optimizer.decay_every=0.1": "lr-decay-every learning-rate-decay-after lr-decay-after "
    "lr-step",
    "a name, as in model.cell=lstm": "lstm gru",
    "a name, as in model.dtype=float64": "double float64 fp64",
    "a name, as in optimizer.schedule=cosine": "decay-lr anneal",
}
"""What the value of a key is -> words whose value is something else."""
TRAIN = {
    "--steps N, or --set train.steps=N; a sweep over the text has characters / (batch_size * seq_length) steps": (
        "epochs num-epochs n-epochs max-epochs epoch nepochs"
    ),
    "--steps N, or --set train.steps=N": (
        "max-iters iters iterations num-iters n-iters max-steps num-steps n-steps max-iterations train-steps"
    ),
    "the file without an option: charrnn train FILE": (
        "input input-file input-txt data data-file data-dir data-path dataset train-file train-data corpus text file "
        "text-file filename input-h5 input-json"
    ),
    "--val FILE": "val-file val-data valid valid-file valid-data validation validation-file dev dev-file",
    "--test FILE": "test-file test-data",
    "--out RUN": "output output-dir out-dir outdir save save-dir model-dir checkpoint-dir checkpoint-name run-dir name",
    "--resume --out RUN, or --init-from RUN for another text": (
        "load load-model resume-from resume-from-checkpoint checkpoint init pretrained restore"
    ),
    "--seed N": "random-seed manual-seed rng-seed",
    "--device cuda (or cuda:N)": "gpu cuda gpuid gpu-id gpus use-cuda use-gpu accel",
    "--device cpu": "cpu no-cuda no-gpu",
    "--document-separator STRING": "separator delimiter sep line-delimited newline eos eot",
    "--patience N, as in --patience 5, for the evaluations without a better one": (
        "early-stopping early-stop early-stopping-patience"
    ),
    "--minutes N": "time time-limit max-time hours seconds",
}
"""What to write with `train` -> words for it."""
SAMPLE = {
    "--prompt TEXT": "start start-text start-string prime prime-text primetext prefix seed-text context input text",
    "--count N": "num-samples n n-samples num nsamples samples number",
    "--length N": "max-new-tokens max-gen-length max-length max-tokens num-chars n-chars chars gen-length size words",
    "--temperature X": "temp t sampling-temperature",
    "--top-k N": "topk k",
    "--top-p P": "topp p nucleus",
    "--stop STRING": "stop-string stop-token stop-text eos end until terminator",
    "the run without an option: charrnn sample RUN": "model model-path load load-model out-dir checkpoint-dir out",
    "--device cuda (or cuda:N)": TRAIN["--device cuda (or cuda:N)"],
    "--device cpu": TRAIN["--device cpu"],
}
"""What to write with `sample` -> words for it."""


def explanation(error: click.NoSuchOption, words: list[str]) -> str | None:
    """Return the error for an option of another program; None if no table has it.

    Args:
        error: names the option, or of `-rnn_size` only its first letter.
        words: the command line.
    """
    context = error.ctx
    if context is None or context.command is None:
        return None
    others = {"train": TRAIN, "sample": SAMPLE}.get(context.info_name or "", {})
    has_settings = any("--set" in parameter.opts for parameter in context.command.params)
    for n, name in enumerate(words):
        if not name.startswith(error.option_name):
            continue
        name, _, value = name.partition("=")
        word = re.sub(r"[_.]", "-", name.lstrip("-").lower())
        if option := lookup(others, word):
            return f"there is no option {name}: write {option}"
        if has_settings and (key := key_of(word)):
            if meaning := lookup(VALUES, word):
                return f"there is no option {name}: set the key {key}, --set {key}=VALUE, to {meaning}"
            after = words[n + 1] if n + 1 < len(words) and not words[n + 1].startswith("-") else ""
            return f"there is no option {name}: set the key {key}, --set {key}={value or after or 'VALUE'}"
    return None


def key_of(word: str) -> str | None:
    """Return the key of the configuration that a word stands for: from the table, or its bare or full name."""
    from charrnn.config.files import FIELDS

    for key in FIELDS:
        if word in (key.replace("_", "-").replace(".", "-"), key.partition(".")[2].replace("_", "-")):
            return key
    return lookup(KEYS, word)


def lookup(table: dict[str, str], word: str) -> str | None:
    """Return what the table has for a word."""
    return next((meaning for meaning, words in table.items() if word in words.split()), None)
