"""The verbs and their flags. Flags of training come from its one declaration, so a new option is a new flag by itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from lab import __version__
from lab.bin import KINDS
from lab.cli import boards, changing, comparing, completing, describing, reading, removing, running, searching, sending, taking
from lab.cli.request import BUILT_ON, TRAINING
from lab.cli.taking import DELIMITERS
from lab.design.plain.called import program
from lab.design.plain.options import OptionField, fields
from lab.design.plain.refusal import Refusal
from lab.design.presets import tables
from lab.design.spec.board import names as board_names
from lab.design.spec.combination import Combination
from lab.design.spec.run import BuiltOn, RunSpec, Training
from lab.export import FORMATS
from lab.tasks import FAMILIES
from lab.tasks.gathering import HUB_ROWS
from lab.tasks.labelling import APART, MERGE
from lab.ui.door import settings

SETTING = "change one option by its path: deltas.0.rank=16, training.checkpoint_every=10, task.train_rows=500"


class _Parser(argparse.ArgumentParser):
    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise Refusal("{reason}; see {prog} --help.", reason=message[:1].upper() + message[1:].rstrip("."), prog=self.prog)


def parser() -> argparse.ArgumentParser:
    """The parser of `python -m lab`; parsed arguments carry `work`, the function that does the verb."""
    top = _Parser(prog=program(), description="Delta Lab: a lab bench for parameter-efficient fine-tuning.")
    top.add_argument("--version", action="version", version=f"delta-lab {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True, dest="verb")
    for add in (_methods, _models, _tasks, _count, _plan, _run, _sweep, _search, _board, _runs, _show, _stop, _resume, _edit, _duplicate, _delete, _restore, _bin, _compare, _inside, _combine,
                _metrics, _track, _export, _push, _import, _fetch, _doctor, _completion, _serve):  # fmt: skip
        add(verbs)
    return top


def _verb(verbs: Any, name: str, work: Callable, help: str) -> argparse.ArgumentParser:
    added = verbs.add_parser(name, help=help, description=help[:1].upper() + help[1:] + ".")
    added.add_argument("--json", action="store_true", help="print one JSON document on standard output and nothing else")
    added.set_defaults(work=work)
    return added


def _methods(verbs: Any) -> None:
    added = _verb(verbs, "methods", describing.methods, "list the method presets")
    added.add_argument("--family", help="only this family: additive (or only its adapters, soft-prompts, other), selective, reparameterised or unified")


def _models(verbs: Any) -> None:
    _verb(verbs, "models", describing.models, "list the model presets and where their weights are")


def _tasks(verbs: Any) -> None:
    added = _verb(verbs, "tasks", describing.tasks, "list the task presets and the tasks that were imported")
    added.add_argument("--remove", metavar="NAME", help="put an imported task and its copy of the data into the bin")


def _count(verbs: Any) -> None:
    added = _verb(verbs, "count", describing.count, "count the weights that a method trains on a model; no weights are needed")
    added.add_argument("--model", required=True, help="a preset, a local folder or a hub id")
    added.add_argument("--method", required=True, help="a preset, or a YAML file with a method")
    added.add_argument("--set", action="append", metavar="PATH=VALUE", help="change one option of the method by its path: deltas.0.rank=16")


def _spec_flags(added: argparse.ArgumentParser) -> None:
    added.add_argument("--model", help="a preset, a local folder or a hub id")
    packing = next(field for field in fields(RunSpec) if field.path == "quantisation")
    added.add_argument("--quantisation", metavar="{" + ",".join(packing.choices) + "}", help=f"{packing.help} (default {packing.default})")
    added.add_argument("--task", action="append", help="a preset, see `tasks`; given several times, these tasks train together, each with a head of its own")
    added.add_argument("--method", help="a preset, see `methods`, or a YAML file with a method")
    added.add_argument("--spec", metavar="FILE", help="a YAML file with a whole spec, such as a run's spec.yaml; other flags change it")
    added.add_argument("--set", action="append", metavar="PATH=VALUE", help=SETTING)
    added.add_argument("--seed", help="fixes initialisation, data order and dropout (default 0)")
    for title, prefix, options in (("training", TRAINING, Training), ("built on earlier runs", BUILT_ON, BuiltOn)):
        group = added.add_argument_group(title)
        for field in fields(options):
            _spec_flag(group, prefix, field)


def _spec_flag(group: Any, prefix: str, field: OptionField) -> None:
    flag = f"--{field.path.replace('_', '-')}"
    default = "" if field.default in (None, "", []) or field.kind == "flag" else f" (default {field.default:g})" if isinstance(
        field.default, (int, float)) else f" (default {field.default})"  # fmt: skip
    options: dict[str, Any] = {"dest": prefix + field.path, "default": argparse.SUPPRESS, "help": (field.help + default).replace("%", "%%")}
    if field.kind == "flag":
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    else:
        metavar = "{" + ",".join(field.choices) + "}" + ",..." * (field.kind == "list") if field.choices else (field.unit or field.kind).upper()
        group.add_argument(flag, metavar=metavar, **options)


def _labels(added: argparse.ArgumentParser) -> None:
    added.add_argument("--name", help="a name for the run (default: made from method and model)")
    added.add_argument("--tag", action="append", help="a word to find the run by; may be given several times")


def _plan(verbs: Any) -> None:
    added = _verb(
        verbs,
        "plan",
        describing.plan,
        "predict the peak step memory of a run (weights, optimizer state, what a step takes); no weights and no accelerator are needed",
    )
    _spec_flags(added)
    added.add_argument("--fit", type=float, metavar="GB", help="say also what would make it fit into a device of so many GB")
    shape = added.add_argument_group("without a task")
    shape.add_argument("--batch", type=int, help="rows per forward pass")
    shape.add_argument("--tokens", type=int, help="tokens per row")
    shape.add_argument("--target-tokens", type=int, help="tokens per target, on an encoder-decoder")
    shape.add_argument("--dtype", help="of the frozen weights: float32, bfloat16 or float16")
    shape.add_argument("--adapter-dtype", help="of the trained weights")
    shape.add_argument("--use-cache", action=argparse.BooleanOptionalAction, default=True,
                       help="keys and values stay until the backward pass is over, as in scripts that call a model with its defaults; "
                            "the lab's own runs (--task) do without")  # fmt: skip
    shape.add_argument("--checkpointing", action="store_true", help="as --gradient-checkpointing")


def _run(verbs: Any) -> None:
    added = _verb(verbs, "run", running.run, "train one run in a worker process and wait for it; Ctrl-C stops the run")
    _spec_flags(added)
    _labels(added)
    added.add_argument("--detach", action="store_true", help="return at once; the run goes on by itself")


def _sweep(verbs: Any) -> None:
    added = _verb(verbs, "sweep", running.sweep, "queue a run for every point of a grid; they start as slots free up")
    _spec_flags(added)
    _labels(added)
    added.add_argument("--over", action="append", metavar="PATH=V1,V2", help="an axis of the grid: deltas.0.rank=4,8,16, seed=0,1,2 or method=lora,mam")
    added.add_argument(
        "--table",
        metavar="NAME",
        help=f"the rows of a paper's table instead of --method: {', '.join(tables.names())}; without --model and --task where the paper ran it",
    )
    added.add_argument("--list", action="store_true", help="take the first value of each axis, the second of each, ... instead of the grid")
    added.add_argument("--dry-run", action="store_true", help="say what would be queued, with trained weights, and queue nothing")
    added.add_argument("--wait", action="store_true", help="wait for all of them, starting each as a slot frees up")


def _board(verbs: Any) -> None:
    added = _verb(verbs, "board", boards.board, "ask a paper's question again on this machine: run a board or go on with it; without a name list them")
    added.add_argument("board", metavar="BOARD", nargs="?", help=f"one of {', '.join(board_names())}")
    added.add_argument("--results", metavar="DIR", help="where results are kept, a file per board (default: boards in the lab's home)")
    added.add_argument("--minutes", type=float, help="begin nothing new after so many minutes; the next call goes on")
    added.add_argument("--dry-run", action="store_true", help="list the runs that would begin now, and begin none")
    added.add_argument("--write", metavar="FILE", help="write the findings of all boards as Markdown")


def _search(verbs: Any) -> None:
    searching.add_flags(
        _verb(verbs, "search", searching.search, "look for the best design under a budget, with the last rung over seeds and presets beside it")
    )


def _runs(verbs: Any) -> None:
    added = _verb(verbs, "runs", reading.runs, "list runs, newest first")
    added.add_argument("--state", action="append", help="only this state; may be given several times")
    added.add_argument("--tag", help="only with this tag")
    added.add_argument("--words", default="", help="only with these words in the name")
    added.add_argument(
        "--where", default="", metavar="QUERY", help="only those that a query means, as in 'accuracy > 0.78 and method = lora*'; docs/runs.md describes it"
    )
    added.add_argument("--limit", type=int, default=50, help="at most so many (default 50)")


def _show(verbs: Any) -> None:
    added = _verb(verbs, "show", reading.show, "show one run: state, progress, results, its frozen spec")
    added.add_argument("run", metavar="RUN", help="a run's id, the beginning of one, or its name")
    added.add_argument("--log", type=int, metavar="LINES", default=0, help="also the last lines of its log")


def _stop(verbs: Any) -> None:
    added = _verb(verbs, "stop", running.stop, "stop runs; each keeps its last checkpoint")
    added.add_argument("run", metavar="RUN", nargs="*", help="runs to stop")
    added.add_argument(
        "--where", default="", metavar="QUERY", help="those that a query means, of the ones that are not over, as in 'tag = sweep-ab12'; see runs"
    )


def _resume(verbs: Any) -> None:
    added = _verb(verbs, "resume", running.resume, "continue a run from its last checkpoint and wait for it")
    added.add_argument("run", metavar="RUN", help="a failed, cancelled or interrupted run")
    added.add_argument("--detach", action="store_true", help="return at once")


def _edit(verbs: Any) -> None:
    added = _verb(verbs, "edit", changing.edit, "rename a run, change its tags or notes, or its place in the queue; its spec never changes")
    added.add_argument("run", metavar="RUN", help="a run")
    added.add_argument("--name", help="another name")
    added.add_argument("--tag", action="append", help="replace its tags; may be given several times, and '' takes them all away")
    added.add_argument("--notes", help="replace its notes")
    added.add_argument("--place", type=int, help="start as the first (1), second (2), ... of the queued runs")


def _duplicate(verbs: Any) -> None:
    added = _verb(verbs, "duplicate", changing.duplicate, "queue a new run with the same specification")
    added.add_argument("run", metavar="RUN", help="a run in any state")
    added.add_argument("--name", help="a name for the copy (default: the same)")


def _delete(verbs: Any) -> None:
    added = _verb(
        verbs, "delete", removing.delete, "put runs that are not active, or tasks or methods of your own, into the bin, from which restore brings them back"
    )
    added.add_argument("run", metavar="RUN", nargs="+", help="runs; with --kind the names of tasks or methods")
    _kind(added, default="run")
    added.add_argument("--for-good", action="store_true", help="delete them, with metrics and files, past the bin or out of it")
    added.add_argument("--yes", action="store_true", help="do not ask")


def _restore(verbs: Any) -> None:
    added = _verb(verbs, "restore", removing.restore, "bring back what is in the bin")
    added.add_argument("entry", metavar="WHAT", nargs="+", help="runs, tasks or methods in the bin, by id or name")
    _kind(added)
    added.add_argument("--name", default="", help="of one task or method: another name than it had, where that is taken by now")


def _bin(verbs: Any) -> None:
    added = _verb(verbs, "bin", removing.bin, "list what is in the bin, how large it is and until when it stays (LAB_BIN_DAYS, 30), or empty it")
    _kind(added)
    added.add_argument("--empty", action="store_true", help="delete all of it for good")
    added.add_argument("--yes", action="store_true", help="do not ask")


def _kind(added: argparse.ArgumentParser, default: str = "") -> None:
    added.add_argument("--kind", choices=KINDS, metavar="KIND", default=default, help=f"{', '.join(KINDS)} (default {default or 'all'})")


def _compare(verbs: Any) -> None:
    added = _verb(verbs, "compare", comparing.compare, "lay runs side by side: results and the settings in which they differ")
    added.add_argument("run", metavar="RUN", nargs="+", help="two runs or more")
    added.add_argument("--baseline", metavar="RUN", default="", help="the run whose setting the others are held against (default: the best one)")
    taken = added.add_mutually_exclusive_group()
    for form, what in (
        ("latex", "the table in LaTeX (booktabs)"),
        ("markdown", "the table in Markdown"),
        ("equations", "the methods' equations in LaTeX"),
        ("bibtex", "the methods' papers in BibTeX"),
    ):
        taken.add_argument(f"--{form}", action="store_const", dest="form", const=form, default="", help=f"print {what}, and nothing else")
    taken.add_argument("--appendix", metavar="FILE", help="write all of these, figures, specifications, seeds, versions and costs as one zip file")


def _inside(verbs: Any) -> None:
    added = _verb(verbs, "inside", reading.inside, "look inside a run: what it changed of weights and layers, and its answers row by row")
    added.add_argument("run", metavar="RUN", help="a run with a trained adapter")
    added.add_argument("--beside", metavar="RUN", help="another run of the same task: the rows that they answer differently")
    added.add_argument("--task", default="", help="of a run of several tasks, whose head is looked at")


def _combine(verbs: Any) -> None:
    added = _verb(verbs, "combine", running.combine, "put trained runs of one base together as a run of its own, evaluated on the tasks of all of them")
    added.add_argument("run", metavar="RUN", nargs="+", help="two runs or more; RUN/final for the last weights in place of the best")
    for field in fields(Combination):
        if field.path in ("how", "rank", "density", "sign"):
            added.add_argument(
                f"--{field.path}", choices=field.choices or None, metavar=None if field.choices else field.kind.upper(), help=field.help.replace("%", "%%")
            )
    added.add_argument("--weights", metavar="W", nargs="+", type=float, default=[], help="one for each run (default: equal shares of 1)")
    added.add_argument("--steps", type=int, help="train so many steps from there; without, it is evaluated as it is")
    added.add_argument("--seed", type=int, default=0, help="of what DARE drops (default 0)")
    _labels(added)
    added.add_argument("--detach", action="store_true", help="return at once; the run goes on by itself")


def _export(verbs: Any) -> None:
    added = _verb(verbs, "export", taking.export, "write a run's adapter in a format that other tools read")
    added.add_argument("run", metavar="RUN", nargs="?", help="a run with a trained adapter")
    added.add_argument("--format", default="peft", help=f"{', '.join(FORMATS)} (default peft); --formats says what each is")
    added.add_argument("--out", metavar="DIR", help="a folder that is new or empty")
    added.add_argument("--adapter", choices=("best", "final"), default="best", help="the best one by the task's metric, or the last (default best)")
    added.add_argument("--task", help="of a run of several tasks, whose head goes with the adapter (format lab keeps all)")
    added.add_argument("--formats", action="store_true", help="list the formats, and with RUN which of them it can be written in")


def _metrics(verbs: Any) -> None:
    sending.metrics_flags(_verb(verbs, "metrics", sending.metrics, "every point of runs' curves, with step, time and split: the last ones, or all into a file"))


def _track(verbs: Any) -> None:
    sending.track_flags(_verb(verbs, "track", sending.track, "hand the curves of runs to a tracker: of those that are over, or whose tracker was cut off"))


def _push(verbs: Any) -> None:
    sending.push_flags(_verb(verbs, "push", sending.push, "send a run's export to the Hugging Face hub, after showing what would go where"))


def _import(verbs: Any) -> None:
    added = _verb(
        verbs,
        "import",
        taking.import_,
        "make a task of your own data (CSV, TSV, JSON, JSON Lines or Parquet, gzip allowed; a folder; a set of the hub), or a run of an adapter",
    )
    added.add_argument(
        "file",
        metavar="FILE",
        help="data: a file, a folder of Parquet or of save_to_disk, or hub:owner/name, of which every row is checked before anything is kept; "
        "or an adapter: a folder that peft, AdapterHub's library or the lab wrote, a zip of one, or its hub id owner/name",
    )
    added.add_argument("--name", help="what the task is called from then on: a-z, 0-9 and - (not needed with --dry-run); of an adapter, what its run is called")
    added.add_argument("--task", metavar="TASK", help="of an adapter: the task that it answers (default: the one that its folder says)")
    added.add_argument("--model", metavar="MODEL", help="of an adapter: its base, as a preset, a folder or a hub id (default: the one that its folder says)")
    added.add_argument("--tag", action="append", help="of an adapter: a word to find its run by; may be given several times")
    added.add_argument("--family", choices=tuple(FAMILIES), metavar="FAMILY", default="", help=f"{', '.join(FAMILIES)} (default: guessed)")
    added.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="ROLE=COLUMN",
        help="which column is what: --column text=review --column label=stars (default: guessed)",
    )
    added.add_argument(
        "--label",
        action="append",
        default=[],
        help="the labels in the order of their numbers, one flag each; 1=good names the data's 1 good (default: as they are found)",
    )
    added.add_argument(
        "--label-separator", default="", metavar="TEXT", help="what stands between the labels of a row that has several in one text, as in 'a;b'"
    )
    added.add_argument(
        "--spellings",
        choices=(MERGE, APART),
        default="",
        help="labels that differ only in how they are written (POS, pos; 1, 1.0): one class, or several (default: it is asked)",
    )
    added.add_argument("--validation", metavar="FILE", default="", help="a file of your own to validate by (default: a tenth of FILE)")
    added.add_argument("--test", metavar="FILE", default="", help="a file of your own to test by (default: a tenth of FILE, none beside a validation file)")
    added.add_argument("--encoding", default="", help="of a text file, as in cp1252 (default: UTF-8, UTF-16 and GB18030 are recognised)")
    added.add_argument("--delimiter", choices=tuple(DELIMITERS), default="", help=f"between two cells: {', '.join(DELIMITERS)} (default: the one that fits)")
    added.add_argument(
        "--header",
        choices=("names", "data"),
        default="",
        help="what the first row of a CSV holds; with data the columns are column_1, column_2, ... (default: names, asked where it looks like data)",
    )
    added.add_argument("--config", default="", help="configuration of a set of the hub")
    added.add_argument("--revision", default="", help="commit, tag or branch of a set or an adapter of the hub (default: the newest)")
    added.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="which split of a set of the hub is train, validation, test (default: by their names)",
    )
    added.add_argument("--rows", type=int, help=f"at most so many rows of each split of a set of the hub, which is streamed (default {HUB_ROWS})")
    added.add_argument(
        "--turn",
        action="append",
        default=[],
        metavar="PART=KEY",
        help="of conversations, the keys of a turn: --turn role=from --turn content=value (default: recognised)",
    )
    added.add_argument(
        "--speaker",
        action="append",
        default=[],
        metavar="NAME=ROLE",
        help="which role a speaker of the data has: user, assistant, system, tool, call or ignore, as in --speaker human=user (default: recognised)",
    )
    added.add_argument("--loss-on", choices=("all", "last"), default="", help="learn all answers of a conversation, or its last one alone (default all)")
    added.add_argument("--max-length", type=int, default=256, metavar="TOKENS", help="longer inputs are cut (default 256)")
    added.add_argument("--prompt", default="", help="what a decoder reads, with {text} or {source} where the input goes (default: the family's own)")
    added.add_argument("--measure", default="", metavar="MODEL", help="count lengths in the tokens of this model, which must be here (default: words)")
    added.add_argument("--dry-run", action="store_true", help="say what would be imported, and keep nothing")


def _fetch(verbs: Any) -> None:
    added = _verb(verbs, "fetch", taking.fetch, "fetch a model's weights, or a task's rows from the hub, once")
    added.add_argument("model", metavar="WHAT", help="a model preset, a model's hub id, or a task preset")


def _doctor(verbs: Any) -> None:
    added = _verb(verbs, "doctor", describing.doctor, "say what this machine is, what the lab will do with it, and what is missing")
    added.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default auto: what a run would take)")


def _completion(verbs: Any) -> None:
    added = _verb(verbs, "completion", completing.completion, "print a script that completes this command in a shell; docs/install.md says where it goes")
    added.add_argument("shell", choices=completing.SHELLS, help="bash, zsh or fish")
    added.set_defaults(parser=parser)


def _serve(verbs: Any) -> None:
    added = _verb(verbs, "serve", taking.serve, "start the web app")
    settings.add_flags(added)
