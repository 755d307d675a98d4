"""What users write is taken as it stands or refused in one line that says what, where and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import yaml

from fermoe.errors import UserError, shortened
from fermoe.schema import Whole, checked, one_of, parse_yaml
from tests.helpers.trees import refused

COLOURS = ["red"]


Colour = Annotated[str, one_of(lambda: COLOURS)]


@dataclass(frozen=True)
class Example:
    name: str
    colours: Sequence[Colour] = ()
    count: Whole = 0
    rate: float = 0.5
    options: Mapping[str, Any] = field(default_factory=dict)
    root: str | None = None


def test_values_are_kept_as_they_were_given() -> None:
    example = checked(Example, {"name": "x", "rate": 1, "colours": ["red"], "options": {"a": [1]}})
    assert example == Example("x", ["red"], rate=1, options={"a": [1]})
    assert type(example.rate) is int  # a run's id is a hash of its values: nothing is converted


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ("'name' is missing",)),
        ({"name": 5}, ("name is 5", "give text")),
        ({"name": "x", "colour": 1}, ("unknown key 'colour'", "colours")),
        ({"name": "x", "count": True}, ("count is True", "whole number")),
        ({"name": "x", "count": -1}, ("count is -1", "at least 0")),
        ({"name": "x", "count": "3"}, ("count is 3", "whole number")),
        ({"name": "x", "rate": "fast"}, ("rate is fast", "give a number")),
        ({"name": "x", "colours": "red"}, ("colours is red", "give a list")),
        ({"name": "x", "colours": ["red", ["blue"]]}, ("colours.1 is ['blue']", "give text")),
        ({"name": "x", "colours": ["blue"]}, ("colours.0 is blue", "choose from red")),
        ({"name": "x", "options": [1]}, ("options is [1]", "key: value")),
        ({"name": "x", "root": ["a" * 9000]}, ("root is ['aaaa", "…")),
    ],
)
def test_a_wrong_value_is_one_line(values: dict[str, Any], words: tuple[str, ...]) -> None:
    with refused("study.yaml", *words):
        checked(Example, values, where="study.yaml")


def test_choices_that_are_added_later_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.COLOURS", ["red", "blue"])
    assert checked(Example, {"name": "x", "colours": ["blue"]}).colours == ["blue"]


def test_yaml_holds_text_numbers_lists_and_keys() -> None:
    text = "{a: [1, 2.5, true, null, text], b: 2020-01-01, c: &x {d: 1}, e: *x, f: {<<: *x, g: 2}}"
    assert parse_yaml(text) == {
        "a": [1, 2.5, True, None, "text"],
        "b": "2020-01-01",  # a folder may be called so
        "c": {"d": 1},
        "e": {"d": 1},
        "f": {"d": 1, "g": 2},
    }


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1\na: 2", "'a' stands there twice, line 2"),
        ("{b: {a: 1, a: 2}}", "twice"),
        ("9" * 5000, "cannot be read"),
        ("9" * 50, "too large"),
        ('!!int "x"', "cannot be read"),
        ("!!bool x", "cannot be read"),
        ("!!timestamp x", "tag"),
        ("!!binary aGk=", "tag"),
        ("!!python/object/apply:os.system [id]", "tag"),
        ("&a [*a]", "holds itself"),
        ("&a {b: *a}", "holds itself"),
        ("{1: a, b: c}", "the key 1 is not text"),
        ("[" * 3000 + "]" * 3000, "nested"),
        ('"a\\0b"', "zero byte"),
    ],
)
def test_other_yaml_is_one_line(text: str, word: str) -> None:
    with refused(word, "study.yaml"):
        parse_yaml(text, "study.yaml")


def test_a_few_lines_cannot_stand_for_millions_of_values() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with refused("more values"):
        parse_yaml("\n".join(lines), "study.yaml")


def test_what_is_not_yaml_says_so_to_its_caller() -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml("[unclosed")


def test_a_message_is_one_printable_line_however_long_and_strange_its_parts_are() -> None:
    message = str(UserError("a\x1b[31m" + "x" * 9000, where="p\udcff" + "y" * 9000, fix="do\nthis"))
    assert message.isprintable()
    assert len(message) < 1000
    assert message.endswith("]: do this")
    assert shortened(10**5000) == "int"
    assert shortened("abc" * 100, 10) == "abcab…bcabc"
