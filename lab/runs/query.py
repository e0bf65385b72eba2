"""A small language that says which runs: `accuracy > 0.78 and method = lora*`. Parsed here once for the pages, the terminal and the API.

    query      := any                               nothing at all: every run
    any        := every ("or" every)*
    every      := each (["and"] each)*              two conditions beside each other must both hold
    each       := "not" each | "(" any ")" | condition
    condition  := name ("=" | "!=" | "<" | "<=" | ">" | ">=") value
                | name ["not"] "in" "(" value ("," value)* ")"
                | value                             a text that stands in a run's name, id, tags, method or task
    value      := word | "quoted" | 'quoted' | number [unit]

Names are those of columns, settings and metrics (`lab.results.table`). A word may have * for any letters, a quoted text stands as it is;
case does not matter. Units: kB MB GB TB and KiB MiB GiB, k M G, ms s min h d, %. `none` is no value at all. A run without a value fulfils no
comparison, and `!=` is `not =`. Of a name with several values (tags, ranks of several deltas) one has to fulfil it.
Nothing of a query is ever run as code; one of more than LETTERS letters, TERMS conditions or DEPTH nested brackets is refused.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lab.design.plain.message import word
from lab.design.plain.refusal import Refusal

LETTERS, TERMS, DEPTH, VALUE_LETTERS = 2_000, 100, 30, 200
FIELD = "where"  # of a refusal
SIGNS = ("<=", ">=", "!=", "==", "=", "<", ">", "(", ")", ",")
WIDE = str.maketrans("（），＝＞＜！“”‘’％　", "(),=><!\"\"''% ")  # as a Chinese keyboard writes them; one letter for one
UNITS: dict[str, tuple[float, str]] = {  # unit in small letters: (factor, kind)
    "b": (1, "bytes"), "kb": (1e3, "bytes"), "mb": (1e6, "bytes"), "gb": (1e9, "bytes"), "tb": (1e12, "bytes"),
    "kib": (2**10, "bytes"), "mib": (2**20, "bytes"), "gib": (2**30, "bytes"), "tib": (2**40, "bytes"),
    "k": (1e3, "count"), "m": (1e6, "count"), "g": (1e9, "count"),
    "ms": (1e-3, "seconds"), "s": (1, "seconds"), "min": (60, "seconds"), "h": (3600, "seconds"), "d": (86400, "seconds"),
    "%": (1, "percent"),
}  # fmt: skip
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([a-z%]*)", re.IGNORECASE | re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

Values = Callable[[str], Sequence[Any]]  # what a run has under a name: any number of values


class Token(NamedTuple):
    """A piece of a query. `kind`: word, quoted, sign or end; `at`: its first letter, counted from 1."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class Literal:
    """A value as it was written, and as a number (in its unit's base) where it is one. `kind`: of its unit, "" without."""

    text: str
    at: int
    quoted: bool = False
    number: float | None = None
    kind: str = ""


@dataclass(frozen=True)
class Condition:
    """`name sign value`; of a text alone, `name` is ""."""

    name: str
    at: int
    sign: str
    values: tuple[Literal, ...]

    def holds(self, values: Values) -> bool:
        """Whether a run with these values fulfils it."""
        if not self.name:
            return any(str(self.values[0].text).casefold() in str(found).casefold() for found in values(""))
        found = values(self.name)
        if self.sign in ("=", "!="):
            return any(_equal(found, each, self.name) for each in self.values) is (self.sign == "=")
        return any(_ordered(one, self.sign, self.values[0], self.name) for one in found)


@dataclass(frozen=True)
class Joined:
    """`how`: and, or, not."""

    how: str
    parts: tuple[Joined | Condition, ...]

    def holds(self, values: Values) -> bool:
        """Whether a run with these values fulfils it."""
        if self.how == "not":
            return not self.parts[0].holds(values)
        return (all if self.how == "and" else any)(part.holds(values) for part in self.parts)


@dataclass(frozen=True)
class Query:
    """A parsed query. `text`: as it was written."""

    text: str
    root: Joined | Condition | None

    def holds(self, values: Values) -> bool:
        """Whether a run with these values is meant."""
        return self.root is None or self.root.holds(values)

    def conditions(self) -> Iterator[Condition]:
        """Every comparison in it, from left to right; texts alone left out."""
        waiting: list[Joined | Condition] = [self.root] if self.root else []
        while waiting:
            part = waiting.pop()
            if isinstance(part, Joined):
                waiting += reversed(part.parts)
            elif part.name:
                yield part

    @property
    def names(self) -> dict[str, int]:
        """{name: where it first stands} of all that it compares."""
        found: dict[str, int] = {}
        for condition in self.conditions():
            found.setdefault(condition.name, condition.at)
        return found


