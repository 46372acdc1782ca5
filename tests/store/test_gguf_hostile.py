"""Hostile GGUF files, by the thousand: each is refused with byte and field, or accepted and sane.

Faults 49 to 52, 54 and 55; CVE-2024-21802 and its kin (counts and lengths), CVE-2024-39720 (tiny files),
CVE-2025-0312 and its kin (zeros as hyper-parameters), CVE-2025-49847 (long tokens), CVE-2025-53630 and
CVE-2026-27940 (sums that wrap), CVE-2026-7482 (tensors longer than the file).
"""

from __future__ import annotations

import json
import os
import random
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest, Unsupported
from inhouse.store.gguf_facts import Facts, inspect, inspect_projector, kind_of, tensors
from support import gguf_corpus, tiny_gguf

CORPUS = Path(__file__).parent / "corpus"
WHOLE = tiny_gguf.llama(
    {
        "general.alignment": tiny_gguf.u32(32),
        "llama.feed_forward_length": tiny_gguf.array(tiny_gguf.U32, [64, 64]),
        "tokenizer.ggml.scores": tiny_gguf.array(tiny_gguf.F32, [0.0] * 16),
        "x.wide": tiny_gguf.u64(7),
    }
).build()
LAST = 32
"""Bytes of padding behind the last tensor, at most: they may be missing."""


def sane(facts: Facts, size: int) -> None:
    """What must hold of any file that is accepted, whatever it looks like."""
    assert 0 < sum(facts.mix.values()) <= size
    assert 0 < facts.parameters <= 8 * size
    assert 0 < facts.vocabulary < size
    assert min(facts.context_length, facts.embedding_length, facts.block_count) > 0
    assert facts.kv_per_token >= 0
    assert len(msgspec.json.encode(facts)) < 2**23


def accepted(path: Path, data: bytes) -> bool:
    """Whether a file is accepted (and sane); else that the refusal names byte and reason."""
    path.write_bytes(data)
    began = time.process_time()
    try:
        facts = inspect(path)
    except Unsupported as error:
        assert error.hint
        return False
    except BadRequest as error:
        assert re.search(r"not a usable GGUF file: .{8,400} \(at byte \d+\)$", error.message, re.S)
        assert error.hint
        assert str(path) not in error.message
        return False
    finally:
        assert time.process_time() - began < 1.0
    sane(facts, len(data))
    return True


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.gguf"


def test_the_valid_file_is_accepted(path):
    assert accepted(path, WHOLE)


def test_the_corpus_reaches_every_field():
    names = {place.name for place in gguf_corpus.places(WHOLE)}
    assert {
        "version",
        "tensor count",
        "key length",
        "llama.block_count",
        "blk.0.attn_q.weight offset",
    } <= names
    assert len(list(gguf_corpus.lies(WHOLE))) > 1000


def test_every_field_that_lies_is_refused_or_harmless(path):
    taken = [name for name, data in gguf_corpus.lies(WHOLE) if accepted(path, data)]
    # Other values of a key that still make sense, and fewer or smaller tensors at the end, whose bytes
    # then belong to nobody: no count, length or offset that leads out of its place is among them.
    harmless = r"(llama|x|tokenizer\.ggml|general)\.[a-z_.]+ (item )?= \d+|tensor count = 1"
    harmless += r"|output_norm\.weight (dimension|type) = \d+"
    assert [name for name in taken if not re.fullmatch(harmless, name)] == []


def test_every_cut_is_refused(path):
    taken = [name for name, data in gguf_corpus.cuts(WHOLE) if accepted(path, data)]
    assert [name for name in taken if int(name.split()[-1]) < len(WHOLE) - LAST] == []


def test_every_gap_and_hole_is_refused_or_harmless(path):
    taken = [name for name, data in gguf_corpus.joints(WHOLE) if accepted(path, data)]
    # Only inside the padding, or where a text grows out of the bytes of the next one, can it go unseen.
    assert len(taken) < 5


