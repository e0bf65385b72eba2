"""One declaration of an option makes its form field, its validation, its flag (`--set path=value`) and its line in the docs.

An option is a pydantic field declared with `option(...)`; a group of them is a subclass of `Options`. Everything else here
reads those declarations: `fields(Training)` lists them for a form, `override(document, {"training.lr": "1e-3"})` applies
flags, `validate(RunSpec, document)` turns pydantic's errors into one `Refusal` with a sentence and a field path.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticUndefined

from lab.design.plain.documents import read
from lab.design.plain.message import Message, word
from lab.design.plain.refusal import Refusal


class Options(BaseModel):
    """A group of options: unknown keys are refused, values are never changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False)

    def __init__(self, **document: Any):
        """Raises Refusal, as `validate` does."""
        try:
            super().__init__(**document)
        except ValidationError as error:
            raise _refusal_of(error, "", type(self)) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # groups within this one are validated as without it

    @model_validator(mode="before")
    @classmethod
    def _no_flag_is_a_number(cls, document: Any) -> Any:
        """true is not 1, as which pydantic takes it."""
        for name, info in cls.model_fields.items() if isinstance(document, dict) else ():
            if not isinstance(document.get(name), bool):
                continue
            kinds = {info.annotation, *get_args(info.annotation)}
            if bool not in kinds and kinds & {int, float}:
                extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
                label = str(extra.get("label") or name.replace("_", " "))
                wanted = Message("a whole number" if int in kinds else "a number")
                raise Refusal(
                    "{option} must be {wanted}; it is {given}.", name, option=word(label[:1].upper() + label[1:]), wanted=wanted, given=document[name]
                )
        return document


def option(default: Any = ..., *, help: str, label: str = "", symbol: str = "", unit: str = "", zh: str = "", shape: str = "", **bounds: Any) -> Any:
    """Declare one option. `label` is the field's term, `symbol` the paper's letter, `zh` the Chinese term, `shape` what its `pattern` asks for, in words.

    `bounds` go to pydantic (`ge`, `gt`, `le`, `lt`, `max_length`, `pattern`, `default_factory` ...).
    """
    extra: dict[str, Any] = {key: value for key, value in (("label", label), ("symbol", symbol), ("unit", unit), ("zh", zh), ("shape", shape)) if value}
    if "default_factory" not in bounds:
        bounds["default"] = default
    return Field(description=help, json_schema_extra=extra, **bounds)


@dataclass(frozen=True)
class OptionField:
    """What a form, a flag or a line of docs needs to know about one option."""

    path: str  # dotted, from the root of the document
    kind: str  # "number", "integer", "choice", "flag", "text" or "list"
    default: Any
    help: str
    label: str
    symbol: str
    unit: str
    zh: str
    choices: tuple[str, ...] = ()  # of a list: those of its entries
    minimum: float | None = None
    maximum: float | None = None
    optional: bool = False  # None is a value


def fields(group: type[Options], prefix: str = "") -> Iterator[OptionField]:
    """The options of a group in their order of declaration, groups inside it flattened with dotted paths."""
    for name, info in group.model_fields.items():
        annotation, optional = _strip_none(info.annotation)
        if isinstance(annotation, type) and issubclass(annotation, Options):
            yield from fields(annotation, f"{prefix}{name}.")
            continue
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        bound = {key: getattr(m, key) for m in info.metadata for key in ("ge", "gt", "le", "lt") if getattr(m, key, None) is not None}
        default = info.get_default(call_default_factory=True)
        yield OptionField(
            path=prefix + name,
            kind=_kind(annotation),
            default=None if default is PydanticUndefined else default,
            help=info.description or "",
            label=str(extra.get("label") or name.replace("_", " ")),
            symbol=str(extra.get("symbol", "")),
            unit=str(extra.get("unit", "")),
            zh=str(extra.get("zh", "")),
            choices=_choices(annotation),
            minimum=bound.get("ge", bound.get("gt")),
            maximum=bound.get("le", bound.get("lt")),
            optional=optional,
        )


def _strip_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        optional = len(rest) < len(get_args(annotation))
        return (rest[0] if len(rest) == 1 else annotation), optional
    return annotation, False


