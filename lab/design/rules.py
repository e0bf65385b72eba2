"""Which combinations have a meaning. What has none is refused here, before a model is touched, with the reason and the way out.

`problems(method)` looks at the method alone; with an anatomy also at the model. Each `Refusal` names the field it is about.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.design.allocation import groups, rank_ladder, reachable
from lab.design.anatomy import Anatomy, Site, source
from lab.design.forms import FORMS
from lab.design.forms.lowrank import RESIDUAL, SPECTRAL
from lab.design.forms.slots import OF_TOKENS
from lab.design.method import Delta, Method
from lab.design.parts import all_parts, leaves_unchanged, trains_second_map
from lab.design.refusal import Refusal
from lab.design.schedules import LaMDAFreezing

RANK = Delta.model_fields["rank"].default
PROJECTIONS = ("attn.q", "attn.k", "attn.v", "attn.qkv", "attn.out", "ffn.up", "ffn.gate", "ffn.down", "ffn.out")
STREAMS = ("ffn.residual", "layer.out", "embed")
FORM_OPTIONS = {  # option: (value that means 'not used', words)
    "biases": (True, "biases of two maps"), "core": ("none", "a core between A and B"), "vectors": (False, "scaling vectors"),
    "alpha": (None, "alpha"), "rank_scaling": ("lora", "a rank scaling"), "encoder": ("none", "a reparameterisation"), "encoder_width": (512, "the width of a reparameterisation"), "positions": ("keep", "positions"),
    "token_positions": ("own", "positions of virtual tokens"), "text": ("", "an initial text"), "inner_dropout": (0.0, "a dropout between two maps"),
}  # fmt: skip


def require(method: Method, anatomy: Anatomy | None = None, trained: bool = False) -> None:
    """Raise the first problem, if there is one."""
    for problem in problems(method, anatomy, trained):
        raise problem


def problems(method: Method, anatomy: Anatomy | None = None, trained: bool = False) -> list[Refusal]:
    """Everything that is wrong with a method, on a model where one is given. Empty: it may run.

    What has been `trained` may say more than it does: earlier versions took options without effect, and their runs load still.
    """
    found = list(_whole(method))
    found += _shared_gates(method, anatomy)
    for index, delta in enumerate(method.deltas):
        for problem in (*_delta(delta, trained), *(_on_model(delta, anatomy) if anatomy else ())):
            found.append(Refusal(problem.sentence, f"deltas.{index}.{problem.field}"))
    if anatomy and method.select and method.select.what == "layers":
        layers = sum(stack.layers for stack in anatomy.stacks)
        if method.select.active > layers:
            found.append(Refusal(f"{method.select.active} active layers are more than the {layers} that the model has.", "select.active"))
    return found


def no_head() -> Refusal:
    """The refusal of training a task head alone where there is none."""
    return Refusal("There is no new task head on this model, so nothing would train: choose a method, or a classification task.", "select")


def nothing_selected(what: str) -> Refusal:
    """The refusal of a selection (bias, norm) of which a model has none."""
    if what == "bias":
        return Refusal("This model has no biases, so BitFit has nothing to train: choose a delta of form bias at attn.out and ffn.out instead.", "select")
    return Refusal("This model's norms have no weights, so there is nothing to train: choose another method.", "select")


def notes(method: Method, anatomy: Anatomy) -> list[tuple[str, str]]:
    """What may run as it is, and may not be what was meant on this model: (field, sentence)."""
    found = []
    for index, delta in enumerate(method.deltas):
        if anatomy.stacks[0].gated and "ffn.up" in delta.places and "ffn.gate" not in delta.places:
            found.append((f"deltas.{index}.at", f"{anatomy.architecture.name} has a gated FFN, and delta {index + 1} leaves its gate as it is: ffn-linear or all-linear takes ffn.gate in."))
        found += [(f"deltas.{index}.{field}", sentence) for field, sentence in _read_otherwise(delta, anatomy)]
        if delta.allocation:
            found += [(f"deltas.{index}.allocation.{field}", sentence) for field, sentence in _shared_out(delta, anatomy.sites(delta))]
    return found


def _read_otherwise(delta: Delta, anatomy: Anatomy) -> Iterator[tuple[str, str]]:
    """Options that another has left without an object, or for which this model has none."""
    widths = [max(site.shape) for site in anatomy.sites(delta)] if delta.form in ("lowrank", "bottleneck") else []
    if widths and delta.rank > max(widths):
        yield "rank", f"Rank {delta.rank} is more than the width {max(widths)} of all that this delta changes."
    missing = [name for name in delta.stacks or () if name not in [there for there, _ in anatomy.sublayers()]]
    if missing:
        yield "stacks", f"{anatomy.architecture.name} has no {' or '.join(missing)} stack, so nothing is there."
    if delta.encoder != "mlp" and delta.encoder_width != 512:
        yield "encoder_width", f"Only an mlp has a hidden width, so encoder_width {delta.encoder_width} changes nothing here."
    if delta.through_dropout and not anatomy.sublayer_dropout:
        yield "through_dropout", f"{anatomy.architecture.name} has no dropout on a sublayer's output, so through_dropout changes nothing here."
    if delta.allocation and delta.alpha is not None:
        yield "alpha", f"alpha is divided by the mean rank, {delta.rank}, in every projection: s does not vary with the ranks that are shared out."
    if delta.schedule and delta.schedule.name == "aflora":
        places = {site.representation for site in anatomy.sites(delta)}
        elsewhere = [place for place in delta.schedule.frozen_from_start if place not in places]
        if places <= set(delta.schedule.frozen_from_start):
            yield "schedule.frozen_from_start", "A and B are frozen from the start in all places, so the schedule has nothing to freeze: the vectors alone train."
        elif elsewhere:
            yield "schedule.frozen_from_start", f"This delta is not at {', '.join(elsewhere)}, so nothing is frozen from the start there."


def _shared_out(delta: Delta, sites: list[Site]) -> Iterator[tuple[str, str]]:
    low, high = delta.allocation.rank_min, delta.allocation.rank_max
    for group in groups(sites, delta.allocation.within):
        if not reachable(len(group), delta.rank, low, high):
            given = rank_ladder(len(group), delta.rank, low, high)
            yield "rank_min", f"{len(group)} ranks of mean {delta.rank} cannot have both {low} and {high} among them, so they run from {given[-1]} to {given[0]}: bounds as far below {delta.rank} as above it are used in full."
    if delta.allocation.within == "all" and len({site.shape for site in sites}) > 1:
        yield "within", "Ranks are shared out among projections of unequal shape: the count is that of an even share until the weights are read."


def ratio_problem(method: Method, ratio: float) -> Refusal | None:
    """Why LoRA+'s ratio says nothing about this method; None where it does, or is 1."""
    if ratio == 1.0 or any(map(trains_second_map, method.deltas)):
        return None
    return Refusal("The LoRA+ ratio is of second maps (B, up, values) over first ones, and no second map trains here: leave it at 1.", "training.lr_ratio")


