"""A task made ready for one model: tokenised splits, collation, judging."""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.task import TaskSpec
from lab.tasks import sources
from lab.tasks.families import FAMILIES
from lab.tasks.family import EvaluationLoop, Family, Setting
from lab.tasks.known import LOOKED, require_known
from lab.tasks.rows import Rows

if TYPE_CHECKING:
    import torch

PIECE = 1000  # rows formatted and tokenised at once
ENCODING = 2  # raised when every family's encoding changes: 2 reads control tokens' names in texts as text


class Prepared:
    """What the training loop asks of a task. Splits are tokenised on first use and cached on disk.

    `objective`, `num_labels`, `label_names` say which model to load; `metric` and `greater_is_better` pick the best checkpoint.
    """

    def __init__(self, family: Family, setting: Setting, *, cache_dir: Path | None, seed: int, evaluation_rows: int | None):
        self.family, self.setting, self.spec = family, setting, setting.spec
        self.objective = setting.objective
        self.metric = self.spec.main_metric
        self.greater_is_better = self.spec.greater_is_better
        self.max_length = setting.max_length
        self._cache, self._seed, self._cap = cache_dir, seed, evaluation_rows
        self.tokenised: Callable[[int, int], None] = lambda done, total: None  # told while a split is made: rows done, rows in all

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers; empty where there are none."""
        return self.setting.labels

    @property
    def num_labels(self) -> int | None:
        """Outputs of a task head: labels, 1 for regression, None where no head is needed."""
        return OBJECTIVES[self.objective].outputs(len(self.setting.labels))

    @functools.cached_property
    def train(self) -> Rows:
        """Training rows; `spec.train_rows` of them drawn by the seed, where it is given."""
        return self._split("train", self.spec.train_rows, self._seed)

    @functools.cached_property
    def validation(self) -> Rows:
        """Validation rows, at most `evaluation_rows` or the spec's `validation_rows`: the same ones for every seed."""
        return self._split("validation", self._cap or self.spec.validation_rows, 0)

    @functools.cached_property
    def test(self) -> Rows:
        """Test rows, all of them; empty where the data have no labelled test split."""
        return self._split("test", None, 0)

    def tokenise(self) -> None:
        """Make the splits that a run reads while it trains, unless they are kept from an earlier one."""
        for split in ("train", "validation"):
            getattr(self, split)

    def _split(self, split: str, rows: int | None, seed: int) -> Rows:
        path = self._path(split, rows, seed)
        found = Rows.load(path) if path is not None else None
        if found is not None:
            self._require_known(found)
            return found
        examples = [self.family.format(row, self.spec, number) for number, row in enumerate(self._drawn(split, rows, seed), 1)]
        encoded: list[dict[str, Any]] = []
        piece = len(examples) or 1 if self.family.joins else PIECE
        for start in range(0, len(examples), piece):
            self.tokenised(start, len(examples))
            encoded += self.family.encode(examples[start : start + piece], self.setting, split == "train")
        if split == "train" and not encoded:
            raise Refusal("The task {task} has no training rows.", "task", task=self.spec.name)
        result = Rows.of(encoded)
        self._require_known(result)
        if path is not None:
            result.save(path)
        return result

    def _path(self, split: str, rows: int | None, seed: int, what: str = "") -> Path | None:
        """Where a split is cached, or what was made of it."""
        if self._cache is None:
            return None
        return Path(self._cache) / "tasks" / f"{self.spec.name or self.family.name}-{split}{what}-{self._key(split, rows, seed)[:20]}.npz"

    def _drawn(self, split: str, rows: int | None, seed: int) -> list[sources.Row]:
        """The rows of a split as the data have them, so many of them drawn by the seed."""
        raw = raw_rows(self.spec)[split]
        return raw if rows is None or rows >= len(raw) else [raw[i] for i in sorted(random.Random(seed).sample(range(len(raw)), rows))]

    def _asked(self, n: int) -> Sequence[dict[str, str]]:
        """What a person would type to ask what each of the first n validation rows asks; cached, since for it alone all data would be read."""
        most = self._cap or self.spec.validation_rows
        path = self._path("validation", most, 0, f"-asked{n}")
        found = Rows.load(path) if path is not None else None
        if found is None:
            found = Rows.of([self.family.asked(row, self.spec) for row in self._drawn("validation", most, 0)[:n]])
            if path is not None:
                found.save(path)
        return found

    def _require_known(self, rows: Rows) -> None:
        """Refusal where the tokenizer makes of these texts mostly its token for what it does not know, or nothing at all."""
        tokenizer = self.setting.tokenizer
        others = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        tokens = [token for row in rows[:LOOKED] for token in row.get("input_ids", ()) if token not in others]
        unknown = tokens.count(tokenizer.unk_token_id) if tokenizer.unk_token_id is not None else 0
        if len(rows) and "input_ids" in rows[0]:
            require_known(len(tokens), unknown)

    def _key(self, split: str, rows: int | None, seed: int) -> str:
        """What tokenised rows depend on: the task's facts, its data, the tokenizer, lengths, and how many rows."""
        left_out = {
            "title",
            "description",
            "metric",
            "metrics",
            "generation",
            "licence",
            "paper",
            "rows",
            "train_rows",
            "validation_rows",
        }  # how many rows: `drawn`
        facts = self.spec.model_dump(mode="json", exclude=left_out)
        drawn = (rows, seed) if rows is not None else None
        kinds = getattr(self.setting.config, "type_vocab_size", None)
        parts = [facts, sources.fingerprint(self.spec.source), _tokenizer_print(self.setting.tokenizer), self.objective, self.max_length, self.setting.positions,
                 self.family.version, ENCODING, split, split == "train" or None, drawn, kinds]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode("utf-8")).hexdigest()

    @property
    def told(self) -> list[str]:
        """Sentences for a log: how much of the training rows is cut off."""
        found = int(self.train.column("cut").sum()) if "cut" in self.train else 0
        if not found:
            return []
        return [
            f"{found:,} of {len(self.train):,} training conversations are longer than {self.max_length:,} tokens: their oldest rounds are left out, then their longest turn is cut"
        ]

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """A batch for the model's forward, padded to its longest row; see `lab.tasks.batches.collate`."""
        from lab.tasks.batches import collate

        return collate(rows, self.setting)

    def evaluate(self, model: Any, rows: Rows, *, batch_size: int = 64, device: Any = None, progress: Callable[[int, int], None] | None = None,
                 stopping: Callable[[], bool] | None = None, keep: Callable[[Mapping[str, Any]], None] | None = None) -> dict[str, float]:  # fmt: skip
        """{"loss": mean negative log-likelihood (nats), metric: value, ...}. Raises `Stopped` when `stopping()` turns true.

        `keep` is told what each row came to: see `lab.tasks.answered`.
        """
        if not len(rows):
            raise Refusal("The task {task} has no rows to evaluate on.", "task", task=self.spec.name)
        return self.family.evaluate(model, rows, self._setting(), self._loop(batch_size, device, progress, stopping, keep))

    def passes(self, device: str = "cpu") -> float:
        """What judging a validation row costs, in forward passes over a row: `Family.passes`, by the first rows."""
        rows = self.validation[:LOOKED]
        return self.family.passes(rows, self._setting(), device) if len(rows) else 1.0

    def predictions(self, model: Any, n: int = 8, *, rows: Rows | None = None, batch_size: int = 16, device: Any = None) -> list[dict[str, Any]]:
        """What the model makes of the first n rows: {"input", "prediction", "reference", ...} for display.

        Without `rows` of the held-out ones, each with the "text" (and "pair") that one would type to ask the same (`Family.asked`).
        """
        judged = (self.validation if rows is None else rows)[:n]
        found = self.family.predict(model, judged, self._setting(), self._loop(batch_size, device, None, None)) if len(judged) else []
        asked = self._asked(n) if rows is None else ()
        return [{**one, **typed} for one, typed in zip(found, asked, strict=False)] + found[len(asked) :]

    def _setting(self) -> Setting:
        return replace(self.setting, spec=self.spec)

    @staticmethod
    def _loop(batch_size: int, device: Any, progress: Any, stopping: Any, keep: Any = None) -> EvaluationLoop:
        given = {"progress": progress, "stopping": stopping, "keep": keep}
        return EvaluationLoop(batch_size=batch_size, device=device, **{name: call for name, call in given.items() if call is not None})

    def examples(self, n: int = 5, split: str = "train") -> list[dict[str, Any]]:
        """The first n examples of a split as a page shows them, before tokenising."""
        return examples(self.family, self.spec, n, split)


