"""What holds for all inputs: of values, command lines, CSV files and JSON that Hypothesis makes up."""

import dataclasses
import json
import shlex
import sys
from urllib.parse import unquote

from captcha_cli import UserError, parse_args
from captcha_config import Config
from captcha_pages.tables import Table
from captcha_predict.console import printable
from captcha_sets.draw import file_label
from captcha_sets.files import verified, with_checksum
from captcha_sets.labels import csv_labels, wrong
from captcha_sets.manifest import DRAWING_FIELDS, make_command

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

UNCHECKED = [HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow]
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=UNCHECKED)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def in_range(name: str) -> st.SearchStrategy:
    """Values that a field of the config may have."""
    field = FIELDS[name]
    low, high = field.metadata["low"], field.metadata["high"]
    one = st.floats(low, high) if isinstance(low, float) or field.type is float else st.integers(low, high)
    return one if field.type in (int, float) else st.lists(one, min_size=1, max_size=4).map(tuple)


RANGED = [name for name, field in FIELDS.items() if field.metadata["low"] is not None]


@QUICK
@given(st.sampled_from(sorted(FIELDS)), VALUES)
def test_any_value_of_a_config_is_accepted_as_it_is_or_refused(name, value):
    try:
        config = Config.from_dict({name: value})
    except UserError as error:
        assert name in str(error) or "characters" in str(error)
    else:
        assert Config.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@QUICK
@given(st.data())
def test_what_a_command_says_is_what_its_options_are_read_as(data):
    """The command that an error advises makes captchas of exactly this config."""
    names = [name for name in DRAWING_FIELDS if name in RANGED]
    values = data.draw(st.fixed_dictionaries({}, optional={name: in_range(name) for name in names}))
    try:
        config = Config.from_dict(values)
    except UserError:
        assume(False)
    command = shlex.split(make_command("train", config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["captcha_producer.py", *command[command.index("train") + 1 :]])
        again, _ = parse_args("Draw.", (*DRAWING_FIELDS, "train_count", "images_per_shard"))
    assert again == config


@QUICK
@given(st.dictionaries(TEXT, VALUES))
def test_json_with_a_checksum_comes_back_as_it_was(values):
    assume("checksum" not in values)
    assert json.dumps(verified(with_checksum(values))) == json.dumps(values)


@QUICK
@given(st.dictionaries(TEXT, st.integers(), min_size=1), st.data())
def test_json_with_another_value_than_its_checksum_says_is_refused(values, data):
    assume("checksum" not in values)
    written = json.loads(with_checksum(values))
    name = data.draw(st.sampled_from(sorted(values)))
    with pytest.raises(ValueError, match="its checksum is wrong"):
        verified(json.dumps(written | {name: values[name] + 1}))


LABELS = st.dictionaries(TEXT.filter(lambda name: name.isprintable() and "/" not in name and name.strip(".")), TEXT)


@QUICK
@given(LABELS)
def test_the_import_reads_the_labels_that_the_labelling_page_wrote(tmp_path, labels):
    labels = {file: label for file, label in labels.items() if not wrong(label, Config())}
    path = tmp_path / "labels.csv"
    path.unlink(missing_ok=True)
    table = Table(path, ("file", "label"))
    for file, label in labels.items():
        table.put(file, label)
    assert dict(csv_labels(path) if labels else ()) == labels


@QUICK
@given(st.binary())
def test_any_bytes_are_labels_or_refused_in_one_line(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(b"file,label\n" + content)
    try:
        assert all(file for file, _ in csv_labels(tmp_path / "labels.csv"))
    except UserError as error:
        assert "\n" not in printable(str(error))


@QUICK
@given(TEXT.filter(bool))
def test_any_text_can_be_part_of_a_file_name(text):
    name = file_label(text)
    assert unquote(name) == text and not set(name) & set("/\\_\0")
