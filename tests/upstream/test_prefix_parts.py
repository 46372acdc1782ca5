"""The pure parts of the prefix cache: marks, slots, what is worth saving."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.dialects.llamaserver.saved import MAGIC, held_tokens
from inhouse.upstream.hot import HEAD, UNPROVEN, Rules, Seen, hot, pays
from inhouse.upstream.marks import BLOCK, FINE, FIRST, MOST, Marks, extent, marks
from inhouse.upstream.slots import Slots

TEXT = "The quick brown fox jumps over the lazy dog. " * 40


def raw(text: str) -> Marks:
    return marks({"prompt": text})


def chat(*contents: str, **more: Any) -> Marks:
    roles = ("system", "user", "assistant", "user")
    messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
    return marks({"messages": messages, **more})


# marks


@given(st.text(max_size=3000), st.text(max_size=300), st.text(max_size=300))
def test_two_prompts_have_at_least_the_marks_of_their_common_beginning_in_common(begin, one, two):
    a, b = raw(begin + one), raw(begin + two)
    count = a.common(b.chain)
    assert count == b.common(a.chain)
    whole = len(begin.encode("utf-8", "surrogatepass"))
    assert extent(count + 1) > whole or count == len(a.chain)
    data_a = (begin + one).encode("utf-8", "surrogatepass")
    data_b = (begin + two).encode("utf-8", "surrogatepass")
    assert data_a[: extent(count)] == data_b[: extent(count)]


def test_blocks_are_fine_at_first_and_coarse_afterwards():
    assert [extent(n) for n in (0, 1, FIRST, FIRST + 1)] == [0, FINE, FINE * FIRST, FINE * FIRST + BLOCK]
    assert len(raw("x" * extent(40)).chain) == 40
    assert len(raw("x" * (extent(40) - 1)).chain) == 39


def test_what_is_too_long_is_compared_as_far_as_that_is_cheap():
    assert len(raw("x" * (extent(MOST) + 5 * BLOCK)).chain) == MOST


def test_so_many_bytes_hold_so_many_whole_blocks():
    found = raw("x" * extent(50))
    assert [found.within(extent(n)) for n in (0, 1, 31, 32, 33, 50)] == [0, 1, 31, 32, 33, 50]
    assert found.within(extent(50) + 10**6) == 50
    assert found.within(extent(33) - 1) == 32


def test_a_chat_begins_with_its_tools():
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert chat(TEXT, "a", tools=tools).common(chat(TEXT, "a").chain) == 0
    assert chat(TEXT, "a", tools=tools).common(chat(TEXT, "b", tools=tools).chain) > 20


def test_what_does_not_change_the_prompt_does_not_change_its_marks():
    assert chat(TEXT, "a", temperature=0.5, max_tokens=3, n=1).chain == chat(TEXT, "a").chain


def test_a_conversation_that_goes_on_keeps_its_marks():
    first, then = chat(TEXT, "question"), chat(TEXT, "question", "answer", "more")
    assert then.common(first.chain) >= len(first.chain) - 1


def test_the_head_is_tools_and_system():
    assert chat(TEXT, "hi").head == chat(TEXT, "x" * 900).head > len(TEXT)
    assert marks({"messages": [{"role": "user", "content": TEXT}]}).head == 0


def test_token_ids_have_marks_as_well():
    ids = list(range(500))
    a, b = marks({"prompt": [*ids, 1]}), marks({"prompt": [*ids, "text"]})
    assert extent(a.common(b.chain)) > 4 * 500 - BLOCK
    assert a.plain


def test_prompts_with_images_are_known_but_not_saved():
    picture = [{"type": "text", "text": TEXT}, {"type": "image_url", "image_url": {"url": "data:..."}}]
    found = marks({"messages": [{"role": "user", "content": picture}]})
    assert found.chain
    assert not found.plain
    assert not marks({"prompt": {"prompt_string": TEXT, "multimodal_data": ["x"]}}).plain


def test_a_gap_that_is_filled_has_the_marks_of_what_stands_before_it():
    assert marks({"input_prefix": TEXT, "input_suffix": "z"}).chain == raw(TEXT).chain


# slots


def test_a_prompt_goes_where_its_beginning_is():
    slots = Slots(3)
    first = slots.take(raw(TEXT), "", ())
    other = slots.take(raw("Something else. " * 50), "", ())
    assert first is not None
    assert other is not None
    first.marks, other.marks = raw(TEXT), raw("Something else. " * 50)
    slots.give(first)
    slots.give(other)
    assert slots.take(raw(TEXT + "more"), "", ()) is first


def test_what_nobody_knows_goes_where_nothing_was_for_longest():
    slots = Slots(2)
    a, b = slots.take(raw("a"), "", ()), slots.take(raw("b"), "", ())
    assert a is not None
    assert b is not None
    assert a is not b
    assert slots.take(raw("c"), "", ()) is None
    slots.give(b)
    slots.give(a)
    assert slots.take(raw("c"), "", ()) is a


def test_other_adapters_know_nothing_of_a_prompt():
    slots = Slots(2)
    a = slots.take(raw(TEXT), "", (1.0, 0.0))
    assert a is not None
    a.marks, a.adapters = raw(TEXT), (1.0, 0.0)
    slots.give(a)
    b = slots.take(raw(TEXT), "", (0.0, 0.0))
    assert b is not None
    assert b is not a
    slots.give(b)
    assert slots.take(raw(TEXT), "", (1.0, 0.0)) is a


@pytest.mark.parametrize("apart", [False, True])
def test_tenants_share_what_is_in_memory_unless_they_are_kept_apart(apart):
    slots = Slots(2, apart=apart)
    a = slots.take(raw(TEXT), "ann", ())
    assert a is not None
    a.marks, a.tenant = raw(TEXT), "ann"
    slots.give(a)
    assert (slots.take(raw(TEXT), "bob", ()) is a) is not apart


def test_slots_of_the_engines_choice_may_be_any_that_is_free():
    slots = Slots(3)
    a, b, c = (slots.take(raw(str(n)), "t", ()) for n in range(3))
    assert a
    assert b
    assert c
    for slot in (a, b, c):
        slot.marks, slot.tenant = raw(TEXT), "t"
    slots.give(b)
    slots.give(c)
    slots.hold(c)
    slots.stray(1)
    assert slots.busy
    assert slots.take(raw(TEXT), "t", ()) is None
    assert (bool(a.marks.chain), a.tenant) == (True, "t"), "it is computing: the engine cannot take it"
    assert not b.marks.chain
    assert b.tenant is None
    assert (c.marks.chain, c.tenant) == ((), None), "a save holds it, the engine does not know"
    slots.stray(-1)
    assert slots.take(raw(TEXT), "t", ()) is b


# what is worth it


def test_a_beginning_is_hot_when_another_request_brings_it_again():
    seen = Seen()
    first, second = raw(TEXT + "a" * 100), raw(TEXT + "b" * 100)
    assert seen.note("o", first, 1) == 0
    assert seen.note("o", first, 1) == 0, "the second leg of the same answer"
    assert seen.note("o", second, 2) == first.common(second.chain)
    assert seen.note("other", second, 3) == 0, "owners do not see each other's"


def test_pinned_prompts_and_long_heads_are_hot_at_once():
    found = chat(TEXT, "hi")
    assert hot(found, 0, 100, pinned=True) == len(found.chain)
    assert hot(found, 0, 100, pinned=False) == 0
    assert hot(found, 0, 2 * HEAD, pinned=False) == found.within(found.head) > 0
    assert hot(found, 3, 100, pinned=False) == 3
    assert hot(found, 3, 2 * HEAD, pinned=False, unproven=UNPROVEN) == 3


@pytest.mark.parametrize(
    "wanted, there, worth",
    [
        (255, 0, False),
        (256, 0, True),
        (600, 400, False),
        (700, 400, True),
        (3000, 2500, False),
        (4000, 2500, True),
    ],
)
def test_a_save_must_add_enough(wanted, there, worth):
    assert pays(wanted, there, Rules(minimum=256)) is worth


# what the engine writes


def file_of(*words: int) -> bytes:
    return struct.pack(f"<III{len(words)}i", MAGIC, 4, len(words), *words)


def test_tokens_of_a_saved_slot_are_read_in_both_layouts(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(file_of(5, 6, 7) + b"rest of it")
    assert held_tokens(path) == [5, 6, 7]
    path.write_bytes(file_of(-1, 1, 3, 5, 6, 7, 0) + b"rest of it")
    assert held_tokens(path) == [5, 6, 7]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<III", 1, 4, 0),
        struct.pack("<III", MAGIC, 4, 2**31),
        file_of(5, 6)[:-1],
        file_of(-1, 1, 9, 5),
        file_of(-1, 1, -3, 5),
        file_of(-1, 1),
    ],
)
def test_what_is_no_saved_slot_is_refused(tmp_path, data):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(ValueError):
        held_tokens(path)
