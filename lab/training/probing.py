"""The forgetting probe: a second task, measured on the model without its method before training, and with what it learned after.

What the pre-trained model answers by itself (words) is measured on its own language-model head, also where the run trains another head. What
needs a head that no checkpoint has (classes, numbers) is measured by a linear classifier fitted on the frozen representations of the probe's
training rows (Alain & Bengio 2016, arXiv 1610.01644), before and after alike; the run's head says nothing about another task's classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from lab.design.plain.refusal import Refusal
from lab.design.spec.evaluation import ROWS
from lab.design.spec.objectives import OBJECTIVES
from lab.design.spec.run import RunSpec
from lab.engine import attach, packed
from lab.engine.select import own_parameters
from lab.models import load, of_run
from lab.tasks import Prepared
from lab.tasks.losses import loss_sum
from lab.tasks.rows import batches
from lab.training.judging import LARGER, draw

FITTED = 2000  # training rows of the probe that its classifier is fitted on
SHRINKAGE = 1e-3  # of its weights, on standardised representations


def before(spec: RunSpec, probe: Prepared, tokenizer: Any, accelerator: Accelerator, dtype: torch.dtype) -> dict[str, float]:
    """The probe's numbers of the base model as it was loaded, no method on it."""
    model = load(of_run(spec), objective=probe.objective, num_labels=probe.num_labels, dtype=dtype, seed=spec.seed, tokenizer=tokenizer).to(accelerator.device)
    packed.moved(model)
    return _measured(model, probe, spec, accelerator)


def after(assembly: Any, accelerator: Accelerator) -> dict[str, float]:
    """The probe's numbers of the model with what it learned. Where the run trained another head, its method goes on the model that writes words."""
    probe, model = assembly.probe, assembly.model
    if not OBJECTIVES[probe.objective].headed and probe.objective != assembly.objective:
        spec = assembly.spec
        model = load(of_run(spec), objective=probe.objective, dtype=model.dtype, seed=spec.seed, tokenizer=assembly.tokenizer).to(accelerator.device)
        packed.moved(model)
        attach(model, spec.method, seed=spec.seed, state=_state(assembly.attached.state_dict(), spec, model), keep_originals=False)
    return _measured(model, probe, assembly.spec, accelerator)


def words(spec: RunSpec, probe: Prepared) -> str:
    """On how many rows it is measured."""
    rows = f"on {min(len(probe.validation), spec.training.evaluation_rows or ROWS):,} of {len(probe.validation):,} rows"
    return rows + (f", by a classifier fitted on {min(len(probe.train), FITTED):,} training rows" if OBJECTIVES[probe.objective].headed else "")


def require_measurable(spec: RunSpec, task: Prepared, probe: Prepared) -> None:
    """Refusal where `after` could not put the method on the probe's model."""
    masked = spec.method.select is not None and spec.method.select.masks
    if masked and not OBJECTIVES[probe.objective].headed and probe.objective != task.objective:
        raise Refusal(
            "The probe '{probe}' needs the language-model head, for which a sparse difference trained here has no part.",
            "training.probe",
            probe=spec.training.probe,
        )


def _state(state: Mapping[str, Tensor], spec: RunSpec, model: nn.Module) -> dict[str, Tensor]:
    """The trained weights by the names of a model with another head; the head's own, where a selection takes them in, are as pre-trained."""
    if spec.method.select is None:
        return dict(state)
    own = {f"select.{name}": parameter.detach() for name, parameter in own_parameters(model).items()}
    if spec.method.select.entries:  # each weight has its own, whatever others there are
        return {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] in own}
    kept = spec.method.select.weights
    wanted = (
        own
        if kept == "all" and not spec.method.select.layers_alone
        else {name: p for name, p in own.items() if name in state or (kept == "bias" and name.endswith("bias"))}
    )
    return {**wanted, **{name: tensor for name, tensor in state.items() if not name.startswith("select.") or name in own}}


def _measured(model: nn.Module, probe: Prepared, spec: RunSpec, accelerator: Accelerator) -> dict[str, float]:
    size, training = spec.training.batch_size * LARGER, model.training
    model.eval()
    try:
        with accelerator.autocast():
            judge = Linear.fitted(model, probe, size, accelerator.device) if OBJECTIVES[probe.objective].headed else model
            rows = draw(probe.validation, spec.training.evaluation_rows or ROWS)
            values = probe.evaluate(judge, rows, batch_size=size, device=accelerator.device) if len(rows) else {}
    finally:
        model.train(training)
    values = {name: float(value) for name, value in values.items()}
    return broadcast_object_list([values])[0] if accelerator.num_processes > 1 else values


class Linear(nn.Module):
    """A linear classifier (or regression) on a model's frozen representations, called like a model with a head."""

    def __init__(self, model: nn.Module, objective: str, mean: Tensor, scale: Tensor, weight: Tensor):
        super().__init__()
        self.model, self.objective, self.mean, self.scale, self.weight = [model], objective, mean, scale, weight  # a list: no child, its mode stays

    @classmethod
    def fitted(cls, model: nn.Module, probe: Prepared, size: int, device: Any) -> Linear:
        """Fitted on the probe's training rows by L-BFGS, which finds the one minimum there is."""
        rows = draw(probe.train, FITTED)
        features, labels = [], []
        for indices in batches(rows.lengths, size):
            batch = {name: tensor.to(device) for name, tensor in probe.collate([rows[i] for i in indices]).items()}
            features.append(representation(model, batch))
            labels.append(batch["labels"])
        found, wanted = torch.cat(features), torch.cat(labels)  # (rows, width), (rows,) or (rows, labels)
        mean, scale = found.mean(0), found.std(0, unbiased=False).clamp_min(1e-6)
        made = cls(model, probe.objective, mean, scale, torch.zeros(found.shape[1] + 1, probe.num_labels or 1, device=device, requires_grad=True))
        inputs = made.standardised(found)
        optimizer = torch.optim.LBFGS([made.weight], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = loss_sum(inputs @ made.weight, wanted, probe.objective) / len(wanted) + SHRINKAGE * made.weight[:-1].square().sum()
            loss.backward()
            return loss

        with torch.enable_grad(), torch.autocast(device_type=torch.device(device).type, enabled=False):
            optimizer.step(closure)
        made.weight = made.weight.detach()
        return made

    def standardised(self, features: Tensor) -> Tensor:
        """(rows, width + 1): zero mean and unit deviation over the rows it was fitted on, and a one."""
        return torch.cat([(features - self.mean) / self.scale, torch.ones_like(features[:, :1])], 1)

    def forward(self, labels: Tensor, **batch: Tensor) -> SequenceClassifierOutput:
        logits = self.standardised(representation(self.model[0], batch)) @ self.weight
        return SequenceClassifierOutput(loss=loss_sum(logits, labels, self.objective) / len(logits), logits=logits)


@torch.no_grad()
def representation(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The mean over a text's real tokens of what the last layer (of an encoder-decoder's encoder) gives, (batch, width) in fp32."""
    base, inputs = model.base_model, {name: tensor for name, tensor in batch.items() if name != "labels"}
    mask = inputs["attention_mask"]
    if model.config.is_encoder_decoder:
        start = torch.full_like(mask[:, :1], model.config.decoder_start_token_id)
        found = base(**inputs, decoder_input_ids=start, use_cache=False).encoder_last_hidden_state
    else:
        found = base(**inputs).last_hidden_state
    found = found[:, -mask.shape[1] :].float()  # virtual tokens stand before
    return (found * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
