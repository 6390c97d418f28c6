"""Search for good settings with Optuna: any number of processes work on one study, and poor trials end early.

    pip install optuna
    python examples/search.py 1 & python examples/search.py 2 & wait

Every process adds six trials to the study in the file search.db and prints the best settings so far. Start more of
them at any time. The number is the seed of a process's random choices; two with the same seed try the same settings.
"""

import sys

import optuna
from filelock import FileLock
from optuna.trial import TrialState

import charrnn
from charrnn.errors import DivergedError
from charrnn.training.events import Evaluated, Event

FIXED = {"train.steps": 60, "train.batch_size": 16, "log.eval_every": 10, "log.eval_chars": 10_000}


def objective(trial: optuna.Trial) -> float:
    """Train a network with the settings of a trial; return its best validation loss. A poor trial is pruned."""
    settings = {
        "model.cell": trial.suggest_categorical("model.cell", ["rnn", "gru", "lstm"]),
        "model.hidden_size": trial.suggest_int("model.hidden_size", 32, 96, step=32),
        "optimizer.learning_rate": trial.suggest_float("optimizer.learning_rate", 3e-4, 0.1, log=True),
    }
    losses: list[float] = []

    def report(event: Event) -> None:
        if isinstance(event, Evaluated):
            losses.append(event.val_loss)
            trial.report(event.val_loss, event.at.step)
            if trial.should_prune():  # its loss is above the median of the other trials at this step
                raise optuna.TrialPruned

    try:
        charrnn.train(settings=settings | FIXED, threads=1, on_event=report)
    except DivergedError:
        return float("inf")
    return min(losses)


if __name__ == "__main__":
    with FileLock("search.db.lock"):  # SQLite fails if two processes make the tables at the same moment
        study = optuna.create_study(
            study_name="charrnn",
            storage="sqlite:///search.db",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=int(sys.argv[1]) if len(sys.argv) > 1 else 0),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=10),
        )
    study.optimize(objective, n_trials=6)
    ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))  # others may still be running
    pruned = sum(trial.state == TrialState.PRUNED for trial in ended)
    print(f"{len(ended)} trials, {pruned} of them ended early. Best loss: {study.best_value:.4f} nats/char with")
    print("\n".join(f"--set {key}={value}" for key, value in study.best_params.items()))
