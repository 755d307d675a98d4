"""What users write, checked in one way: YAML text → plain values → the dataclass that says what may stand there."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails, PydanticCustomError

from fermoe.errors import UserError, shortened

T = TypeVar("T")

DEEPEST, MOST = 50, 100_000  # levels and values of one YAML text; a study file has four and a few hundred

Whole = Annotated[int, Field(ge=0)]
"""A whole number from 0."""


def one_of(choices: Callable[[], Collection[str]]) -> AfterValidator:
    """What `Annotated[str, …]` says of a name out of `choices`; they are asked for at each check, since some grow."""

    def check(value: str) -> str:
        if value not in choices():
            raise PydanticCustomError("choice", "choose from {choices}", {"choices": ", ".join(choices())})
        return value

    return AfterValidator(check)


def checked(kind: type[T], values: Mapping[str, Any], *, where: str | Path | None = None) -> T:
    """`kind(**values)` after every value was found to be what the dataclass `kind` says, without any conversion.

    Raises:
        UserError: an unknown or a missing key, or a value that cannot stand there: the first of them, in one line.
    """
    model = _model(kind)  # type: ignore[arg-type]  # a class is hashable
    try:
        model.model_validate(dict(values))
    except ValidationError as error:
        what, fix = _in_words(error.errors(include_url=False)[0], list(model.model_fields))
        raise UserError(what, where=where, fix=fix) from None
    return kind(**values)


@functools.cache
def _model(kind: type) -> type[BaseModel]:
    """The dataclass as a pydantic model that only looks: strict, closed, every default None."""
    hints = get_type_hints(kind, include_extras=True)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        fields[field.name] = (hints[field.name], ... if needed else None)
    config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())
    return create_model(kind.__name__, __config__=config, **fields)


_FIXES = {
    "string_type": "give text",
    "int_type": "give a whole number",
    "float_type": "give a number",
    "bool_type": "give true or false",
    "greater_than_equal": "give a number of at least {ge}",
    "less_than_equal": "give a number of at most {le}",
    "too_short": "give at least {min_length}",
    "string_too_short": "give text that is not empty",
    "choice": "choose from {choices}",
}
"""By pydantic's name of what is wrong: what to do."""


def _in_words(error: ErrorDetails, known: list[str]) -> tuple[str, str]:
    """One of pydantic's errors as (what is wrong, what to do)."""
    place = ".".join(str(part) for part in error["loc"] if not str(part).startswith("function-"))
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key '{shortened(place)}'", f"choose from {', '.join(known)}"
    if kind == "missing":
        return f"key '{place}' is missing", "write it, such as in notebooks/studies/quick.yaml"
    fix = _FIXES[kind].format(**context) if kind in _FIXES else None
    if fix is None and ("list" in kind or "tuple" in kind or "sequence" in kind):
        fix = "give a list, such as [a, b]"
    if fix is None and ("dict" in kind or "mapping" in kind):
        fix = "write key: value pairs under it"
    return f"{shortened(place)} is {shortened(error['input'])}", fix or error["msg"].lower()


class _Loader(yaml.SafeLoader):
    """Text, numbers, true and false, lists and mappings: dates stay text, and other tags are refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    what = f"key '{shortened(key.value)}' stands there twice"
                    raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_KEPT = ("null", "bool", "int", "float", "str", "seq", "map")
_Loader.yaml_constructors = {
    **{f"tag:yaml.org,2002:{name}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{name}"] for name in _KEPT},
    None: yaml.SafeLoader.yaml_constructors[None],
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str, where: str | Path | None = None) -> Any:
    """YAML text as None, bool, int, float, str, lists, and mappings with text for keys.

    Raises:
        yaml.YAMLError: the text is not YAML.
        UserError: it is, but a key stands there twice, a value has another type, is too large, or holds itself.
    """
    try:
        value = yaml.load(text, _Loader)  # a SafeLoader, made smaller
        _refuse_strange(value)
    except yaml.constructor.ConstructorError as error:
        at = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{error.problem}{at}", where=where, fix="write text, numbers, lists and keys only") from None
    except (ValueError, KeyError, AttributeError, TypeError, IndexError, OverflowError) as error:
        reason = str(error).partition(";")[0]
        raise UserError(f"a value cannot be read ({reason})", where=where, fix="correct or remove it") from None
    except RecursionError:
        raise UserError("it is nested too deeply", where=where, fix="write it flat") from None
    return value


def _refuse_strange(value: Any) -> None:
    """ValueError for what no configuration holds: aliases may let a few lines stand for millions of values."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > MOST or depth > DEEPEST:
            raise ValueError("more values or levels than any study has, or one that holds itself")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"the key {shortened(key)} is not text: put it in quotes")
            waiting += [(inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError(f"{shortened(value)} is too large")
        elif isinstance(value, str) and "\0" in value:
            raise ValueError("a text holds a zero byte")
