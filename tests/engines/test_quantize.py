"""Quantising: what is refused before it starts, how the tool is called, and what its end means."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, Cancelled, InhouseError, LoadFailed, NoSpace, Unsupported
from inhouse.engines import quantize, tool
from inhouse.engines.quantize import TYPES, Job, Step
from support import tiny_gguf

posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script")

FAKE = """#!{python}
import json, os, sys, time
args = sys.argv[1:]
if args == ["--help"]:
    print(" allowed quantization types\\n   2  or  Q4_0    :  4.34G\\n  15  or  Q4_K_M : x\\n  19  or  IQ2_XXS : x")
    sys.exit(1)
if "--dry-run" in args:
    print("model size  =     0.50 MiB (16 BPW)\\nquant size  =     0.25 MiB (4 BPW)")
    sys.exit(0)
target = args[-2] if args[-1].isalpha() or "_" in args[-1] else args[-3]
json.dump([args, os.getcwd(), sorted(os.environ)], open({noted!r}, "w"))
open(target, "wb").write(b"half")
print("[   1/   2] a.weight - [ 1 ], type = f16, size =    0.25 MiB", flush=True)
{action}
print("[   2/   2] b.weight - [ 1 ], type = f16, converting to q4_K .. size =    0.25 MiB ->   0.1 MiB")
"""


class Settings:
    """The engine section as far as it is read."""

    kind = "auto"
    context_length = slots = threads = 0
    kv_cache_type = "f16"
    fake = ""

    def __init__(self, llama_server: str = "") -> None:
        self.llama_server = llama_server


class Bench:
    """A folder with a stand-in for llama-quantize, a source and what the stand-in was told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.noted = folder / "noted.json"
        self.source = folder / "source.gguf"
        self.source.write_bytes(bytes(2**19 + 1000))
        self.target = folder / "out" / "target.gguf"
        self.target.parent.mkdir()
        self.settings = Settings(str(folder / "llama-server"))
        self.environ = {**os.environ, "HF_TOKEN": "hush"}
        self.steps: list[Step] = []

    def tool(self, action: str = "pass") -> Bench:
        path = self.folder / "llama-quantize"
        path.write_text(FAKE.format(python=sys.executable, noted=str(self.noted), action=action))
        path.chmod(0o755)
        return self

    def job(self, kind: str = "Q4_K_M", **fields: Any) -> Job:
        return Job(self.source, self.target, kind, quantization="F16", **fields)

    def run(self, job: Job | None = None, stopped: Any = lambda: False) -> None:
        quantize.quantize(job or self.job(), self.steps.append, stopped, self.settings, self.environ)

    def told(self) -> Any:
        import json

        return json.loads(self.noted.read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@posix
def test_the_tool_beside_the_server_is_called_with_absolute_paths_and_few_secrets(bench: Bench) -> None:
    bench.tool().run(bench.job(threads=2))
    args, folder, env = bench.told()
    assert args == [str(bench.source), str(bench.target), "Q4_K_M", "2"]
    assert os.path.realpath(folder) == os.path.realpath(bench.target.parent)
    assert "HF_TOKEN" not in env
    assert bench.target.read_bytes() == b"half"


@posix
def test_each_tensor_is_told_with_the_time_that_is_left(bench: Bench) -> None:
    bench.tool("time.sleep(0.05)").run()
    assert [(s.done, s.total) for s in bench.steps] == [(1, 2), (2, 2)]
    assert bench.steps[0].left is None
    assert bench.steps[1].left == pytest.approx(0, abs=0.05)


@posix
def test_a_line_broken_by_a_remark_still_counts(bench: Bench) -> None:
    action = 'print("[   2/   3] c.weight - type = f16, \\n====== did not find weights\\nsize =    0.1 MiB")'
    bench.tool(action).run()
    assert [s.done for s in bench.steps] == [1, 2, 2, 2]


@posix
def test_an_importance_matrix_is_named_without_its_path(bench: Bench) -> None:
    matrix = bench.folder / "m.dat"
    matrix.write_bytes(b"x")
    bench.tool().run(dataclasses.replace(bench.job("iq2_xxs"), imatrix=matrix))
    args, folder, _ = bench.told()
    assert args[:2] == ["--imatrix", "./m.dat"], "the tool writes it into the result"
    assert args[-1] == "IQ2_XXS"
    assert os.path.realpath(folder) == os.path.realpath(bench.folder)


@posix
def test_the_exact_size_comes_from_a_dry_run(bench: Bench) -> None:
    bench.tool()
    found = quantize.measure(bench.job(), bench.settings, bench.environ)
    assert found == 2**18 + 1000, "the header stays"
    bench.tool()
    path = bench.folder / "llama-quantize"
    path.write_text(path.read_text().replace("quant size", "size"))
    assert quantize.measure(bench.job(), bench.settings, bench.environ) is None


@posix
@pytest.mark.parametrize(
    ("action", "error"),
    [
        ('sys.exit("failed to quantize: requantizing from type q4_1 is disabled")', BadRequest),
        ('sys.exit("failed to quantize: this quantization requires an imatrix!")', BadRequest),
        ('sys.exit("error: unknown model architecture")', LoadFailed),
        ("os.kill(os.getpid(), 9)", LoadFailed),
        ('sys.exit("write: No space left on device")', NoSpace),
        ("os.unlink(target)", LoadFailed),
    ],
)
def test_a_failed_run_leaves_nothing_and_says_why(
    bench: Bench, action: str, error: type[InhouseError]
) -> None:
    with pytest.raises(error) as caught:
        bench.tool(action).run()
    assert not bench.target.exists()
    assert caught.value.hint
    assert str(bench.folder) not in caught.value.message


@posix
def test_a_cancel_removes_what_was_written(bench: Bench) -> None:
    with pytest.raises(Cancelled):
        bench.tool("time.sleep(60)").run(stopped=lambda: bool(bench.steps))
    assert not bench.target.exists()


@posix
def test_too_little_space_is_said_before_anything_is_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "_free", lambda _: 1000)
    with pytest.raises(NoSpace):
        bench.tool().run()
    assert not bench.noted.exists()