def _whole(method: Method) -> Iterator[Refusal]:
    if problem := ratio_problem(method, method.training.lr_ratio):
        yield problem
    if not method.deltas and not method.select:
        yield Refusal("Nothing would train: add a delta, or select weights of the model.", "deltas")
    if method.deltas and method.select and method.select.what == "head":
        yield Refusal("The task head trains beside every delta: take the selection away.", "select")
    if method.deltas and method.select and method.select.what in ("all", "layers", "masked"):
        words = {"all": "all weights", "layers": "whole layers", "masked": "a sparse difference"}[method.select.what]
        yield Refusal(f"A delta stands in for training {words}: take the deltas away, or select only bias or norm.", "select")
    if sum(delta.form == "tokens" for delta in method.deltas) > 1:
        yield Refusal("Two sets of virtual tokens are one longer set: join them into one delta with a larger rank.", "deltas")
    if sum(delta.schedule is not None for delta in method.deltas) > 1 and len({d.schedule.name for d in method.deltas if d.schedule}) > 1:
        yield Refusal("Two different schedules would decide over the same run: keep one of them.", "deltas")


def _shared_gates(method: Method, anatomy: Anatomy | None) -> list[Refusal]:
    """A gate that deltas share weighs those of each layer against each other, so there must be two of them, which average alike."""
    sharing = {index: delta for index, delta in enumerate(method.deltas) if delta.gate == "shared"}
    if not sharing:
        return []
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
        return [Refusal(f"A shared gate weighs deltas against each other, and layer {layer} of {stack} has one alone: give all the same layers and stacks.", field)]
    return []


