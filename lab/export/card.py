"""What stands beside exported weights: delta_lab.json, and README.md, a model card with facts only, its metadata written by huggingface_hub, and the code that loads them."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

import lab
from lab.design.plain import numbers, peaks
from lab.design.plain.documents import bundled
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.task import TaskSpec
from lab.export import adapterhub
from lab.export.bases import Origin, hub_licence, slug
from lab.export.folder import sidecar, write_json
from lab.tasks import FAMILIES
from lab.tasks import resolve as resolve_task

LOADING: dict[str, str] = bundled(Path(__file__).parent / "loading.yaml")
LIBRARIES = {"peft": "peft", "peft-lora": "peft", "adapterhub": "adapter-transformers", "merged": "transformers"}
PIPELINES = {"summarization": "summarization", "translation": "translation"}
COUNTS = ("step",)  # a number beside the metrics that is none
SPLIT = "validation"


def write_card(opened: Any, format: str, folder: Path, *, prefix: bool = False, prompt: bool = False) -> None:
    """delta_lab.json and README.md of a folder. `prefix`: what is loaded holds a prefix, which needs the attention written out; `prompt`: virtual tokens."""
    from huggingface_hub import ModelCard

    write_json(folder / "delta_lab.json", sidecar(opened, format))
    task = task_of(opened)
    text = "\n\n".join(part for part in (_about(opened, task, format), _results(opened, task), _answers(opened, task), _design(opened), _training(opened),
                                         _loading(opened, format, prefix, prompt), _notes(opened)) if part)  # fmt: skip
    card = ModelCard(f"---\n{_metadata(opened, task, format).to_yaml()}\n---\n\n{text}\n")
    (folder / "README.md").write_text(str(card), encoding="utf-8")


def task_of(opened: Any) -> TaskSpec | None:
    """The task that the head or the adapter answers; None where it is not known here any more."""
    tasks = opened.spec.tasks
    try:
        return resolve_task(tasks.get(opened.task) or next(iter(tasks.values())))
    except Refusal:
        return None


def _metadata(opened: Any, task: TaskSpec | None, format: str) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    base: Origin = opened.origin
    pipeline = _pipeline(opened, task)
    licence = hub_licence(base.licence)
    known: dict[str, Any] = {"license": licence} if licence else {"license": "other", "license_name": slug(base.licence)} if base.licence else {}
    if task is not None and opened.metrics:
        revision = task.source.revision or None
        where = {"dataset_type": task.source.hub or slug(task.title or task.name or "own-data"), "dataset_name": task.title or task.name or "a task of its own",
                 "dataset_split": task.source.splits.get(SPLIT, SPLIT), "dataset_config": task.source.config or None, "dataset_revision": revision}  # fmt: skip
        known["eval_results"] = [
            EvalResult(task_type=pipeline, metric_type=name, metric_name=name, metric_value=value, **where) for name, value in _metrics(opened)
        ]
        known["metrics"] = list(dict.fromkeys(name for name, _ in _metrics(opened) if name != "loss"))
    if task is not None and task.source.hub:
        known["datasets"] = [task.source.hub]
    if task is not None and (languages := languages_of(task)):
        known["language"] = languages
    if not known.get("eval_results"):
        known.pop("eval_results", None)
    return ModelCardData(base_model=base.name, library_name=LIBRARIES.get(format), pipeline_tag=pipeline, tags=["delta-lab", "parameter-efficient-fine-tuning", slug(opened.spec.method.name)],
                         model_name=opened.spec.name or "adapter", **known)  # fmt: skip


def languages_of(task: TaskSpec) -> list[str]:
    """Two-letter codes of the languages that the task's texts are in, as far as it says."""
    return list(dict.fromkeys([*task.language, *(code.partition("_")[0] for code in task.languages)]))


def _pipeline(opened: Any, task: TaskSpec | None) -> str:
    if OBJECTIVES[opened.objective].headed:
        return "text-classification"
    if OBJECTIVES[opened.objective].two_sequences:
        return PIPELINES.get(task.family if task else "", "text2text-generation")
    return "text-generation"


def _metrics(opened: Any) -> list[tuple[str, float]]:
    return [(name, float(value)) for name, value in opened.metrics.items() if isinstance(value, (int, float)) and name not in COUNTS]


