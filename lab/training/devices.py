"""Where and in what precision a run trains: accelerate's choice of device, how processes meet, seeds, and the random states of a process.

On a CPU everything is fp32, since half precision there costs 9 to 40 times the time. On an accelerator `auto` is bf16 where
it is supported; a frozen base model is then held in half precision, and what trains (adapters, head, selected weights) in fp32.
"""

from __future__ import annotations

import os
import random
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, check_cuda_p2p_ib_support
from torch import distributed

from lab.design.plain.refusal import Refusal
from lab.design.spec.run import Training
from lab.training.ranks import MEETING

PATIENCE = timedelta(hours=2)  # of one process with another, which may write a large checkpoint; a process that ends is noticed at once, in ranks.py
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def device_type(asked: str) -> str:
    """cpu, cuda or mps. Refusal when the asked one is not there."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[asked]:
        raise Refusal("There is no {asked} device on this machine; set training.device to auto or cpu.", "training.device", asked=asked)
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
    """(accelerator, precision, sentence for the log or ""). Refusal: the device is absent, or there are fewer than the run asks for."""
    device = device_type(training.device)
    precision, note = precision_of(training.precision, device)
    _join(training, device)
    AcceleratorState._reset_state()  # a process may train several runs in different precisions; the process group stays
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no" if precision == "fp32" else precision)
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise Refusal("The lab shares a base out by itself (sharding: fsdp), not by accelerate's FSDP or DeepSpeed: change accelerate's config.")
    if training.devices > 1 and accelerator.num_processes != training.devices:
        raise Refusal("This run trains in {devices} processes, which its worker starts: launch it, in place of training it in this process.",
                      "training.devices", devices=training.devices)  # fmt: skip
    return accelerator, precision, note


def _join(training: Training, device: str) -> None:
    """Meet the other processes that the run's first one started (ranks.py); those of torchrun meet by themselves, in accelerate."""
    meeting, count = os.environ.get(MEETING), int(os.environ.get("WORLD_SIZE", "1"))
    if device == "mps" and training.devices > 1:
        raise Refusal("MPS is one device: set devices to 1.", "training.devices")
    if device == "cuda" and count > torch.cuda.device_count():
        raise Refusal(
            "This run asks for {wanted} devices, and this process may use {most}: set devices lower.",
            "training.devices",
            wanted=count,
            most=torch.cuda.device_count(),
        )
    if not meeting or distributed.is_initialized():
        return
    rank = int(os.environ["RANK"])
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not check_cuda_p2p_ib_support():  # GeForce RTX 40 under old drivers: as accelerate's own launcher does
            os.environ |= {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", init_method=f"file://{meeting}", rank=rank, world_size=count, timeout=PATIENCE)


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