@pytest.mark.parametrize("size", [0, 1, 4, 8, 24, 64])
def test_tiny_files_are_refused(path, size):
    assert not accepted(path, b"GGUF\x03\0\0\0".ljust(64, b"\0")[:size])


@pytest.mark.parametrize("depth", [1, 2, 100, 10_000])
def test_nested_arrays_are_refused(path, depth):
    nested = struct.pack("<IQ", tiny_gguf.ARRAY, 1) * depth
    data = tiny_gguf.llama({"x.deep": tiny_gguf.typed(tiny_gguf.ARRAY, nested)}).build()
    path.write_bytes(data)
    with pytest.raises(BadRequest, match=r"'x\.deep' holds arrays \(at byte"):
        inspect(path)


def test_a_sum_of_sizes_that_wraps_is_refused(path):
    """2^62 bytes four times are 0 in 64 bits: the fifth tensor would lie where the first one does."""
    huge = [tiny_gguf.Tensor(f"t{n}", (2**30, 2**30), data=b"", offset=n * 2**62) for n in range(4)]
    last = tiny_gguf.Tensor("last", (32,), offset=0)
    assert not accepted(path, tiny_gguf.llama(tensors=[*huge, last]).build())


@pytest.mark.parametrize("file", sorted(CORPUS.glob("*.hostile")), ids=lambda p: p.stem)
def test_files_that_once_got_through_are_refused(file):
    """Each is named for what it does; a file that ever harmed a reader is put beside them."""
    with pytest.raises(BadRequest, match=r"at byte \d+"):
        inspect(file)


def test_the_corpus_is_there():
    assert len(list(CORPUS.glob("*.hostile"))) >= 8


def test_a_thousand_flipped_bits_are_refused_or_sane(path):
    dice = random.Random(54)
    outcomes = set()
    for _ in range(1000):
        data = bytearray(WHOLE)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        outcomes.add(accepted(path, bytes(data)))
    assert outcomes == {True, False}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_splice_of_two_files_is_refused_or_sane(tmp_path_factory, data):
    other = tiny_gguf.projector().build() + tiny_gguf.adapter().build()
    at = data.draw(st.integers(0, len(WHOLE)))
    begin = data.draw(st.integers(0, len(other)))
    end = data.draw(st.integers(begin, len(other)))
    skip = data.draw(st.integers(0, 64))
    accepted(
        tmp_path_factory.getbasetemp() / "splice.gguf", WHOLE[:at] + other[begin:end] + WHOLE[at + skip :]
    )


@settings(max_examples=200, deadline=None)
@given(
    at=st.integers(8, len(WHOLE) - 8),
    width=st.sampled_from([1, 2, 4, 8]),
    value=st.one_of(st.sampled_from(gguf_corpus.LIES), st.integers(0, 2**64 - 1)),
)
def test_any_number_anywhere_is_refused_or_sane(tmp_path_factory, at, width, value):
    patch = (value % 256**width).to_bytes(width, "little")
    path = tmp_path_factory.getbasetemp() / "number.gguf"
    accepted(path, WHOLE[:at] + patch + WHOLE[at + width :])


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 600), patch=st.binary(min_size=1, max_size=16))
def test_the_other_questions_are_as_safe(tmp_path_factory, at, patch):
    base = tiny_gguf.projector().build()
    path = tmp_path_factory.getbasetemp() / "other.gguf"
    path.write_bytes(base[:at] + patch + base[at + len(patch) :])
    for ask in (kind_of, inspect_projector, lambda p: tensors([p])):
        try:
            assert ask(path)
        except BadRequest as error:
            assert error.hint


def test_a_file_that_shrinks_while_it_is_read_is_refused(path, monkeypatch):
    """Fault 55: there is no memory map, so there is no bus error; the size seen first is not believed."""
    path.write_bytes(WHOLE[:200])
    real = os.fstat

    class Grown:
        def __init__(self, facts: os.stat_result) -> None:
            self.st_mode = facts.st_mode
            self.st_size = 10**6

    monkeypatch.setattr(os, "fstat", lambda handle: Grown(real(handle)))
    with pytest.raises(BadRequest, match=r"runs past the end of the file \(at byte"):
        inspect(path)