def _about(opened: Any, task: TaskSpec | None, format: str) -> str:
    spec, method, base = opened.spec, opened.spec.method, opened.origin
    paper = f" ({method.paper.cite}{', arXiv ' + method.paper.arxiv if method.paper.arxiv else ''})" if method.paper else ""
    names = "`, `".join(task if isinstance(task, str) else task.name or "a task of its own" for task in spec.tasks.values())
    lines = [f"# {spec.name}", "", f"{method.name}{paper} on `{base.name}`, trained on `{names}` with Delta Lab {lab.__version__}."]
    lines += [base.words] if base.words else []
    lines += [f"Revision of the base: `{base.revision}`."] if base.revision else []
    lines += [f"Licence of the base: {base.licence}."] if base.licence else []
    if task is not None:
        where = (
            f"`{task.source.hub}` on the hub" + (f", configuration {task.source.config}" if task.source.config else "")
            if task.source.hub
            else task.title or task.name
        )
        lines += [f"Data: {where or 'of its own'}" + (f"; licence: {task.licence}" if task.licence else "") + (f"; {task.paper}" if task.paper else "") + "."]
    lines += [opened.note] if opened.note else []
    return "\n".join(lines)


def _results(opened: Any, task: TaskSpec | None) -> str:
    found = _metrics(opened)
    if not found:
        return ""
    judged, rows = (n if isinstance(n := opened.judged_on.get(name), int) else 0 for name in ("rows", "of"))
    of = f", {judged:,} of its {rows:,} rows" if judged < rows else f", all {rows:,} rows" if rows else ""
    step = f", at step {opened.metrics['step']:,}" if isinstance(opened.metrics.get("step"), int) else ""
    table = "\n".join(["| metric | value |", "|---|---|", *(f"| {name} | {numbers.number(value)} |" for name, value in found)])
    return f"## Results\n\nOn the {SPLIT} split{of}{step}.\n\n{table}"


def _answers(opened: Any, task: TaskSpec | None) -> str:
    """What goes in and what comes out: the names of the head's outputs, a decoder's wording and the words that stand for the labels."""
    lines = []
    if opened.labels:
        lines.append(f"Classes, by the number of their output: {', '.join(f'{place} {name}' for place, name in enumerate(opened.labels))}.")
    if opened.task and opened.labels:
        lines.append(f"The head is that of `{opened.task}`.")
    if task is not None and not OBJECTIVES[opened.objective].headed:
        wording = task.prompt or getattr(FAMILIES[task.family], "prompt", "")
        if OBJECTIVES[opened.objective].one_sequence and wording:
            lines.append(f"What it reads, with the columns in braces filled in:\n\n```text\n{wording}\n```")
        if OBJECTIVES[opened.objective].two_sequences and task.prefix:
            lines.append(f"Before the source stands `{task.prefix}`.")
        words = task.verbalisers or task.labels
        if words and task.labels:
            lines.append(
                "The answer is the likeliest of these words: "
                + ", ".join(f"`{word}` for {label}" for word, label in zip(words, task.labels, strict=False))
                + "."
            )
    if opened.tokenizer is not None and getattr(opened.tokenizer, "lab_padding", ""):
        lines.append(opened.tokenizer.lab_padding)
    return "## Inputs and answers\n\n" + "\n\n".join(lines) if lines else ""


def _design(opened: Any) -> str:
    rows = [f"| {', '.join(d.at)} | {d.form} | {d.insertion} | {d.composition} | {d.rank} |" for d in opened.spec.method.deltas]
    select = opened.spec.method.select
    table = "\n".join(["| modified representation | functional form | insertion | composition | rank |", "|---|---|---|---|---|", *rows]) if rows else ""
    own = f"Of the model's own weights it trains {select.words}." if select else ""
    schedules = "\n".join(_schedule(delta) for delta in opened.spec.method.deltas if delta.schedule)
    return "\n\n".join(part for part in ("## Method", table, own, schedules, "The whole specification is in `delta_lab.json`.") if part)


def _schedule(delta: Any) -> str:
    options = delta.schedule.model_dump(exclude_none=True)
    return f"Schedule of the {delta.form} delta: " + ", ".join(f"{name} {value}" for name, value in options.items()) + "."


