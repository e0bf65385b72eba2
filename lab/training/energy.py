"""Energy of a run by codecarbon, offline, started and stopped in a thread so that training never waits for it.

Where this process may read the processor's power counter, its joules are measured (those of the whole machine); elsewhere they are a model's
estimate (processor load times its nominal power), which the result calls modelled. Joules of NVIDIA devices are always their own counters',
those of memory always a model's. The processor seconds beside them are measured everywhere.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

JOULES_PER_KWH = 3.6e6
COUNTERS = Path("/sys/class/powercap")  # energy of the processor's packages, where the system lets this process read them
PATIENCE = 10.0  # seconds that the end of a run waits for the tracker
WATTS = 15  # per core, where codecarbon knows nothing of the processor


class Energy:
    """`start()` at the beginning, `finish()` at the end: {"joules", "parts", "co2eq_kg", "cpu_seconds", "seconds", "modelled"} or less."""

    def __init__(self, wanted: bool):
        self.wanted, self.counted = wanted, counters()
        self._tracker: Any = None
        self._ready = threading.Event()
        self._began = (time.perf_counter(), _cpu_seconds())

    def start(self) -> None:
        """Begin in the background; returns at once."""
        if self.wanted:
            threading.Thread(target=self._start, name="energy", daemon=True).start()

    def _start(self) -> None:
        with contextlib.suppress(Exception):  # no estimate is better than no run
            os.environ.setdefault("CODECARBON_LOG_LEVEL", "critical")
            from codecarbon import OfflineEmissionsTracker

            country = os.environ.get("LAB_COUNTRY", "USA")
            how = {"tracking_mode": "machine"} if self.counted else {"tracking_mode": "process", "force_cpu_power": WATTS * (os.cpu_count() or 1)}
            tracker = OfflineEmissionsTracker(
                country_iso_code=country, save_to_file=False, allow_multiple_runs=True, log_level="critical", measure_power_secs=15, **how)  # fmt: skip
            tracker.start()
            self._tracker = tracker
        self._ready.set()

    def finish(self) -> dict[str, Any]:
        """What was used; processor seconds alone where codecarbon gave nothing in time."""
        found: dict[str, Any] = {"cpu_seconds": round(_cpu_seconds() - self._began[1], 2), "seconds": round(time.perf_counter() - self._began[0], 2)}
        if not self.wanted or not self._ready.wait(PATIENCE) or self._tracker is None:
            return found
        result: list[Any] = []
        thread = threading.Thread(target=lambda: result.append(self._tracker.stop()), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        data = getattr(self._tracker, "final_emissions_data", None)
        if result and data is not None:
            found |= {"joules": round(data.energy_consumed * JOULES_PER_KWH, 1), "co2eq_kg": float(data.emissions), "modelled": not self.counted,
                      "parts": {name: round(getattr(data, f"{name}_energy") * JOULES_PER_KWH, 1) for name in ("cpu", "gpu", "ram")},
                      "country": os.environ.get("LAB_COUNTRY", "USA")}  # fmt: skip
        return found


def counters() -> bool:
    """Whether the processor's own energy counters can be read."""
    return any(os.access(file, os.R_OK) for file in COUNTERS.glob("intel-rapl:*/energy_uj"))


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system
