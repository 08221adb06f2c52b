"""Sends one message through apprise and ends; run by path, in a process of its own.

Standard input: {"url", "title", "text"}. Exit codes: 0 delivered, 2 apprise is not installed, 3 the
URL is not understood, 4 not delivered. It prints nothing: apprise names URLs in its log.
"""

from __future__ import annotations

import json
import logging
import sys


def main() -> int:
    message = json.load(sys.stdin)
    try:
        import apprise
    except ImportError:
        return 2
    logging.disable(logging.CRITICAL)
    target = apprise.Apprise()
    if not target.add(message["url"]):
        return 3
    delivered = target.notify(title=message["title"], body=message["text"])
    return 0 if delivered else 4


if __name__ == "__main__":
    sys.exit(main())
