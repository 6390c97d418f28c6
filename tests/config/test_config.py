"""Configuration files and settings: accepted values come back unchanged, every mistake is named."""

import datetime
import math
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from helpers.configurations import CONFIGS, KEYS, with_defaults, words
from helpers.properties import modest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import Config, build, checked, dump, merged, parse_settings, presets, read, table
from charrnn.errors import ConfigError

below_one = st.floats(0, 1, exclude_max=True)
positive = st.floats(0, exclude_min=True, allow_infinity=False)
clip = st.floats(0, allow_infinity=False)
VALUES: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "data": {"files": st.lists(words, max_size=3), "encoding": words, "val_fraction": below_one},
    "model": {
        "cell": st.sampled_from(["rnn", "gru", "lstm"]),
        "forget_bias": st.floats(-100, 100),
        "hidden_size": st.integers(1, 2**20),
        "num_layers": st.integers(1, 100),
        "dtype": st.sampled_from(["float32", "float64"]),
        "init": st.sampled_from(["orthogonal", "min-char-rnn"]),
    },
    "train": {
        **dict.fromkeys(["batch_size", "seq_length"], st.integers(1, 2**30)),
        **dict.fromkeys(["steps", "shards", "seed"], st.integers(0, 2**63 - 1)),
        "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:0", "cuda:12"]),
    },
    "optimizer": {
        "learning_rate": st.floats(1e-300, 1e38),
        "eps": st.floats(1e-30, 9),
        "clip_value": clip,
        "clip_norm": clip,
    },
    "log": {"every": st.integers(0, 9), "keep": st.integers(1, 9), "smoothing": below_one},
}
tables = st.fixed_dictionaries(
    {}, optional={name: st.fixed_dictionaries({}, optional=keys) for name, keys in VALUES.items()}
)


def test_quickstart_is_the_default() -> None:
    """The preset `quickstart` is the default configuration."""
    values = tomllib.loads((CONFIGS / "quickstart.toml").read_text())
    assert read("quickstart") == values
    assert values == {name: {k: with_defaults({})[name][k] for k in keys} for name, keys in values.items()}
    assert build(read("quickstart")) == build({}) == Config()