def _choices(annotation: Any) -> tuple[str, ...]:
    """The words that a choice, or each entry of a list, is one of."""
    inner = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    return tuple(map(str, get_args(inner))) if get_origin(inner) is Literal else ()


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return "choice"
    if origin in (list, tuple, set, dict):
        return "list"
    return {bool: "flag", int: "integer", float: "number"}.get(annotation, "text")


Group = TypeVar("Group", bound=BaseModel)


def validate(group: type[Group], document: Any, prefix: str = "") -> Group:
    """Build `group` from a plain document, or raise one `Refusal` that names the field and says what to change."""
    try:
        return group.model_validate(document)
    except ValidationError as error:
        raise _refusal_of(error, prefix, group) from None


def _refusal_of(error: ValidationError, prefix: str, group: type[BaseModel]) -> Refusal:
    errors = error.errors(include_url=False)
    meant = [each for each in errors if not (each["type"] == "string_type" and isinstance(each["input"], dict))]  # of a name or a document, the document
    return _as_refusal((meant or errors)[0], prefix, group)


def _as_refusal(error: Any, prefix: str, group: type[BaseModel]) -> Refusal:
    branches, tags, where = _branches(group), _tags(group), error["loc"]
    kept = [part for before, part in zip(("", *where), where, strict=False) if part not in branches and (before, part) not in tags]
    path = prefix + ".".join(str(part) for part in kept if not str(part).startswith(("function-", "tagged-")))
    inner = error.get("ctx", {}).get("error")
    if isinstance(inner, Refusal):  # a validator of ours already wrote the sentence
        return Refusal(inner.sentence, ".".join(filter(None, (path, inner.field))))
    extra = getattr(_info_at(group, where), "json_schema_extra", None) or {}
    words_of = [part for part in path.split(".") if not _is_index(part)]  # of an entry of a list, the list
    name = str(extra.get("label") or (words_of[-1] if words_of else "").replace("_", " ") or group.__name__)
    given, context = error.get("input"), error.get("ctx", {})
    kind = error["type"]
    if kind == "extra_forbidden":
        known = ", ".join(_names_at(group, error["loc"]))
        return Refusal("There is no option '{path}'; there are {known}." if known else "There is no option '{path}'.", path, path=path, known=known)
    if kind == "missing":
        return Refusal("'{path}' is missing.", path, path=path)
    words = {
        "greater_than_equal": "at least {ge}", "greater_than": "more than {gt}", "less_than_equal": "at most {le}",
        "less_than": "less than {lt}", "int_parsing": "a whole number", "int_type": "a whole number", "int_from_float": "a whole number",
        "float_parsing": "a number", "float_type": "a number", "finite_number": "a finite number", "bool_parsing": "true or false",
        "bool_type": "true or false", "literal_error": "one of {expected}", "string_unicode": "text without half a letter (a lone surrogate)",
        "int_parsing_size": "a whole number of fewer digits", "list_type": "a list",
        "string_too_short": "at least {min_length} characters long", "string_too_long": "at most {max_length} characters long",
        "too_long": "at most {max_length} entries long", "too_short": "at least {min_length} entries long",
        "dict_type": "a group of options", "model_type": "a group of options", "model_attributes_type": "a group of options",
    }  # fmt: skip
    option, short = word(name[:1].upper() + name[1:]), not isinstance(given, (dict, list))
    values = {"option": option, "given": repr(given) if isinstance(given, str) else given} if short else {"option": option}
    if kind == "string_type":
        return Refusal("{option} must be text; it is {given}." if short else "{option} must be text.", path, **values)
    if kind == "string_pattern_mismatch":
        wanted = word(extra.get("shape", "written in another way"))
    elif kind in words:
        context = {key: f"{value:,.12g}" if isinstance(value, (int, float)) else value for key, value in context.items() if f"{{{key}}}" in words[kind]}
        wanted = Message(words[kind], **context)
    else:
        return Refusal("{option}: {reason}; it is {given}." if short else "{option}: {reason}.", path, **values, reason=error["msg"])
    return Refusal("{option} must be {wanted}; it is {given}." if short else "{option} must be {wanted}.", path, **values, wanted=wanted)