# -- memory and time, in a child --------------------------------------------------------------

CHILD = """
import json, resource, sys, time
from pathlib import Path
from inhouse.core.errors import BadRequest
from inhouse.store.gguf_facts import inspect

unit = 1 if sys.platform == "darwin" else 1024
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
before, began = peak(), time.process_time()
try:
    inspect(Path(sys.argv[1]))
    said = "accepted"
except BadRequest as error:
    said = error.message
print(json.dumps([peak() - before, time.process_time() - began, said]))
"""


def measured(path: Path) -> tuple[int, float, str]:
    """Bytes grown, CPU seconds and what was said, of the reader alone: no tracer of coverage along."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", CHILD, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=plain)
    grown, seconds, answer = json.loads(done.stdout)
    return grown, seconds, answer


MIB = 2**20
ASTRAL = "\U0001f600".encode()
TAIL = (tiny_gguf.Tensor("output_norm.weight", (32,)),)


def many(count: int, raw: bytes) -> bytes:
    """An array of ``count`` equal strings."""
    return tiny_gguf.typed(
        tiny_gguf.ARRAY, struct.pack("<IQ", tiny_gguf.STRING, count) + tiny_gguf.text(raw) * count
    )


def types(count: int, kind: int) -> bytes:
    return tiny_gguf.typed(
        tiny_gguf.ARRAY, struct.pack("<IQ", tiny_gguf.I32, count) + struct.pack("<i", kind) * count
    )


def vocabulary(count: int, raw: bytes, kind: int = 1) -> tiny_gguf.Tiny:
    tokens = {"tokenizer.ggml.tokens": many(count, raw), "tokenizer.ggml.token_type": types(count, kind)}
    return tiny_gguf.llama(tokens, tensors=TAIL)


HEAVY = {
    "two million empty strings": (tiny_gguf.llama({"x.many": many(1_999_900, b"")}), "accepted"),
    "too many empty strings": (tiny_gguf.llama({"x.many": many(2_000_001, b"")}), "too many"),
    "a vocabulary at its ceiling": (vocabulary(2**20, b"token"), "accepted"),
    "all control tokens": (vocabulary(2**20, b"", 3), "too many control tokens"),
    "control tokens of 28 MiB": (vocabulary(7 * 2**16, ASTRAL * 14, 3), "too many control tokens"),
    "a text of 31 MiB": (tiny_gguf.llama({"x.long": tiny_gguf.string(ASTRAL * (31 * MIB // 4))}), "accepted"),
    "a template of 31 MiB": (
        tiny_gguf.llama({"tokenizer.chat_template": tiny_gguf.string(b"x" * 31 * MIB)}),
        "'tokenizer.chat_template' claims",
    ),
    "texts just below their ceiling": (
        tiny_gguf.llama({f"x.{n}": tiny_gguf.string(ASTRAL + b"x" * 1000) for n in range(4000)}),
        "accepted",
    ),
    "an array of 31 MiB": (
        tiny_gguf.llama(
            {"x.wide": tiny_gguf.typed(9, struct.pack("<IQ", 10, 31 * MIB // 8) + bytes(31 * MIB))}
        ),
        "accepted",
    ),
    "as many tensors as are allowed": (
        tiny_gguf.llama(tensors=[tiny_gguf.Tensor(f"{n:0127}", (32, 1, 1, 1)) for n in range(32_768)]),
        "accepted",
    ),
    "a header without end": (tiny_gguf.llama({"x.wide": many(900, b"x" * 2**16)}), "larger than 32 MiB"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage here")
@pytest.mark.parametrize("name", HEAVY)
def test_the_heaviest_headers_cost_little_memory_and_time(path, name):
    file, said = HEAVY[name]
    file.write(path)
    runs = [measured(path) for _ in range(2)]
    assert all(said in answer for _, _, answer in runs)
    assert max(grown for grown, _, _ in runs) < 64 * MIB
    assert min(seconds for _, seconds, _ in runs) < 1.0
