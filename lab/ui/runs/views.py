"""One run as HTML: what it is, how far it is, what came out, what went wrong."""

from __future__ import annotations

from typing import Any, get_args

from lab.design.method.allocations.energy import EnergyAllocation
from lab.design.plain import numbers
from lab.design.spec.families import LOSS, metric_named
from lab.results.facts import judged_on, method_of, model_of, numbers_of, of_steps, score, seconds, task_of, tokens_per_second
from lab.runs import RESUMABLE, Run
from lab.runs.records import PHASES
from lab.ui.shell import run_facts
from lab.ui.shell.markup import duration, empty, energy, esc, exact, memory, number, percent, state_badge, weights
from lab.ui.words.refusals import refused
from lab.ui.words.table import metric_name, say, titled
from lab.verbs import changed

TOLD = ("evaluations", "evaluation_rows", "judged_rows", "validation_rows")  # by a run at its beginning: see `EvaluationPlan.told`
ORDERS = get_args(EnergyAllocation.model_fields["order"].annotation)


def head(run: Run | None, asked: str, eta: float | None, latest: dict[str, Any], language: str) -> str:
    """Name, state, actions, progress, the numbers so far, and advice where it failed."""
    if run is None:
        return run_facts.missing(asked, language) or empty(language, "runs.none")
    facts = "".join(f"<div><dt>{esc(name)}</dt><dd>{value}</dd></div>" for name, value in _facts(run, latest, language))
    tags = "".join(f'<span class="lab-tag">{esc(tag)}</span>' for tag in run.tags)
    return (
        f'<div class="lab-title"><span class="lab-dot" style="background:{run_facts.colour(run)}"></span><h2 title="{esc(run.id)}">{esc(run.name or run.id)}</h2>'
        f'{state_badge(run.state, language)}{tags}<span class="lab-acts">{_actions(run, language)}</span></div>'
        f"{_progress(run, eta, language)}{_trouble(run, language)}<dl class='lab-facts'>{facts}</dl>{_judged(run, latest, language)}"
    )


def _actions(run: Run, language: str) -> str:
    def button(act: str, key: str, css: str = "", name: str = "") -> str:
        more = f' data-name="{esc(name)}"' if name else ""
        return f'<button type="button" class="lab-button {css}" data-act="{act}" data-run="{run.id}" title="{esc(say(language, key + ".help"))}"{more}>{esc(say(language, key))}</button>'

    def link(to: str, key: str, about: str) -> str:
        return f'<a class="lab-button" href="{to}={run.id}" title="{esc(say(language, about))}">{esc(say(language, key))}</a>'

    found = []
    if run.state in ("queued", "starting", "running"):
        found.append(button("stop", "act.stop", "warn"))
        found.append(button("notify", "act.notify"))
    if run.state in RESUMABLE:
        found.append(button("resume", "act.resume"))
    if run.state == "queued":
        found += [button(act, "act." + act) for act in ("next", "sooner", "later")]
    found += [button("duplicate", "act.duplicate"), link("./?run", "act.bench", "act.bench.help"), link("compare?runs", "page.compare", "act.compare.help")]
    if run_facts.has_adapter(run):
        found.append(link("tryit?runs", "page.tryit", "act.try.help"))
        found.append(link("inside?runs", "page.inside", "act.inside.help"))
    if run.over and run_facts.has_adapter(run):
        found.append(link("combine?runs", "page.combine", "act.combine.help"))
    found.append(link("export?run", "page.export", "act.export.help"))
    if run.over or run.state == "queued":
        found.append(button("throw", "act.delete", "warn", name=run.name or run.id))
    return "".join(found)


