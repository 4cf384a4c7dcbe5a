"""What this process holds of the machine's memory."""

import platform
import re
from pathlib import Path


def peak_memory() -> int:
    """Bytes of resident memory that this process has ever held at once; 0 where unknown."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage there still knows the parent's peak, from before the exec
        line = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(line[1]) * 1024 if line else 0
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
