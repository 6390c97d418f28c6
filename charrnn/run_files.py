"""The names of the files in a run directory, for all modules that write, read or avoid them."""

CONFIG = "config.toml"  # the configuration, every key of it
METRICS = "metrics.jsonl"  # one JSON object a line: losses, evaluations, skipped steps
SAMPLES = "samples.txt"  # the last samples, with the step of each
CORPUS = "corpus.txt"  # a text that is in no other file, such as standard input
VAL_CORPUS = "corpus-val.txt"  # the validation text of data.val_files, beside a corpus.txt
TEST_CORPUS = "corpus-test.txt"  # the test text of data.test_files, beside a corpus.txt
BASELINES = "baselines.json"  # the losses of n-grams on the run's split
ENVIRONMENT = "environment.json"  # versions, machine and device of the last process that trained
CHECKPOINTS = "checkpoints"  # the directory of step-NNNNNNNN.safetensors
LOCK = ".lock"  # locked by the process that trains
OWNER = ".pid"  # the number of that process and the name of its machine

COPIES = frozenset({CORPUS, VAL_CORPUS, TEST_CORPUS})
FILES = COPIES | {CONFIG, METRICS, SAMPLES, BASELINES, ENVIRONMENT, LOCK, OWNER}
"""All of them but the checkpoints."""
