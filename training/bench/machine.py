"""Machine: what figures of time and memory depend on beside the code."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

_ENGINES = ("openvino", "av", "numpy", "kserve")


def describe_machine() -> dict[str, str]:
    """Processor, memory, load and versions, by name; the load tells a busy machine's figures from a quiet one's."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{gib:.1f} GiB",
        "load at the start": f"{os.getloadavg()[0]:.1f} (1 minute)",
        "python": platform.python_version(),
        **{name: version(name) for name in _ENGINES},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
