"""Worker program: prints what the xllamacpp package on its path is and which devices it sees, as one line
of JSON on standard output. A broken driver then breaks this process and no other.
"""

from __future__ import annotations

import json
import os


def main() -> None:
    """Ask the package; its log goes to standard error."""
    answer = os.dup(1)
    os.dup2(2, 1)
    import xllamacpp

    devices = [
        {"name": str(one["name"]), "description": str(one["description"]), "type": int(one["type"])}
        for one in xllamacpp.get_device_info()
    ]
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        file.write(json.dumps({"version": str(xllamacpp.__version__), "devices": devices}) + "\n")


if __name__ == "__main__":
    main()
