"""What `campaign data encode` runs: features of videos by a local V-JEPA 2 checkpoint, in the documented layout.

Run again it goes on where it stopped: clips that are there are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from trainers.data.child import EncodeOrder, Refused, Say, run


def work(order: EncodeOrder, say: Say) -> Sequence[Mapping[str, Any]]:
    """Imports torch and transformers, so that a wrong command line is answered at once."""
    if find_spec("transformers") is None:
        raise Refused(
            "extra",
            "encoding videos needs transformers, which is not installed: pip install 'campaign[vjepa]'",
        )
    from trainers.data.vjepa import encode

    return encode(order, say)


if __name__ == "__main__":
    sys.exit(run(sys.argv, EncodeOrder, work))
