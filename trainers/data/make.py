"""What `campaign data make` runs: clips of a puck in the documented layout, with a contact sheet of each task.

Run again it goes on where it stopped: clips that are there are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from trainers.data.child import MakeOrder, Say, run


def work(order: MakeOrder, say: Say) -> Sequence[Mapping[str, Any]]:
    """Imports torch, so that a wrong command line is answered at once."""
    from trainers.data.puck.write import write

    return write(order, say)


if __name__ == "__main__":
    sys.exit(run(sys.argv, MakeOrder, work))
