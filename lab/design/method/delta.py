"""A method as data: a list of deltas, each a point in the design space, and a selection of the model's own weights that train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Union

from pydantic import field_validator, model_validator

from lab.design.method.allocations import Allocation
from lab.design.method.compositions import COMPOSITIONS
from lab.design.method.forms import FORMS
from lab.design.method.insertions import INSERTIONS
from lab.design.method.schedules import Schedule
from lab.design.method.selections import Selection
from lab.design.method.starts import LOOKS
from lab.design.plain.options import Options, option
from lab.design.plain.refusal import Refusal
from lab.design.space import PROJECTIONS, REPRESENTATIONS, SETS, Branch, Family, Nonlinearity, PlaceName, StackName

if TYPE_CHECKING:
    CompositionName = str
    InsertionName = str
else:
    CompositionName, InsertionName = Literal[tuple(COMPOSITIONS)], Literal[tuple(INSERTIONS)]


class Delta(Options):
    """One modification Δh. It is built once per layer and stack for each of the representations in `at`."""

    at: list[PlaceName] = option(
        min_length=1, label="modified representation", symbol="h", zh="修改表示",
        help="Which h is modified; all-linear, attn-linear and ffn-linear stand for all projections, with the FFN's gate where there is one.",
    )  # fmt: skip
    form: str = option(label="functional form", zh="函数形式", help="What computes Δh: " + ", ".join(FORMS) + ".")
    insertion: InsertionName = option("parallel", label="insertion form", zh="插入形式", help="What feeds Δh: the sublayer's input, or h itself.")
    composition: CompositionName = option("add", label="composition", zh="组合函数", help="How Δh joins h.")
    rank: int = option(8, ge=1, le=65536, label="rank", symbol="r", zh="秩", help="Bottleneck, rank or number of slots.")
    scale: Union[float, Literal["learned"]] = option(1.0, label="scale", symbol="s", zh="缩放", help="s of composition scaled: a number, or learned.")
    scale_start: float = option(1.0, label="start of s", symbol="s₀", help="Where a learned s starts; 0 leaves the model unchanged at the start.")
    alpha: float | None = option(None, gt=0, label="alpha", symbol="α", help="LoRA's way to give s: α/r. Leave it empty to use scale.")
    rank_scaling: Literal["lora", "rslora"] = option(
        "lora",
        label="rank scaling",
        help="What alpha is divided by: lora by r (Hu et al.), rslora by √r (Kalajdzievski 2023), so that a higher rank learns as fast.",
    )
    nonlinearity: Nonlinearity = option("none", label="nonlinearity", symbol="σ", zh="非线性", help="σ between the two maps of the form.")
    norm: Literal["none", "in", "out"] = option("none", label="layer norm", help="A layer norm of the delta's own, on x or on Δh.")
    init: str = option("lora", label="initialisation", zh="初始化", help="How the parts start; lora, for one, leaves the model unchanged.")
    init_rows: int = option(
        32, ge=1, le=100_000, label="rows of the start", help="Rows of the training data that a start or a rank allocation looks at, where it is made of them."
    )
    dropout: float = option(0.0, ge=0, lt=1, label="dropout", zh="随机失活", help="Dropout on what enters the form.")
    inner_dropout: float = option(0.0, ge=0, lt=1, label="inner dropout", zh="内部随机失活", help="Dropout behind σ, between the form's two maps.")
    through_dropout: bool = option(
        False,
        label="through dropout",
        zh="经过子层失活",
        help="Whether Δh at attn.out or ffn.out passes through the sublayer's own dropout, or joins after it.",
    )
    x: Literal["auto", "normed", "residual", "projection"] = option(
        "auto", label="input", symbol="x", help="What a parallel delta reads: the sublayer's input after its norm, before it, or the projection's input."
    )
    stacks: list[StackName] | None = option(None, min_length=1, label="stacks", zh="堆栈", help="Encoder, decoder, cross-attention; empty: all there are.")
    layers: str = option(
        "all",
        pattern=r"^(all|-?[0-9]{1,5}(--?[0-9]{1,5})?(,-?[0-9]{1,5}(--?[0-9]{1,5})?)*)$",
        max_length=1000,
        shape="all, or a list such as 0-5,8,-1 (-1 is the last layer)",
        label="layers",
        zh="层",
        help="all, or a list such as 0-5,8,-1; 2--1 is all from 2 on.",
    )
    tokens: str = option(
        "all",
        pattern=r"^(all|f[1-9][0-9]{0,3}(\+l[1-9][0-9]{0,3})?|l[1-9][0-9]{0,3})$",
        shape="all, f7 (the first 7), l7 (the last 7) or both, f7+l7",
        label="tokens",
        zh="词元",
        help="all, or f7+l7, f1, l1: only the first 7 and last 7 tokens of an input are changed, never what the model writes (ReFT).",
    )
    trainable: list[str] | None = option(None, min_length=1, label="trained parts", help="Parts of the form that train; empty: all.")
    biases: bool = option(True, label="biases", help="Whether a bottleneck's two maps have biases.")
    core: Literal["none", "diagonal", "square"] = option("none", label="core", help="What stands between A and B: Λ (r) or S (r×r).")
    factors: int = option(
        2,
        ge=1,
        le=16,
        label="factors",
        symbol="m",
        zh="因子数",
        help="Sparse rotations whose product a butterfly is, Kronecker products whose sum is a map of a Compacter, or up maps in Lily's pool.",
    )
    vectors: bool = option(False, label="scaling vectors", help="Vectors d (r) and b (out) after A and after B.")
    blocks: int = option(
        2, ge=1, le=65536, label="blocks", symbol="k", zh="分块", help="GraLoRA: how many blocks each side of the matrix is cut into; they share out the rank."
    )
    factor: int = option(
        -1,
        ge=-1,
        le=65536,
        label="factor",
        zh="因子",
        help="LoKr: sides of the first matrix, or the next smaller divisors; -1: those nearest to a square root.",
    )
    decompose_both: bool = option(
        False, label="decompose both", zh="两个都分解", help="LoKr: whether the first matrix too is a product of two of rank r, where that is smaller."
    )
    shared: bool = option(False, label="shared", zh="共享", help="One set of the form's maps for all sites, sliced to each.")
    encoder: Literal["none", "mlp", "lstm"] = option(
        "none", label="reparameterisation", zh="重参数化", help="A network that produces the slots while training."
    )
    encoder_width: int = option(512, ge=1, label="reparameterisation width", help="Hidden width of that network.")
    positions: Literal["keep", "shift", "auto"] = option(
        "keep", label="positions",
        help="keep: slots leave the positions of real tokens (He et al., AdapterHub). shift: real tokens count from l on, as after a cache "
             "(P-tuning v2, Li & Liang on GPT-2, peft). auto: shift, but keep where a model knows distances alone (T5, DeBERTa v3).",
    )  # fmt: skip
    token_positions: Literal["own", "none"] = option(
        "own", label="positions of virtual tokens",
        help="own: virtual tokens are inputs with positions before those of real tokens (Lester et al., peft). none: they join after the position embeddings (He et al.).",
    )  # fmt: skip
    text: str = option(
        "", max_length=2000, label="initial text", help="Text whose embeddings virtual tokens, or whose keys and values slots start from (init text)."
    )
    gate: Literal["own", "shared"] = option(
        "own", label="gate", symbol="g",
        help="own: a sigmoid for each place of the delta. shared: one softmax per layer weighs the deltas that share it against each other (UniPELT's add_central_gate).",
    )  # fmt: skip
    weight: float = option(
        1.0, ge=-10, le=10, label="weight", symbol="w", zh="权重",
        help="How much of the whole change is taken, whatever the composition: h + w·(h' − h). 1 takes it all; runs that are combined have one each.",
    )  # fmt: skip
    gate_over: Literal["tokens", "all"] = option("tokens", label="gate averages", help="Over real tokens, or over padding too (as UniPELT's code).")
    value_decay: float = option(
        0.01, ge=0, le=100, label="value decay", zh="值矩阵衰减",
        help="Of a fusion: weight of ‖V − I‖² in the loss, by which V stays near the identity (0.01 in the authors' code).",
    )  # fmt: skip
    schedule: Schedule | None = option(None, label="schedule", zh="调度", help="What changes during training.")
    allocation: Allocation | None = option(None, label="rank allocation", zh="秩分配", help="How rank is shared out over sites.")

    frozen_from: str = option(
        "", pattern=r"^([a-z][a-z0-9]{7}/(best|final))?$", shape="a run's id with /best or /final, as in k7qm2x9b/best", label="frozen from", zh="冻结自",
        help="The run whose trained weights it has; it stands frozen. Empty: it trains. Set by built_on.stand_on.",
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_form(cls, data: Any) -> Any:
        """What a method leaves out, its form fills in."""
        if isinstance(data, dict) and isinstance(data.get("form"), str) and data["form"] in FORMS:
            return {**FORMS[data["form"]].defaults, **data}
        return data

    @field_validator("form")
    @classmethod
    def _known_form(cls, form: str) -> str:
        if form not in FORMS:
            raise Refusal("There is no functional form '{form}'; there are {known}.", form=form, known=", ".join(FORMS))
        return form

    @field_validator("at", mode="before")
    @classmethod
    def _one_by_itself(cls, at: Any) -> Any:
        """`at: all-linear` is written without brackets."""
        return [at] if isinstance(at, str) else at

    @field_validator("at")
    @classmethod
    def _each_once(cls, at: list[str]) -> list[str]:
        """In the order of a layer; what a set in the list stands for is not named twice."""
        covered = {name for chosen in at for name in SETS.get(chosen, ())} | ({"attn-linear", "ffn-linear"} if "all-linear" in at else set())
        return sorted(set(at) - covered, key=[*SETS, *REPRESENTATIONS].index)

    @property
    def places(self) -> list[str]:
        """The representations in `at`, sets written out in the order of a layer: with ffn.gate, whether or not a model has one (see Anatomy.places)."""
        names = {name for chosen in self.at for name in SETS.get(chosen, (chosen,))}
        return sorted(names, key=list(REPRESENTATIONS).index)

    @property
    def ends(self) -> tuple[int, int] | None:
        """How many tokens at the start and at the end of an input are changed; None: all."""
        if self.tokens == "all":
            return None
        numbers = {piece[0]: int(piece[1:]) for piece in self.tokens.split("+")}
        return numbers.get("f", 0), numbers.get("l", 0)

    @property
    def strength(self) -> float | Literal["learned"]:
        """s: 1 unless the composition has a scale; α/r, or α/√r, where alpha is given."""
        return COMPOSITIONS[self.composition].strength(self)

    @property
    def reads_h(self) -> bool:
        """Whether it is computed from what it changes."""
        return INSERTIONS[self.insertion].reads_h

    @property
    def changes_input(self) -> bool:
        """Whether what it changes is the input of a projection."""
        return INSERTIONS[self.insertion].changes_input

    @property
    def own_input(self) -> bool:
        """Whether at attn.out it reads the projection's own input, where `x` leaves it open."""
        return FORMS[self.form].own_input

    @property
    def looks(self) -> frozenset[str]:
        """What its start and its rank allocation see of rows of the training data: some of LOOKS, or nothing."""
        reads = {FORMS[self.form].start(self).reads, self.allocation.reads if self.allocation else ""}
        return frozenset(reads & set(LOOKS))

    @property
    def beside_weights(self) -> bool:
        """Whether it stands beside projections alone, parallel to them."""
        return not self.reads_h and set(self.places) <= set(PROJECTIONS) - {"ffn.out"}

    @property
    def reads_projection(self) -> bool:
        """Whether, besides, its x is each projection's own input on every model."""
        return self.beside_weights and self.x not in ("residual", "normed")