@functools.lru_cache(maxsize=4)
def _raw(document: str, _print: str) -> dict[str, list[sources.Row]]:
    spec = TaskSpec.model_validate_json(document)
    family = FAMILIES[spec.family]()
    return sources.read(spec, lambda row: family.key(row, spec), lambda row: family.answer(row, spec), family.several)


def raw_rows(spec: TaskSpec) -> dict[str, list[sources.Row]]:
    """The rows of every split as the data have them; kept in memory for the last few tasks. Do not change them."""
    return _raw(spec.model_dump_json(), sources.fingerprint(spec.source))


def examples(family: Family, spec: TaskSpec, n: int, split: str) -> list[dict[str, Any]]:
    """See `Prepared.examples`."""
    rows = raw_rows(spec)[split][:n]
    return [family.show(family.format(row, spec, number), spec) for number, row in enumerate(rows, 1)]


def _tokenizer_print(tokenizer: Any) -> str:
    cached = getattr(tokenizer, "_lab_print", None)
    if cached is None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        words = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
        facts = [words, str(tokenizer.chat_template), str(tokenizer.special_tokens_map), getattr(tokenizer, "src_lang", ""), getattr(tokenizer, "tgt_lang", "")]
        cached = hashlib.sha256("\x1f".join(map(str, facts)).encode("utf-8")).hexdigest()
        tokenizer._lab_print = cached
    return cached
