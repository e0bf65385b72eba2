"""What a file would become, and the tasks there are, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lab.design.plain import numbers
from lab.design.spec.task import TaskSpec
from lab.tasks import FAMILIES
from lab.tasks.importing import Preview
from lab.ui.shell.markup import esc, exact, memory
from lab.ui.words.refusals import refused
from lab.ui.words.table import metric_name, of_preset, say, titled

LABELS, LETTERS, LOST = 12, 1500, 300
COLUMNS = ("data.family", "bench.metric", "data.counted", "data.licence")  # of the table of tasks, after their names
WIDE, TALL, FLOOR = 560, 120, 22  # of the histogram, and the height of its axis


def preview(found: Preview, language: str) -> str:
    """Size, splits, lengths, balance, and examples as a model would get them."""
    word = lambda key, **values: esc(say(language, key, **values))  # noqa: E731
    notes = "".join(f"<li>{esc(refused(language, note))}</li>" for note in found.notes)
    notes = f'<ul class="lab-notes">{notes}</ul>' if notes else ""
    parts = [f"<h3>{word('data.preview')}</h3>{_facts(found, language)}{notes}", f"<h4>{word('data.lengths')}</h4>{_lengths(found, language)}"]
    if found.balance:
        parts.append(f"<h4>{word('data.balance')}</h4>{_balance(found, language)}")
    about = "" if not FAMILIES[found.spec.family].worded else "data.decoder.help.all" if found.format and found.spec.loss_on == "all" else "data.decoder.help"
    examples = "".join(_example(example, about, language) for example in found.examples)
    return "".join(parts) + f'<h4>{word("data.examples")}</h4><div class="lab-examples">{examples}</div>'


def _facts(found: Preview, language: str) -> str:
    splits = " / ".join(count(found.splits.get(split, 0)) for split in ("train", "validation", "test"))
    pairs = [
        ("data.rows", count(found.rows)),
        ("data.size", memory(found.bytes)),
        ("data.splits", splits),
        ("data.dropped", count(found.dropped + found.disputed)),
    ]
    return '<dl class="lab-facts">' + "".join(f"<div><dt>{esc(say(language, key))}</dt><dd>{value}</dd></div>" for key, value in pairs) + "</dl>"


def count(value: int) -> str:
    """A number of rows, whole where it is short."""
    return exact(f"{value:,}" if value < 100_000 else numbers.weights(value), value)


def _lengths(found: Preview, language: str) -> str:
    lengths, limit = found.lengths, found.lengths["limit"]
    unit = say(language, f"data.unit.{lengths['unit']}")
    words = [say(language, "data.length", median=f"{lengths['median']:,}", longest=f"{lengths['longest']:,}", unit=unit)]
    key = "data.cut.none" if not lengths["cut"] else "data.cut"
    words.append(say(language, key, cut=f"{lengths['cut']:,}", rows=f"{lengths['measured']:,}", limit=f"{limit:,}", unit=unit))
    if lengths["measured"] < found.rows:
        words.append(say(language, "data.sampled", rows=f"{lengths['measured']:,}"))
    if lengths["unit"] == "words":
        words.append(say(language, "data.words.help"))
    return f'{_histogram(lengths, unit)}<p class="lab-muted" data-cut="{lengths["cut"]}">{esc(" ".join(words))}</p>'


def _histogram(lengths: dict[str, Any], unit: str) -> str:
    """Bars of how many rows are how long; what the limit cuts off is in another colour, the limit is a line."""
    edges, counts, limit = lengths["edges"], lengths["counts"], lengths["limit"]
    reach, most = max(edges[-1], 1), max(*counts, 1)
    bars = []
    for low, high, rows in zip(edges, edges[1:], counts, strict=False):
        height = 0 if not rows else max(1.5, (TALL - FLOOR - 14) * rows / most)
        kind = "cut" if low >= limit else "part" if high > limit else "kept"
        x, width = WIDE * low / reach, WIDE * (high - low) / reach
        bars.append(f'<rect class="{kind}" x="{x + 0.5:.1f}" y="{TALL - FLOOR - height:.1f}" width="{max(0.5, width - 1):.1f}" height="{height:.1f}">'
                    f"<title>{low + 1:,}–{high:,} {esc(unit)}: {rows:,}</title></rect>")  # fmt: skip
    ticks = "".join(f'<text x="{WIDE * share:.0f}" y="{TALL - 6}" text-anchor="{anchor}">{round(reach * share):,}</text>'
                    for share, anchor in ((0, "start"), (0.25, "middle"), (0.5, "middle"), (0.75, "middle"), (1, "end")))  # fmt: skip
    mark = ""
    if limit < reach:
        x, right = WIDE * limit / reach, limit > 0.8 * reach
        mark = (f'<line x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{TALL - FLOOR}"/>'
                f'<text class="limit" x="{x + (-5 if right else 5):.1f}" y="11" text-anchor="{"end" if right else "start"}">{limit:,}</text>')  # fmt: skip
    return (f'<svg class="lab-lengths" viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{esc(unit)}">{"".join(bars)}'
            f'<path d="M0 {TALL - FLOOR}H{WIDE}"/>{ticks}{mark}</svg>')  # fmt: skip


def _balance(found: Preview, language: str) -> str:
    """Rows of each label; the shares are of all rows, so those of rows with several labels add up to more than 100 %."""
    balance = found.balance
    total, most = max(1, found.rows), max(1, *balance.values())
    rows = "".join(
        f'<tr><th scope="row" title="{esc(label)}">{esc(label)}</th><td><span class="lab-share-bar"><i style="width:{100 * rows / most:.1f}%"></i></span></td>'
        f'<td class="right num">{rows:,} · {100 * rows / total:.0f} %</td></tr>'
        for label, rows in list(balance.items())[:LABELS]
    )
    more = f'<p class="lab-muted">{esc(say(language, "data.labels.more", n=len(balance) - LABELS))}</p>' if len(balance) > LABELS else ""
    return f'<table class="lab-labels"><tbody>{rows}</tbody></table>{more}'


def _example(example: dict[str, Any], about: str, language: str) -> str:
    lost, reads = example["lost"], example["reads"]
    rows = []
    for role, value in example.items():
        if role in ("cut", "lost", "reads"):
            continue
        rest = f'<s title="{esc(say(language, "data.lost"))}">{esc(_short(lost[role], LOST))}</s>' if role in lost else ""
        rows.append(f'<tr><th scope="row">{esc(say(language, f"role.{role}"))}</th><td>{esc(_short(_cell(value), LETTERS))}{rest}</td></tr>')
    prompt = f"<code>{esc(_short(reads['prompt'], LETTERS))}<b>{esc(_short(reads['answer'], LETTERS))}</b></code>"
    decoder = (
        f'<details><summary>{esc(say(language, "data.decoder"))}</summary><p class="lab-muted">{esc(say(language, about))}</p>{prompt}</details>'
        if about
        else ""
    )
    return f'<article class="lab-example"><table class="lab-table"><tbody>{"".join(rows)}</tbody></table>{decoder}</article>'


def _cell(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):  # a conversation
        return "\n".join(f"{turn.get('role')}: {turn.get('content')}" for turn in value)
    return " · ".join(map(str, value)) if isinstance(value, list) else str(value)


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[:letters]}…"


def kept(spec: TaskSpec, language: str) -> str:
    """What was imported, with the way to the bench."""
    sentence = say(language, "data.kept", name=spec.name, rows=f"{spec.rows.get('train', 0):,}")
    return f'<p class="lab-said" role="status">{esc(sentence)} <a href="./?task={esc(spec.name)}">{esc(say(language, "data.bench"))}</a></p>'


def row(spec: TaskSpec, language: str) -> dict[str, Any]:
    """An imported task for the list."""
    return {"name": spec.name, "family": say(language, f"family.{spec.family}"), "metric": metric_name(language, spec.main_metric), "about": spec.description,
            "rows": " / ".join(f"{spec.rows.get(split, 0):,}" for split in ("train", "validation", "test")), "labels": ", ".join(spec.labels[:LABELS])}  # fmt: skip


def presets(specs: Sequence[TaskSpec], language: str) -> str:
    """The tasks that come with the lab: those that are here first, then those of the hub."""
    word = lambda key: esc(say(language, key))  # noqa: E731
    heads = "".join(f"<th>{word(key)}</th>" for key in ("data.task", *COLUMNS))
    groups = (("data.here", [spec for spec in specs if not spec.source.hub]), ("data.hub", [spec for spec in specs if spec.source.hub]))
    parts = []
    for key, members in groups:
        rows = "".join(_preset(spec, language) for spec in sorted(members, key=lambda spec: (spec.family, spec.title)))
        parts.append(f'<h4>{word(key)}</h4><p class="lab-muted">{word(key + ".help")}</p><div class="lab-scroll"><table class="lab-table lab-tasks"><thead><tr>{heads}</tr></thead>'
                     f"<tbody>{rows}</tbody></table></div>")  # fmt: skip
    return "".join(parts)


def _preset(spec: TaskSpec, language: str) -> str:
    where = spec.source.hub or spec.source.package.partition("/")[0] or spec.source.bundled
    rows = " / ".join(count(spec.rows[split]) for split in ("train", "validation", "test") if split in spec.rows)
    paper = f" {spec.paper}." if spec.paper else ""
    cells = (esc(say(language, f"family.{spec.family}")), esc(metric_name(language, spec.main_metric)), f'<span class="num">{rows}</span>',
             f"<span>{esc(titled(language, spec.licence))}<small>{esc(where)}</small></span>")  # fmt: skip
    labelled = "".join(
        f'<td data-label="{esc(say(language, key))}">{cell}</td>' for key, cell in zip(COLUMNS, cells, strict=True)
    )  # on a phone there are no heads
    return (f'<tr data-task="{esc(spec.name)}"><th scope="row"><a href="./?task={esc(spec.name)}">{esc(titled(language, spec.title))}</a>'
            f'<small>{esc(of_preset(language, "tasks", spec.name, spec.description))}{esc(paper)}</small></th>{labelled}</tr>')  # fmt: skip
