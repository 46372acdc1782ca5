"""Which public JSON Schemas are enforced, which refused, and is an enforced one ever broken?

    python bench/schemas.py DIR [--sample N] [--walks N] [--suite] [--seed N]

DIR is JSONSchemaBench's ``data`` folder (a folder of JSON files per group), or with ``--suite`` one
draft's folder of the official JSON Schema Test Suite (``tests/draft2020-12``).

A schema is *enforced* when it compiles to a grammar, *refused* when it does not. It is *wrong* when a
random walk through its grammar (bytes drawn from those that the grammar allows next) ends in a text
that is not valid under the original schema, or, in the suite, when an invalid instance is a word of
the grammar. The same is measured for llguidance given the original schema.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llguidance import LLMatcher

from inhouse.core.errors import BadRequest, InhouseError, Unsupported
from inhouse.core.messages import Format
from inhouse.grammar import Validator, check
from inhouse.grammar.llg import byte_tokenizer

ENGINE = frozenset({"gbnf", "lark"})
MAX_BYTES = 1500
CLOSERS = b'"}]'
SPACES = frozenset(b" \n\r\t")


@dataclass
class Tally:
    """What became of the schemas of one group; ``milliseconds`` are those of the decision."""

    counts: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def ours(schema: Any) -> Any:
    """The schema that the engine gets. Raises Unsupported or BadRequest."""
    return check(Format("schema", schema), ENGINE).schema


def alone(schema: Any) -> Any:
    """The schema as it is, refused when llguidance refuses it."""
    failed, why = LLMatcher.validate_grammar_with_warnings(
        LLMatcher.grammar_from_json_schema(json.dumps(schema)), byte_tokenizer()
    )
    if failed:
        raise Unsupported(why[0].strip().splitlines()[-1])
    return schema


def matcher_of(schema: Any) -> LLMatcher:
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
    return LLMatcher(byte_tokenizer(), grammar, log_level=0)


def walk(start: LLMatcher, rng: random.Random) -> str | None:
    """A word of the grammar; None when the walk did not end."""
    matcher = start.deep_copy()
    out = bytearray()
    patience = rng.choice((20, 60, 150))
    while len(out) < MAX_BYTES:
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        if matcher.is_error():
            return None
        allowed = [code for code in range(256) if mask >> code & 1]
        if matcher.is_accepting() and (not allowed or rng.random() < 0.5):
            break
        code = pick(allowed, rng, hurry=len(out) > patience)
        if code is None or not matcher.consume_token(code):
            return None
        out.append(code)
    else:
        return None
    try:
        return out.decode("utf-8")
    except UnicodeDecodeError:
        return None


def pick(allowed: list[int], rng: random.Random, *, hurry: bool) -> int | None:
    """One of the allowed bytes: closing ones when in a hurry, blanks seldom."""
    if not allowed:
        return None
    closing = [code for code in allowed if code in CLOSERS]
    if closing and rng.random() < (0.9 if hurry else 0.3):
        return rng.choice(closing)
    dark = [code for code in allowed if code not in SPACES]
    plain = [code for code in dark if 32 <= code < 127]
    if plain and rng.random() < (0.97 if hurry else 0.8):
        return rng.choice(plain)
    return rng.choice(dark or allowed)


def judge(schema: Any, decide: Callable[[Any], Any], tally: Tally, name: str) -> Any:
    """The schema as enforced, or None; counted."""
    began = time.perf_counter()
    try:
        found = decide(schema)
    except InhouseError as error:
        reason = error.detail or error.message
        tally.counts["refused" if isinstance(error, Unsupported) else "invalid"] += 1
        tally.reasons[reason[:100]] += 1
        found = None
    else:
        tally.counts["enforced"] += 1
    tally.milliseconds.append((time.perf_counter() - began) * 1000)
    return found


def walks(schema: Any, found: Any, tally: Tally, name: str, rng: random.Random, times: int) -> None:
    """Random words of the grammar, each asked of the validator of the original."""
    try:
        validator = Validator(schema)
    except BadRequest:
        tally.counts["unvalidated"] += 1
        return
    matcher = matcher_of(found)
    bad = ended = 0
    for _ in range(times):
        text = walk(matcher, rng)
        if text is None:
            continue
        ended += 1
        why = validator.valid(text)
        if why is not None:
            bad += 1
            tally.wrong.append(f"{name}: {why}: {text[:300]}")
    tally.counts["walks"] += ended
    tally.counts["wrong"] += bool(bad)
    tally.counts["no walk"] += not ended


def collection(folder: Path, sample: int, rng: random.Random) -> Iterator[tuple[str, str, Any]]:
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(group.glob("*.json"))
        for path in sorted(rng.sample(files, min(sample, len(files)))) if sample else files:
            try:
                schema = json.loads(path.read_text("utf-8"))
            except ValueError:
                continue
            if isinstance(schema, Mapping):
                yield group.name, path.name, schema


def run_collection(args: argparse.Namespace) -> None:
    rng = random.Random(args.seed)
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    for group, name, schema in collection(args.dir, args.sample, rng):
        for who, decide in (("inhouse", ours), ("llguidance", alone)):
            tally = tallies[who, group]
            found = judge(schema, decide, tally, name)
            if found is not None and args.walks:
                walks(schema, found, tally, f"{group}/{name}", rng, args.walks)
    report(tallies)


def run_suite(args: argparse.Namespace) -> None:
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    uri = {"draft4": "http://json-schema.org/draft-04/schema#", "draft6": "http://json-schema.org/draft-06/schema#",
           "draft7": "http://json-schema.org/draft-07/schema#",
           "draft2019-09": "https://json-schema.org/draft/2019-09/schema"}.get(args.dir.name)  # fmt: skip
    for path in sorted(args.dir.glob("*.json")):
        for case in json.loads(path.read_text("utf-8")):
            schema = case["schema"]
            if isinstance(schema, Mapping) and uri:
                schema = {"$schema": uri} | dict(schema)
            for who, decide in (("inhouse", ours), ("llguidance", alone)):
                if isinstance(schema, Mapping):
                    suite_case(
                        schema, case, decide, tallies[who, path.stem], f"{path.stem}: {case['description']}"
                    )
    report(tallies)


def suite_case(schema: Any, case: Any, decide: Callable[[Any], Any], tally: Tally, name: str) -> None:
    found = judge(schema, decide, tally, name)
    if found is None:
        return
    start = matcher_of(found)
    bad = False
    for test in case["tests"]:
        matcher = start.deep_copy()
        data = list(json.dumps(test["data"], ensure_ascii=False).encode())
        taken = matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()
        tally.counts["valid seen" if test["valid"] else "invalid seen"] += 1
        tally.counts["valid taken"] += bool(test["valid"] and taken)
        if taken and not test["valid"]:
            bad = True
            tally.wrong.append(f"{name}: {test['description']}: {json.dumps(test['data'])[:200]}")
    tally.counts["wrong"] += bad


COLUMNS = (
    "enforced",
    "refused",
    "invalid",
    "wrong",
    "walks",
    "no walk",
    "unvalidated",
    "valid seen",
    "valid taken",
)


def report(tallies: dict[tuple[str, str], Tally]) -> None:
    print(
        f"{'':12}{'group':28}"
        + "".join(f"{name:>13}" for name in COLUMNS)
        + f"{'ms median':>12}{'ms max':>9}"
    )
    totals: dict[str, Tally] = defaultdict(Tally)
    for (who, group), tally in sorted(tallies.items()):
        line(who, group, tally)
        total = totals[who]
        total.counts += tally.counts
        total.milliseconds += tally.milliseconds
        total.reasons += tally.reasons
        total.wrong += tally.wrong
    for who, total in totals.items():
        line(who, "all", total)
    for who, total in totals.items():
        print(f"\n{who}: why refused")
        for reason, count in total.reasons.most_common(40):
            print(f"  {count:5} {reason}")
        print(f"{who}: wrong")
        for text in total.wrong[:40]:
            print(f"  {text}")


def line(who: str, group: str, tally: Tally) -> None:
    times = sorted(tally.milliseconds) or [0.0]
    cells = "".join(f"{tally.counts[name]:13}" for name in COLUMNS)
    print(f"{who:12}{group:28}{cells}{times[len(times) // 2]:12.1f}{times[-1]:9.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dir", type=Path)
    parser.add_argument("--sample", type=int, default=0, help="schemas of each group; 0: all")
    parser.add_argument("--walks", type=int, default=5, help="random words of each grammar")
    parser.add_argument("--suite", action="store_true", help="DIR is a draft's folder of the test suite")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    (run_suite if args.suite else run_collection)(args)


if __name__ == "__main__":
    main()