def _delta(delta: Delta, trained: bool) -> Iterator[Refusal]:
    form = FORMS[delta.form]
    misfits = list(_form_fits(delta, form))
    yield from misfits
    if misfits:  # what follows reads parts, which only a fitting form has
        return
    yield from _options_fit(delta, form)
    yield from _schedule_fits(delta)
    yield from () if trained else _without_effect(delta)
    if delta.insertion == "parallel" and "embed" in delta.places and delta.form != "tokens":
        yield Refusal("The embeddings have no hidden input: choose insertion sequential at embed.", "insertion")
    if delta.x != "auto" and delta.insertion == "sequential" and delta.places != ["ffn.residual"]:
        yield Refusal("A sequential delta reads h itself: leave the input at auto, or choose insertion parallel.", "x")
    if delta.x == "projection" and delta.insertion == "parallel" and not set(delta.places) <= set(PROJECTIONS):
        yield Refusal("Only projections have an input of their own: choose input normed or residual, or other representations.", "x")
    if delta.x in ("normed",) and set(delta.places) & {"ffn.down"}:
        yield Refusal("ffn.down is read as a projection: for the sublayer's input choose ffn.out, or input residual.", "x")
    if delta.x == "residual" and delta.form == "slots":
        yield Refusal("Slots are read by queries, which come from the sublayer's normed input: leave the input at auto.", "x")


def _form_fits(delta: Delta, form) -> Iterator[Refusal]:
    if form.representations and not set(delta.places) <= set(form.representations):
        yield Refusal(form.refusals.get("representation", f"{form.label} goes to {', '.join(form.representations)} only."), "at")
    for field, allowed in (("insertion", form.insertions), ("composition", form.compositions), ("nonlinearity", form.nonlinearities)):
        value = getattr(delta, field)
        if value not in allowed:
            yield Refusal(_why(form, field, value, allowed), field)
    if delta.init not in form.inits:
        yield Refusal(f"{form.label.capitalize()} has no initialisation '{delta.init}'; there are {', '.join(form.inits)}.", "init")
    if delta.form == "slots" and delta.composition in ("gated", "learned-gate") and delta.nonlinearity != "softmax":
        yield Refusal("gated needs the attention mass of slots, which softmax gives: choose nonlinearity softmax, or composition add.", "composition")


def _why(form, field: str, value: str, allowed: tuple[str, ...]) -> str:
    own = form.refusals.get(f"{field}.{value}") or form.refusals.get(field)
    if own:
        return own
    if (field, value) == ("composition", "gated"):
        return "gated needs the attention mass of slots: choose form slots, or composition add."
    if (field, value) == ("composition", "rescale"):
        return "rescale multiplies h by one vector: choose form scale, or composition add."
    return f"{form.label.capitalize()} does not go with {field} {value}; choose {', '.join(allowed)}."