def parse(text: Any) -> Query:
    """The query that a text is. Raises Refusal with the place where it ends to be one."""
    if not isinstance(text, str):
        raise Refusal("A query must be a text.", FIELD)
    if len(text) > LETTERS:
        raise Refusal("A query may have {most:,} letters; this one has {count:,}.", FIELD, most=LETTERS, count=len(text))
    return Query(text, _Parser(list(_tokens(text))).whole())


def _tokens(text: str) -> Iterator[Token]:
    narrow, at = text.translate(WIDE), 0
    while at < len(narrow):
        letter = narrow[at]
        if letter.isspace():
            at += 1
            continue
        if letter in "\"'":
            end = narrow.find(letter, at + 1)
            if end < 0:
                raise Refusal("The quotation mark at letter {at} has no other one that ends it.", FIELD, at=at + 1)
            yield Token("quoted", text[at + 1 : end], at + 1)
            at = end + 1
            continue
        sign = next((each for each in SIGNS if narrow.startswith(each, at)), "")
        end = at + len(sign)
        if not sign:
            while end < len(narrow) and not narrow[end].isspace() and narrow[end] not in "\"'()=<>!,":
                end += 1
            if end == at:  # a ! by itself
                raise Refusal("The '{letter}' at letter {at} says nothing here: write != for other than.", FIELD, letter=letter, at=at + 1)
        yield Token("sign" if sign else "word", sign or text[at:end], at + 1)
        at = end
    yield Token("end", "", len(text) + 1)


