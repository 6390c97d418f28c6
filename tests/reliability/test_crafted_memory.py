"""Reading a run directory needs no more memory than its size justifies, whatever its checkpoint states."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import TEXT
from helpers.crafted_checkpoints import NEWEST, craft, metadata_of, with_changes

CLAIMS: dict[str, dict[str, dict[str, Any]]] = {
    "as it was": {},
    "a chunk": {"train": {"seq_length": 2**30}},
    "shards": {"train": {"shards": 2**62}},
    "steps": {"train": {"steps": 2**62}},
    "a seed": {"train": {"seed": 2**62}},
    "what is kept": {"log": dict.fromkeys(("keep", "keep_samples", "every", "eval_every", "eval_chars"), 2**62)},
    "an encoding": {"data": {"encoding": "utf-32"}},
    "a separator": {"data": {"document_separator": "s" * 10**5}},
    "the file system": {"data": {"files": ["/"]}},
    "a device": {"data": {"files": ["/dev/zero"]}},
    "a large file": {"data": {"files": ["large.txt"]}},
    "a file that unpacks to much": {"data": {"files": ["packed.txt.gz"]}},
}
MEASURE = """
import json, os, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from helpers.hostile_inputs import outcome

commands = [["eval", "r"], ["train", "--resume", "--out=r", "--steps=11", "--threads=1", "--device=cpu"]]
os.chdir("claims/as it was")
for words in commands:
    outcome(words)  # everything is imported, and has taken what it takes once
found = {}
for folder in sorted(Path("..").iterdir()):
    os.chdir(folder)
    size = sum(path.stat().st_size for path in Path("r").rglob("*") if path.is_file())
    pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    limit = pages + 40 * size + (48 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    ends = [outcome(words) for words in commands]
    found[folder.name] = [(end.status, end.err) for end in ends]
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]))
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited here by Linux")
def test_a_run_costs_no_more_than_its_size_justifies(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 48 MB and 40 times its own size left, a run is evaluated and resumed, or refused in one line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "large.txt").write_bytes(TEXT.encode() * 300_000)
    (tmp_path / "packed.txt.gz").write_bytes(gzip.compress(bytes(10**8), 1))
    for name, claim in CLAIMS.items():
        craft(trained)
        config = metadata_of(NEWEST.read_bytes())["config"]
        claimed = {section: keys | claim.get(section, {}) for section, keys in config.items()}
        claimed["data"]["files"] = [os.path.abspath(file) for file in claimed["data"]["files"]]  # noqa: PTH100
        NEWEST.write_bytes(with_changes(NEWEST.read_bytes(), len, config=claimed))
        shutil.move("r", f"claims/{name}/r")
    report = subprocess.run(
        [sys.executable, "-c", MEASURE, Path(__file__).parent.parent], capture_output=True, text=True
    )
    assert report.returncode == 0, report.stderr
    found = json.loads(report.stdout)
    assert set(found) == set(CLAIMS)
    for name, ends in found.items():
        for status, said in ends:
            assert status in (0, 2), (name, said)
            assert "memory" not in said, name
    assert [status for status, _ in found["as it was"]] == [0, 0]
