"""Inhouse's own model files, in TOML and YAML."""

from __future__ import annotations

import builtins
import math
import os
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.create import Create, FileRef
from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.models import Tuning
from inhouse.store import modelfile
from inhouse.store.modelfile.declared import Adapter, Engine, File, Message

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "model-file.md"
FOLDER = os.path.abspath(os.sep + os.path.join("work", "models"))


def at(file: str) -> str:
    return os.path.join(FOLDER, file)


def read(text: str | bytes, kind: str = "toml", **files: bytes) -> modelfile.Reading:
    """``files`` by name with ``_`` for the dot: ``m_gguf=b""``."""
    there = {at(name.replace("_", ".")): data for name, data in files.items()}
    place = modelfile.Place(FOLDER, there.__contains__, there.__getitem__)
    return modelfile.parse_declared(text, kind, name="made", place=place)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", REFERENCE.read_text("utf-8"), re.DOTALL)


FULL = Create(
    name="made",
    files=(FileRef("pirate.gguf", path=at("pirate.gguf")),),
    projector=FileRef("mmproj.gguf", path=at("mmproj.gguf")),
    adapters=(FileRef("sea.gguf", path=at("sea.gguf")), FileRef("rum.gguf", path=at("rum.gguf"), scale=0.5)),
    draft_model="smollm2:135m",
    template="{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}\n",
    system="You are a pirate.\n",
    licence=("Apache-2.0",),
    messages=(("user", "Ahoy!"), ("assistant", "Arr.")),
    parameters={"temperature": 0.7, "top_k": 20, "stop": ("<|end|>", "\n\n")},
    tuning=Tuning(
        engine="wheel",
        context_length=8192,
        slots=2,
        threads=8,
        gpu_layers=-1,
        kv_cache_type="q8_0",
        keep_alive=1800.0,
    ),
    aliases=("captain", "mate:small"),
    labels=("internal", "no-tools"),
    quantize="Q4_K_M",
    allow_requantize=True,
    imatrix=FileRef("imatrix.gguf", path=at("imatrix.gguf")),
)
FULL_FILES = {f"{name}_gguf": b"" for name in ("pirate", "mmproj", "sea", "rum", "imatrix")}


@pytest.mark.parametrize("kind", ["toml", "yaml"])
def test_the_example_of_the_reference_says_everything(kind):
    example = blocks(kind)[0]
    assert read(example, kind, **FULL_FILES).create == FULL
    assert read(example.encode(), "yml" if kind == "yaml" else kind, **FULL_FILES).create == FULL


def test_the_reference_has_every_key():
    text = REFERENCE.read_text("utf-8")
    for struct, prefix in (
        (File, ""),
        (Engine, "engine."),
        (Adapter, "adapters[]."),
        (Message, "messages[]."),
    ):
        for field in msgspec.structs.fields(struct):
            assert f"`{prefix}{field.encode_name}`" in text


def test_a_short_file_leaves_all_else_to_the_base():
    reading = read('from = "smollm2"')
    assert reading == modelfile.Reading(Create(name="made", base="smollm2"))


def test_empty_texts_take_the_bases_away():
    order = read('from = "a"\nsystem = ""\nmessages = []\nlabels = []').create
    assert (order.system, order.messages, order.labels) == ("", (), ())


def test_from_may_be_a_file():
    order = read('from = "m.gguf"\ndraft = "d.gguf"', m_gguf=b"", d_gguf=b"").create
    assert order.files == (FileRef("m.gguf", path=at("m.gguf")),)
    assert order.draft == FileRef("d.gguf", path=at("d.gguf"))
    assert order.base == order.draft_model == ""


def test_a_template_may_lie_in_a_file():
    text = 'from = "a"\ntemplate_file = "chat.jinja"'
    assert read(text, chat_jinja=b"\xef\xbb\xbf{{ x }}\n").create.template == "{{ x }}\n"
    for data, said in ((b"\xff", "cannot be read as UTF-8"), (b"x" * (2**20 + 1), "longer than 1 MiB")):
        with pytest.raises(BadRequest, match=f"template_file: .*{said}"):
            read(text, chat_jinja=data)


def test_files_are_read_from_the_disk(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ é }}", "utf-8")
    place = modelfile.Place(str(tmp_path))
    text = 'from = "a"\ntemplate_file = "t.jinja"'
    assert modelfile.parse_declared(text, "toml", name="n", place=place).create.template == "{{ é }}"
    with pytest.raises(BadRequest, match="there is no such file"):
        modelfile.parse_declared('from = "./no.gguf"', "toml", name="n", place=place)
    with pytest.raises(BadRequest, match="template_file: the file cannot be read"):
        modelfile.parse_declared('from = "a"\ntemplate_file = "."', "toml", name="n", place=place)


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("30", 30.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-1", math.inf),
        ('"1h30m"', 5400.0),
        ('"300ms"', 0.3),
        ('"1.5s"', 1.5),
    ],
)
def test_keep_alive_is_seconds_or_a_duration(value, seconds):
    assert read(f'from = "a"\nengine.keep_alive = {value}').create.tuning.keep_alive == pytest.approx(seconds)


def test_a_parameter_without_effect_is_told():
    assert read('from = "a"\nparameters.num_keep = 5').said == (
        "parameters.num_keep changes nothing: nothing is ever cut out of a running context here.",
    )


