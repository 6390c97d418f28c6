"""Configuration files: how they are found, and that any content gives a configuration or an error."""

import tempfile
from pathlib import Path

import pytest
from helpers.configurations import CONFIGS, KEYS, with_defaults, words
from helpers.properties import modest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import build, dump, is_complete, parse_settings, read, table
from charrnn.errors import ConfigError


@pytest.mark.parametrize("name", ["quick", "none.toml"])
def test_missing_configuration_lists_the_presets(name: str) -> None:
    """A name that is no file and no preset is an error with the name and all presets."""
    with pytest.raises(ConfigError) as caught:
        read(name)
    assert repr(name) in str(caught.value)
    assert ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml"))) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "directory"), (".", "directory"), ("a\0b", "no such"), pytest.param("x" * 5000, "too long", id="long")],
)
def test_unreadable_configuration_gives_the_reason(name: str, reason: str) -> None:
    """A directory or an impossible name is an error with the reason of the system."""
    with pytest.raises(ConfigError) as caught:
        read(name)
    assert repr(name) in str(caught.value)
    assert reason in str(caught.value)


def test_a_file_name_is_no_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with the ending of a file means the file: it is read if it exists, else the error names the preset."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"'lstm.toml': no such file or preset \(did you mean the preset lstm\?\)"):
        read("lstm.toml")
    (tmp_path / "lstm.toml").write_text("train.steps = 7")
    assert read("lstm.toml") == {"train": {"steps": 7}}


@pytest.mark.parametrize(
    "content",
    [
        b"a = ",
        b"a = 1\na = 2",
        b"\xff",
        pytest.param(b"a = " + b"9" * 5000, id="digits"),
        pytest.param(b"a = " + b"[" * 50000, id="nesting"),
    ],
)
def test_file_that_is_not_toml_is_named(content: bytes, tmp_path: Path) -> None:
    """A file that the TOML reader refuses for its syntax, bytes, digits or nesting is an error with the path."""
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(str(path))
    assert str(caught.value).startswith(f"{path} is not a TOML file: ")


PIECES = [
    *KEYS,
    "[model]",
    "[train]",
    "model",
    "steps",
    "\n",
    " = ",
    "=",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    '"',
    "'",
    "'''",
]
PIECES += ["3", "-1", "0x" + "f" * 5000, "9" * 5000, "1e999", "nan", "true", "1979-05-27", "25:61:00", "a", "\\ud800"]
pieces = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@modest
@given(st.binary(max_size=40) | (words | pieces).map(str.encode))
def test_any_file_gives_a_configuration_or_its_error(content: bytes) -> None:
    """Reading a file of any content gives a table that can be built, or a ConfigError that names the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.toml")
        path.write_bytes(content)
        try:
            said = read(str(path))
        except ConfigError as error:
            said, message = {}, str(error)
        else:
            message = f"{path} is accepted"
    assert message.startswith(f"{path}")
    assert table(build(said)) == with_defaults(said)


@modest
@given(st.text(max_size=20) | pieces | st.tuples(st.sampled_from(KEYS), st.text(max_size=9) | pieces).map("=".join))
def test_any_setting_gives_a_value_or_its_error(setting: str) -> None:
    """Any text after --set gives a table of one key that can be built, or a ConfigError that repeats the text."""
    try:
        said = parse_settings([setting])
    except ConfigError as error:
        said, message = {"log": {"keep": 1}}, str(error)
    else:
        message = f"--set {setting}: is accepted"
    assert message.startswith(f"--set {setting}: ")
    assert [len(keys) for keys in said.values()] == [1]
    assert table(build(said)) == with_defaults(said)


def test_a_configuration_of_an_earlier_run_is_complete(tmp_path: Path) -> None:
    """A key that this version added may be missing; any other key may not."""
    complete = dump(build({}))
    path = tmp_path / "config.toml"
    path.write_text("".join(line for line in complete.splitlines(True) if not line.startswith("baselines =")))
    assert path.read_text() != complete
    assert is_complete(path)
    path.write_text("".join(line for line in complete.splitlines(True) if not line.startswith("hidden")))
    assert path.read_text() != complete
    assert not is_complete(path)
    path.write_text("")
    assert not is_complete(path)