def _options_fit(delta: Delta, form) -> Iterator[Refusal]:
    for option, (unused, words) in FORM_OPTIONS.items():
        if getattr(delta, option) != unused and option not in form.options:
            yield Refusal(f"{form.label.capitalize()} has no use for {words}: leave {option} as it is.", option)
    if delta.composition != "scaled" and delta.scale != 1.0:
        yield Refusal(f"Only composition scaled has a scale s: choose it, or leave scale at 1 with {delta.composition}.", "scale")
    if delta.alpha is not None and delta.scale != 1.0:
        yield Refusal("alpha gives the scale as α/r: set alpha or scale, not both.", "alpha")
    if delta.alpha is not None and delta.composition == "learned-gate":
        yield Refusal("A learned gate stands in the place of α/r (UniPELT): leave alpha empty, or choose composition scaled.", "alpha")
    elif delta.alpha is not None and delta.composition != "scaled":
        yield Refusal("alpha gives the s of composition scaled: choose it, or leave alpha empty.", "alpha")
    if delta.rank_scaling != "lora" and delta.alpha is None:
        yield Refusal("The rank scaling says by what alpha is divided: set alpha, or leave it at lora.", "rank_scaling")
    if delta.scale_start != 1.0 and not (delta.composition == "scaled" and delta.scale == "learned"):
        yield Refusal("Only a learned s has a start: choose composition scaled with scale learned, or leave the start at 1.", "scale_start")
    elif delta.scale_start == 0.0 and leaves_unchanged(delta.model_copy(update={"scale_start": 1.0})):
        yield Refusal("An s of 0 before a Δh that starts at 0 would never move: choose another start of s, or another initialisation.", "scale_start")
    if delta.composition != "learned-gate" and (delta.gate != "own" or delta.gate_over != "tokens"):
        yield Refusal("Only composition learned-gate has a gate: choose it, or leave gate at own and gate averages at tokens.", "gate" if delta.gate != "own" else "gate_over")
    elif delta.gate == "shared" and "embed" in delta.places:
        yield Refusal("Deltas share the gate of a layer, and the embeddings are in none: choose gate own.", "gate")
    if isinstance(delta.scale, float) and delta.scale == 0.0:
        yield Refusal("A scale of 0 takes the delta away: choose another scale.", "scale")
    if delta.shared and not form.shared:
        yield Refusal(f"{form.label.capitalize()} has no maps to share between sites: leave shared off.", "shared")
    if delta.shared and (delta.allocation or delta.schedule or delta.init in SPECTRAL):
        yield Refusal("Shared maps are one set for all sites, so they take no schedule, allocation or spectral start.", "shared")
    if delta.norm != "none" and delta.form in ("scale", "bias", "tokens"):
        yield Refusal(f"{form.label.capitalize()} reads no x that a layer norm could stand on: leave it at none.", "norm")
    if delta.norm == "out" and delta.form == "slots" and delta.composition in ("gated", "learned-gate"):
        yield Refusal("Gated slots are mixed inside the attention, where no layer norm fits: leave it at none.", "norm")
    if delta.norm == "in" and delta.form == "slots" and delta.composition in ("gated", "learned-gate"):
        yield Refusal("Gated slots are read by the model's own queries: leave the layer norm at none.", "norm")
    if delta.dropout and delta.form in ("scale", "bias"):
        yield Refusal(f"{form.label.capitalize()} has no input to drop: leave dropout at 0.", "dropout")
    if delta.inner_dropout and delta.form == "slots" and delta.composition in ("gated", "learned-gate"):
        yield Refusal("Gated slots are weighed inside the attention, which has a dropout of its own there: leave inner_dropout at 0.", "inner_dropout")
    if delta.through_dropout and not set(delta.places) & {"attn.out", "ffn.out"}:
        yield Refusal("Only a sublayer's output meets the sublayer's own dropout: choose attn.out or ffn.out, or leave through_dropout off.", "through_dropout")
    if delta.encoder != "none" and delta.form == "slots" and delta.encoder == "lstm":
        yield Refusal("Slots are reparameterised by an MLP: choose mlp or none.", "encoder")
    if delta.encoder != "none" and delta.form in ("slots", "tokens") and delta.init not in ("normal", "bert"):
        yield Refusal("A network produces these slots or tokens, so they start as it gives them: choose initialisation normal, or reparameterisation none.", "init")
    if delta.form == "slots" and delta.positions != "keep" and delta.composition not in ("gated", "learned-gate"):
        yield Refusal("Positions shift behind keys and values that stand before the real ones: choose composition gated, or positions keep.", "positions")
    if delta.form == "slots" and delta.init in OF_TOKENS and delta.composition not in ("gated", "learned-gate"):
        yield Refusal("Keys and values of real tokens belong into the attention: choose composition gated, or initialisation lora.", "init")
    if delta.text and delta.init != "text":
        yield Refusal("An initial text is read by initialisation text: choose it, or leave the text empty.", "text")
    if delta.init == "text" and not delta.text:
        yield Refusal("Initialisation text needs a text: write one, or choose vocabulary.", "text")
    yield from _trained_parts(delta, form)


def _trained_parts(delta: Delta, form) -> Iterator[Refusal]:
    known = part_names(delta)
    for name in delta.trainable or ():
        if name not in known:
            yield Refusal(f"There is no part '{name}' here; this delta has {', '.join(known)}.", "trainable")
    core_zero = delta.form == "lowrank" and delta.init == "zero-core" and delta.core == "none"
    if core_zero:
        yield Refusal("zero-core starts from a core of zeros: choose core diagonal or square.", "init")
    if delta.form == "lowrank" and delta.init == "vectors" and not delta.vectors:
        yield Refusal("Initialisation vectors starts from the scaling vectors: switch them on.", "init")
    if delta.form == "lowrank" and delta.init in SPECTRAL:
        if delta.core != "square":
            yield Refusal("A spectral start needs a square core between its singular vectors: choose core square.", "init")
        if delta.insertion != "parallel" or not set(delta.places) <= set(PROJECTIONS) - {"ffn.out"} or delta.x in ("residual", "normed"):
            yield Refusal("The spectral start reads the weight of a projection: choose parallel at projections such as attn.q.", "init")
        if delta.init in RESIDUAL and (delta.composition == "learned-gate" or delta.scale == "learned"):
            yield Refusal("The spectral start leaves the residual in the weight, so its scale must be fixed: choose composition scaled.", "composition")
        if delta.init in RESIDUAL and (delta.norm != "none" or delta.vectors):
            yield Refusal("The spectral start replaces part of the weight: leave the layer norm at none and the vectors off.", "init")


