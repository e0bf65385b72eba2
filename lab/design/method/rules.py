"""Which combinations have a meaning. What has none is refused here, before a model is touched, with the reason and the way out.

`problems(method)` looks at the method alone; with an anatomy also at the model. Each `Refusal` names the field it is about.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.design.body.anatomy import Anatomy, Site, source
from lab.design.method.compositions import COMPOSITIONS, taken
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.method.forms.base import Form
from lab.design.method.fusing import without_members
from lab.design.method.insertions import taken as insertions_of
from lab.design.method.on_model import architecture_fits, positions_fit, ranks_fit
from lab.design.method.parts import all_parts, trains_second_map
from lab.design.plain.message import Message, listed, word
from lab.design.plain.refusal import Refusal
from lab.design.space import PROJECTIONS

RANK = Delta.model_fields["rank"].default
STREAMS = ("ffn.residual", "layer.out", "embed")
FORM_OPTIONS = {  # option: (value that means 'not used', words)
    "biases": (True, "biases of two maps"), "core": ("none", "a core between A and B"), "factors": (2, "a number of factors"), "vectors": (False, "scaling vectors"),
    "alpha": (None, "alpha"), "rank_scaling": ("lora", "a rank scaling"), "encoder": ("none", "a reparameterisation"), "encoder_width": (512, "the width of a reparameterisation"), "positions": ("keep", "positions"),
    "token_positions": ("own", "positions of virtual tokens"), "text": ("", "an initial text"), "inner_dropout": (0.0, "a dropout between two maps"),
    "blocks": (2, "blocks of the matrix"), "factor": (-1, "a factor of the widths"), "decompose_both": (False, "a second product of two matrices"),
}  # fmt: skip


def require(method: Method, anatomy: Anatomy | None = None, trained: bool = False, alone: bool = False) -> None:
    """Raise the first problem, if there is one."""
    for problem in problems(method, anatomy, trained, alone):
        raise problem


def problems(method: Method, anatomy: Anatomy | None = None, trained: bool = False, alone: bool = False) -> list[Refusal]:
    """Everything that is wrong with a method, on a model where one is given. Empty: it may run.

    `alone`: without the runs that it may still be put on. What has been `trained` may say more than it does: earlier versions took options without effect, and their runs load still.
    """
    found = list(_whole(method))
    found += _shared_gates(method, anatomy)
    for index, delta in enumerate(method.deltas):
        for problem in (*_delta(delta, trained or bool(delta.frozen_from)), *(_on_model(delta, anatomy) if anatomy else ())):
            found.append(Refusal(problem.sentence, f"deltas.{index}.{problem.field}"))
    found += _alone(method, anatomy) if anatomy and not found else ()
    found += () if alone or found else without_members(method, anatomy)
    if anatomy and method.select:
        found += method.select.problems_on(anatomy)
    return found


FUSED = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "ffn.out": ("ffn.down",)}  # what changes the outputs of these, too


def _alone(method: Method, anatomy: Anatomy) -> Iterator[Refusal]:
    """A composition that reads W + ΔW has it from its own delta alone, and so has a form that reads W."""
    if not any(COMPOSITIONS[delta.composition].alone or FORMS[delta.form].alone for delta in method.deltas):
        return
    changed = [
        {(site.stack, site.layer, name) for site in anatomy.sites(delta) for name in FUSED.get(site.representation, (site.representation,))}
        for delta in method.deltas
    ]
    for index, delta in enumerate(method.deltas):
        composed = COMPOSITIONS[delta.composition].alone
        both = (composed or FORMS[delta.form].alone) and changed[index] & set().union(*changed[:index], *changed[index + 1 :])
        if both:
            yield Refusal(
                "With composition {name} a weight is changed by one delta, and {place} is changed by two: take it out of one of them."
                if composed
                else "With form {name} a weight is changed by one delta, and {place} is changed by two: take it out of one of them.",
                f"deltas.{index}.at",
                name=delta.composition if composed else delta.form,
                place=min(both)[2],
            )


def ratio_problem(method: Method, ratio: float) -> Refusal | None:
    """Why LoRA+'s ratio says nothing about this method; None where it does, or is 1."""
    if ratio == 1.0 or any(map(trains_second_map, method.deltas)):
        return None
    return Refusal("The LoRA+ ratio is of second maps (B, up, values) over first ones, and no second map trains here: leave it at 1.", "training.lr_ratio")


