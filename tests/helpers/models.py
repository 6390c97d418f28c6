"""Settings of small networks for `charrnn.train`."""

SMALL = {
    "model.hidden_size": 8,
    "model.dtype": "float64",
    "optimizer.name": "adagrad",
    "optimizer.schedule": "constant",
    "optimizer.learning_rate": 0.02,
    "optimizer.warmup": 0.0,
    "model.input_std": 0.1,
    "train.seq_length": 8,
    "train.batch_size": 2,
    "train.steps": 30,
    "train.device": "cpu",
    "log.every": 10,
    "log.eval_every": 10,
    "log.sample_length": 20,
}

TINY = {"model.hidden_size": 4, "train.seq_length": 8, "train.batch_size": 2, "train.steps": 3, "train.device": "cpu"}
