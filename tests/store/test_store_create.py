"""Models made of bases, uploads and files of this machine; quantised and converted by a workshop that pretends."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from inhouse.core.create import Create, FileRef
from inhouse.core.errors import (
    BadRequest,
    Cancelled,
    Forbidden,
    InhouseError,
    ModelNotFound,
    NoSpace,
    Unsupported,
)
from inhouse.core.models import Tuning
from inhouse.store.store import Store
from support import tiny_gguf
from support.lifecycle import done, leftovers, make, name, ordered, parts, refs, safetensors, sha256, upload

MODEL = tiny_gguf.model(1)
GO = "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user\n{{ .Prompt }}<|im_end|>\n"
JINJA = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


class Shop:
    """Writes valid models instead of changing weights, and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.given: dict[str, bytes] = {}
        self.made = tiny_gguf.model(77)
        self.size = 1000
        self.meanwhile = lambda: None

    def check(self, change):
        if change.kind.upper() not in ("Q4_K_M", "F16", "IQ1_S"):
            raise BadRequest("unknown type", hint="Q4_K_M")
        if change.kind.upper() == "IQ1_S" and change.imatrix is None:
            raise BadRequest("it needs an importance matrix", hint="imatrix")
        return change.kind.upper()

    def seconds(self, kind, size):
        return 1.0

    def estimate(self, kind, parameters, size):
        return self.size

    def quantize(self, source, target, change, watch, say):
        folder = source.parent
        self.given = (
            {p.name: p.read_bytes() for p in folder.iterdir()} if source.name.startswith("m-") else {}
        )
        self.calls.append(("quantize", source.name, change.kind, change.quantization))
        say(1, 2, "half")
        self.meanwhile()
        target.write_bytes(self.made)

    def convert(self, folder, target, outtype, watch, say):
        self.given = {p.name: p.read_bytes() for p in folder.iterdir()}
        self.calls.append(("convert", outtype))
        self.meanwhile()
        target.write_bytes(self.made)

    def install(self, watch, say):
        self.calls.append(("install",))


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def store(home, shop):
    return Store(home, workshop=shop)


# -- texts ------------------------------------------------------------------------------------


def test_parameters_merge_licences_add_up_and_the_rest_replaces(store):
    make(
        store, "base", {"m.gguf": MODEL}, system="Old.", template=JINJA, licence=("MIT",), labels=("a",),
        parameters={"temperature": 0.1, "top_k": 5}, messages=(("user", "Hi"),), tuning=Tuning(context_length=128),
    )  # fmt: skip
    card = ordered(
        store,
        Create(
            name="child", base="base", system="New.", licence=("Mine", "MIT"), labels=("b", "c"),
            parameters={"temperature": 0.9, "stop": ("x",)}, tuning=Tuning(slots=2),
        ),
    )  # fmt: skip
    assert (card.system, card.template, card.messages) == ("New.", JINJA, (("user", "Hi"),))
    assert dict(card.defaults) == {"temperature": 0.9, "top_k": 5, "stop": ["x"]}
    assert card.licence == "MIT\nMine"
    assert card.labels == ("b", "c")
    assert (card.tuning.context_length, card.tuning.slots) == (128, 2)
    assert card.parent == "base"


def test_what_is_left_out_stays_and_what_is_empty_goes(store):
    make(store, "base", {"m.gguf": MODEL}, system="Old.", labels=("a",), messages=(("user", "Hi"),))
    same = ordered(store, Create(name="same", base="base"))
    assert (same.system, same.labels, same.messages) == ("Old.", ("a",), (("user", "Hi"),))
    bare = ordered(store, Create(name="bare", base="base", system="", labels=(), messages=()))
    assert (bare.system, bare.labels, bare.messages) == ("", (), ())


def test_a_go_template_is_translated_and_kept_as_it_was_written(store):
    card = make(store, "go", {"m.gguf": MODEL}, template=GO)
    assert card.own_template
    assert "{%" in card.template
    assert store.written_template(card) == GO
    child = ordered(store, Create(name="child", base="go"))
    assert (child.template, store.written_template(child)) == (card.template, GO)


def test_the_template_inside_the_weights_comes_back_on_request(store):
    make(store, "go", {"m.gguf": MODEL}, template=GO)
    card = ordered(store, Create(name="own", base="go", use_embedded_template=True))
    assert card.template == tiny_gguf.CHATML
    assert not card.own_template


