"""Make docs/terminal.svg: real commands in a real terminal (tmux), photographed.

usage: .venv/bin/python tools/terminal.py     (needs tmux; the models must be pulled before)
"""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 140, 34
SESSION = "inhouse-terminal"
COMMANDS = (
    'inhouse run --stats smollm2 "Why is the sky blue? Answer in one sentence." --seed 4',
    'echo "def add(a, b):" | inhouse run qwen2.5-coder:0.5b "Complete it. Only code." --option temperature=0',
    "inhouse ps",
    "inhouse doctor",
)


def tmux(*words: str) -> str:
    return subprocess.run(["tmux", *words], check=True, capture_output=True, text=True).stdout


def settle(marker: Path) -> None:
    """Wait until the command has touched its marker."""
    deadline = time.monotonic() + 120
    while not marker.exists():
        if time.monotonic() > deadline:
            raise SystemExit("a command did not end")
        time.sleep(0.1)
    time.sleep(0.3)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shell = f"env PATH={ROOT / '.venv' / 'bin'}:{os.environ['PATH']} PS1='$ ' bash --norc --noprofile"
        tmux("new-session", "-d", "-s", SESSION, "-x", str(WIDTH), "-y", str(HEIGHT), shell)
        try:
            while "$" not in tmux("capture-pane", "-p", "-t", SESSION):
                time.sleep(0.1)
            for number, command in enumerate(COMMANDS):
                marker = Path(folder) / str(number)
                tmux("send-keys", "-t", SESSION, "-l", command)
                tmux("send-keys", "-t", SESSION, "Enter")
                tmux("send-keys", "-t", SESSION, "-l", f" : > {marker}; tput cuu1; tput el")
                tmux("send-keys", "-t", SESSION, "Enter")
                settle(marker)
            screen = tmux("capture-pane", "-e", "-p", "-t", SESSION, "-S", "-60")
        finally:
            tmux("kill-session", "-t", SESSION)
    lines = [line for line in screen.rstrip().split("\n") if " : > " not in line]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(lines)), soft_wrap=True)
    (ROOT / "docs" / "terminal.svg").write_text(console.export_svg(title="Inhouse", theme=MONOKAI), "utf-8")


if __name__ == "__main__":
    main()