def test_presets_are_found_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset is named without a path in any directory; each file in configs/ is one, and gives its TOML values."""
    monkeypatch.chdir(tmp_path)
    assert list(presets()) == sorted(path.stem for path in CONFIGS.glob("*.toml"))
    assert {"min-char-rnn", "quickstart"} <= set(presets())
    for name in presets():
        values = tomllib.loads((CONFIGS / f"{name}.toml").read_text())
        assert table(build(read(name))) == with_defaults(values)


@modest
@given(tables)
def test_configuration_survives_toml(values: dict[str, dict[str, Any]]) -> None:
    """`build` gives the values of a table and defaults for the rest; `dump` and `read` give them back."""
    config = build(checked(values, "here"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.toml")
        path.write_bytes(dump(config).encode())
        assert table(build(read(str(path)))) == table(config) == with_defaults(values)
    assert build(table(config)) == config
    assert sorted(KEYS) == sorted(f"{name}.{key}" for name, keys in tomllib.loads(dump(config)).items() for key in keys)


@modest
@given(tables)
def test_settings_are_toml_values(values: dict[str, dict[str, Any]]) -> None:
    """A TOML value after `--set section.key=` is read as that value."""
    pairs = [(f"{section}.{key}", value) for section, keys in values.items() for key, value in keys.items()]
    lines = [f"{dotted}={tomli_w.dumps({'x': value}).split('=', 1)[1]}" for dotted, value in pairs]
    assert table(build(parse_settings(lines))) == with_defaults(values)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model.hidden_size=3", 3),
        (" train.seed = 0x10 ", 16),
        ("train.steps=3_000 # many", 3000),
        ("optimizer.eps=1e-3", 0.001),
        ("optimizer.clip_norm=5", 5.0),
        ("model.dtype = float64 ", "float64"),
        ('model.dtype="float64"', "float64"),
        ("train.device=cuda:1", "cuda:1"),
        ("data.encoding=a=b", "a=b"),
        ("model.dropout=.3", 0.3),
        ("model.forget_bias = -.5", -0.5),
        ("data.files=['a', \"b\"]", ("a", "b")),
    ],
)
def test_a_setting_may_be_a_word_without_quotes(setting: str, value: object) -> None:
    """A value is TOML, or a string without quotes; the last setting of a key counts."""
    (section, keys), *rest = parse_settings([setting]).items()
    (read_value,) = keys.values()
    assert (f"{section}.{next(iter(keys))}", rest) == (setting.partition("=")[0].strip(), [])
    assert (read_value, type(read_value)) == (value, type(value))
    assert parse_settings(["log.keep=7", setting, "log.keep=9"]) == {"log": {"keep": 9}, section: keys}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.steps", "section.key=value"),
        ("", "section.key=value"),
        ("=3", "no key ''"),
        ("steps=3", "no key 'steps'; did you mean 'train.steps'?"),
        ("train.stepps=3", "no key 'train.stepps'; did you mean 'train.steps'?"),
        ("train.steps.x=3", "no key 'train.steps.x'; did you mean 'train.steps'?"),
        ("zzzzzzzzzzzzzzzzzzzz.seed=3", "no key 'zzzzzzzzzzzzzzzzzzzz.seed'; did you mean 'train.seed'?"),
        ("train.steps=", "train.steps must be a whole number, not ''"),
        ("train.steps=many", "train.steps must be a whole number, not 'many'"),
        ("train.steps=1\ntrain.seed=2", "train.steps must be a whole number"),
        pytest.param("train.steps=" + "9" * 5000, "train.steps must be a whole number", id="digits"),
        pytest.param("train.steps=" + "[" * 50000, "train.steps must be a whole number", id="nesting"),
        ("data.encoding=7", "data.encoding must be a string, not 7"),
        ("data.files=a.txt", "data.files must be a list of strings, not 'a.txt'"),
    ],
)
def test_a_wrong_setting(setting: str, words: str) -> None:
    """The error repeats the setting and says what is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(["train.seed=1", setting])
    assert str(caught.value).startswith(f"--set {setting}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("dotted", KEYS)
def test_a_misspelled_key(dotted: str) -> None:
    """A key without one of its letters, or outside a section, is an error with the place, the word and the key."""
    section, key = dotted.split(".")
    for n in range(len(key)):
        wrong = key[:n] + key[n + 1 :]
        with pytest.raises(ConfigError) as caught:
            checked({section: {wrong: 1}}, "here.toml")
        unknown, _, suggested = str(caught.value).partition("; did you mean ")
        assert unknown == f"here.toml: there is no key '{section}.{wrong}'"
        assert suggested == f"{dotted!r}?" or (
            wrong == "beta" and suggested in ("'optimizer.beta1'?", "'optimizer.beta2'?")
        )
    with pytest.raises(ConfigError) as caught:
        checked({key: 1}, "here.toml")
    assert str(caught.value) == f"here.toml: {key!r} is not in a section; did you mean {dotted!r}?"


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"modle": {"hidden_size": 3}}, "no section [modle]; did you mean 'model'?"),
        ({"train": {"learning_rate": 0.1}}, "no key 'train.learning_rate'; did you mean 'optimizer.learning_rate'?"),
        ({"zzzz": {}}, "no section [zzzz]; the sections are data, model, train, optimizer, log"),
        ({"model": 3}, "'model' must be a section, [model], not 3"),
        ({"model": [{"hidden_size": 3}]}, "'model' must be a section, [model]"),
    ],
)
def test_an_unknown_section(raw: dict[str, Any], words: str) -> None:
    """A section that does not exist, or has no keys, is an error with the place, the word and the most similar name."""
    with pytest.raises(ConfigError) as caught:
        checked(raw, "here.toml")
    assert str(caught.value).startswith("here.toml: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("dotted", "values", "words"),
    [
        ("train.steps", [True, 1.0, "3", math.nan, [3], {}, datetime.date(2020, 1, 1)], "a whole number"),
        ("train.steps", [2**63, 16**5000], "below 2**63"),
        ("optimizer.eps", [True, "1", [0.1], datetime.time(1)], "a number"),
        ("optimizer.eps", [math.nan, math.inf, -math.inf, 10**400, 16**5000], "a finite number"),
        ("data.encoding", [True, 3, 0.5, ["utf-8"], 16**5000], "a string"),
        ("data.files", ["a", 3, ["a", 1], [["a"]], {"a": "b"}, [16**5000]], "a list of strings"),
        ("data.val_fraction", [-1e-9, 1.0, 1], "at least 0 and below 1"),
        ("log.smoothing", [-1e-9, 1.0], "at least 0 and below 1"),
        ("optimizer.learning_rate", [0.0, 0, -0.1], "above 0"),
        ("optimizer.eps", [0.0, -1, 1e-31], "at least 1e-30"),
        ("optimizer.learning_rate", [0.0, -1, 1.1e38], "above 0 and at most 1e38"),
        ("optimizer.clip_value", [-1e-9, -1], "at least 0"),
        ("optimizer.clip_norm", [-1e-9, -1], "at least 0"),
        ("model.cell", ["", "elman", "RNN"], "one of rnn, gru, lstm"),
        ("model.forget_bias", [-101.0, 101], "at least -100 and at most 100"),
        ("model.dtype", ["float16", "float"], "one of float32, float64"),
        ("model.init", ["zeros"], "one of orthogonal, min-char-rnn"),
        ("optimizer.name", ["adagradd"], "one of adagrad"),
        ("model.dropout", [-0.1, 1.0], ""),
        ("train.device", ["gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:²"], "auto, cpu, cuda or cuda:N"),
        *[(f"model.{key}", [0, -1], "at least 1") for key in ("hidden_size", "num_layers")],
        *[(f"train.{key}", [0, -1], "at least 1") for key in ("batch_size", "seq_length")],
        ("log.sample_length", [0, -1], "at least 1"),
        ("model.embedding_size", [-1, 2**20 + 1], "at least 0 and at most 1048576"),
        *[(f"train.{key}", [-1], "at least 0") for key in ("steps", "shards", "seed")],
        *[(key, [-1], "at least 0") for key in KEYS if key.startswith("log.") and key.endswith("every")],
        ("log.keep", [0], "at least 1"),
    ],
)
def test_a_value_that_is_not_allowed(dotted: str, values: list[object], words: str) -> None:
    """A value of another type, not finite or out of bounds is an error with the place, the key and the requirement."""
    section, key = dotted.split(".")
    for value in values:
        with pytest.raises(ConfigError) as caught:
            checked({section: {key: value}}, "here.toml")
        assert str(caught.value).startswith(f"here.toml: {dotted} must be {words}")


@modest
@given(st.lists(tables, max_size=4))
def test_later_tables_count(layers: list[dict[str, dict[str, Any]]]) -> None:
    """The last table with a key counts; `merged` changes none of the tables."""
    before = [{name: dict(keys) for name, keys in each.items()} for each in layers]
    result = merged(*layers)
    expected: dict[str, Any] = {}
    for each in layers:
        for name, keys in each.items():
            expected[name] = {**expected.get(name, {}), **keys}
    assert result == expected
    for keys in result.values():
        keys["new"] = 1
    assert layers == before