def part_names(delta: Delta) -> list[str]:
    """The parts of the delta's form, and of its composition and norm, by name."""
    site = Site(delta.places[0], "encoder", 0, 8, 8, "h", 1, 1, 8, model=8)
    return [part.name for part in all_parts(delta, site)]


def _schedule_fits(delta: Delta) -> Iterator[Refusal]:
    kind = delta.schedule.name if delta.schedule else ""
    lowrank = delta.form == "lowrank"
    if kind == "adalora":
        if not (lowrank and delta.core == "diagonal"):
            yield Refusal("AdaLoRA's budget prunes triplets P·Λ·Q: choose form lowrank with core diagonal.", "schedule")
        elif delta.schedule.target_rank > delta.rank:
            yield Refusal(f"The target rank {delta.schedule.target_rank:g} is above the initial rank {delta.rank}.", "schedule.target_rank")
        if lowrank and delta.trainable is not None and "core" not in delta.trainable:
            yield Refusal("AdaLoRA scores the core by its gradient, so core must train.", "trainable")
    if kind in ("adalora", "aflora") and delta.schedule.start + delta.schedule.finish >= 1:
        yield Refusal("start and finish together must leave time for the change: their sum must be below 1.", "schedule.start")
    if kind == "aflora" and not (lowrank and delta.vectors):
        yield Refusal("AFLoRA freezes A and B and keeps the scaling vectors: choose form lowrank with vectors.", "schedule")
    if kind == "lamda" and not (lowrank and delta.core == "square"):
        yield Refusal("LaMDA freezes B and keeps the core S: choose form lowrank with core square.", "schedule")
    needed = {"core"} if kind == "lamda" and delta.schedule.mode == "early" else {"B", "core"}
    if kind == "lamda" and delta.trainable is not None and not needed <= set(delta.trainable):
        yield Refusal("LaMDA's schedule freezes B and keeps the core: both must be among the trained parts.", "trainable")
    if delta.allocation:
        if not lowrank or not (delta.insertion == "parallel" and set(delta.places) <= set(PROJECTIONS) - {"ffn.out"}):
            yield Refusal("The energy score is of a projection's weight: choose form lowrank, parallel, at projections such as attn.q.", "allocation")
        elif delta.allocation.rank_min > delta.rank or delta.allocation.rank_max < delta.rank:
            yield Refusal(f"Rank {delta.rank} is the mean: it must lie between rank_min and rank_max.", "allocation.rank_min")
        if kind == "adalora":
            yield Refusal("AdaLoRA shares out rank by itself: leave the allocation empty.", "allocation")


def _without_effect(delta: Delta) -> Iterator[Refusal]:
    """Options that this delta, by itself, cannot do anything with."""
    form, schedule, share, trained = FORMS[delta.form], delta.schedule, delta.allocation, set(delta.trainable or ())
    if not form.has_rank and delta.rank != RANK:
        yield Refusal(f"{form.label.capitalize()} has one number per dimension of h and no rank: leave rank at {RANK}.", "rank")
    if delta.form in ("scale", "bias") and delta.composition != "learned-gate" and (delta.x != "auto" or delta.insertion == "parallel"):
        field = "x" if delta.x != "auto" else "insertion"
        yield Refusal(f"{form.label.capitalize()} is the same whatever it reads: leave the input at auto and the insertion at sequential.", field)
    if delta.places == ["embed"] and delta.layers != "all":
        yield Refusal("The embeddings stand before all layers: leave layers at all.", "layers")
    produced = ("keys", "values") if delta.form == "slots" else ("tokens",)
    if delta.encoder != "none" and trained and not set(produced) <= trained:
        yield Refusal(f"One network produces {' and '.join(produced)} and trains as a whole: have {' and '.join(produced)} among the trained parts, or leave these empty.", "trainable")
    outputs = {"attn.out", "ffn.out"} & set(delta.places)
    if delta.through_dropout and outputs and all(source(delta, place) == "projection" for place in outputs):
        yield Refusal("A change of the output projection meets the sublayer's dropout anyway, as the projection does: leave through_dropout off.", "through_dropout")
    if schedule and schedule.name == "aflora" and trained and not {"A", "B"} & trained:
        yield Refusal("AFLoRA's schedule freezes A and B: one of them must be among the trained parts.", "trainable")
    if schedule and schedule.name == "lamda":
        frozen = "A and B" if schedule.mode == "early" else "A"
        if trained & set(frozen.split(" and ")):
            yield Refusal(f"LaMDA's schedule freezes {frozen} from the start: leave them out of the trained parts.", "trainable")
        if schedule.mode != "gradual" and schedule.fraction != LaMDAFreezing().fraction:
            yield Refusal("Only gradual freezing takes a fraction of the run: choose it, or leave the fraction at 0.3.", "schedule.fraction")
    if share and share.rank_min == share.rank_max:
        yield Refusal(f"Between ranks of {share.rank_min} and {share.rank_max} there is nothing to share out: set rank_min and rank_max apart, or leave the allocation empty.", "allocation.rank_max")


