"""RunSpec: everything that one run is made from. Stored as JSON when a run is queued, and never changed after."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union

from pydantic import field_validator, model_validator

from lab.design.method.delta import Method
from lab.design.method.named import method_of
from lab.design.method.quantised import quantised_problem
from lab.design.plain.options import Options, option, validate
from lab.design.plain.refusal import Refusal
from lab.design.space import Quantisation
from lab.design.spec.combination import Combination
from lab.design.spec.sharing import sharing_problem, whole_base_needed
from lab.design.spec.task import TaskSpec

EPOCHS, EVALUATIONS = 3.0, 10  # of a run that does not say how many
TrackerName = Literal["tensorboard", "trackio", "wandb", "mlflow"]


class Training(Options):
    """How a run trains. What is left empty (None) takes the method's or the task's own default."""

    steps: int | None = option(
        None,
        ge=0,
        le=10_000_000,
        label="steps",
        zh="步数",
        help="Optimizer steps. Empty: as the epochs give. 0: a run that goes on from another is evaluated as it is.",
    )
    until: int | None = option(
        None, ge=1, le=10_000_000, label="end at", zh="止于", unit="steps",
        help="End after this step, though learning rate and schedules are laid out for all steps: another run may continue it. Empty: after the last one.",
    )  # fmt: skip
    epochs: float | None = option(None, gt=0, le=10_000, label="epochs", zh="轮数", help="Passes over the training data, where steps are not given.")
    batch_size: int = option(32, ge=1, le=65536, label="batch size", zh="批大小", unit="rows", help="Rows per forward pass on each device.")
    accumulation: int = option(1, ge=1, le=65536, label="gradient accumulation", zh="梯度累积", help="Forward passes per optimizer step.")
    lr: float | None = option(None, gt=0, le=100, label="learning rate", zh="学习率", help="Peak learning rate. Empty: the method's own.")
    head_lr: float | None = option(
        None, gt=0, le=100, label="head learning rate", help="Learning rate of a new task head. Empty: the method's own, or as the rest."
    )
    lr_ratio: float | None = option(
        None, gt=0, le=1000, label="LoRA+ ratio", help="Learning rate of the second map (B, up, values) over that of the first. Empty: the method's own."
    )
    schedule: Literal["linear", "cosine", "constant"] = option("linear", label="decay", zh="衰减", help="How the learning rate falls after warmup.")
    warmup: float = option(0.06, ge=0, le=1, label="warmup", zh="预热", help="Fraction of the steps in which the learning rate rises.")
    optimizer: Literal["adamw", "sgd", "adafactor", "galore"] = option(
        "adamw", label="optimizer", zh="优化器",
        help="AdamW; SGD with momentum 0.9; Adafactor as T-Few uses it: squares kept by row and column, steps relative to a weight's size; "
             "or GaLore (Zhao et al. 2024): AdamW on gradients projected to a low rank, for the matrices of the layers.",
    )  # fmt: skip
    galore_rank: int = option(128, ge=1, le=65536, label="GaLore rank", zh="GaLore 秩", help="Of GaLore: rank that gradients are projected to.")
    galore_every: int = option(200, ge=1, label="GaLore period", zh="GaLore 周期", symbol="T", unit="steps", help="Of GaLore: steps between two projections.")
    galore_scale: float = option(0.25, gt=0, le=100, label="GaLore scale", zh="GaLore 缩放", symbol="α", help="Of GaLore: factor of a projected update.")
    weight_decay: float | None = option(None, ge=0, le=10, label="weight decay", zh="权重衰减", help="Decoupled weight decay. Empty: the method's own.")
    clip: float | None = option(None, gt=0, label="gradient clipping", zh="梯度裁剪", help="Largest gradient norm. Empty: the method's own.")
    label_smoothing: float = option(0.0, ge=0, lt=1, label="label smoothing", help="Share of the target spread over all labels or words.")
    max_length: int | None = option(
        None, ge=4, le=1_000_000, label="longest input", zh="最大长度", unit="tokens", help="Longer inputs are cut. Empty: the task's own."
    )
    evaluate_every: int | None = option(
        None, ge=1, label="evaluate every", unit="steps", zh="评估间隔",
        help="Steps between evaluations, from before the first step on, whatever they cost. Empty: at most ten in a run, as the share allows.",
    )  # fmt: skip
    evaluation_rows: int | None = option(
        None, ge=1, label="evaluation rows", help="Validation rows of an evaluation during training. Empty: at most 500, as the share allows."
    )
    evaluation_share: float = option(
        0.1, ge=0, le=100, label="evaluation share", zh="评估份额",
        help="What evaluations may cost, as a share of what the steps cost, where evaluate every is empty. The last step is always judged, on 32 rows or more.",
    )  # fmt: skip
    checkpoint_every: int | None = option(
        None, ge=1, label="checkpoint every", unit="steps", zh="检查点间隔", help="Steps between checkpoints. Empty: as evaluate every, else ten in a run."
    )
    keep_checkpoints: int = option(2, ge=1, le=100, label="checkpoints kept", help="Older ones are deleted; the best adapter is always kept.")
    early_stopping: int | None = option(
        None, ge=1, label="early stopping", zh="早停", unit="evaluations", help="Stop after this many evaluations without gain."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", label="precision", zh="精度", help="auto: bf16 on an accelerator that has it, else fp32."
    )
    gradient_checkpointing: bool = option(False, label="gradient checkpointing", zh="梯度检查点", help="Recompute activations: less memory, more time.")
    compile: bool = option(False, label="torch.compile", help="Compile the model; worth it on accelerators only.")
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", label="device", zh="设备", help="Where to train; auto takes what there is.")
    devices: int = option(
        1, ge=1, le=64, label="devices", zh="设备数",
        help="Accelerators of one machine that train the run together, each with batch_size rows per pass. On a CPU they are processes, which make it no faster.",
    )  # fmt: skip
    sharding: Literal["none", "fsdp"] = option(
        "none", label="sharding", zh="分片",
        help="Of several devices. none: each holds the whole base (DDP). fsdp: each holds a part of the frozen base's layers and fetches a layer when its turn comes, "
             "for bases that do not fit one.",
    )  # fmt: skip
    probe: str = option("", max_length=200, label="forgetting probe", zh="遗忘", help="A second task measured before and after training.")
    test: bool = option(False, label="test split", zh="测试集", help="Judge the best weights by the test split too, once, at the end.")
    temperature: float = option(
        1.0, ge=1, le=1e6, label="task temperature", symbol="T", zh="任务温度",
        help="Of several tasks, a step takes one of n rows with a probability ∝ n^(1/T): 1 goes by size, more evens them out.",
    )  # fmt: skip
    energy: bool = option(True, label="energy", zh="能耗", help="Estimate joules and CO2-equivalent with codecarbon, offline.")
    track: list[TrackerName] = option(
        default_factory=list, max_length=4, label="trackers", zh="实验跟踪",
        help="Where the curves go besides, as tensorboard,wandb: kept on this machine unless a tracker's own settings name a server. Needs the extra tracking.",
    )  # fmt: skip

    @field_validator("track", mode="before")
    @classmethod
    def _trackers(cls, value: Any) -> Any:
        """As a flag has it: tensorboard,wandb; each once."""
        value = value.replace(",", " ").split() if isinstance(value, str) else value
        return list(dict.fromkeys(value)) if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value) else value

    @model_validator(mode="after")
    def _within(self) -> Training:
        if self.until and self.steps and self.until > self.steps:
            raise Refusal(
                "A run of {steps:,} steps cannot end after step {until:,}: lower until, or give more steps.", "until", steps=self.steps, until=self.until
            )
        return self


class BuiltOn(Options):
    """The adapters of earlier runs that a run goes on from or stands on: RUN, or RUN/final for the last weights in place of the best."""

    start_from: str = option(
        "",
        max_length=120,
        label="train further from",
        zh="继续训练",
        help="A run of the same method, whose trained weights this one starts from. Empty: afresh.",
    )
    start_head: Literal["keep", "new"] = option(
        "keep", label="its head", zh="其任务头", help="keep: the trained head goes on too, which needs the same labels. new: a fresh one, for another task."
    )
    continues: str = option(
        "", max_length=120, label="continues", zh="续接", help="A run of the same settings that ended early (until): this one goes on from its last checkpoint."
    )
    stand_on: list[str] = option(
        default_factory=list, max_length=8, label="stand on", zh="叠加于",
        help="Runs whose adapters stand frozen below this method, which trains on top of them; AdapterFusion attends over them.",
    )  # fmt: skip

    @field_validator("stand_on", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """As a flag has it: RUN,RUN."""
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("stand_on")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        for index, one in enumerate(value):
            if not 0 < len(one) <= 120:
                raise Refusal("Name a run by its id, the beginning of one, or its name.", str(index))
        return value

    @property
    def names(self) -> list[str]:
        """The runs whose adapters are read."""
        return [self.start_from] if self.start_from else list(self.stand_on)


class Origins(Options):
    """What a run was made from: prints that change when the thing does. Frozen at launch; "" is what could not be known then."""

    rows: str = option("", max_length=80, label="rows", zh="数据行", help="Of the task's data.")
    columns: str = option("", max_length=80, label="columns", zh="列", help="Of which column plays which role.")
    labels: str = option("", max_length=80, label="labels", zh="标签", help="Of the classes, their order and words.")
    splits: str = option("", max_length=80, label="splits", zh="划分", help="Of how the rows are split and drawn.")
    wording: str = option("", max_length=80, label="wording", zh="措辞", help="Of prompt, limits and metric.")
    probe: str = option("", max_length=80, label="probe", zh="探测任务", help="Of the forgetting probe's data.")
    weights: str = option("", max_length=80, label="weights", zh="权重", help="Of the base model's weights; on the hub, of its commit.")
    config: str = option("", max_length=80, label="configuration", zh="配置", help="Of the base model's config.json.")
    generation: str = option("", max_length=80, label="generation", zh="生成配置", help="Of the base model's generation_config.json.")
    tokenizer: str = option("", max_length=80, label="tokenizer", zh="分词器", help="Of the tokenizer's files.")
    template: str = option("", max_length=80, label="chat template", zh="对话模板", help="Of the tokenizer's chat template.")
    adapters: str = option("", max_length=80, label="adapters", zh="适配器", help="Of the trained weights that the run goes on from or stands on.")


class RunSpec(Options):
    """One run: a model, a task, a method, how to train, and a seed."""

    model: str = option(min_length=1, max_length=500, label="model", zh="模型", help="A preset, a hub id, or a local folder.")
    quantisation: Quantisation = option(
        "none", label="quantisation", zh="量化",
        help="The frozen base's linear layers packed: nf4 (4 bits with double quantisation, as QLoRA) or int8. Embeddings, norms, heads and what trains stay.",
    )  # fmt: skip
    task: Union[str, TaskSpec] = option(label="task", zh="任务", help="A preset, or a task of your own.")
    further: list[Union[str, TaskSpec]] = option(
        default_factory=list, max_length=31, label="further tasks", zh="更多任务",
        help="Tasks to train together with the first: they share what the method trains, and each has a head of its own where there are heads.",
    )  # fmt: skip
    method: Method = option(label="method", zh="方法", help="A preset, a preset with changes, or a whole method.")
    training: Training = option(default_factory=Training, label="training", zh="训练", help="How to train.")
    built_on: BuiltOn = option(default_factory=BuiltOn, label="built on", zh="基于", help="Adapters of earlier runs.")
    combination: Combination | None = option(
        None, label="combination", zh="合并", help="Trained runs that this one puts together; it trains a step only if it is told how many."
    )
    seed: int = option(0, ge=0, le=2**32 - 1, label="seed", zh="随机种子", help="Fixes initialisation, data order and dropout.")
    name: str = option("", max_length=120, label="name", zh="名称", help="A name for the run. Empty: made from model and method.")
    tags: list[str] = option(default_factory=list, max_length=20, label="tags", zh="标签", help="Words to find the run by.")
    origins: Origins | None = option(None, label="made from", zh="来源", help="Checksums of data, base and tokenizer, set at launch. Empty: whatever is there.")

    @model_validator(mode="before")
    @classmethod
    def _of_the_model(cls, document: Any) -> Any:
        """`model: {name, quantisation}` is another way to write model and quantisation."""
        if not isinstance(document, Mapping) or not isinstance(document.get("model"), Mapping):
            return document
        model = dict(document["model"])
        if unknown := sorted(set(model) - {"name", "quantisation"}):
            raise Refusal("There is no option 'model.{name}'; there are name, quantisation.", f"model.{unknown[0]}", name=unknown[0])
        return {**document, "model": model.get("name"), **({"quantisation": model["quantisation"]} if "quantisation" in model else {})}

    @model_validator(mode="after")
    def _packed(self) -> RunSpec:
        problem = quantised_problem(self.method) if self.quantisation != "none" else None
        if problem:
            raise Refusal(problem.sentence, "quantisation")
        return self

    @model_validator(mode="after")
    def _trains(self) -> RunSpec:
        if self.training.steps == 0 and not (self.built_on.start_from or self.combination):
            raise Refusal("Zero steps evaluate what was trained before: name a run in built_on.start_from, or give steps.", "training.steps")
        return self

    @model_validator(mode="after")
    def _shared_out(self) -> RunSpec:
        asked = self.training
        problem = sharing_problem(self.method, asked.devices, asked.sharding, self.quantisation)
        if problem := problem or whole_base_needed(asked.sharding, asked.compile, asked.probe):
            raise problem
        return self

    @field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> Method:
        return method_of(value)

    @field_validator("name")
    @classmethod
    def _one_line(cls, name: str) -> str:
        if not name.isprintable():
            raise Refusal("A name must be one line without control characters.")
        return name

    @field_validator("tags")
    @classmethod
    def _short_tags(cls, tags: list[str]) -> list[str]:
        for index, tag in enumerate(tags):
            if not 0 < len(tag) <= 40 or not tag.isprintable():
                raise Refusal("A tag is 1 to 40 characters long, without control characters.", str(index))
        return tags

    @model_validator(mode="after")
    def _named(self) -> RunSpec:
        if not self.name:
            object.__setattr__(self, "name", f"{self.method.preset or self.method.name} · {self.model.rstrip('/').rsplit('/', 1)[-1]}"[:120])
        return self

    @property
    def tasks(self) -> dict[str, Union[str, TaskSpec]]:
        """Every task by the name that its head, its curves and its numbers have in this run: its own, numbered where it is taken."""
        return named_tasks([self.task, *self.further])

    @property
    def lr(self) -> float:
        """Peak learning rate: the run's, else the method's own."""
        return self.training.lr if self.training.lr is not None else self.method.training.lr

    @property
    def head_lr(self) -> float:
        """Of a new task head: the run's, else (where the run gives no lr either) the method's own, else as the rest."""
        own = self.method.training.head_lr if self.training.lr is None else None
        return self.training.head_lr or own or self.lr

    @property
    def lr_ratio(self) -> float:
        """Learning rate of second maps over that of first ones: the run's, else the method's own."""
        return self.training.lr_ratio if self.training.lr_ratio is not None else self.method.training.lr_ratio

    @property
    def weight_decay(self) -> float:
        """Of matrices: the run's, else the method's own."""
        return self.training.weight_decay if self.training.weight_decay is not None else self.method.training.weight_decay

    @property
    def clip(self) -> float:
        """Largest gradient norm: the run's, else the method's own."""
        return self.training.clip if self.training.clip is not None else self.method.training.clip

    def document(self) -> dict[str, Any]:
        """The plain JSON-able form that is stored, shown and reproduced."""
        return self.model_dump(mode="json")


def named_tasks(tasks: Sequence[Union[str, TaskSpec, Mapping[str, Any]]]) -> dict[str, Any]:
    """The tasks of a run by name, also of its document; a name is letters, digits, . _ and -, at most 60 of them."""
    found: dict[str, Any] = {}
    for task in tasks:
        own = task if isinstance(task, str) else str((task.get("name") if isinstance(task, Mapping) else task.name) or "own")
        name, number = re.sub(r"[^\w.-]+", "-", own)[:56] or "own", 1
        unique = name
        while unique in found:
            number += 1
            unique = f"{name}-{number}"
        found[unique] = task
    return found


def spec_of(document: Any) -> RunSpec:
    """A validated spec from a plain document, or a `Refusal` with one sentence and the field it is about."""
    return validate(RunSpec, document)
