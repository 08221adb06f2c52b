"""A controller's process whose hosts hear nothing: ``python deaf_controller.py HOME``. No Ray."""

from __future__ import annotations

import queue
import sys
import time

from campaign.controller import Controller
from campaign.daemon import Daemon, announce, hold_home
from campaign.home import Home
from campaign.hosts.messages import AnyMessage
from campaign.store import Store


class DeafLink:
    """Takes every message; nobody is at the other end."""

    epoch = 1

    def tend(self) -> None:
        return None

    def send(self, message: AnyMessage) -> None:
        del message

    def close(self, *, stop_plane: bool) -> None:
        del stop_plane


def main(home: Home) -> None:
    with hold_home(home):
        controller = Controller(
            store=Store(home.store),
            link=DeafLink(),
            facts=queue.SimpleQueue(),
            clock=time.time,
            say=lambda text: print(text, flush=True),
        )
        daemon = Daemon(home, controller, tend=lambda: None, idle_exit=None)
        announce(home, address=None, idle_exit=None, debug=False)
        daemon.run()
        home.controller_file.unlink()


if __name__ == "__main__":
    main(Home.locate(sys.argv[1]))
