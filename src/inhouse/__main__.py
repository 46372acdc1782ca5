"""``python -m inhouse`` is the command ``inhouse``."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