def _whole(method: Method) -> Iterator[Refusal]:
    if problem := ratio_problem(method, method.training.lr_ratio):
        yield problem
    if not method.own and not method.select:
        yield Refusal("Nothing would train: add a delta, or select weights of the model.", "deltas")
    if method.select:
        yield from method.select.problems(bool(method.own if method.select.head_alone else method.deltas))
    if sum(FORMS[delta.form].before_input for delta in method.deltas) > 1:
        yield Refusal("Two sets of virtual tokens are one longer set: join them into one delta with a larger rank.", "deltas")
    if any(delta.ends for delta in method.deltas):
        yield from _chosen_tokens(method)
    if sum(delta.schedule is not None for delta in method.deltas) > 1 and len({d.schedule.name for d in method.deltas if d.schedule}) > 1:
        yield Refusal("Two different schedules would decide over the same run: keep one of them.", "deltas")


def _chosen_tokens(method: Method) -> Iterator[Refusal]:
    """Where chosen tokens could not be found again: behind virtual ones, and in generation without a cache."""
    for index, delta in enumerate(method.deltas):
        if delta.ends and FORMS[delta.form].kind(delta) != "hooks":
            yield Refusal("Slots and virtual tokens are there for all that attend to them: leave tokens at all.", f"deltas.{index}.tokens")
        elif FORMS[delta.form].before_input:
            yield Refusal("Virtual tokens stand before an input, whose first tokens another delta chooses: take one of them away.", f"deltas.{index}.form")
        elif COMPOSITIONS[delta.composition].averages:
            yield Refusal(
                "A learned gate generates without a cache, where the end of a prompt is not known any more: leave tokens at all, or choose composition scaled.",
                f"deltas.{index}.composition",
            )


def _shared_gates(method: Method, anatomy: Anatomy | None) -> list[Refusal]:
    """A gate that deltas share weighs those of each layer against each other, so there must be two of them, which average alike."""
    sources = dict.fromkeys(delta.frozen_from for delta in method.deltas if delta.gate == "shared")
    return [problem for source in sources for problem in _shared_gate(method, source, anatomy)]


def _shared_gate(method: Method, source: str, anatomy: Anatomy | None) -> list[Refusal]:
    """Of the deltas of one run: each has gates of its own."""
    sharing = {index: delta for index, delta in enumerate(method.deltas) if delta.gate == "shared" and delta.frozen_from == source}
    field = f"deltas.{min(sharing)}.gate"
    if len(sharing) < 2:
        return [Refusal("A shared gate weighs deltas against each other: give it to two deltas or more, or choose own.", field)]
    if len({delta.gate_over for delta in sharing.values()}) > 1:
        return [Refusal("One gate has one average: give the deltas that share it the same gate averages.", field)]
    try:
        places = [{(site.stack, site.layer) for site in anatomy.sites(delta)} for delta in sharing.values()] if anatomy else []
    except Refusal:  # told at its own delta
        return []
    alone = sorted(place for place in set().union(*places) if sum(place in each for each in places) < 2)
    if alone:
        stack, layer = alone[0]
        return [
            Refusal(
                "A shared gate weighs deltas against each other, and layer {layer} of {stack} has one alone: give all the same layers and stacks.",
                field,
                layer=layer,
                stack=stack,
            )
        ]
    return []


def _delta(delta: Delta, trained: bool) -> Iterator[Refusal]:
    form = FORMS[delta.form]
    misfits = list(_form_fits(delta, form))
    yield from misfits
    if misfits:  # what follows reads parts, which only a fitting form has
        return
    yield from _options_fit(delta, form)
    yield from _trained_parts(delta)
    yield from form.problems(delta)
    for changes in (delta.schedule, delta.allocation):
        yield from changes.problems(delta) if changes else ()
        yield from changes.without_effect(delta) if changes and not trained else ()
    yield from () if trained else _without_effect(delta)
    if not delta.reads_h and "embed" in delta.places and not form.before_input:
        yield Refusal("The embeddings have no hidden input: choose insertion sequential at embed.", "insertion")
    if delta.changes_input and not set(delta.places) <= set(PROJECTIONS) - {"ffn.out"}:
        yield Refusal("Insertion input changes what a projection reads: choose projections such as attn.q.", "insertion")
    if delta.x != "auto" and delta.reads_h and delta.places != ["ffn.residual"]:
        yield Refusal("A sequential delta reads h itself: leave the input at auto, or choose insertion parallel.", "x")
    if delta.x == "projection" and not delta.reads_h and not set(delta.places) <= set(PROJECTIONS):
        yield Refusal("Only projections have an input of their own: choose input normed or residual, or other representations.", "x")
    if delta.x in ("normed",) and set(delta.places) & {"ffn.down"}:
        yield Refusal("ffn.down is read as a projection: for the sublayer's input choose ffn.out, or input residual.", "x")


