"""Which PEFT type a method is, if any: decided from the design alone, without torch, so that pages can say it before a run.

| type | methods |
|---|---|
| LORA | every change that is linear in a projection's own input: LoRA, LoRA-FA, DoRA (use_dora), AFLoRA, LaMDA, LaMDA++, free low-rank designs |
| HIRA | low-rank changes with composition hira |
| VERA, ADALORA | one delta of exactly that shape; as `peft-lora` they become a LORA of the same ΔW |
| IA3 | scales at projections, heads and the FFN's activation |
| PREFIX_TUNING | gated softmax slots in every layer of a decoder, with positions: shift or auto |
| ADAPTION_PROMPT | prompt rows in the topmost layers of Llama and Mistral |
| PROMPT_TUNING | virtual tokens on a model that writes text |
| LN_TUNING | training the norms |
| LOHA, LILY and others | the forms that have a type of their own (`Form.peft_own`) |
| SHIRA | fixed sparse masks of a LoRA's size on linear layers |
"""

from __future__ import annotations

from lab.design.body.anatomy import Anatomy, chosen_layers, source
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.delta import Delta, Method
from lab.design.method.forms import FORMS
from lab.design.plain.message import listed, word
from lab.design.plain.refusal import Refusal
from lab.design.spec.objectives import OBJECTIVES

OWN_INPUT = ("attn.q", "attn.k", "attn.v", "attn.qkv", "ffn.up", "ffn.gate")  # their input is the sublayer's (normed) input
SCALED_OUTPUT = ("attn.q", "attn.k", "attn.v", "attn.qkv", "attn.out", "ffn.up", "ffn.gate", "ffn.down", "ffn.out")
SCALED_INPUT = ("attn.heads", "ffn.act")


def peft_type(method: Method, body: Anatomy, objective: str) -> str:
    """The PEFT type that holds this method on this model, or a `Refusal` that says why there is none."""
    if method.select:
        if not method.deltas and (kind := method.select.in_peft(body)):
            return kind
        raise Refusal("PEFT has no type for training {words}", "format", words=word(method.select.words))
    _require_all_tokens(method)
    forms = {delta.form for delta in method.deltas}
    if any(delta.weight != 1 and not _linear(delta) and not FORMS[delta.form].peft_own for delta in method.deltas):
        raise Refusal("Of PEFT's types LoRA alone has a place for the weight of a change", "format")
    if len(forms) > 1 and not all(_linear(delta) for delta in method.deltas):
        raise Refusal("PEFT holds one kind of adapter at a time, and this method combines {forms}", "format", forms=listed(sorted(forms), " and "))
    decide = {"IA3": _scales, "PREFIX_TUNING": _slots, "PROMPT_TUNING": _tokens, "ADAPTION_PROMPT": _prompts}.get(
        FORMS[method.deltas[0].form].peft_type, _low_rank
    )
    if FORMS[method.deltas[0].form].peft_own:
        decide = _own
    return decide(method, body, objective)


def _require_all_tokens(method: Method) -> None:
    if any(delta.ends for delta in method.deltas):
        raise Refusal("PEFT has no type for a change of some tokens alone", "format")


def _low_rank(method: Method, body: Anatomy, objective: str) -> str:
    for delta in method.deltas:
        _require_linear(delta, body)
    composed = [COMPOSITIONS[delta.composition] for delta in method.deltas]
    if len({(one.peft_type, str(one.peft_config)) for one in composed}) > 1:
        raise Refusal("A LoRA in PEFT composes all its changes alike, and these deltas do not", "format")
    if composed[0].peft_type:
        return composed[0].peft_type
    first = method.deltas[0]
    types = COMPOSITIONS[first.composition].peft_types if len(method.deltas) == 1 and first.weight == 1 else ()
    if (
        "ADALORA" in types
        and first.core == "diagonal"
        and first.schedule
        and first.schedule.peft_type == "ADALORA"
        and not first.vectors
        and first.scale != "learned"
    ):
        return "ADALORA"
    if "VERA" in types and first.shared and first.vectors and first.core == "none" and not any(map(body.is_slice, body.places(first))):
        return "VERA"
    return "LORA"