def _progress(run: Run, eta: float | None, language: str) -> str:
    if run.state in ("queued", "succeeded") and not run.active:
        return f'<p class="lab-muted">{esc(say(language, "runs.waiting"))}</p>' if run.state == "queued" else ""
    share = 100 * (run.progress or 0.0)
    words = say(language, "runs.step", step=f"{run.step:,}", total=f"{run.total_steps:,}") if run.total_steps else ""
    if run.state == "running":
        words = " · ".join(filter(None, (words, run_facts.time_left(eta, language))))
    bar = f'<div class="lab-progress {run.state}" role="progressbar" aria-valuenow="{share:.0f}" aria-valuemin="0" aria-valuemax="100" aria-label="{esc(words or say(language, "runs.progress"))}"><i style="width:{share:.2f}%"></i></div>'
    return f'{bar}{_phases(run, language)}<p class="lab-muted" id="progress-words">{esc(words)}</p>'


def _phases(run: Run, language: str) -> str:
    """What a run goes through, with what it is busy with now and how far it is in that."""
    now = run_facts.phase(run)
    if not now:
        return ""
    part = run.progress if now == "training" else run.phase_share
    share = f" <b>{100 * part:.0f} %</b>" if part is not None and now != "starting" else ""
    steps = "".join(
        f'<li aria-current="step">{esc(say(language, f"phase.{name}"))}{share}</li>' if name == now else f"<li>{esc(say(language, f'phase.{name}'))}</li>"
        for name in ("starting", *PHASES)
    )
    return f'<ol class="lab-phases" aria-label="{esc(say(language, "phase"))}">{steps}</ol>'


def _trouble(run: Run, language: str) -> str:
    if not run.error and not (run.advice and run.state in ("failed", "interrupted")):
        return ""
    parts = [f"<p><b>{esc(refused(language, run.error or ''))}</b></p>"] if run.error else []
    if run.advice and run.advice != run.error:  # a refusal says by itself what to do
        parts.append(f"<p>{esc(refused(language, run.advice))}</p>")
    return f'<div class="lab-trouble {run.state}" role="alert">{"".join(parts)}</div>'


def _judged(run: Run, latest: dict[str, Any], language: str) -> str:
    """While a run goes on, how often it is judged and on how many rows; then which weights the best numbers are of, and on how many."""
    if run.active and all(name in latest for name in TOLD):
        words = run_facts.judged({name: latest[name][1] for name in TOLD}, language)
    else:
        some, best, on = run.result.get("evaluation_rows"), run.result.get("best"), judged_on(run)
        if not (on and isinstance(some, int) and isinstance(best, dict) and isinstance(best.get("step"), int)):
            return ""
        key = "judged.some" if on[0] < on[1] else "judged.curves" if some < on[0] else "judged.all"
        words = say(language, key, step=best["step"], rows=f"{on[1]:,}", some=f"{on[0] if key == 'judged.some' else some:,}")
        words += " " + say(language, "judged.why") if key == "judged.some" and run.state == "succeeded" else ""
    return f'<p class="lab-muted">{esc(words)}</p>' if words else ""


