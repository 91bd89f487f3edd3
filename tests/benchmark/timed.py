"""Run a command and write what it cost as JSON: `timed.py FILE COMMAND...`.

A process of its own, and a small one: the kernel counts the memory of the process that starts another into the peak
memory of the new one.
"""

import json
import os
import subprocess
import sys
import time


def main() -> int:
    started = time.monotonic()
    process = subprocess.Popen(sys.argv[2:])
    _, status, usage = os.wait4(process.pid, 0)
    cost = {
        "seconds": time.monotonic() - started,
        "processor": usage.ru_utime + usage.ru_stime,
        "memory_kib": usage.ru_maxrss,
        "status": os.waitstatus_to_exitcode(status),
    }
    with open(sys.argv[1], "w") as file:
        json.dump(cost, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
