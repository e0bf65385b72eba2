"""What the columns of a table most likely mean: the family, and which column is what. Torch-free."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from lab.design.plain.message import Message, listed
from lab.design.plain.refusal import Refusal
from lab.tasks import cells
from lab.tasks.chats import columns_of_turns
from lab.tasks.label_sets import as_list, flags_of
from lab.tasks.labelling import MANY, labels_of
from lab.tasks.tables import Table

HINTS = {
    "text_pair": ("text_pair", "sentence2", "text2", "hypothesis", "question2"),
    "text": ("text", "sentence", "sentence1", "text1", "review", "content", "body", "comment", "tweet", "premise", "question1"),
    "label": ("label", "labels", "class", "category", "sentiment", "target", "score", "rating", "stars", "y"),
    "source": ("source", "document", "article", "src", "input", "question", "english", "en", "text", "description"),
    "target": ("target", "summary", "highlights", "translation", "tgt", "answer", "output", "title", "ro", "de", "fr", "es", "zh"),
    "question": ("question", "query", "prompt"), "options": ("options", "choices", "endings"), "answer": ("answer", "label", "answerkey"),
    "instruction": ("instruction", "prompt"), "input": ("input", "context"), "output": ("output", "response", "completion", "answer"),
    "messages": ("messages", "conversations", "conversation"), "system": ("system", "system_prompt"), "tools": ("tools", "functions"), "history": ("history",),
}  # fmt: skip
BETTER, WORSE = "chosen|preferred|accepted|better|winner|win", "rejected|dispreferred|unpreferred|non_preferred|worse|loser|lose"  # columns of preferences
RIVALS = re.compile(r"(response|completion|output|conversation|generation|reply|human_ref)s?_?([abjk]|\d)")  # columns of several answers to one prompt
RANKED = ("responses", "completions", "generations", "replies", "candidates")  # columns with a list of them


def guess(table: Table) -> tuple[str, dict[str, str]]:
    """The family and columns that a table most likely means."""
    refuse_preferences(table)
    names = _names(table)

    def find(role: str, taken: Sequence[str] = ()) -> str | None:
        return next((names[hint] for hint in HINTS[role] if hint in names and names[hint] not in taken), None)

    def also(*roles: str) -> dict[str, str]:
        return {role: column for role in roles if (column := find(role))}

    if found := find("messages"):
        return "instruction", {"messages": found, **also("system", "tools")}
    if "instruction" in names and (output := find("output")):
        return "instruction", {
            "instruction": names["instruction"],
            "output": output,
            **({"input": names["input"]} if "input" in names else {}),
            **also("system", "history", "tools"),
        }
    if "prompt" in names and "options" not in names and (output := next((names[name] for name in ("completion", "response") if name in names), None)):
        return "instruction", {"instruction": names["prompt"], "output": output, **also("system", "tools")}
    options, answer = find("options"), find("answer")
    if options and answer and (_holds(table, options, list) or _lists(table, options)) and (question := find("question", (options, answer))):
        return "commonsense", {"question": question, "options": options, "answer": answer}
    label, several = find("label"), flags_of(table.rows, table.columns)
    if label and any(isinstance(row[label], dict) for row in table.rows):
        labels_of(table, label)  # refuses it
    if label and any(as_list(row[label]) is not None for row in table.rows):
        return _several(table, find, label, (label,))
    if not label and len(several) > 1:
        return _several(table, find, "|".join(several), several)
    if label and _is_class(table, label):
        text = find("text", (label,)) or _longest(table, (label,))
        columns = {"text": text, "label": label} if text else {}
        pair = find("text_pair", (label, text or ""))
        columns = {**columns, "text_pair": pair} if pair and columns else columns
        if columns:
            return ("regression" if _is_measure(table, label) else "classification"), columns
    return _guess_writing(table, find)


def _names(table: Table) -> dict[str, str]:
    """The columns by their small letters; of Text and text the latter."""
    return {column.casefold(): column for column in sorted(table.columns, key=lambda column: column == column.casefold())}


def refuse_preferences(table: Table) -> None:
    """Refusal of what is made for learning from preferences, by name, with what to do."""
    names = _names(table)
    worse = next((names[name] for name in names if re.search(rf"(^|_)({WORSE})(_|$)", name)), None)
    better = next((names[name] for name in names if names[name] != worse and re.search(rf"(^|_)({BETTER})(_|$)", name)), None)
    answer = next((names[name] for name in ("completion", "response", "output") if name in names), None)
    if better and worse:
        turns = columns_of_turns({"output": better}, table.rows)
        what = Message("'{name}' as the messages" if turns else "'{name}' as the output", name=better)
        raise Refusal(
            "'{better}' and '{worse}' are preferences, and the lab learns one answer a row: to learn the better ones, choose the kind instruction, with {what}.",
            "columns",
            better=better,
            worse=worse,
            what=what,
        )
    if answer and "prompt" in names and "label" in names and {str(row[names["label"]]).casefold() for row in table.rows} <= {"true", "false"}:
        raise Refusal("'{answer}' with a true or false '{label}' is unpaired preferences, and the lab learns one answer a row: keep the rows that are true, or choose kind and columns.", "columns", answer=answer, label=names['label'])  # fmt: skip
    rivals = [names[name] for name in names if RIVALS.fullmatch(name)]
    if len(rivals) > 1:
        raise Refusal("{names} are several answers to one prompt, as preferences have them, and the lab learns one answer a row: write the better ones into one column, or choose kind and columns.", "columns", names=listed(map(repr, rivals[:4]), " and "))  # fmt: skip
    if "completions" in names and "labels" in names:
        raise Refusal(
            "'completions' and 'labels' judge every step of an answer, and the lab learns one answer a row: join the steps of right answers, in a column of their own.",
            "columns",
        )
    if ranked := next((names[name] for name in RANKED if name in names and any(len(as_list(row[names[name]]) or ()) > 1 for row in table.rows)), None):
        raise Refusal(
            "'{ranked}' holds several answers to one prompt, as rankings do, and the lab learns one answer a row: write the best ones into a column of texts.",
            "columns",
            ranked=ranked,
        )


def _several(table: Table, find: Any, label: str, taken: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Several labels for a text, in one column or in those of `taken`."""
    text = find("text", taken) or _longest(table, taken)
    pair = find("text_pair", (*taken, text or ""))
    if text is None:
        raise Refusal("No column of text was found among {columns}; say which column is what.", "columns", columns=", ".join(table.columns)[:200])
    return "multi_label", {"text": text, "label": label, **({"text_pair": pair} if pair else {})}


