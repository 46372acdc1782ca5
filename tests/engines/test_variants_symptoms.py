"""Which ends of a program speak against its build, and which against something else."""

from __future__ import annotations

import pytest

from inhouse.engines.variants.symptoms import broken


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "llama-server: error while loading shared libraries: libcudart.so.13: cannot open shared object"
            " file: No such file or directory",
            "the library libcudart.so.13 is missing",
        ),
        ("dyld[1]: Library not loaded: @rpath/libllama.dylib", "the library libllama.dylib is missing"),
        ("ImportError: libhipblas.so.2: cannot open shared object file", "libhipblas.so.2 is missing"),
        ("ImportError: DLL load failed while importing xllamacpp: x", "xllamacpp is missing"),
        ("/lib/libc.so.6: version `GLIBC_2.38' not found (required by llama-server)", "GLIBC_2.38"),
        ("The model could not be loaded: its process was killed (SIGILL).", "not this CPU's"),
        ("Illegal instruction (core dumped)", "not this CPU's"),
        ("symbol lookup error: x: undefined symbol: ggml_init", "lacks ggml_init"),
        ("OSError: [Errno 8] Exec format error: 'llama-server'", "another kind of machine"),
        ("CUDA error: CUDA driver version is insufficient for CUDA runtime version", "driver is too old"),
        ("CUDA error: no kernel image is available for execution on the device", "no code for this GPU"),
        ("ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected", "no device"),
        ("ggml_vulkan: No devices found.", "no device"),
        ("The model could not be loaded: its process ended with exit code 127.", "gone"),
    ],
)
def test_what_lies_in_the_build_or_the_machine_is_recognised(text: str, why: str) -> None:
    assert why in broken(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "error loading model: unknown model architecture: 'foo'",
        "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory",
        "The model could not be loaded: its process was killed (SIGKILL).",
        "its process ended with exit code 1.",
        "its process ended with exit code 1270.",
        "it was not ready after 300 s",
        "failed to open GGUF file (No such file or directory)",
    ],
)
def test_what_another_build_would_fail_at_too_is_not(text: str) -> None:
    assert broken(text) == ""


@pytest.mark.parametrize(
    "written",
    [
        "Illegal instruction",
        "x\nIllegal instruction",
        "x\nerror while loading shared libraries: libfoo.so: x",
    ],
)
def test_what_is_written_in_a_model_does_not_speak_against_a_build(written: str) -> None:
    ended = "The model could not be loaded: its process ended with exit code 1."
    said = f"E llama_model_load: error loading model: unknown pre-tokenizer type: '{written}'"
    assert broken(f"{ended}\nTry again.\n{said}") == ""
    killed = "The model could not be loaded: its process was killed (SIGILL)."
    assert "not this CPU's" in broken(f"{killed}\nTry again.\n{said}")


def test_an_exit_code_tells_where_the_words_do_not() -> None:
    assert "CPU" in broken("", -4)
    assert "CPU" in broken("", 0xC000001D)
    assert "library" in broken("", 0xC0000135)
    assert broken("", 1) == ""
