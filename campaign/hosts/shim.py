"""The shim: the process that owns one trainer and outlives everything but the machine.

Started by path, ``python -I -S shim.py <attempt directory>``, so that nothing a user installed or has
in a working directory comes with it. This file only gets loose: it forks, so that it is nobody's
child, and becomes the leader of a session of its own. What it then does is in `tending`.

The first process ends with 0 as soon as the attempt is on record, with 1 if the shim died before.
"""

import os
import sys
from pathlib import Path


def main() -> None:
    directory = Path(sys.argv[1])
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        os._exit(0 if os.read(told, 1) else 1)
    os.close(told)
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    sys.path.append(str(Path(__file__).resolve().parents[2]))  # last: the standard library wins
    from campaign.hosts.tending import tend

    tend(directory, ready=tell)


if __name__ == "__main__":
    main()