def _form_fits(delta: Delta, form: Form) -> Iterator[Refusal]:
    if form.representations and not set(delta.places) <= set(form.representations):
        own = form.refusals.get("representation")
        yield Refusal(own or Message("{form} goes to {places} only.", form=word(form.label), places=", ".join(form.representations)), "at")
    for field, allowed in (("insertion", insertions_of(form)), ("composition", taken(form)), ("nonlinearity", form.nonlinearities)):
        value = getattr(delta, field)
        if value not in allowed:
            yield Refusal(_why(form, field, value, allowed), field)
    if delta.init not in form.inits:
        yield Refusal(
            "{form} has no initialisation '{init}'; there are {known}.",
            "init",
            form=word(form.label.capitalize()),
            init=delta.init,
            known=", ".join(form.inits),
        )
    if "softmax" in form.nonlinearities and form.mixed(delta) and delta.nonlinearity != "softmax":
        yield Refusal("gated needs the attention mass of slots, which softmax gives: choose nonlinearity softmax, or composition add.", "composition")


def _why(form: Form, field: str, value: str, allowed: tuple[str, ...]) -> str:
    own = form.refusals.get(f"{field}.{value}") or form.refusals.get(field)
    if own:
        return own
    if field == "composition" and COMPOSITIONS[value].misfit:
        return COMPOSITIONS[value].misfit
    return Message(
        "{form} does not go with {option} {value}; choose {known}.",
        form=word(form.label.capitalize()),
        option=word(field),
        value=value,
        known=", ".join(allowed),
    )


def _options_fit(delta: Delta, form: Form) -> Iterator[Refusal]:
    for option, (unused, words) in FORM_OPTIONS.items():
        if getattr(delta, option) != unused and option not in form.options:
            yield Refusal(
                "{form} has no use for {words}: leave {option} as it is.", option, form=word(form.label.capitalize()), words=word(words), option=word(option)
            )
    yield from _options_unread(delta)
    yield from COMPOSITIONS[delta.composition].problems(delta, form)
    yield from _weighted(delta, form)
    if delta.shared and not form.shared:
        yield Refusal("{form} has no maps to share between sites: leave shared off.", "shared", form=word(form.label.capitalize()))
    if delta.shared and (delta.allocation or delta.schedule or form.start(delta).reads):
        yield Refusal("Shared maps are one set for all sites, so they take no schedule, allocation or start from a weight.", "shared")
    if delta.norm != "none" and not form.reads_x:
        yield Refusal("{form} reads no x that a layer norm could stand on: leave it at none.", "norm", form=word(form.label.capitalize()))
    if delta.dropout and form.vector:
        yield Refusal("{form} has no input to drop: leave dropout at 0.", "dropout", form=word(form.label.capitalize()))
    if delta.through_dropout and (delta.changes_input or not set(delta.places) & {"attn.out", "ffn.out"}):
        yield Refusal("Only a sublayer's output meets the sublayer's own dropout: choose attn.out or ffn.out, or leave through_dropout off.", "through_dropout")
    if delta.encoder != "none" and form.produced and delta.init not in ("normal", "bert"):
        yield Refusal(
            "A network produces these slots or tokens, so they start as it gives them: choose initialisation normal, or reparameterisation none.", "init"
        )
    if delta.init_rows != Delta.model_fields["init_rows"].default and not delta.looks:
        yield Refusal("Only starts and rank allocations that are made of the training data look at rows of it: leave init_rows as it is.", "init_rows")
    if delta.text and delta.init != "text":
        yield Refusal("An initial text is read by initialisation text: choose it, or leave the text empty.", "text")
    if delta.init == "text" and not delta.text:
        yield Refusal("Initialisation text needs a text: write one, or choose vocabulary.", "text")


