"""Prints as JSON what it finds itself to be, and ends."""

import json
import os
import signal
import sys
from pathlib import Path

ignored = [n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN]
print(
    json.dumps(
        {
            "environment": dict(os.environ),
            "cwd": str(Path.cwd()),
            "stdin": str(Path("/proc/self/fd/0").readlink()),
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            # Python itself ignores these two
            "ignored": sorted({*ignored} - {signal.SIGPIPE, signal.SIGXFSZ}),
            "umask": os.umask(0o077),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "leads_its_group": os.getpgid(0) == os.getpid(),
            "argv": sys.argv[1:],
        }
    )
)
