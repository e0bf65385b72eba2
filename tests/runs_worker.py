"""A worker without torch: it writes made-up losses through WorkerLink and misbehaves as its spec asks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

spec_mode = os.environ.get("FAKE_BEFORE", "")
if spec_mode == "import":
    import a_package_that_is_not_there  # noqa: F401
if spec_mode == "silent":
    os.kill(os.getpid(), signal.SIGKILL)

from lab.runs import WorkerLink  # noqa: E402

SLEEPER = "import time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"


def main(run_id: str) -> None:
    """Train for spec['steps'] steps of spec['pause'] seconds, from the last checkpoint if there is one."""
    with WorkerLink(run_id, interval=0.2) as link:
        spec, folder = link.run.spec, link.run_dir / "checkpoints"
        mode, steps = spec.get("mode", ""), spec.get("steps", 20)
        if mode == "family":
            children = [subprocess.Popen([sys.executable, "-c", SLEEPER]), subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True)]
            (link.run_dir / "children").write_text(" ".join(str(child.pid) for child in children), encoding="utf-8")
        first = max((int(p.name[5:]) for p in folder.glob("step-*")), default=0) + 1
        link.progress(first - 1, steps)
        print(f"begin at step {first}", flush=True)
        for step in range(first, steps + 1):
            time.sleep(spec.get("pause", 0.01))
            link.log(step, {"loss": 1.0 / step, "lr": 1e-3}, total_steps=steps)
            if spec.get("checkpoint_every") and step % spec["checkpoint_every"] == 0 and link.flush():  # while the store is away for long, none is written
                Path(folder / f"step-{step:06d}").mkdir(parents=True)
            if mode == "crash" and step == 5:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            if mode == "die" and step == 5:
                sys.stdout.write("something odd\n")
                sys.stdout.flush()
                os._exit(7)
            if link.stopping() and mode not in ("stubborn", "family"):
                break
        link.finish("cancelled" if link.stopping() else "succeeded", {"accuracy": first * 0.0 + 0.5, "odd": float("nan")})
        if mode == "slow_teardown":
            time.sleep(300)


if __name__ == "__main__":
    main(sys.argv[1])