def lora_type(method: Method, body: Anatomy, objective: str) -> str:
    """LORA where every delta is linear in a projection's input, else a `Refusal`."""
    if method.select or not method.deltas or not all(_linear(delta) for delta in method.deltas):
        raise Refusal("Only changes that are linear in a projection's input are a LoRA", "format")
    _require_all_tokens(method)
    for delta in method.deltas:
        if not COMPOSITIONS[delta.composition].low_rank:
            raise Refusal(
                "With composition {composition} the change of a weight is not low-rank, so no plain LoRA holds it", "format", composition=delta.composition
            )
        _require_linear(delta, body)
    return "LORA"


def _linear(delta: Delta) -> bool:
    return FORMS[delta.form].low_rank(delta)


def _require_linear(delta: Delta, body: Anatomy) -> None:
    """Refuse what is not a fixed low-rank change of a projection's weight."""
    if not _linear(delta):
        what = f"{delta.form} with {delta.nonlinearity}" if delta.nonlinearity != "none" else delta.form
        raise Refusal("PEFT has no type for the form {what}", "format", what=what)
    if not {"LORA", COMPOSITIONS[delta.composition].peft_type} & set(COMPOSITIONS[delta.composition].peft_types):
        raise Refusal("PEFT has no type for a low-rank change with composition {composition}", "format", composition=delta.composition)
    _require_own_input(delta, body)


def _require_own_input(delta: Delta, body: Anatomy) -> None:
    """Refuse what is not added to the output of a projection whose input it reads as it is."""
    if delta.norm != "none":
        form = word("low-rank change" if _linear(delta) else FORMS[delta.form].label)
        raise Refusal("PEFT has no type for a {form} with a layer norm of its own", "format", form=form)
    if delta.weight != 1 and not COMPOSITIONS[delta.composition].low_rank:
        raise Refusal("PEFT has no place for the weight of a change with composition {composition}", "format", composition=delta.composition)
    for representation in body.places(delta):
        if not reads_own_input(delta, representation, body):
            what = word("LoRA" if _linear(delta) else FORMS[delta.form].label)
            raise Refusal(
                "A {what} in PEFT reads its projection's own input, which this {insertion} delta at {place} does not",
                "format",
                what=what,
                insertion=delta.insertion,
                place=representation,
            )


def reads_own_input(delta: Delta, representation: str, body: Anatomy) -> bool:
    """Whether a delta is added to the output of a projection and reads what that projection reads."""
    reads = source(delta, representation)
    own = reads == "projection" or representation in OWN_INPUT and (reads == "sublayer" or reads == "residual" and body.reads_residual)
    return own and not delta.reads_h and representation not in ("embed", "attn.heads", "ffn.act", "ffn.residual", "layer.out")


def _own(method: Method, body: Anatomy, objective: str) -> str:
    """The type that is the form's own; a LORA where that type cannot have it and the change is low-rank."""
    try:
        return _own_type(method, body)
    except Refusal:
        if all(map(_linear, method.deltas)):
            return _low_rank(method, body, objective)
        raise


def _own_type(method: Method, body: Anatomy) -> str:
    first, form = method.deltas[0], FORMS[method.deltas[0].form]
    alike = all(other.model_copy(update={"at": first.at}) == first for other in method.deltas)
    if len(method.deltas) > 1 and not (form.peft_each_place and alike):
        raise Refusal("PEFT holds one delta of form {form} at a time", "format", form=word(form.label))
    for delta in method.deltas:
        _require_own(delta, body)
    return form.peft_type


def _require_own(delta: Delta, body: Anatomy) -> None:
    """Refuse a delta that the type of its form cannot have."""
    form, composition = FORMS[delta.form], COMPOSITIONS[delta.composition]
    if form.peft_type not in composition.peft_types and ("LORA" not in composition.peft_types or not composition.low_rank):
        raise Refusal("PEFT has no type for a {form} with composition {composition}", "format", form=word(form.label), composition=delta.composition)
    if form.shared and not delta.shared:
        raise Refusal(
            "A {form} in PEFT has maps that all projections share: only a run with deltas.0.shared=true means the same there", "format", form=word(form.label)
        )
    if unfit := form.peft_unfit(delta):
        raise Refusal(unfit, "format")
    if not delta.reads_h and form.peft_insertion == "parallel":
        _require_own_input(delta, body)
    elif delta.insertion != form.peft_insertion or not set(body.places(delta)) <= set(SCALED_OUTPUT) or _behind_a_norm(delta, body):
        raise Refusal("A {form} in PEFT has insertion {insertion}, at projections", "format", form=word(form.label), insertion=form.peft_insertion)
    if any(map(body.is_slice, body.places(delta))):
        raise Refusal(
            "A {form} in PEFT changes whole projections, and this model's are parts of a larger one: choose attn.qkv", "format", form=word(form.label)
        )
    if body.architecture.conv1d and not form.peft_conv1d:
        raise Refusal("A {form} in PEFT does not go with the projections of {name}", "format", form=word(form.label), name=body.architecture.name)