def _on_model(delta: Delta, anatomy: Anatomy) -> Iterator[Refusal]:
    try:
        sites = anatomy.sites(delta)
    except Refusal as problem:
        yield problem
        return
    if anatomy.model_type == "opt" and delta.composition == "learned-gate" and any(a.startswith("ffn") for a in delta.places):
        yield Refusal("OPT flattens the sequence before its FFN, so no gate can average over it there: choose an attention representation.", "composition")
    if delta.gate == "shared" and anatomy.config.get("share_att_key") and {"attn.q", "attn.k"} & set(delta.places):
        yield Refusal("This model projects its relative positions too by attn.q and attn.k, once for all sequences, so no gate of a sequence fits there: choose attn.v, or gate own.", "gate")
    if anatomy.config.get("chunk_size_feed_forward") and delta.composition == "learned-gate":
        yield Refusal("This model splits the sequence in its FFN (chunk_size_feed_forward), so no gate can average over it.", "composition")
    smallest, largest = (choose(min(site.shape) for site in sites) for choose in (min, max))
    linear = delta.form == "lowrank" or delta.form == "bottleneck" and delta.nonlinearity == "none"
    top = delta.allocation.rank_max if delta.allocation else 0
    for rank, field in ((delta.rank, "rank"), (top, "allocation.rank_max")):
        if linear and not delta.vectors and rank > largest and delta.init not in SPECTRAL:  # VeRA's frozen pair may be wider than the model, as its paper has it
            yield Refusal(f"Rank {rank} is above {largest}, the most that a change of these weights can have: choose at most that.", field)
    if delta.init in SPECTRAL and delta.rank > smallest:
        yield Refusal(f"The spectral start takes at most as many singular values as the weight has: rank {delta.rank} is above {smallest}.", "rank")
    if delta.init in SPECTRAL and top > smallest:
        yield Refusal(f"rank_max {top} is above the {smallest} singular values of a weight.", "allocation.rank_max")
    if delta.positions == "shift" and not anatomy.counts_positions:
        yield Refusal(f"{anatomy.architecture.name} knows the distances between tokens alone, which a shift of all leaves as they are: choose positions keep or auto.", "positions")
    if delta.positions == "shift" and all(site.stack == "cross" for site in sites):
        yield Refusal("Cross-attention reads the encoder's output, where positions are in already: include the encoder or the decoder, or choose positions keep.", "positions")
    if delta.token_positions == "none" and not anatomy.position_table:
        yield Refusal(f"{anatomy.architecture.name} adds no position embeddings to its input that virtual tokens could do without: choose own.", "token_positions")
    positions = anatomy.config.get("max_position_embeddings") or anatomy.config.get("n_positions")
    if delta.form == "tokens" and delta.token_positions == "own" and positions and delta.rank >= positions:
        yield Refusal(f"{delta.rank} virtual tokens leave no room: the model has {positions} positions.", "rank")
    if anatomy.shifts(delta) and positions and delta.rank >= positions:
        yield Refusal(f"Positions shifted by {delta.rank} leave no room: the model has {positions} positions.", "rank")
    if delta.form == "tokens" and anatomy.embed != anatomy.stacks[0].width and anatomy.model_type not in ("electra", "deberta-v2", "opt"):
        yield Refusal("The input embeddings are not as wide as the model, so virtual tokens cannot be placed.", "at")
    if delta.form == "tokens" and delta.stacks == ["cross"]:
        yield Refusal("Cross-attention has no input embeddings: choose the encoder or the decoder.", "stacks")
    if delta.form == "tokens" and anatomy.encoder_decoder and delta.stacks and "encoder" not in delta.stacks:
        yield Refusal("On an encoder-decoder, virtual tokens stand before the encoder's input: include the encoder.", "stacks")
