"""Plans as text. Pure: JSON in, text out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from . import output

Json = Mapping[str, Any]

_MIB: Final = 2**20
_BASES: Final = {
    "this model": "measured with this model here",
    "this quantisation": "measured here with models of this quantisation",
    "this machine": "measured here with other models",
    "nothing": "nothing was measured yet: the range is wide",
}
_WHATS: Final = {"memory": "memory", "decode": "tokens/s", "prefill": "prompt tokens/s"}


def _mib(size: float) -> str:
    return f"{size / _MIB:,.0f} MiB"


def _rate(value: float) -> str:
    if value < 1:
        return f"{value:.2g}"
    return f"{value:.1f}" if value < 20 else f"{value:,.0f}"


def _range(value: Json, unit: str) -> str:
    return f"{_rate(value['low'])} to {_rate(value['high'])} {unit}"


def _seconds(value: Json) -> str:
    low, high = (f"{one:.0f}" if one >= 10 else f"{one:.2g}" for one in (value["low"], value["high"]))
    return f"{low} to {high} s"


def _where(answer: Json) -> str:
    told = answer["machine"]
    gpus = f", {', '.join(told['gpus'])}" if told["gpus"] else ""
    return f"{told['cpu'] or 'a machine'}, {told['cores']} cores{gpus}"


def _devices(answer: Json) -> str:
    rows = []
    for one in answer["devices"]:
        layers = f"{one['layers'][0]}-{one['layers'][1]}" if one["layers"] else "-"
        figures = [_mib(one[part]) for part in ("weights", "kv", "compute", "runtime", "total", "free")]
        rows.append((one["name"], layers, *figures))
    header = ("DEVICE", "LAYERS", "WEIGHTS", "KV CACHE", "BUFFERS", "PROCESS", "NEEDED", "FREE")
    return output.table(header, rows)


def _head(answer: Json) -> list[str]:
    size = _mib(answer["size"])
    source = {"catalogue": "not here yet", "file": "a file"}.get(answer["source"], "stored")
    if answer["download"]:
        source += f", {_mib(answer['download'])} to download"
    users = f"{answer['users']} at once" if answer["users"] > 1 else "one at a time"
    return [
        f"{answer['model']}  {answer['quantization']}, {size}, {source}",
        f"{answer['context']:,} tokens of context, {users}, KV cache {answer['kv_type']}",
        f"on {_where(answer)}, with {answer['engine_build']}",
    ]


def _speed(answer: Json) -> list[str]:
    speed = answer["speed"]
    if not speed:
        return ["Speed: not known; the memory's bandwidth could not be measured"]
    lines = [f"Answer       {_range(speed['decode'], 'tokens/s')}"]
    if answer["users"] > 1:
        lines[0] += f" each, {_range(speed['together'], 'tokens/s')} together"
    lines.append(f"Prompt       {_range(speed['prefill'], 'tokens/s')}")
    lines.append(f"First token  after {_seconds(speed['ttft'])}, of a prompt of {answer['prompt']:,} tokens")
    return [*lines, f"             ({_BASES[speed['basis']]})"]


def _record(answer: Json) -> list[str]:
    """How right earlier plans were."""
    told = [
        f"{_WHATS[one['what']]} off by {100 * one['median']:.0f} % (last {one['count']})"
        for one in answer["record"]
        if one["count"]
    ]
    return (
        [f"So far plans were: {', '.join(told)}"] if told else ["No plan was held against a load here yet."]
    )


def _exact(answer: Json) -> list[str]:
    exact = answer.get("exact")
    if not exact:
        return []
    parts = ", ".join(f"{one['name']} {_mib(one['total'])}" for one in exact["parts"])
    off = 100 * exact["off"]
    return [f"The engine itself reckons {_mib(exact['total'])} ({parts}); the formula is off by {off:+.1f} %"]


def _verdict(answer: Json) -> str:
    if not answer["fits"]:
        lacks = answer["memory"]["needed"] - answer["memory"]["free"]
        return f"It does not fit: {_mib(lacks)} are missing." if lacks > 0 else "It does not fit."
    longest = answer["largest_context"]
    return f"It fits. The longest context that would fit: {longest:,} tokens." if longest else "It fits."


def plan(answer: Json) -> str:
    """The answer of ``inhouse plan``."""
    memory = answer["memory"]
    lines = [*_head(answer), "", _devices(answer)]
    if memory["rearranged"] and not answer["gpu_layers"]:
        again = _mib(memory["rearranged"])
        lines.append(
            f"Shown as resident: {_mib(memory['resident'])}; {again} are weights that the engine rearranges, "
            "whose originals the system may drop"
        )
    lines += [_verdict(answer)]
    lines += [f"  - {text}" for text in answer["advice"]]
    lines += _exact(answer)
    lines += ["", *_speed(answer), "", *_record(answer)]
    lines += [f"Note: {text}" for text in answer["notes"]]
    return "\n".join(lines)


def quants(answer: Json) -> str:
    """The answer of ``inhouse plan --quants``."""
    if not answer["quants"]:
        return "\n".join(
            [*_head(answer), "", "Its tensors are not known before it is here.", *answer["notes"]]
        )
    rows = []
    for one in answer["quants"]:
        decode = one["decode"]
        rows.append(
            (
                one["quantization"] + (" *" if one["stored"] else ""),
                _mib(one["size"]),
                f"{one['bits']:.2f}" if one["bits"] else "-",
                _mib(one["needed"]),
                "yes" if one["fits"] else "no",
                f"{one['largest_context']:,}" if one["largest_context"] else "-",
                f"{_rate(decode[0])}-{_rate(decode[1])}" if decode else "-",
                f"{one['quality']:.4g}" if one["quality"] is not None else "-",
            )
        )
    header = ("QUANT", "SIZE", "BITS", "NEEDED", "FITS", "LONGEST CONTEXT", "TOKENS/S", "QUALITY")
    foot = "* stored. Sizes of the others are computed. Quality: - where it was not measured here."
    return "\n".join([*_head(answer), "", output.table(header, rows), foot])


__all__ = ["plan", "quants"]