def _weighted(delta: Delta, form: Form) -> Iterator[Refusal]:
    """Where a change cannot be taken in part."""
    if delta.weight == 1:
        return
    if delta.weight == 0:
        yield Refusal("A weight of 0 takes the delta away: choose another weight.", "weight")
    elif form.before_input:
        yield Refusal("Virtual tokens are input, of which there is no part to take: leave the weight at 1.", "weight")
    elif form.mixed(delta) and delta.weight < 0:
        yield Refusal("Inside the attention the weight multiplies the slots' share of its mass, which cannot be negative: choose a weight above 0.", "weight")
    elif form.start(delta).residual:
        yield Refusal("This start has taken its share out of the weight, all of which must come back: leave the weight at 1.", "weight")


def _options_unread(delta: Delta) -> Iterator[Refusal]:
    """Options of other compositions that are not at their defaults, each with the sentence of its own composition."""
    mine, yielded = COMPOSITIONS[delta.composition], set()
    for other in COMPOSITIONS.values():
        for option, sentence in other.elsewhere.items():
            if option not in mine.options and getattr(delta, option) != Delta.model_fields[option].default and sentence not in yielded:
                yielded.add(sentence)
                yield Refusal(mine.refusals.get(option, sentence), option, composition=mine.name)


def _trained_parts(delta: Delta) -> Iterator[Refusal]:
    known = part_names(delta)
    for name in delta.trainable or ():
        if name not in known:
            yield Refusal("There is no part '{name}' here; this delta has {known}.", "trainable", name=name, known=", ".join(known))


def part_names(delta: Delta) -> list[str]:
    """The parts of the delta's form, and of its composition and norm, by name; without those that never train."""
    sites = [Site(delta.places[0], "encoder", 0, width, width, "h", 1, 1, width, model=width) for width in (8, 2**16)]  # which parts there are may depend on it
    frozen = {part.name for part in FORMS[delta.form].parts(delta, sites[0]) if not part.trains}
    return list(dict.fromkeys(part.name for site in sites for part in all_parts(delta, site) if part.name not in frozen))


def _without_effect(delta: Delta) -> Iterator[Refusal]:
    """Options that this delta, by itself, cannot do anything with."""
    form, trained = FORMS[delta.form], set(delta.trainable or ())
    if not form.has_rank and delta.rank != RANK:
        if form.over_frozen:
            yield Refusal("{form} have ranks of their own: leave rank at {rank}.", "rank", form=word(form.label.capitalize()), rank=RANK)
        else:
            yield Refusal("{form} has one number per dimension of h and no rank: leave rank at {rank}.", "rank", form=word(form.label.capitalize()), rank=RANK)
    if form.vector and not COMPOSITIONS[delta.composition].averages and (delta.x != "auto" or not delta.reads_h):
        field = "x" if delta.x != "auto" else "insertion"
        yield Refusal(
            "{form} is the same whatever it reads: leave the input at auto and the insertion at sequential.", field, form=word(form.label.capitalize())
        )
    if delta.places == ["embed"] and delta.layers != "all":
        yield Refusal("The embeddings stand before all layers: leave layers at all.", "layers")
    if delta.encoder != "none" and trained and not set(form.produced) <= trained:
        produced = listed(form.produced, " and ")
        yield Refusal(
            "One network produces {produced} and trains as a whole: have {produced} among the trained parts, or leave these empty.",
            "trainable",
            produced=produced,
        )
    outputs = {"attn.out", "ffn.out"} & set(delta.places)
    if delta.through_dropout and outputs and all(source(delta, place) == "projection" for place in outputs):
        yield Refusal(
            "A change of the output projection meets the sublayer's dropout anyway, as the projection does: leave through_dropout off.", "through_dropout"
        )


def _on_model(delta: Delta, anatomy: Anatomy) -> Iterator[Refusal]:
    try:
        sites = anatomy.sites(delta)
    except Refusal as problem:
        yield problem
        return
    yield from architecture_fits(delta, anatomy, sites)
    form = FORMS[delta.form]
    if any(True for _ in _form_fits(delta, form)):  # what follows reads parts, which only a fitting form has
        return
    for site in {site.shape: site for site in sites}.values():
        yield from form.fits(delta, site)
        wanted = set(delta.trainable or ()) & set(form.names)
        if wanted and not {part.name for part in form.parts(delta, site)} & wanted:
            yield Refusal(
                "At {representation} this delta has none of the trained parts: name one that it has there, or leave these empty.",
                "trainable",
                representation=site.representation,
            )
    yield from ranks_fit(delta, sites)
    yield from positions_fit(delta, anatomy, sites)
