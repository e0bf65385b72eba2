"""methods, models, tasks, count, plan, doctor: what there is and what it would cost. None of it starts anything."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from lab import verbs
from lab.cli.answer import Answer, facts, shorten, table
from lab.cli.request import apply, assignments, document_of, method_document
from lab.design.body.anatomy import anatomy
from lab.design.method import named
from lab.design.method.notes import notes
from lab.design.plain import numbers
from lab.design.plain.refusal import Refusal
from lab.design.spec.run import RunSpec, spec_of
from lab.tasks.planned import planned


def method_rows() -> list[dict[str, Any]]:
    """[{"preset", "name", "family", "branch", "paper", "summary", "deltas", "lr"}]; branch: adapters, soft-prompts or other of the additive family, else ""."""
    found = []
    for preset in verbs.methods():
        method = named.load_method(preset)
        found.append({
            "preset": preset, "name": method.name, "family": method.family, "branch": method.branch, "paper": method.paper.cite if method.paper else "",
            "summary": method.summary, "deltas": len(method.deltas), "lr": method.training.lr,
        })  # fmt: skip
    return found


def methods(arguments: Namespace) -> Answer:
    """`method_rows`, of one family if that is asked."""
    found = method_rows()
    families = list(
        dict.fromkeys(name for row in sorted(found, key=lambda row: (row["family"], row["branch"])) for name in (row["family"], row["branch"]) if name)
    )
    if arguments.family:
        if arguments.family not in families:
            raise Refusal("There is no family '{family}'; there are {families}.", "family", family=arguments.family, families=", ".join(families))
        found = [row for row in found if arguments.family in (row["family"], row["branch"])]
    return Answer(found, lambda: table(
        ("preset", "name", "family", "paper"), [(row["preset"], row["name"], ": ".join(filter(None, (row["family"], row["branch"]))), row["paper"]) for row in found]))  # fmt: skip


def model_rows() -> list[dict[str, Any]]:
    """[{"preset", "title", "kind", "architecture", "parameters", "where", "here", "state": here, fetchable or absent, "bytes": to fetch, "licence"}]."""
    from lab.fetches import of_model
    from lab.models import resolve

    found = []
    for preset in verbs.models():
        spec = resolve(preset)
        there = of_model(spec)
        found.append({
            "preset": preset, "title": spec.title, "kind": spec.kind, "architecture": spec.architecture,
            "parameters": spec.inventory.total if spec.inventory else None, "here": there.state == "here", "state": there.state, "bytes": there.bytes,
            "where": there.words, "licence": spec.licence,
        })  # fmt: skip
    return found


def models(arguments: Namespace) -> Answer:
    """`model_rows`."""
    found = model_rows()
    return Answer(found, lambda: table(
        ("preset", "kind", "weights", "where"),
        [(row["preset"], row["kind"], numbers.weights(row["parameters"]), row["where"]) for row in found], right=("weights",)))  # fmt: skip


def task_rows() -> list[dict[str, Any]]:
    """[{"preset", "title", "family", "metric", "description", "source", "rows", "state": here, fetchable or absent, "licence", "own"}]."""
    from lab.fetches import of_task
    from lab.tasks import importing, resolve

    found, own = [], importing.names()
    for name in verbs.tasks():
        task = resolve(name)
        source = next((f"{kind} {value}" for kind in ("package", "bundled", "hub", "file") if (value := getattr(task.source, kind))), "")
        found.append({"preset": name, "title": task.title, "family": task.family, "metric": task.main_metric, "description": task.description,
                      "source": source, "rows": task.rows, "state": of_task(task).state, "licence": task.licence, "own": name in own})  # fmt: skip
    return found


def tasks(arguments: Namespace) -> Answer:
    """`task_rows`; with --remove {"removed"}."""
    if arguments.remove is not None:
        verbs.remove_task(arguments.remove)
        return Answer({"removed": arguments.remove}, lambda: f"Removed {arguments.remove}.")
    found = task_rows()
    return Answer(found, lambda: table(
        ("preset", "family", "metric", "rows", "data", "source"),
        [(row["preset"], row["family"], row["metric"], f"{row['rows'].get('train', 0):,}", row["state"], shorten(row["source"], 60)) for row in found], right=("rows",)))  # fmt: skip


def count(arguments: Namespace) -> Answer:
    """{"trainable", "total", "percent", "by_delta", "biases"}, "final" where it differs, and "notes" where something may not be what was meant."""
    from lab.models import resolve

    document = apply({"method": method_document(arguments.method)}, assignments(arguments.set))
    if set(document) > {"method"}:
        raise Refusal("count has only a method to set, as in --set deltas.0.rank=16.", "set")
    model = resolve(arguments.model)
    result = verbs.count(model, document["method"])
    sentences = notes(verbs.method_of(document["method"]), anatomy(model.config))
    if sentences:
        result = {**result, "notes": [sentence for _, sentence in sentences]}

    def text() -> str:
        lines = [
            ("trainable", f"{result['trainable']:,}  ({numbers.percent(result['percent'])} of {result['total']:,})"),
            ("biases", f"{result['biases']:,}" if result["biases"] else ""),
            ("at the end", f"{result['final']:,}" if "final" in result else ""),
            *(("note", sentence) for _, sentence in sentences),
            *((shorten(name, 60), f"{value:,}") for name, value in (result["by_delta"].items() if len(result["by_delta"]) > 1 else ())),
        ]
        return facts(lines)

    return Answer(result, text)


def plan(arguments: Namespace) -> Answer:
    """What lab.planning says of a spec, or of a step of the given shape where there is no task, as one document."""
    document = document_of(arguments)
    training = dict(document.get("training") or {})
    setting: dict[str, Any] = {"batch": arguments.batch, "tokens": arguments.tokens, "target_tokens": arguments.target_tokens,
                               "dtype": arguments.dtype, "adapter_dtype": arguments.adapter_dtype}  # fmt: skip
    setting = {key: value for key, value in setting.items() if value is not None}
    if arguments.checkpointing:
        training["gradient_checkpointing"] = True
    if "task" in document:
        spec = spec_of({**document, "training": training})
        result, time, judged = verbs.plan(spec, **setting), verbs.estimate(spec), planned(spec)
    else:
        spec, time, judged = None, None, None
        setting = {"use_cache": arguments.use_cache, **_shape(document, training, setting)}
        result = verbs.plan(**setting)
    if arguments.fit is not None:
        result = {**result, "advice": _advice(spec, arguments.fit, setting)}

    def text() -> str:
        categories = result.get("categories", {})
        over = int(training.get("devices") or 1)
        sizes = f"{numbers.memory(result.get('peak_allocated_bytes'))} allocated, {numbers.memory(result.get('peak_reserved_bytes'))} reserved"
        lines = [("peak" if over == 1 else f"on each of {over}", sizes)]
        lines += [(name, numbers.memory(value)) for name, value in categories.items()]
        if time:
            lines.append(("time", f"about {numbers.duration(time['seconds'])}, estimated from {time['runs']} finished run{'s' * (time['runs'] > 1)}"))
        lines += [
            ("evaluation", judged.words if judged else ""),
            ("trainable", numbers.weights(result.get("trainable"))),
            ("not modelled", "; ".join(result.get("not_modelled", ()))),
        ]
        return facts([*lines, *(_advised(result["advice"]) if "advice" in result else ())])

    return Answer(result, text)


def _advice(spec: RunSpec | None, gigabytes: float, setting: dict[str, Any]) -> dict[str, Any]:
    """What `lab.planning.advice.advise` says of a run, or of a step of some shape, and a device of so many GB."""
    from lab.planning.advice import advise
    from lab.planning.serve import answer

    if not 0 < gigabytes <= 1e6:
        raise Refusal("A device has more than 0 GB of memory; {gigabytes:g} was given.", "fit", gigabytes=gigabytes)
    request = dict(setting)
    if spec is not None:
        request = {"spec": verbs.to_plan(spec).document(), "device": "cpu" if spec.training.device == "cpu" else "cuda", **setting}
    kind = "cpu" if request.get("device") == "cpu" else "cuda"
    return advise(request, lambda asked: answer({"request": asked})["plan"], int(gigabytes * 1024**3), kind)


def _advised(advice: dict[str, Any]) -> list[tuple[str, str]]:
    """Whether it fits, the largest batch, and what would make it fit, with the flags that do so."""
    rows = advice["largest_batch"]
    found = [("fits", f"yes, into {numbers.memory(advice['room_bytes'])}" if advice["fits"] else f"no, {numbers.memory(advice['over_bytes'])} too much"),
             ("largest batch", "more than 4,096" if rows is None else f"{rows:,}")]  # fmt: skip
    if not advice["fits"]:
        offers = [(one["change"], one) for one in advice["changes"]]
        offers += [(" + ".join(one["changes"]), one) for one in (advice["combination"],) if one]
        for name, one in sorted(offers, key=lambda each: not each[1]["fits"]):
            found.append((name, f"saves {numbers.memory(one['saves_bytes'])}{', and fits' if one['fits'] else ''}: {_flags(one['set'])}"))
        if not any(one["fits"] for _, one in offers):
            found.append(("", "Not even all of this together makes it fit."))
    return found + [("", sentence) for sentence in advice["missing"]]


def _flags(settings: dict[str, Any]) -> str:
    """The flags that give a run these settings."""
    values = {path.removeprefix("method."): f"[{','.join(value)}]" if isinstance(value, list) else str(value) for path, value in settings.items()}
    return " ".join(f"--set {path}={value}" for path, value in values.items())


def _shape(document: dict[str, Any], training: dict[str, Any], setting: dict[str, Any]) -> dict[str, Any]:
    """The arguments of plan_shape; --batch and --tokens stand for the task."""
    for name in ("model", "method"):
        if document.get(name) is None:
            raise Refusal("'{name}' is missing: give --{name}.", name, name=name)
    if "batch" not in setting or "tokens" not in setting:
        raise Refusal("Give --task, or --batch and --tokens, so that the size of a step is known.", "task")
    checked = spec_of({**document, "task": "sentiment-rt", "training": training})  # any task: its data are not looked at
    return {"model": checked.model, "method": checked.method, "optimizer": checked.training.optimizer, "galore_rank": checked.training.galore_rank, "seed": checked.seed,
            "quantisation": checked.quantisation, "checkpointing": checked.training.gradient_checkpointing, "accumulation": checked.training.accumulation,
            "devices": checked.training.devices, "sharding": checked.training.sharding,
            "smoothing": checked.training.label_smoothing, "device": "cpu" if checked.training.device == "cpu" else "cuda", **setting}  # fmt: skip


DEVICES = ("auto", "cpu", "cuda", "mps")


def doctor(arguments: Namespace) -> Answer:
    """What `lab.doctor.diagnosis` says."""
    from lab.doctor import diagnosis

    if arguments.device not in DEVICES:
        raise Refusal("There is no device '{device}'; there are {devices}.", "device", device=arguments.device, devices=", ".join(DEVICES))
    found = diagnosis(arguments.device)
    device, machine, home = found["device"], found["machine"], found["home"]
    many = f" × {device['count']}" if device["count"] > 1 else ""
    asked = ", ".join(f"{asked} is {given}" if asked != given else given for asked, given in found["precision"].items())
    lines = facts([
        ("device", f"{device['name']}{many} ({device['kind']})"),
        ("its memory", numbers.memory(device["memory_bytes"])),
        ("driver", ", ".join(f"{key} {device[key]}" for key in ("driver", "cuda", "capability") if device.get(key))),
        ("precision", asked),
        ("attention", ", ".join(found["attention"])),
        ("torch.compile", "can be used" if found["compile"] else "no compiler"),
        ("machine", f"{machine['system']}, Python {machine['python']}, {machine['cores']} cores, {machine['threads']} threads of torch"),
        ("main memory", f"{numbers.memory(machine['memory_bytes'])}, {numbers.memory(machine['free_bytes'])} free"),
        ("runs at once", str(found["slots"])),
        ("LAB_HOME", f"{home['path']}, {numbers.memory(home.get('free_bytes'))} free"),
        ("plug-ins", ", ".join(f"{one['group']}/{one['name']} of {one['of']}{' (left out)' if one['problem'] else ''}" for one in found["plugins"])),
        ("versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items())),
    ])  # fmt: skip
    return Answer(found, lambda: "\n".join([lines, "", *found["notes"], *found["missing"]]))