@posix
def test_a_type_that_this_build_does_not_know_is_named(bench: Bench) -> None:
    with pytest.raises(Unsupported) as caught:
        bench.tool().run(bench.job("MXFP4_MOE"))
    assert "MXFP4_MOE" in caught.value.message


def test_without_the_tool_it_is_said_which_build_is_needed(bench: Bench) -> None:
    bench.environ["PATH"] = ""
    found = quantize.able(bench.settings, bench.environ)
    assert not found.ok
    assert "INHOUSE_LLAMA_SERVER" in found.fix
    with pytest.raises(Unsupported) as caught:
        bench.run()
    assert "llama-quantize" in caught.value.message
    assert "INHOUSE_LLAMA_SERVER" in caught.value.hint


@posix
def test_the_tool_is_found_on_path_too(bench: Bench) -> None:
    bench.tool()
    environ = {"PATH": str(bench.folder)}
    assert quantize.able(Settings(), environ).path == str(bench.folder / "llama-quantize")


@posix
def test_a_tool_that_does_not_run_is_not_taken(bench: Bench) -> None:
    bench.tool()
    (bench.folder / "llama-quantize").write_text("#!/bin/sh\nexit 0\n")
    found = quantize.able(bench.settings, bench.environ)
    assert (found.ok, found.why) == (False, "llama-quantize does not run")


@pytest.mark.parametrize("kind", [name for name, one in TYPES.items() if one.needs_imatrix])
def test_few_bits_without_an_importance_matrix_are_refused_with_the_reason(bench: Bench, kind: str) -> None:
    with pytest.raises(BadRequest) as caught:
        quantize.check(bench.job(kind.lower()))
    assert "importance matrix" in caught.value.message


def test_an_importance_matrix_must_exist(bench: Bench) -> None:
    with pytest.raises(BadRequest) as caught:
        quantize.check(bench.job(imatrix=bench.folder / "none"))
    assert caught.value.param == "imatrix"