@pytest.mark.parametrize(
    "template",
    ["{{ if }}", "{{ .Nope.Deep }}", '{{ template "x" }}', "{{ range .Messages }}", "x" * (2**20 + 1)],
)
def test_a_template_that_cannot_be_used_is_refused_with_the_reason(store, template):
    with pytest.raises((Unsupported, BadRequest)) as caught:
        make(store, "go", {"m.gguf": MODEL}, template=template)
    assert caught.value.hint
    assert store.cards() == []


# -- bases and files --------------------------------------------------------------------------


def test_a_child_shares_its_bases_weights(store):
    base = make(store, "base", {"m.gguf": MODEL})
    child = ordered(store, Create(name="child", base="BASE:latest", system="Hi."))
    assert child.weights == base.weights
    assert child.digest != base.digest
    store.remove(base.name)
    assert Path(child.weights).read_bytes() == MODEL


def test_a_base_that_is_missing_is_not_found(store):
    with pytest.raises(ModelNotFound):
        ordered(store, Create(name="child", base="nope"))


def test_a_model_made_over_its_own_base_can_be_rolled_back(store):
    make(store, "base", {"m.gguf": MODEL})
    ordered(store, Create(name="base", base="base", system="Hi."))
    assert store.get(name("base")).system == "Hi."
    assert store.rollback(name("base")).system == ""


def test_files_of_this_machine_are_used_where_they_lie(store, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(MODEL)
    card = ordered(store, Create(name="local", files=(FileRef("m.gguf", path=str(path)),)))
    assert card.weights == str(path)
    assert list(store.layout.blobs.iterdir()) == []


def test_a_folder_of_this_machine_is_a_whole_model(store, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file, data in safetensors().items():
        (folder / file).write_bytes(data)
    card = ordered(store, Create(name="local", files=(FileRef("model", path=str(folder)),)))
    assert card.format == "safetensors"
    assert {f.file for f in card.files} == set(safetensors())


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (0, 1, 2)])
def test_parts_of_a_split_model_may_come_in_any_order(store, order):
    files = list(parts().items())
    card = make(store, "split", dict(files[at] for at in order))
    assert [file.file for file in card.files] == list(parts())


def test_parts_under_other_names_get_names_that_an_engine_follows(store):
    card = make(store, "split", {f"part{at}": data for at, data in enumerate(parts().values())})
    assert [p.name for p in sorted(Path(card.weights).parent.iterdir())] == [
        f"part0-{at:05}-of-00003.gguf" for at in (1, 2, 3)
    ]


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_split_model_without_a_part_is_refused(store, missing):
    files = list(parts().items())
    del files[missing]
    with pytest.raises((BadRequest, Unsupported)):
        make(store, "split", dict(files))
    assert store.cards() == []


def test_a_digest_that_was_never_uploaded_is_named(store):
    digest = "sha256:" + "0" * 64
    with pytest.raises(BadRequest) as caught:
        ordered(store, Create(name="x", files=(FileRef("m.gguf", digest=digest),)))
    assert digest in caught.value.message
    assert "/api/blobs" in caught.value.hint


@pytest.mark.parametrize("base, files", [("", False), ("base", True)])
def test_a_base_or_files_and_not_both(store, base, files):
    with pytest.raises(BadRequest):
        ordered(store, Create(name="x", base=base, files=refs(store, {"m.gguf": MODEL}) if files else ()))


ADAPTER, PROJECTOR = tiny_gguf.adapter().build(), tiny_gguf.projector().build()
IMATRIX = tiny_gguf.Tiny(
    {
        "general.type": tiny_gguf.string("imatrix"),
        "imatrix.datasets": tiny_gguf.array(tiny_gguf.STRING, ["x"]),
    },
    (
        tiny_gguf.Tensor("blk.0.attn_q.weight.in_sum2", (32,)),
        tiny_gguf.Tensor("blk.0.attn_q.weight.counts", (1,)),
    ),
).build()


