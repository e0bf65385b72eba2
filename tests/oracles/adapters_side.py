"""Runs in .venv-adapters, not in the lab's environment: every case of one job with AdapterHub's library.

    python adapters_side.py JOB        JOB/cases.json: [{"name", "model", "config"}], JOB/<model>/ and JOB/<model>.safetensors (a batch)

A config is [class name, options] or a list of these for a union. Written per case to JOB/<name>.safetensors: `logits`,
`plain` (without the adapter), `embedding` (gradient of the input embeddings), `value/<tensor>` and `gradient/<tensor>` of the
adapter. Its tensors are drawn anew, so nothing is hidden by zeros. Imports nothing of the lab.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import adapters
import torch
import transformers
from adapters.configuration import adapter_config
from safetensors.torch import load_file, save_file

CLASSES = {
    "bert": transformers.BertModel,
    "bart": transformers.BartForConditionalGeneration,
    "t5": transformers.T5ForConditionalGeneration,
    "gpt2": transformers.GPT2LMHeadModel,
    "llama": transformers.LlamaForCausalLM,
}
OF_ADAPTER = (".adapters.", ".loras.", "prefix_tunings.", "prefix_gates.")


def config_of(description):
    if isinstance(description[0], list):
        return adapter_config.ConfigUnion(*map(config_of, description))
    name, options = description
    return getattr(adapter_config, name)(**options)


def outputs(model, batch):
    result = model(**batch)
    return result.logits if "logits" in result else result.last_hidden_state


def short(name: str) -> str:
    """Prefixes live in a pool that every layer shares: what counts is the name inside it."""
    return f"prefix.{name.split('prefix_tunings.oracle.')[1]}" if "prefix_tunings." in name else name


def run(case, job: Path):
    torch.manual_seed(0)
    model = CLASSES[case["model"]].from_pretrained(job / case["model"], attn_implementation="eager").eval()
    batch = load_file(job / f"{case['model']}.safetensors")
    weights = batch.pop("projection")
    with torch.no_grad():
        plain = outputs(model, batch)
    adapters.init(model)
    model.add_adapter("oracle", config=config_of(case["config"]))
    model.train_adapter("oracle")
    model.eval()
    named = {short(name): p for name, p in model.named_parameters() if any(part in name for part in OF_ADAPTER)}
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in sorted(named.items()):
            start = 1.0 if case["name"].startswith("ia3") or name.endswith("scaling") else 0.0
            parameter.copy_(start + case.get("size", 0.1) * torch.randn(parameter.shape, generator=generator))
    table = model.get_input_embeddings().weight.requires_grad_(True)
    logits = outputs(model, batch)
    (logits * weights).sum().backward()
    result = {"logits": logits, "plain": plain, "embedding": table.grad}
    result |= {f"value/{name}": p for name, p in named.items()}
    result |= {f"gradient/{name}": p.grad for name, p in named.items() if p.grad is not None}
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in result.items()}, job / f"{case['name']}.safetensors")


def main() -> None:
    job = Path(sys.argv[1])
    torch.set_num_threads(1)
    for case in json.loads((job / "cases.json").read_text()):
        run(case, job)


if __name__ == "__main__":
    main()
