"""What is tried after a model ran out of memory, and what is said of it."""

from __future__ import annotations

import pytest

from inhouse.core.engine import Launch
from inhouse.core.errors import LoadFailed, OutOfMemory
from inhouse.fleet.shortage import CAPPED, Caps, hopeless, ran_out, smaller, told

MIB = 2**20
FAILED = Launch("e", (), "/s", slots=4, context_length=8192, memory=1000 * MIB)


@pytest.mark.parametrize(
    "text",
    [
        "its process was killed (SIGKILL)",
        "its process ended with exit code 137",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 123",
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "cudaMalloc failed: out of memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "MemoryError",
        "torch.cuda.OutOfMemoryError: CUDA out of memory",
        "OSError: [Errno 12] Cannot allocate memory",
    ],
)
def test_want_of_memory_is_recognised_wherever_it_is_told(text: str) -> None:
    assert ran_out(LoadFailed(text))
    assert ran_out(LoadFailed("x", hint=text))
    assert ran_out(LoadFailed("x", detail=f"before\n{text}\nafter"))


@pytest.mark.parametrize("text", ["bad magic", "it was not ready after 300 s", "killed (SIGSEGV)", ""])
def test_other_failures_are_not_taken_for_it(text: str) -> None:
    assert not ran_out(LoadFailed(text, hint=text, detail=text))


def test_a_limit_holds_for_a_while() -> None:
    caps = Caps()
    assert caps.of("d", 0.0) is None
    caps.put("d", 5, 10.0)
    assert caps.of("d", 10.0 + CAPPED) == 5
    assert caps.of("d", 11.0 + CAPPED) is None
    assert caps.of("other", 10.0) is None


def test_the_smaller_plan_is_told_beside_the_one_that_failed() -> None:
    launch = Launch("e", (), "/s", slots=2, context_length=4096, memory=700 * MIB)
    text = told(FAILED, launch)
    assert "4 slots of 8192 tokens (1000 MiB)" in text
    assert "2 of 4096 (700 MiB)" in text


def test_the_error_says_whether_anything_smaller_could_be_planned() -> None:
    assert smaller(FAILED) == 700 * MIB
    plain = hopeless("m", FAILED, 300 * MIB)
    assert plain.message.endswith("1000 MiB were planned, 300 MiB are available now.")
    assert plain.hint.endswith("inhouse plan m")
    least = hopeless("m", FAILED, 300 * MIB, OutOfMemory("too small", hint="x"))
    assert least.message.endswith("now, and nothing smaller than 700 MiB can be planned.")
    assert least.detail == "too small"