def test_what_is_quantised_already_is_refused_unless_wanted(bench: Bench) -> None:
    job = dataclasses.replace(bench.job(), quantization="Q4_1")
    with pytest.raises(BadRequest) as caught:
        quantize.check(job)
    assert "Q4_1" in caught.value.message
    quantize.check(dataclasses.replace(job, allow_requantize=True))
    for fine in ("F32", "bf16", ""):
        quantize.check(dataclasses.replace(job, quantization=fine))


@pytest.mark.parametrize("kind", ["Q4_K_X", "", "15", "COPY", "../x"])
def test_an_unknown_type_is_refused_with_the_known_ones(kind: str) -> None:
    with pytest.raises(BadRequest) as caught:
        quantize.type_of(kind)
    assert "Q4_K_M" in caught.value.hint


def test_types_are_named_in_any_case_and_by_alias() -> None:
    assert quantize.type_of("q4_k_m")[0] == quantize.type_of("Q4_K")[0] == "Q4_K_M"


def test_sizes_are_estimated_from_the_bits() -> None:
    eight_billion = 8_030_000_000
    q4 = quantize.estimate(eight_billion, 16 * 10**9, "Q4_K_M")
    assert q4 == pytest.approx(4.92e9, rel=0.03)
    sizes = [
        quantize.estimate(eight_billion, 16 * 10**9, kind) for kind in ("F32", "F16", "Q8_0", "Q4_0", "Q2_K")
    ]
    assert sizes == sorted(sizes, reverse=True)


def wide_model() -> tiny_gguf.Tiny:
    """A llama whose rows are 256 wide, so that K-quants fit."""
    width, hidden = 256, 512
    names = {
        "attn_q": (width, width), "attn_k": (width, width), "attn_v": (width, width),
        "attn_output": (width, width), "ffn_gate": (width, hidden), "ffn_up": (width, hidden),
        "ffn_down": (hidden, width),
    }  # fmt: skip
    tensors = [tiny_gguf.Tensor("token_embd.weight", (width, 16), type=1)]
    for layer in range(2):
        tensors += [
            tiny_gguf.Tensor(f"blk.{layer}.{name}.weight", shape, type=1) for name, shape in names.items()
        ]
        tensors += [
            tiny_gguf.Tensor(f"blk.{layer}.{name}.weight", (width,)) for name in ("attn_norm", "ffn_norm")
        ]
    tensors.append(tiny_gguf.Tensor("output_norm.weight", (width,)))
    data = [dataclasses.replace(t, data=bytes((i * 37 + 11) % 60 for i in range(t.size))) for t in tensors]
    keys = {
        "llama.embedding_length": tiny_gguf.u32(width),
        "llama.feed_forward_length": tiny_gguf.u32(hidden),
        "llama.attention.head_count_kv": tiny_gguf.u32(4),
        "llama.rope.dimension_count": tiny_gguf.u32(64),
        "general.file_type": tiny_gguf.u32(1),
    }
    return tiny_gguf.llama(keys, tensors=data)


REAL = quantize.able(Settings(os.environ.get("INHOUSE_LLAMA_SERVER", "")), os.environ)


@pytest.mark.skipif(not REAL.ok, reason="no llama-quantize on this machine")
@pytest.mark.parametrize("kind", ["Q4_K_M", "Q6_K", "Q8_0", "IQ4_XS", "Q2_K"])
def test_the_real_tool_quantises_a_small_model(tmp_path: Path, kind: str) -> None:
    source = wide_model().write(tmp_path / "f16.gguf")
    steps: list[Step] = []
    settings = Settings(os.environ.get("INHOUSE_LLAMA_SERVER", ""))
    job = Job(source, tmp_path / "out.gguf", kind, quantization="F16")
    exact = quantize.measure(job, settings, os.environ)
    quantize.quantize(job, steps.append, lambda: False, settings, os.environ)
    size = job.target.stat().st_size
    assert size < source.stat().st_size * 0.7
    assert exact == pytest.approx(size, rel=0.1)
    assert steps[-1].done == steps[-1].total == 20