@pytest.mark.parametrize(
    "text, said",
    [
        ('from = "a"\nspeed = 1', "unknown field `speed`"),
        ('from = "a"\n[engine]\nslot = 1', "unknown field `slot` - at `$.engine`"),
        (
            'from = "a"\nadapters = [{ path = "x", weight = 1 }]',
            "unknown field `weight` - at `$.adapters[0]`",
        ),
        ('from = "a"\nengine.slots = "2"', "`$.engine.slots`"),
        ('from = "a"\nengine.slots = 0', "`$.engine.slots`"),
        ('from = "a"\nengine.context_length = 3', "`$.engine.context_length`"),
        ('from = "a"\nengine.kv_cache_type = "q3"', "`$.engine.kv_cache_type`"),
        ('from = "a"\nengine.keep_alive = "soon"', "engine.keep_alive takes seconds"),
        ('from = "a"\nengine.keep_alive = nan', "engine.keep_alive takes seconds"),
        ('from = "a"\nadapters = [{ path = "x", scale = inf }]', "`$.adapters[0]"),
        ('from = "a"\nmessages = [{ role = "tool", content = "x" }]', "`$.messages[0].role`"),
        ('from = "a"\nmessages = [{ role = "user" }]', "`$.messages[0]`"),
        ('from = "a"\nparameters.speed = 1', "unknown parameter 'speed'"),
        ('from = "a"\nparameters.seed = 1.5', 'option "seed" must be of type integer'),
        ('from = "a"\nparameters.seed = true', 'option "seed" must be of type integer'),
        ('from = "a"\nparameters.stop = [1]', 'option "stop" must be of type array'),
        ('from = "a"\nparameters.temperature = "hot"', 'option "temperature" must be of type float32'),
        ('from = "a"\nparameters.temperature = inf', 'option "temperature" must be of type float32'),
        ('from = "a"\nparameters.use_mmap = 1', 'option "use_mmap" must be of type boolean'),
        ('from = "a"\nparameters.num_ctx = 8\nengine.context_length = 8', "say the same"),
        ('from = "a"\ntemplate = "x"\nuse_embedded_template = true', "exclude each other"),
        ('from = "a"\ntemplate = "x"\ntemplate_file = "y"', "exclude each other"),
        ('from = "a"\nimatrix = "x"', "imatrix needs quantize"),
        ('from = "a"\nprojector = "p.gguf"', "projector: there is no such file"),
        ('from = "a"\nadapters = ["x", "y"]', "adapters[0]: there is no such file"),
        ('system = "x"', "either from or files"),
        ('from = "a"\nfiles = ["b"]', "either from or files"),
        ('from = "a"\nfrom = "b"', "is no TOML"),
        ('from = "a"\n\nspeed\nx = 1', "at line 3"),
        ("x = " + "9" * 5000, "is no TOML"),
        ("from =", "is no TOML"),
        (b'from = "\xff"', "not UTF-8"),
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("x" * (2**20 + 1), "longer than 1 MiB"),
    ],
)
def test_a_wrong_file_is_refused_by_key_and_place(text, said):
    with pytest.raises(BadRequest) as caught:
        read(text)
    assert said in caught.value.message
    assert len(caught.value.message) < 300
    assert caught.value.hint


def test_what_no_engine_here_can_do_is_unsupported():
    with pytest.raises(Unsupported, match="main_gpu"):
        read('from = "a"\nparameters.main_gpu = 1')


@pytest.mark.parametrize(
    "text, said",
    [
        ("from: a\nspeed: 1", "unknown field `speed`"),
        ("from: a\nsystem: &x hi", "line 2: anchors, aliases and tags"),
        ("from: a\nx: *y", "line 2: anchors, aliases and tags"),
        ("from: a\nsystem: !!python/object/apply:os.system [x]", "line 2: anchors, aliases and tags"),
        ("from: a\nfrom: b", "line 2: a key that is no text, or stands there twice"),
        ("from: a\nengine:\n  slots: 1\n  slots: 2", "line 4: a key"),
        ("from: a\n? [b]\n: c", "line 2: a key"),
        ("from: a\nengine:\n  <<: {slots: 1}", "line 3: a key"),
        ("from: a\nsystem: no", "`$.system`"),
        ("from: a\nsystem: 2024-99-99", "a value that YAML cannot hold"),
        ("from: [a", "is no YAML: line "),
        ("--- \nfrom: a\n---\nfrom: b", "is no YAML"),
        ("from: \x07", "is no YAML"),
        ("a: " + "[" * 30, "nested deeper than 20"),
        ("- a", "Expected `object`"),
        ("", "Expected `object`"),
        ("x: [" * 100_000, "nested deeper than 20"),
    ],
)
def test_yaml_is_read_without_its_traps(text, said):
    began = time.process_time()
    with pytest.raises(BadRequest) as caught:
        read(text, "yaml")
    assert said in caught.value.message
    assert time.process_time() - began < 2


def test_yaml_lists_are_checked_too():
    order = read("from: a\nlabels: [x, y]\nmessages:\n- {role: user, content: hi}", "yaml").create
    assert (order.labels, order.messages) == (("x", "y"), (("user", "hi"),))


def test_without_pyyaml_toml_is_offered(monkeypatch):
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(Unsupported, match="PyYAML") as caught:
        read("from: a", "yaml")
    assert "TOML" in caught.value.hint


@given(
    st.binary(max_size=60) | st.text(alphabet='from="a:[]{}\n&*!<-?|> system0.', max_size=60), st.booleans()
)
def test_any_bytes_are_read_or_refused(data, toml):
    try:
        order = read(data, "toml" if toml else "yaml").create
    except BadRequest:
        return
    assert order.base