@pytest.mark.parametrize(
    "files",
    [
        {"a.gguf": ADAPTER},
        {"p.gguf": PROJECTOR},
        {"m.gguf": MODEL, "i.gguf": IMATRIX},
        {"m.gguf": MODEL, **safetensors()},
        {"config.json": b"{}"},
        {"m.gguf": MODEL, "n.gguf": tiny_gguf.model(2)},
        {"m.gguf": b""},
        {"m.gguf": b"GGUF"},
        {"m.gguf": MODEL[: len(MODEL) // 2]},
        {"m.gguf": bytes(64)},
        {"m.safetensors": MODEL},
        {"m.safetensors": b"\xff" * 64, "config.json": b"{}"},
        {"m.pth": MODEL, "n.bin": b"\x80\x04pickle"},
    ],
    ids=lambda files: "+".join(files) + str(sum(map(len, files.values()))),
)
def test_files_that_make_no_model_are_refused(store, files):
    with pytest.raises((BadRequest, Unsupported)) as caught:
        make(store, "x", files)
    assert caught.value.message
    assert store.cards() == []
    assert store.problems() == []


def test_roles_are_told_by_the_bytes_not_the_names(store):
    card = make(store, "x", {"projector.gguf": MODEL, "model.gguf": PROJECTOR, "other.gguf": ADAPTER})
    assert {file.file: file.role for file in card.files} == {
        "projector.gguf": "model",
        "model.gguf": "projector",
        "other.gguf": "adapter",
    }


@pytest.mark.parametrize(
    "field, data",
    [("adapters", PROJECTOR), ("adapters", MODEL), ("projector", ADAPTER), ("draft", PROJECTOR)],
)
def test_companions_that_do_not_fit_are_refused(store, field, data):
    ref = FileRef("c.gguf", digest=upload(store, data))
    with pytest.raises((BadRequest, Unsupported)):
        make(store, "x", {"m.gguf": MODEL}, **{field: (ref,) if field == "adapters" else ref})
    assert store.cards() == []


@pytest.mark.parametrize(
    "file",
    [
        "../m.gguf",
        "/m.gguf",
        "a/../m.gguf",
        "",
        "a//b.gguf",
        "..\\m.gguf",
        "C:\\m.gguf",
        "m\0.gguf",
        "x" * 300,
    ],
)
def test_hostile_file_names_are_refused(store, tmp_path, file):
    with pytest.raises(BadRequest):
        ordered(store, Create(name="x", files=(FileRef(file, digest=upload(store, MODEL)),)))
    assert store.cards() == []


def test_the_same_file_twice_is_refused(store):
    twice = (*refs(store, safetensors()), *refs(store, {"CONFIG.json": b"{ }"}))
    with pytest.raises(BadRequest):
        ordered(store, Create(name="x", files=twice))


# -- whose files may be named -----------------------------------------------------------------


def test_without_trust_present_and_absent_paths_read_the_same(store, tmp_path):
    present = tmp_path / "m.gguf"
    present.write_bytes(MODEL)
    said = set()
    for path in (present, tmp_path / "absent.gguf", Path("/dev/random"), Path("/etc/passwd"), tmp_path):
        for order in (
            Create(name="x", files=(FileRef("m.gguf", path=str(path)),)),
            Create(name="x", base=str(path)),
            Create(name="x", base="file://" + str(path)),
        ):
            with pytest.raises(Forbidden) as caught:
                ordered(store, order, trusted=False)
            said.add((caught.value.message, caught.value.hint))
    assert len(said) == 1
    assert store.cards() == []


def test_without_trust_companions_may_not_be_named_either(store, tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(ADAPTER)
    make(store, "base", {"m.gguf": MODEL})
    ref = FileRef("a.gguf", path=str(path))
    for more in (
        {"adapters": (ref,)},
        {"projector": ref},
        {"draft": ref},
        {"imatrix": ref, "quantize": "Q4_K_M"},
    ):
        with pytest.raises(Forbidden):
            ordered(store, Create(name="x", base="base", **more), trusted=False)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs devices")
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/random", "/dev/null"])
def test_devices_are_no_models_even_for_the_user(store, path):
    with pytest.raises(InhouseError):
        ordered(store, Create(name="x", files=(FileRef("m.gguf", path=path),)))


# -- bytes past the end (CVE-2026-7482) -------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 2**20), (2**40,), (2**62, 4), (32, 17)])
def test_tensors_that_reach_past_the_end_are_refused_before_any_tool_sees_them(store, shop, shape):
    last = tiny_gguf.Tensor("output.weight", shape, data=bytes(128))
    evil = tiny_gguf.llama(tensors=(*tiny_gguf.TENSORS, last)).build()
    with pytest.raises(BadRequest, match="byte"):
        make(store, "x", {"m.gguf": evil}, quantize="Q4_K_M")
    assert shop.calls == []
    assert store.cards() == []


def test_what_is_made_holds_only_bytes_that_came(store):
    make(store, "one", {"m.gguf": MODEL})
    make(store, "two", parts())
    given = {sha256(data) for data in (MODEL, *parts().values())}
    assert {p.name.replace("-", ":") for p in store.layout.blobs.iterdir()} == given
    assert store.problems() == []


# -- quantising and converting ----------------------------------------------------------------


def test_quantising_makes_a_model_and_keeps_companions_and_texts(store, shop):
    make(store, "base", {"m.gguf": MODEL, "p.gguf": PROJECTOR}, system="Hi.")
    events = done(store, store.create(Create(name="small", base="base", quantize="q4_k_m"), trusted=True))
    card = store.get(name("small"))
    assert [(f.role, f.digest) for f in card.files] == [
        ("model", sha256(shop.made)),
        ("projector", sha256(PROJECTOR)),
    ]
    assert card.system == "Hi."
    assert shop.calls == [
        ("quantize", store.get(name("base")).files[0].digest.replace(":", "-"), "Q4_K_M", "Q4_1")
    ]
    statuses = [event.status for event in events]
    assert "verifying conversion" in statuses
    assert any("GB" in status for status in statuses)
    assert store.get(name("base")).weights_digest == sha256(MODEL)
    assert leftovers(store.layout.models.parent) == []


def test_a_split_base_is_given_to_the_tool_side_by_side(store, shop):
    make(store, "base", parts())
    ordered(store, Create(name="small", base="base", quantize="Q4_K_M"))
    assert shop.given == parts()
    assert shop.calls[0][1] == "m-00001-of-00003.gguf"


def test_safetensors_are_converted_and_then_quantised(store, shop):
    make(store, "base", safetensors())
    card = ordered(store, Create(name="gguf", base="base", quantize="F16"))
    assert card.format == "gguf"
    assert shop.given == safetensors()
    assert shop.calls == [("convert", "f16")]
    ordered(store, Create(name="small", base="base", quantize="Q4_K_M"))
    assert [call[0] for call in shop.calls] == ["convert", "convert", "quantize"]


def test_other_models_may_come_and_go_while_one_is_quantised(store, shop, home):
    make(store, "base", parts())
    make(store, "other", {"m.gguf": tiny_gguf.model(5)})

    def meanwhile():
        store.remove(name("other"))
        Store(home).prune(everything=True)

    shop.meanwhile = meanwhile
    card = ordered(store, Create(name="small", base="base", quantize="Q4_K_M"))
    assert Path(card.weights).read_bytes() == shop.made
    assert store.problems() == []


@pytest.mark.parametrize("made", [b"", b"GGUF", b"GGUF" + bytes(500), MODEL[:-1]])
def test_what_a_tool_made_is_looked_at_before_it_is_believed(store, shop, made):
    shop.made = made
    make(store, "base", {"m.gguf": MODEL})
    with pytest.raises(BadRequest):
        ordered(store, Create(name="small", base="base", quantize="Q4_K_M"))
    assert [str(card.name) for card in store.cards()] == ["base:latest"]
    assert leftovers(store.layout.models.parent) == []


def test_a_result_that_has_no_room_is_refused_before_the_work(store, shop):
    shop.size = 2**60
    make(store, "base", {"m.gguf": MODEL})
    with pytest.raises(NoSpace, match="MiB"):
        ordered(store, Create(name="small", base="base", quantize="Q4_K_M"))
    assert shop.calls == []


def test_a_tool_that_fails_or_is_stopped_leaves_nothing(store, shop):
    make(store, "base", {"m.gguf": MODEL})
    for error in (BadRequest("the tool said no"), Cancelled("stopped")):

        def fail(error=error):
            raise error

        shop.meanwhile = fail
        with pytest.raises(type(error)):
            ordered(store, Create(name="small", base="base", quantize="Q4_K_M"))
    assert len(store.cards()) == 1
    assert leftovers(store.layout.models.parent) == []


def test_types_and_matrices_are_checked_by_the_tool(store, shop):
    make(store, "base", {"m.gguf": MODEL})
    for kind in ("Q9", "IQ1_S"):
        with pytest.raises(BadRequest):
            ordered(store, Create(name="small", base="base", quantize=kind))
    matrix = FileRef("i.gguf", digest=upload(store, IMATRIX))
    assert ordered(store, Create(name="small", base="base", quantize="IQ1_S", imatrix=matrix))
    assert {file.role for file in store.get(name("small")).files} == {"model"}


def test_a_store_without_tools_says_so(tmp_path):
    store = Store(tmp_path / "plain")
    make(store, "base", {"m.gguf": MODEL})
    with pytest.raises(Unsupported):
        ordered(store, Create(name="small", base="base", quantize="Q4_K_M"))
    with pytest.raises(Unsupported):
        done(store, store.install())
    shutil.rmtree(tmp_path / "plain")


def test_the_converter_is_installed_by_the_tool(store, shop):
    assert done(store, store.install())[-1].status == "success"
    assert shop.calls == [("install",)]
