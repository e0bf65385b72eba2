"""Where and in what precision a run trains: accelerate's choice of device, seeds, and the random states of a process.

On a CPU everything is fp32, since half precision there costs 9 to 40 times the time. On an accelerator `auto` is bf16 where
it is supported; a frozen base model is then held in half precision, and what trains (adapters, head, selected weights) in fp32.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from lab.design.plain.refusal import Refusal
from lab.design.spec.run import Training

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def device_type(asked: str) -> str:
    """cpu, cuda or mps. Refusal when the asked one is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[asked]:
        raise Refusal(f"There is no {asked} device on this machine; set training.device to auto or cpu.", "training.device")
    return asked


def device_name(device: torch.device) -> str:
    """cpu, mps, or the accelerator's own name, as nvidia-smi gives it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def precision_of(asked: str, device: str) -> tuple[str, str]:
    """(fp32, bf16 or fp16, a sentence for the log or "")."""
    if device == "cpu":
        note = f"precision {asked} becomes fp32: half precision is far slower on a CPU" if asked in ("bf16", "fp16") else ""
        return "fp32", note
    bf16 = device == "mps" or torch.cuda.is_bf16_supported()
    if asked == "auto":
        return ("bf16", "") if bf16 and device == "cuda" else ("fp32", "")
    if asked == "bf16" and not bf16:
        return "fp16", "this accelerator has no bf16; fp16 is used"
    if asked == "fp16" and device == "mps":
        return "bf16", "fp16 needs loss scaling, which MPS lacks; bf16 is used"
    return asked, ""


def make_accelerator(training: Training) -> tuple[Accelerator, str, str]:
    """(accelerator, precision, sentence for the log or ""). Refusal: the device is absent, or sharding is asked for."""
    device = device_type(training.device)
    precision, note = precision_of(training.precision, device)
    AcceleratorState._reset_state()  # a process may train several runs in different precisions; the process group stays
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no" if precision == "fp32" else precision)
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise Refusal("The processes of a run share its data (DDP); the lab does not shard by FSDP or DeepSpeed: change accelerate's config.")
    return accelerator, precision, note


def seed_everything(seed: int, rank: int = 0) -> None:
    """python, numpy and torch; each process of a run draws its own dropout."""
    seed = (seed + rank * 1_000_003) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_states() -> dict[str, Any]:
    """The random states of this process, plain values and tensors."""
    generator = np.random.get_state(legacy=False)
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": {**generator, "state": {**generator["state"], "key": generator["state"]["key"].astype(np.int64)}},
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` gave."""
    random.setstate(states["python"])
    numpy = states["numpy"]
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].astype(np.uint32)}})
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