class _Parser:
    def __init__(self, tokens: list[Token]):
        self.tokens, self.place, self.terms = tokens, 0, 0

    @property
    def now(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def word(self, *words: str) -> bool:
        """Whether one of these words of the language comes next."""
        return self.now.kind == "word" and self.now.text.lower() in words

    def sign(self, *signs: str) -> bool:
        return self.now.kind == "sign" and self.now.text in signs

    def whole(self) -> Joined | Condition | None:
        if self.now.kind == "end":
            return None
        found = self.either(0)
        if self.now.kind != "end":
            raise Refusal("The '{text}' at letter {at} does not belong there.", FIELD, text=self.now.text, at=self.now.at)
        return found

    def either(self, depth: int) -> Joined | Condition:
        parts = [self.every(depth)]
        while self.word("or"):
            self.take()
            parts.append(self.every(depth))
        return parts[0] if len(parts) == 1 else Joined("or", tuple(parts))

    def every(self, depth: int) -> Joined | Condition:
        parts = [self.each(depth)]
        while self.now.kind != "end" and not self.word("or") and not self.sign(")"):
            if self.word("and"):
                self.take()
            parts.append(self.each(depth))
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def each(self, depth: int) -> Joined | Condition:
        if depth > DEPTH:
            raise Refusal("The brackets at letter {at} are nested deeper than {most}.", FIELD, at=self.now.at, most=DEPTH)
        if self.word("not"):
            self.take()
            return Joined("not", (self.each(depth + 1),))
        if self.sign("("):
            opened = self.take()
            found = self.either(depth + 1)
            if not self.sign(")"):
                raise Refusal("The bracket at letter {at} is never closed.", FIELD, at=opened.at)
            self.take()
            return found
        return self.condition()

    def condition(self) -> Condition:
        self.terms += 1
        if self.terms > TERMS:
            raise Refusal("A query may have {most} conditions.", FIELD, most=TERMS)
        if self.word("and", "or", "in") or self.now.kind not in ("word", "quoted"):
            self.lacking("a condition")
        first = self.take()
        if self.sign("=", "==", "!=", "<", "<=", ">", ">="):
            sign = self.take().text.replace("==", "=")
            found = Condition(self.name(first), first.at, sign, (self.value(sign),))
            self.end_of_value()
            return found
        if self.word("in") or self.word("not") and self.tokens[self.place + 1].text.lower() == "in":
            sign = "!=" if self.take().text.lower() == "not" else "="
            if sign == "!=":
                self.take()
            return Condition(self.name(first), first.at, sign, self.listed())
        return Condition("", first.at, "has", (Literal(first.text[:VALUE_LETTERS], first.at, True),))

    def name(self, token: Token) -> str:
        if not token.text:
            raise Refusal("There is no name between the quotation marks at letter {at}.", FIELD, at=token.at)
        return token.text

    def listed(self) -> tuple[Literal, ...]:
        if not self.sign("("):
            self.lacking("( and a list")
        opened, found = self.take(), [self.value("=")]
        while self.sign(","):
            self.take()
            found.append(self.value("="))
        if not self.sign(")"):
            raise Refusal("The bracket at letter {at} is never closed.", FIELD, at=opened.at)
        self.take()
        return tuple(found)

    def value(self, sign: str) -> Literal:
        if self.now.kind not in ("word", "quoted"):
            self.lacking("a value")
        token = self.take()
        if token.kind == "quoted":
            return Literal(token.text[:VALUE_LETTERS], token.at, True)
        if _DATE.fullmatch(token.text) and _day(token.text) is None:
            raise Refusal("'{text}' at letter {at} is no day of the calendar; in quotation marks it is a text.", FIELD, text=token.text, at=token.at)
        found = _NUMBER.fullmatch(token.text.translate(WIDE))
        if found is None or not math.isfinite(float(found[1])):
            if sign not in ("=", "!=") and not _DATE.fullmatch(token.text):
                raise Refusal(
                    "'{text}' at letter {at} is no number, so nothing is less than it."
                    if "<" in sign
                    else "'{text}' at letter {at} is no number, so nothing is more than it.",
                    FIELD,
                    text=token.text[:40],
                    at=token.at,
                )
            return Literal(token.text[:VALUE_LETTERS], token.at)
        unit = found[2]
        if not unit and self.now.kind == "word" and self.now.text.lower().translate(WIDE) in UNITS:
            unit = self.take().text
        elif unit and unit.lower() not in UNITS:
            if sign in ("=", "!="):  # a name may begin with a digit
                return Literal(token.text[:VALUE_LETTERS], token.at)
            raise Refusal(
                "'{unit}' at letter {at} is no unit; there are kB, MB, GB, GiB, k, M, G, ms, s, min, h, d and %.",
                FIELD,
                unit=unit[:40],
                at=token.at + len(found[1]),
            )
        factor, kind = UNITS[unit.lower().translate(WIDE)] if unit else (1.0, "")
        return Literal(token.text, token.at, False, float(found[1]) * factor, kind)

    def end_of_value(self) -> None:
        """Raise Refusal where a word follows that would silently be another condition: a unit that is none, or a text without its quotation marks."""
        after = self.tokens[min(self.place + 1, len(self.tokens) - 1)]
        if self.now.kind != "end" and self.now.kind != "sign" and not self.word("and", "or", "not") and not (
            after.kind == "sign" and after.text not in "()," or after.kind == "word" and after.text.lower() in ("in", "not")):  # fmt: skip
            raise Refusal(
                "'{text}' at letter {at} does not belong to the value before it: write 'and' between them, or the words in quotation marks.",
                FIELD,
                text=self.now.text[:40],
                at=self.now.at,
            )

    def lacking(self, what: str) -> None:
        if self.now.kind == "end":
            raise Refusal("At the end of the query {what} is lacking.", FIELD, what=word(what))
        raise Refusal("At letter {at}, before '{text}', {what} is lacking.", FIELD, at=self.now.at, text=self.now.text[:40], what=word(what))


def _share(name: str) -> bool:
    """Whether a column is kept in percent, so that its % is not a hundredth."""
    return name.lower().endswith("percent")


def _number(literal: Literal, name: str) -> float | None:
    return literal.number / 100 if literal.number is not None and literal.kind == "percent" and not _share(name) else literal.number


def _day(text: str) -> tuple[float, float] | None:
    """The seconds since 1970 at which a day begins and ends here."""
    try:
        begin = datetime.datetime.strptime(text, "%Y-%m-%d")
        return begin.timestamp(), (begin + datetime.timedelta(days=1)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(found: Sequence[Any], literal: Literal, name: str) -> bool:
    if literal.text.lower() == "none" and not literal.quoted:
        return all(one is None for one in found)
    return any(_same(one, literal, name) for one in found if one is not None)


def _same(value: Any, literal: Literal, name: str) -> bool:
    if isinstance(value, bool):
        return str(value).lower() == literal.text.lower()
    if _is_number(value):
        if (day := _day(literal.text)) is not None and _DATE.fullmatch(literal.text):
            return day[0] <= value < day[1]
        wanted = _number(literal, name)
        return wanted is not None and math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-12)
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.casefold() == literal.text.casefold() if literal.quoted else like(text, literal.text)


def _ordered(value: Any, sign: str, literal: Literal, name: str) -> bool:
    if not _is_number(value) or not math.isfinite(value):
        return False
    if literal.number is None:
        day = _day(literal.text)
        return day is not None and {"<": value < day[0], "<=": value < day[1], ">": value >= day[1], ">=": value >= day[0]}[sign]
    wanted = _number(literal, name) or 0.0
    return {"<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted}[sign]


def like(text: str, pattern: str) -> bool:
    """Whether a text is that of a pattern with * for any letters; in time that is linear in the text for each part of the pattern."""
    text, first, *others = text.casefold(), *pattern.casefold().split("*")
    if not others:
        return text == first
    *middle, last = others
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def units_of(query: Query) -> Iterator[tuple[Condition, Literal]]:
    """Every value of a query that has a unit, with its condition."""
    for condition in query.conditions():
        for literal in condition.values:
            if literal.kind:
                yield condition, literal