def _training(opened: Any) -> str:
    spec, costs = opened.spec, opened.costs
    packed = f"- linear layers of the base packed as {spec.quantisation} (bitsandbytes)" if spec.quantisation != "none" else ""
    seconds = costs.get("seconds")
    lines = [
        f"- seed {spec.seed}, learning rate {numbers.number(spec.lr)}, batch size {spec.training.batch_size}"
        + (f", {spec.training.steps} steps" if spec.training.steps else ""),
        f"- precision {spec.training.precision}",
        packed,
        f"- trained weights: {opened.trainable:,}" if opened.trainable else "",
        f"- time: {numbers.duration(seconds)}" + (f" on {costs['device']}" if costs.get("device") else "") if seconds else "",
        f"- {peaks.WORDS[peaks.kind_on(costs.get('device'))]}: {numbers.memory(costs['peak_bytes'])}" if costs.get("peak_bytes") else "",
        f"- energy: {numbers.number(costs['joules'] / 3600)} Wh" if costs.get("joules") else "",
    ]
    return "## Training\n\n" + "\n".join(line for line in lines if line)


def _loading(opened: Any, format: str, prefix: bool, prompt: bool) -> str:
    return "## Loading\n\n" + code_of(opened, format, prefix, prompt) + (f"\n\n{LOADING['cached_prefix']}" if format == "peft" and prefix else "")


def _notes(opened: Any) -> str:
    """Last, as they are: whatever their markup does, it does to nothing that the lab says."""
    return f"## Notes\n\n{opened.notes.strip()}" if opened.notes.strip() else ""


def _without_cache(opened: Any, format: str, prompt: bool) -> str:
    """The line by which a library writes without keys and values that it keeps, where it loses its place among them."""
    if OBJECTIVES[opened.objective].headed:
        return ""
    if format == "adapterhub":
        return "" if adapterhub.family_of(opened.attached.body).cached else LOADING["lost_cache"]
    return LOADING["misplaced_prompt"] if prompt and OBJECTIVES[opened.objective].one_sequence else ""


def code_of(opened: Any, format: str, prefix: bool = False, prompt: bool = False) -> str:
    """The Python code, in its fence, that loads the model of a format. It runs in the exported folder."""
    base, objective, tokenizer = opened.origin, OBJECTIVES[opened.objective], opened.tokenizer is not None
    options = [f"dtype=torch.{'float32' if not base.gguf else 'bfloat16'}"]  # a GGUF was rounded to bfloat16 here
    if format == "merged":
        options = [f"dtype=torch.{str(opened.model.dtype).removeprefix('torch.')}"]
    options += [f'revision="{base.revision}"'] if base.revision and format != "merged" else []
    if format != "merged":
        options += [f"num_labels={opened.model.config.num_labels}"] if objective.headed else []
        options += ['id2label=dict(enumerate(facts["labels"]))'] if opened.labels and objective.headed else []
        options += ['pad_token_id=facts["padding"]["id"]'] if tokenizer else []
        options += ['attn_implementation="eager"'] if prefix and format == "adapterhub" else []
    packed = opened.spec.quantisation != "none" and format != "merged"  # the adapter belongs to the base as it was packed
    if packed:
        from lab.models.quantising import as_transformers

        options.append(f"quantization_config={as_transformers(opened.model, opened.spec.quantisation)}")
    where, before, after = json.dumps(base.name), "", ""
    if base.gguf:
        before = LOADING["base_of_gguf"].format(package=base.package, module=PurePath(base.gguf).parts[0])
        where, after = "folder", ".float()"
        options.insert(0, f"gguf_file={json.dumps(PurePath(base.gguf).name)}")
    read = 'facts = json.load(open("delta_lab.json", encoding="utf-8"))  # this folder' if any('facts["' in option for option in options) else ""
    lines = {
        "load": f"model = {objective.auto}.from_pretrained({where}, {', '.join(options)}){after}",
        "whole": f"model = {objective.auto}.from_pretrained(\".\", {', '.join(options)})  # this folder",
        "tokenizer": 'tokenizer = AutoTokenizer.from_pretrained(".")' if tokenizer else "",
        "auto": ", ".join([objective.auto, *(["AutoTokenizer"] if tokenizer else []), *(["BitsAndBytesConfig"] if packed else [])]),
        "named": PurePath(base.gguf).name if base.gguf else f"{base.name}, converted by llama.cpp's convert_hf_to_gguf.py",
        "cache": _without_cache(opened, format, prompt),
        "write": LOADING["write_prefix"] if prefix else "", "json": "import json" if read else "", "facts": read, "before": before, "model": f", model={json.dumps(base.name)}" if base.folder else "",
    }  # fmt: skip
    text = LOADING["peft" if format == "peft-lora" else format].format(**lines)
    return "\n".join(line.removesuffix("#").rstrip() for line in text.splitlines() if line != "#")  # what is left empty leaves no line