class Paper(Options):
    """Where a method comes from."""

    cite: str = option(help="Authors and year.")
    title: str = option("", help="Title.")
    arxiv: str = option("", help="arXiv number.")
    venue: str = option("", help="Where it appeared.")
    code: str = option("", help="The authors' repository on GitHub, or peft where there is none.")


class MethodTraining(Options):
    """What a method's own runs used: these fill in what a run leaves open."""

    lr: float = option(1e-3, gt=0, label="learning rate", help="Learning rate of a run that gives none.")
    head_lr: float | None = option(
        None, gt=0, label="head learning rate", help="Learning rate of a new task head, of a run that gives none. Empty: as the rest."
    )
    lr_ratio: float = option(
        1.0,
        gt=0,
        le=1000,
        label="LoRA+ ratio",
        symbol="λ",
        help="Learning rate of second maps (B, up, values) over that of first ones, of a run that gives none (LoRA+, Hayou et al. 2024).",
    )
    weight_decay: float = option(0.0, ge=0, label="weight decay", help="Weight decay of a run that gives none.")
    clip: float = option(1.0, gt=0, label="gradient clipping", help="Largest gradient norm of a run that gives none.")


class Method(Options):
    """A named or free method. `preset` remembers where it started from."""

    preset: str = option("", max_length=100, help="The preset that it started from.")
    name: str = option("free design", max_length=100, help="Name for display.")
    family: Family = option("free", help="The survey's family, for grouping.")
    branch: Branch = option("", help="Of the additive family: adapters, soft-prompts or other.")
    paper: Paper | None = option(None, help="Source.")
    summary: str = option("", max_length=500, help="One sentence on what it does.")
    deltas: list[Delta] = option(default_factory=list, max_length=32, help="The modifications.")
    select: Selection | None = option(None, help="The model's own weights that train.")
    training: MethodTraining = option(default_factory=MethodTraining, help="Defaults for training.")
    deviations: list[str] = option(default_factory=list, help="Where the preset differs from its paper, how and why.")

    @field_validator("select", mode="before")
    @classmethod
    def _short_selection(cls, select: Any) -> Any:
        return {"what": select} if isinstance(select, str) else select

    @property
    def frozen_base(self) -> bool:
        """Whether no weight of the model trains as a whole, so that the model may be in half precision."""
        return self.select is None or self.select.entries

    @property
    def kind(self) -> str:
        """Family and branch, as `KINDS` has them: additive.adapters, selective."""
        return f"additive.{self.branch}" if self.family == "additive" and self.branch else self.family

    @property
    def frozen(self) -> list[Delta]:
        """The deltas of runs that this one stands on."""
        return [delta for delta in self.deltas if delta.frozen_from]

    @property
    def own(self) -> list[Delta]:
        """The deltas that it trains."""
        return [delta for delta in self.deltas if not delta.frozen_from]

    @property
    def positions_taken(self) -> int:
        """Positions of the model that inputs cannot have: virtual tokens stand before them, slots with `positions: shift` push them on."""
        return sum(delta.rank for index, delta in enumerate(self.deltas) if self.takes_positions(index))

    def takes_positions(self, index: int) -> bool:
        """Whether a delta stands on positions that inputs then lack."""
        delta = self.deltas[index]
        return delta.positions != "keep" or (FORMS[delta.form].before_input and delta.token_positions == "own")

    def document(self) -> dict[str, Any]:
        """The plain form: what is written to YAML and frozen with a run."""
        return self.model_dump(mode="json")
