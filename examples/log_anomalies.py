"""Find unusual lines of a log by their surprise: the five lines that do not belong are the most surprising.

    python examples/log_anomalies.py

The network learns 4,000 normal lines. Then it reads 300 other lines, five of which are of kinds that it never saw, and
nothing says which. It prints the eight most surprising lines, with a mark below each unexpected character.
"""

import random

import charrnn

NORMAL = [
    "sshd: Accepted publickey for {user} from 10.0.{a}.{b} port {port}",
    "sshd: session closed for user {user}",
    "web: GET /items/{port} 200 {a} ms",
    "web: POST /orders 201 {b} ms",
    "web: GET /static/logo.png 304 1 ms",
    "db: checkpoint complete, {port} buffers written in {a} s",
    "cron: job backup of {user} finished in {b} s",
]
UNUSUAL = [
    "sshd: Accepted password for root from 203.0.113.7 port 4711",
    "web: GET /../../etc/passwd 404 2 ms",
    "web: POST /orders 500 30000 ms",
    "db: checkpoint failed, no space left",
    "cron: job backup of alice killed by signal 9",
]


def log_line(template: str, rng: random.Random) -> str:
    """Return a line of the log with the time of day and random numbers."""
    time = f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"
    user = rng.choice(["alice", "bob", "carol", "dave"])
    values = {"a": rng.randint(1, 99), "b": rng.randint(1, 250), "port": rng.randint(1024, 65535)}
    return f"{time} {template.format(user=user, **values)}"


rng = random.Random(1)
lines = [log_line(rng.choice(NORMAL), rng) for _ in range(4000)]
settings = {"model.cell": "gru", "model.hidden_size": 96, "train.batch_size": 16, "train.steps": 300}
model = charrnn.train(lines, settings=settings | {"optimizer.learning_rate": 0.006})

unseen = [log_line(rng.choice(NORMAL), rng) for _ in range(295)]
unseen += [log_line(template, rng) for template in UNUSUAL]
rng.shuffle(unseen)

# The surprise of a character is -log of the probability that the network gave it, in nats. Any digit of a random number
# has ln 10 = 2.3. So what exceeds 4 is not a digit that could as well be another one.
surprises = {line: model.score(line, unknown="replace") for line in unseen}
excess = {line: (nats - 4).clip(0).sum() for line, nats in surprises.items()}
for line in sorted(unseen, key=excess.get, reverse=True)[:8]:
    print(f"{excess[line]:6.1f}  {line}")
    print(" " * 8 + "".join("^" if nats > 4 else " " for nats in surprises[line]).rstrip())
