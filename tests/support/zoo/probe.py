"""Prints the device report that lies in a file."""

import sys
from pathlib import Path

print(Path(sys.argv[1]).read_text())