def _facts(run: Run, latest: dict[str, Any], language: str) -> list[tuple[str, str]]:
    """(name, HTML) of the numbers that a run has so far."""

    def now(name: str) -> float | None:
        return latest[name][1] if name in latest else None

    facts = [(say(language, "bench.model"), esc(model_of(run))), (say(language, "bench.task"), esc(task_of(run))),
             (say(language, "bench.method"), esc(titled(language, method_of(run))))]  # fmt: skip
    if parts := _parts(run):
        facts.append((say(language, "fact.parts"), parts))
    judged = score(run)
    if judged:
        named = metric_name(language, judged.metric.name)
        facts.append((say(language, "fact.best", metric=named), number(judged.value)))
        kept = numbers_of(run, "best")  # all metrics of the best step; those of single labels are curves
        facts += [(metric_name(language, name), number(value)) for name, value in kept.items() if metric_named(name) not in (None, judged.metric, LOSS)]
        tested = numbers_of(run, "test").get(judged.metric.name)
        facts += [(say(language, "fact.test", metric=named), number(tested))] if tested is not None else []
    else:
        facts += [(metric_name(language, name.removeprefix("eval_")), number(now(name))) for name in run_facts.metric_names(run, latest)[:1]]
    facts.append((say(language, "chart.loss"), number(now("loss"))))
    trainable = now("trainable") or run.result.get("trainable")
    if trainable:
        facts.append((say(language, "chart.trainable"), weights(int(trainable))))
    if isinstance(run.result.get("percent"), (int, float)):
        facts.append((say(language, "fact.share"), percent(run.result["percent"])))
    peak = run.result.get("peak_bytes") or now("peak_bytes") or now("memory_bytes")
    facts.append((say(language, "fact.peak.step" if of_steps(run, latest) else "fact.peak.process"), memory(peak)))
    facts += _energy_kept(run, latest, language)
    speed = tokens_per_second(run) or now("tokens_per_second")
    if speed:
        facts.append((say(language, "fact.speed"), exact(f"{numbers.number(float(f'{speed:.3g}'))} tok/s", speed)))
    if (took := seconds(run)) is not None:
        facts.append((say(language, "fact.time"), duration(language, took)))
    used = run.result.get("energy") if isinstance(run.result.get("energy"), dict) else {}
    if used.get("joules"):
        estimated = f' <span class="lab-muted">{esc(say(language, "fact.estimated"))}</span>' if used.get("modelled", True) else ""
        facts.append((say(language, "fact.energy"), f"{energy(used['joules'])} · {esc(numbers.mass(used.get('co2eq_kg')))} CO₂e{estimated}"))
    return facts


def _parts(run: Run) -> str:
    """Of a combination: the runs that it is made of, each with its weight, as links."""
    asked = run.spec.get("combination")
    if not isinstance(asked, dict):
        return ""
    pairs = zip(asked.get("runs") or (), asked.get("weights") or (), strict=False)
    return " + ".join(f'{numbers.number(weight)} · <a href="runs?run={esc(name.partition("/")[0])}">{esc(name)}</a>' for name, weight in pairs)


def order_of(run: Run) -> str:
    """The order in which a run shares out rank by energy; "" where it does not."""
    method = run.spec.get("method")
    deltas = method.get("deltas") or () if isinstance(method, dict) else ()
    return next((str(delta["allocation"].get("order", "")) for delta in deltas if delta.get("allocation")), "")


def _energy_kept(run: Run, latest: dict[str, Any], language: str) -> list[tuple[str, str]]:
    """Of a run that shares out rank by energy: how much of the weights' energy its ranks keep, and how much those of the other order would."""
    kept = {name.partition("/")[2]: percent(100 * value) for name, (_, value) in latest.items() if name.startswith("energy_kept/")}
    own = order_of(run)
    if own not in kept:
        return []
    others = " · ".join(f"<code>{esc(order)}</code> {share}" for order, share in kept.items() if order != own)
    return [(say(language, "fact.energy_kept"), say(language, "fact.energy_kept.told", mine=kept[own], others=others))]


def spec(run: Run | None, language: str) -> str:
    """The frozen spec with its buttons."""
    if run is None:
        return ""
    command = f"{say(language, 'lab.command')} show {run.id} --json"
    differs = changed(run) if run.spec else ""
    note = f'<p class="lab-said wrong" role="note">{esc(refused(language, differs))}</p>' if differs else ""
    return (f'{note}<div class="lab-spec-bar"><span class="lab-muted">{esc(say(language, "runs.spec.help"))}</span><span class="lab-gap"></span>'
            f'<button type="button" class="lab-button" data-act="copy" data-from="#spec-text">{esc(say(language, "copy"))}</button></div>'
            f'<pre class="lab-code" id="spec-text" tabindex="0">{esc(run_facts.spec_yaml(run))}</pre><p class="lab-muted"><code>{esc(command)}</code></p>')  # fmt: skip