def _behind_a_norm(delta: Delta, body: Anatomy) -> bool:
    return not delta.changes_input and any(_normed_after(place, body) for place in {"attn.out", "ffn.out"} & set(body.places(delta)))


def _normed_after(representation: str, body: Anatomy) -> bool:
    """Whether the sublayer's output is that of another module than its last projection (Gemma's norm)."""
    return any((stack.map.attention if representation == "attn.out" else stack.map.ffn).after for stack in body.stacks)


def _scales(method: Method, body: Anatomy, objective: str) -> str:
    seen: set[str] = set()
    for delta in method.deltas:
        for representation in body.places(delta):
            if representation not in SCALED_OUTPUT + SCALED_INPUT:
                raise Refusal("An IA3 in PEFT scales projections, and {representation} is none", "format", representation=representation)
            if representation in ("attn.out", "ffn.out") and _normed_after(representation, body):
                raise Refusal(
                    "On {name} {representation} is the output of a norm, and an IA3 in PEFT scales projections",
                    "format",
                    name=body.architecture.name,
                    representation=representation,
                )
            module = {"attn.heads": "attn.out", "ffn.act": "ffn.down", "ffn.out": "ffn.down"}.get(representation, representation)
            if module in seen:
                raise Refusal("An IA3 in PEFT scales a projection's input or its output once, not both or twice", "format")
            seen.add(module)
    if {"attn.qkv"} & seen and seen & {"attn.q", "attn.k", "attn.v"}:
        raise Refusal("An IA3 in PEFT scales a fused projection once", "format")
    return "IA3"


def _slots(method: Method, body: Anatomy, objective: str) -> str:
    delta = method.deltas[0]
    if len(method.deltas) > 1 or "PREFIX_TUNING" not in COMPOSITIONS[delta.composition].peft_types or delta.nonlinearity != "softmax":
        raise Refusal("A prefix in PEFT is one set of softmax slots with composition gated", "format")
    if body.encoder_decoder:
        raise Refusal("A prefix in PEFT reaches only the decoder's self-attention of an encoder-decoder", "format")
    if not OBJECTIVES[objective].one_sequence:
        raise Refusal("PEFT passes a prefix as a cache, which only models that write text have", "format")
    if delta.layers != "all":
        raise Refusal("A prefix in PEFT is in every layer", "format")
    if body.window:
        raise Refusal(
            "PEFT passes a prefix as a cache, and layers of this model that see {window:,} tokens back lose it from sight", "format", window=body.window
        )
    if not body.shifts(delta):
        raise Refusal("A prefix in PEFT shifts the positions of real tokens: only a run trained with deltas.0.positions=shift means the same there", "format")
    return "PREFIX_TUNING"


PROMPTED = ("llama", "mistral")  # whose attention peft 0.21 puts adaption prompts into


def _prompts(method: Method, body: Anatomy, objective: str) -> str:
    delta, stack = method.deltas[0], body.stacks[0]
    layers = chosen_layers(delta.layers, stack.layers)
    if len(method.deltas) > 1 or layers != list(range(stack.layers))[-len(layers) :]:
        raise Refusal("An adaption prompt in PEFT is one set of rows in the topmost layers", "format")
    if body.config.get("model_type") not in PROMPTED:
        raise Refusal("PEFT has adaption prompts for Llama and Mistral, and this model is of {name}", "format", name=body.architecture.name)
    return "ADAPTION_PROMPT"


def _tokens(method: Method, body: Anatomy, objective: str) -> str:
    delta = method.deltas[0]
    if "PROMPT_TUNING" not in COMPOSITIONS[delta.composition].peft_types:
        raise Refusal("A prompt in PEFT has no gate", "format")
    if delta.token_positions != "own":
        raise Refusal("A prompt in PEFT has positions of its own: only a run trained with deltas.0.token_positions=own means the same there", "format")
    if OBJECTIVES[objective].headed:
        raise Refusal("PEFT's classification pools the first virtual token, the lab's the first real one, so the outputs would differ", "format")
    return "PROMPT_TUNING"