def _guess_writing(table: Table, find: Any) -> tuple[str, dict[str, str]]:
    target = find("target")
    source = find("source", (target,)) if target else None
    if source and target:
        if all("####" in str(row[target]) for row in table.rows[:20]):
            return "math_reasoning", {"source": source, "target": target}
        ratio = sum(len(str(row[target])) for row in table.rows[:200]) / max(1, sum(len(str(row[source])) for row in table.rows[:200]))
        return ("translation" if ratio > 0.6 else "summarization"), {"source": source, "target": target}
    texts = [column for column in table.columns if _holds(table, column, str)]
    rest = [column for column in texts if _is_class(table, column)]
    if len(texts) >= 2 and rest and (text := _longest(table, (rest[0],))):
        return "classification", {"text": text, "label": rest[0]}
    text = find("text") or _longest(table, ())
    if text is None:
        raise Refusal("No column of text was found among {columns}; say which column is what.", "columns", columns=", ".join(table.columns)[:200])
    return "language_modelling", {"text": text}


def _holds(table: Table, column: str, kind: type) -> bool:
    """Whether what a column holds is of a kind, by its first values that are there."""
    found = list(itertools.islice((row[column] for row in table.rows if not cells.missing(row[column])), 20))
    return bool(found) and all(isinstance(value, kind) for value in found)


def _lists(table: Table, column: str) -> bool:
    """Whether a column holds lists as text, as CSV has them."""
    found = list(itertools.islice((as_list(row[column]) for row in table.rows if not cells.missing(row[column])), 20))
    return bool(found) and None not in found


def _is_class(table: Table, column: str) -> bool:
    values = {str(row[column]) for row in table.rows if not cells.missing(row[column])}
    return _is_measure(table, column) or (2 <= len(values) <= min(MANY, max(2, len(table.rows) // 2)))


def _is_measure(table: Table, column: str) -> bool:
    """Whether a column holds measured numbers: all numbers, some with a fraction."""
    try:
        numbers = [float(row[column]) for row in table.rows if not cells.missing(row[column])]
    except (TypeError, ValueError, OverflowError):
        return False
    return any(number != int(number) for number in numbers if abs(number) < 1e15)


def _longest(table: Table, taken: Sequence[str]) -> str | None:
    texts = [column for column in table.columns if column not in taken and _holds(table, column, str)]
    return max(texts, key=lambda column: sum(len(str(row[column])) for row in table.rows[:200]), default=None)