def _info_at(group: Any, location: tuple) -> Any:
    """The declaration of the option at which an error is; None where there is none."""
    open_, found = [group], None
    for part in location:
        declared = [info for one in open_ if (info := getattr(one, "model_fields", {}).get(part)) is not None]
        if declared:
            found, open_ = declared[0], [kind for info in declared for kind in _groups_in(info.annotation)]
    return found


def _groups_in(annotation: Any) -> list[type[BaseModel]]:
    """The groups of options that a field's type has in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [group for part in get_args(annotation) for group in _groups_in(part)]


@functools.cache
def _branches(group: type[BaseModel]) -> frozenset[str]:
    """What pydantic puts into the place of an error in a field of several types: the type's name."""
    kinds_of = [(get_args(kind) or (kind,))[0] if get_origin(kind) is list else kind for kind in (field.annotation for field in group.model_fields.values())]
    several = [get_args(kind) for kind in kinds_of if get_origin(kind) is Union]
    return frozenset(kind.__name__ for kinds in several for kind in kinds if isinstance(kind, type))


@functools.cache
def _tags(group: type[BaseModel]) -> frozenset[tuple[str, str]]:
    """(field, tag) of every field in it or below it whose value is one of several groups, told apart by a name: pydantic puts the name into the place."""
    found: set[tuple[str, str]] = set()
    for name, field in group.model_fields.items():
        open_ = [field.annotation]
        while open_:
            kind = open_.pop()
            open_ += [part for part in get_args(kind) if not isinstance(part, str)]
            for discriminator in (getattr(part, "discriminator", None) for part in getattr(kind, "__metadata__", ())):
                found |= {(name, each.model_fields[discriminator].default) for each in get_args(get_args(kind)[0]) if discriminator}
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not group:
                found |= _tags(kind)
    return frozenset(found)


def _names_at(group: Any, location: tuple) -> list[str]:
    """The option names that were possible where an unknown one was given."""
    for part in location[:-1]:
        if isinstance(part, int):
            continue
        info = getattr(group, "model_fields", {}).get(part)
        if info is None:
            continue
        group, _ = _strip_none(info.annotation)
        while get_origin(group) in (list, tuple) and get_args(group):
            group = get_args(group)[0]
    return list(getattr(group, "model_fields", {}))


def override(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a plain document with values set by dotted path: `{"deltas.0.rank": 16}`.

    Text values are read as YAML scalars, so `--set training.lr=1e-3` gives a number. A number in a path addresses a list;
    one past its end appends. Raises `Refusal` for a path that runs through a plain value or past a list's end.
    """
    result = _copy(document)
    for path, value in changes.items():
        target: Any = result
        *parents, last = path.split(".")
        for depth, part in enumerate(parents):
            follows = (*parents, last)[depth + 1]
            target = _step(target, part, ".".join(parents[: depth + 1]), [] if _is_index(follows) else {})
        _assign(target, last, parse_value(value), path)
    return result


def parse_value(text: Any) -> Any:
    """The value that a flag's text stands for; what is not text is returned as it is."""
    if not isinstance(text, str):
        return text
    try:
        value = read(text)
    except Refusal:
        return text
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(value) if any(c.isdigit() for c in value) and "_" not in value else value
        except ValueError:
            return value
    return value if isinstance(value, (int, float, bool, list, dict, type(None))) else text


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, (list, tuple)) else value


def _step(target: Any, part: str, path: str, empty: Any) -> Any:
    if isinstance(target, list):
        return target[_index(target, part, path)]
    if isinstance(target, dict):
        if target.get(part) is None:
            target[part] = empty
        return target[part]
    raise Refusal("'{path}' goes through a plain value, so nothing can be set below it.", path, path=path)


def _assign(target: Any, part: str, value: Any, path: str) -> None:
    if isinstance(target, list):
        if part == str(len(target)):
            target.append(value)
        else:
            target[_index(target, part, path)] = value
    elif isinstance(target, dict):
        target[part] = value
    else:
        raise Refusal("'{path}' goes through a plain value, so nothing can be set below it.", path, path=path)


def _is_index(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) < 10


def _index(target: list, part: str, path: str) -> int:
    if not _is_index(part) or int(part) >= len(target):
        raise Refusal("'{path}' does not exist: entries of that list count from 0, and it has {count}.", path, path=path, count=len(target))
    return int(part)
