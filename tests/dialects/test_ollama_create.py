"""POST /api/create and /api/push as Ollama's clients send them, and what is ours beyond."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.create import Create, FileRef
from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.models import Tuning
from inhouse.dialects.ollama import CreateOrder, PushOrder, decode_create, decode_push

HEX = "0123456789abcdef" * 4
OTHER = "f" * 64


def order(**body: Any) -> CreateOrder:
    return decode_create(json.dumps(body).encode())


def create(**body: Any) -> Create:
    return order(**{"model": "m", "from": "a", **body}).create


def refused(**body: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        order(**{"model": "m", "from": "a", **body})
    return caught.value


def test_everything_that_ollama_takes():
    made = order(
        model="made", **{"from": "base"}, adapters={"lora.gguf": f"sha256:{HEX}"}, template="{{ .Prompt }}",
        license=["one", "two"], system="Be brief.", quantize="q4_K_M", draft_files={"d.gguf": f"sha256-{OTHER}"},
        parameters={"temperature": 1, "stop": ["a", "b"], "num_ctx": 4096.0, "use_mmap": True},
        messages=[{"role": "User", "content": "hi"}, {"role": "assistant", "content": "ho"}], stream=False,
        requires="0.14.0",
    )  # fmt: skip
    assert made == CreateOrder(
        Create(
            name="made",
            base="base",
            adapters=(FileRef("lora.gguf", f"sha256:{HEX}"),),
            draft=FileRef("d.gguf", f"sha256:{OTHER}"),
            template="{{ .Prompt }}",
            system="Be brief.",
            licence=("one", "two"),
            parameters={"temperature": 1.0, "stop": ("a", "b"), "num_ctx": 4096, "use_mmap": True},
            messages=(("user", "hi"), ("assistant", "ho")),
            quantize="q4_K_M",
        ),
        stream=False,
    )
    assert type(made.create.parameters["num_ctx"]) is int


def test_a_bare_order_leaves_all_to_the_base():
    assert order(name="old-alias", **{"from": "a"}) == CreateOrder(Create(name="old-alias", base="a"), True)


def test_files_and_old_names():
    names = {"model-00001-of-00002.gguf": f"sha256:{HEX}", "sub/config.json": f"sha256-{OTHER.upper()}"}
    made = order(model="m", files=names, quantization="Q8_0", license="mit").create
    assert made.files == (
        FileRef("model-00001-of-00002.gguf", f"sha256:{HEX}"),
        FileRef("sub/config.json", f"sha256:{OTHER}"),
    )
    assert (made.quantize, made.licence, made.base) == ("Q8_0", ("mit",), "")


def test_our_own_fields():
    made = create(
        projector={"p.gguf": f"sha256:{HEX}"}, imatrix={"i.gguf": f"sha256:{HEX}"}, quantize="Q4_K_M",
        adapters={"l": {"digest": f"sha256:{HEX}", "scale": 0.5}, "k": f"sha256:{OTHER}"}, draft_model="tiny",
        labels=["x"], aliases=["y", "z:1"], use_embedded_template=True, allow_requantize=True,
        engine={
            "kind": "wheel", "context_length": 8192, "slots": 2, "threads": 3, "gpu_layers": 0,
            "kv_cache_type": "q8_0", "keep_alive": "10m",
        },
    )  # fmt: skip
    assert made == Create(
        name="m",
        base="a",
        projector=FileRef("p.gguf", f"sha256:{HEX}"),
        imatrix=FileRef("i.gguf", f"sha256:{HEX}"),
        quantize="Q4_K_M",
        adapters=(FileRef("l", f"sha256:{HEX}", scale=0.5), FileRef("k", f"sha256:{OTHER}")),
        draft_model="tiny",
        labels=("x",),
        aliases=("y", "z:1"),
        use_embedded_template=True,
        allow_requantize=True,
        tuning=Tuning("wheel", 8192, 2, 3, 0, "q8_0", 600.0),
    )
    assert create(engine={"keep_alive": -1}).tuning.keep_alive == math.inf


def test_paths_of_the_machine_are_told_apart():
    paths = {
        "files": ["/models/m.gguf", "C:\\models\\n.gguf"],
        "adapters": ["/l.gguf", {"path": "/k.gguf", "scale": 2}],
        "projector": "/p.gguf",
        "draft": "/d.gguf",
        "imatrix": "/i.gguf",
    }
    made = order(model="m", paths=paths, quantize="Q4_0")
    assert made.local
    assert made.create.files == (
        FileRef("m.gguf", path="/models/m.gguf"),
        FileRef("n.gguf", path="C:\\models\\n.gguf"),
    )
    assert made.create.adapters == (
        FileRef("l.gguf", path="/l.gguf"),
        FileRef("k.gguf", path="/k.gguf", scale=2),
    )
    companions = (made.create.projector, made.create.draft, made.create.imatrix)
    assert [one.path for one in companions if one] == ["/p.gguf", "/d.gguf", "/i.gguf"]
    assert not order(model="m", **{"from": "a"}).local


def test_empty_texts():
    """Ollama's clients leave out what is empty; who sends it wants the base's gone."""
    cleared = create(system="", messages=[], labels=[], template="", license="", quantize="")
    assert (cleared.system, cleared.messages, cleared.labels) == ("", (), ())
    assert cleared.template is None
    assert cleared.licence == ()
    assert create(system=None, messages=None) == create()


def test_options_that_ollamas_clients_still_send_are_noted():
    made = order(model="m", **{"from": "a"}, parameters={"mirostat": 1, "numa": False, "seed": 7}, oddity=1)
    assert made.create.parameters == {"seed": 7}
    assert set(made.noted) == {"parameters.mirostat", "parameters.numa", "oddity"}


@pytest.mark.parametrize(
    "body, message, param",
    [
        ({"model": ""}, "model is required", "model"),
        ({"from": ""}, "neither 'from' or 'files' was specified", "from"),
        ({"from": "", "files": {}}, "neither 'from' or 'files' was specified", "from"),
        ({"files": {"m": f"sha256:{HEX}"}}, "'from' and 'files' were both specified", "files"),
        ({"from": "", "files": {"m": ""}}, "invalid digest format", "files.m"),
        ({"from": "", "files": {"m": HEX}}, "invalid digest format", "files.m"),
        ({"from": "", "files": {"m": f"sha256:{HEX}0"}}, "invalid digest format", "files.m"),
        ({"from": "", "files": {"m": f"sha512:{HEX}"}}, "invalid digest format", "files.m"),
        ({"from": "", "files": {"m": 1}}, "Invalid type for 'files.m'", "files.m"),
        ({"from": "", "files": ["m"]}, "Invalid type for 'files'", "files"),
        ({"adapters": {"l": {"scale": 1}}}, "Invalid type for 'adapters.l'", "adapters.l"),
        ({"adapters": {"l": {"digest": f"sha256:{HEX}", "scale": "x"}}}, "Invalid type", "adapters.l.scale"),
        ({"adapters": {"l": {"digest": f"sha256:{HEX}", "scale": 1e6}}}, "Invalid value", "adapters.l.scale"),
        ({"draft_files": {"a": f"sha256:{HEX}", "b": f"sha256:{HEX}"}}, "Invalid value", "draft_files"),
        ({"draft_files": {"a": f"sha256:{HEX}"}, "draft_model": "x"}, "Invalid value", "draft_model"),
        ({"projector": {"a": f"sha256:{HEX}", "b": f"sha256:{HEX}"}}, "Invalid value", "projector"),
        ({"imatrix": {"a": f"sha256:{HEX}"}}, "Invalid value for 'imatrix'", "imatrix"),
        ({"template": "x", "use_embedded_template": True}, "Invalid value", "use_embedded_template"),
        ({"parameters": {"speed": 1}}, "unknown parameter 'speed'", "parameters.speed"),
        ({"parameters": {"seed": "1"}}, 'option "seed" must be of type integer', "parameters.seed"),
        ({"parameters": {"stop": [1]}}, 'option "stop" must be of type array', "parameters.stop"),
        ({"parameters": []}, "Invalid type for 'parameters'", "parameters"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "Invalid value", "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "Invalid type", "messages[0].content"),
        ({"license": [1]}, "Invalid type for 'license[0]'", "license[0]"),
        ({"license": {}}, "Invalid type for 'license'", "license"),
        ({"labels": ["x"] * 201}, "Invalid value for 'labels'", "labels"),
        ({"engine": {"slots": 0}}, "Invalid value for 'engine.slots'", "engine.slots"),
        ({"engine": {"speed": 1}}, "Unknown field: 'engine.speed'", "engine"),
        ({"engine": {"engine": "x"}}, "Unknown field: 'engine.engine'", "engine"),
        ({"engine": {"kv_cache_type": "q5"}}, "Invalid value", "engine.kv_cache_type"),
        ({"paths": {"projector": "p.gguf"}}, "Invalid value for 'paths.projector'", "paths.projector"),
        (
            {"from": "", "paths": {"files": ["/a/../b"]}},
            "Invalid value for 'paths.files[0]'",
            "paths.files[0]",
        ),
        ({"from": "", "paths": {"files": ["C:x"]}}, "Invalid value for 'paths.files[0]'", "paths.files[0]"),
        ({"paths": {"adapters": [{"scale": 1}]}}, "Invalid type", "paths.adapters[0]"),
        ({"stream": 1}, "Invalid type for 'stream'", "stream"),
        ({"requires": "new"}, "requires must be a valid semver", "requires"),
    ],
)
def test_a_wrong_body_is_refused_by_field(body, message, param):
    error = refused(**body)
    assert error.message.startswith(message)
    assert error.param == param


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/../b", "/x", "\\x", "C:\\x", "a\\..\\b", "x\0y", ".", "x" * 1001]
)
def test_a_file_name_stays_inside(name):
    assert refused(**{"from": ""}, files={name: f"sha256:{HEX}"}).message == "file path must be relative"


@pytest.mark.parametrize(
    "body",
    [
        {"renderer": "qwen3"},
        {"parser": "qwen3"},
        {"remote_host": "https://host"},
        {"info": {"capabilities": ["tools"]}},
        {"draft_quantize": "q4_0"},
        {"requires": "1.0.0"},
        {"parameters": {"main_gpu": 1}},
        {"messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]},
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]},
    ],
)
def test_what_is_not_done_here_is_said(body):
    error = refused(**body)
    assert isinstance(error, Unsupported)
    assert error.hint
    assert create(**{name: type(value)() for name, value in body.items() if name != "requires"}).name == "m"


def test_an_empty_body():
    with pytest.raises(BadRequest, match="missing request body"):
        decode_create(b" ")
    with pytest.raises(BadRequest, match="missing request body"):
        decode_push(b"")


def test_too_many_files():
    files = {f"f{i}": f"sha256:{HEX}" for i in range(2001)}
    assert "at most 2000 files" in refused(**{"from": ""}, files=files).message


def test_push():
    assert decode_push(b'{"model": "me/m"}') == PushOrder("me/m", False, True)
    body = b'{"name": "me/m", "insecure": true, "stream": false, "target": "oci://h/r"}'
    assert decode_push(body) == PushOrder("me/m", True, False, "oci://h/r")
    for bad in (b'{"model": ""}', b'{"model": "m", "insecure": 1}', b"[]"):
        with pytest.raises(BadRequest):
            decode_push(bad)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "from",
        "files",
        "adapters",
        "projector",
        "draft_files",
        "draft_model",
        "template",
        "license",
        "system",
        "parameters",
        "messages",
        "quantize",
        "imatrix",
        "paths",
        "engine",
        "labels",
        "aliases",
        "stream",
        "renderer",
        "requires",
        "info",
    ]
)


@given(st.dictionaries(FIELDS, JSON, max_size=5))
def test_any_json_is_taken_or_refused(body):
    try:
        made = order(**{"model": "m", **body})
    except BadRequest:
        return
    assert made.create.base or made.create.files
