"""Modelfiles are read as Ollama reads them."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inhouse.core.create import Create, FileRef
from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.models import Card, Footprint, ModelName
from inhouse.store import modelfile

FOLDER = os.path.abspath(os.sep + os.path.join("work", "models"))


def at(*parts: str) -> str:
    return os.path.join(FOLDER, *parts)


def read(data: bytes | str, *files: str) -> modelfile.Reading:
    there = {at(*file.split("/")) for file in files}
    return modelfile.parse(data, name="made", place=modelfile.Place(FOLDER, there.__contains__))


def made(data: bytes | str, *files: str) -> Create:
    return read(data, *files).create


def test_a_whole_file():
    text = '''# a comment
FROM smollm2

# another
  PARAMETER temperature 0.5
parameter stop "<|a b|>"
PARAMETER   stop   <|end|>
PARAMETER num_ctx 4096
PARAMETER use_mmap false
TEMPLATE """{{ .Prompt }}
# no comment
"""
System You are "Mario".
LICENSE """one
two"""
LICENSE three
MESSAGE user Hi there
MESSAGE assistant """Hello,
you"""
ADAPTER lora.gguf
ADAPTER ./more.gguf
DRAFT tiny
'''
    order = made(text, "lora.gguf", "more.gguf")
    assert order == Create(
        name="made",
        base="smollm2",
        adapters=(FileRef("lora.gguf", path=at("lora.gguf")), FileRef("more.gguf", path=at("more.gguf"))),
        draft_model="tiny",
        template="{{ .Prompt }}\n# no comment\n",
        system='You are "Mario".',
        licence=("one\ntwo", "three"),
        parameters={
            "temperature": 0.5,
            "stop": ("<|a b|>", "<|end|>"),
            "num_ctx": 4096,
            "use_mmap": False,
        },
        messages=(("user", "Hi there"), ("assistant", "Hello,\nyou")),
    )


def test_what_is_not_said_is_left_to_the_base():
    order = made("FROM a")
    assert order == Create(name="made", base="a")
    assert order.messages is None
    assert order.system is None
    assert made('FROM a\nSYSTEM ""').system == ""


@pytest.mark.parametrize(
    "value, read_as",
    [
        ("plain words ", "plain words"),
        ("it's # no comment", "it's # no comment"),
        ('"quoted"', "quoted"),
        ('" kept "', " kept "),
        ('"two\nlines"', "two\nlines"),
        ('"a "b" c"', 'a "b" c'),
        ('"""in """ the middle"""', 'in """ the middle'),
        ('"""say "hi""""', 'say "hi"'),
        ('"""\n\n"""  ', "\n\n"),
        ('""""""', ""),
        ('"""a"""\t', "a"),
        ('say "x"', 'say "x"'),
        ("\\n stays", "\\n stays"),
    ],
)
@pytest.mark.parametrize("rest", ["", "\nPARAMETER seed 1\n"])
def test_values_end_where_ollama_ends_them(value, read_as, rest):
    assert made(f"FROM a\nSYSTEM {value}{rest}").system == read_as


@pytest.mark.parametrize(
    "data",
    [
        b"FROM a\nSYSTEM \xc3\xa9",
        b"\xef\xbb\xbfFROM a\nSYSTEM \xc3\xa9",
        "FROM a\nSYSTEM é".encode("utf-16"),
        b"\xfe\xff" + "FROM a\nSYSTEM é".encode("utf-16-be"),
        b"\xff\xfe" + "FROM a\nSYSTEM é".encode("utf-16-le"),
        b"FROM a\r\nSYSTEM \xc3\xa9\r\n",
        b"FROM a\rSYSTEM \xc3\xa9\r",
        "\ufeffFROM a\nSYSTEM é",
    ],
)
def test_encodings_and_line_ends(data):
    order = made(data)
    assert (order.base, order.system) == ("a", "é")


def test_line_ends_of_windows_do_not_get_into_prompts():
    assert made(b'FROM a\r\nTEMPLATE """x\r\ny"""\r\n').template == "x\ny"
    assert made(b'FROM a\nTEMPLATE """x\r\ny"""\n').template == "x\r\ny"


def test_files_beside_the_modelfile_are_weights():
    order = made("FROM ./m.gguf\nFROM mmproj.gguf", "m.gguf", "mmproj.gguf")
    assert order.base == ""
    assert order.files == (
        FileRef("m.gguf", path=at("m.gguf")),
        FileRef("mmproj.gguf", path=at("mmproj.gguf")),
    )
    assert made("FROM sub/../m.gguf\nDRAFT d.gguf", "m.gguf", "d.gguf").draft == FileRef(
        "d.gguf", path=at("d.gguf")
    )
    folder = modelfile.parse("FROM .", name="n", place=modelfile.Place(FOLDER, {FOLDER}.__contains__))
    assert folder.create.files == (FileRef("models", path=FOLDER),)


def test_a_path_in_the_home_folder(monkeypatch):
    home = os.path.abspath(os.sep + "home-of-me")
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("USERPROFILE", home)
    path = os.path.join(home, "m.gguf")
    place = modelfile.Place(FOLDER, {path}.__contains__)
    assert modelfile.parse("FROM ~/m.gguf", name="n", place=place).create.files[0].path == path


@pytest.mark.parametrize(
    "source",
    [
        "smollm2",
        "qwen2.5-coder:0.5b",
        "hf.co/org/repo:Q4_K_M",
        "hf.co/org/repo:file.gguf",
        "https://host/m.gguf",
        "pypi:package==1#m.gguf",
        "oci://host/repo:tag",
    ],
)
def test_what_is_no_file_is_a_model(source):
    assert made(f"FROM {source}").base == source


def test_a_file_wins_over_a_model_of_its_name():
    assert made("FROM smollm2", "smollm2").files[0].file == "smollm2"


@pytest.mark.parametrize(
    "text", ["./m.gguf", "m.gguf", "/m", "../m", "~/m", ".", "C:\\m.gguf", "model.safetensors"]
)
def test_a_missing_file_is_no_model_name(text):
    with pytest.raises(BadRequest) as caught:
        made(f"\nFROM {text}")
    assert caught.value.message == "(line 2): FROM: there is no such file"
    assert caught.value.detail


def test_a_missing_adapter_is_refused():
    with pytest.raises(BadRequest, match=r"\(line 2\): ADAPTER"):
        made("FROM a\nADAPTER lora")


@pytest.mark.parametrize(
    "line, name, value",
    [
        ("temperature 1", "temperature", 1.0),
        ("temperature 1e-5", "temperature", 1e-5),
        ("top_p .5", "top_p", 0.5),
        ("num_predict -1", "num_predict", -1),
        ('seed "42"', "seed", 42),
        ("use_mmap T", "use_mmap", True),
        ("use_mmap 0", "use_mmap", False),
        ("stop x", "stop", ("x",)),
        (r'stop "a\n\"b\"\u00e9"', "stop", ('a\n"b"é',)),
        (r"stop a\n", "stop", ("a\\n",)),
        (r'stop """a\n"""', "stop", ("a\\n",)),
        (r'stop "\d"', "stop", ("\\d",)),
    ],
)
def test_parameters_have_the_types_of_the_options(line, name, value):
    found = made(f"FROM a\nPARAMETER {line}").parameters
    assert found == {name: value}
    assert type(found[name]) is type(value)


def test_the_last_of_two_parameters_wins():
    assert made("FROM a\nPARAMETER seed 1\nPARAMETER seed 2").parameters == {"seed": 2}


def test_parameters_without_effect_are_told():
    reading = read("FROM a\nPARAMETER mirostat 2\nPARAMETER num_keep 24\nPARAMETER tfs_z 1")
    assert reading.create.parameters == {"num_keep": 24}
    assert [said.split(":")[0] for said in reading.said] == ["(line 2)", "(line 3)", "(line 4)"]
    assert "mirostat is deprecated" in reading.said[0]
    assert "num_keep changes nothing" in reading.said[1]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no FROM line"),
        ("# FROM a", "no FROM line"),
        ("PARAMETER seed 1", "no FROM line"),
        ("FROM a\n\nRUN x", "(line 3): command must be one of"),
        ("FROM", "(line 1): command must be one of"),
        ("FROM\na", "(line 1): command must be one of"),
        ("FROM \n", "(line 1): from needs a value"),
        ("FROM a\nTEMPLATE ", "(line 2): template needs a value"),
        ("FROM a\r\n\r\nWHAT x", "(line 3): command must be one of"),
        ('FROM a\nSYSTEM """x\ny', "(line 2): the quoted value has no end"),
        ('FROM a\nSYSTEM "x" # y\n', "(line 2): the quoted value has no end"),
        ("FROM a\nPARAMETER seed", "(line 2): parameter needs a name and a value"),
        ("FROM a\nPARAMETER se-ed 1", "(line 2): parameter needs a name and a value"),
        ("FROM a\nPARAMETER speed 1", "(line 2): unknown parameter 'speed'"),
        ("FROM a\nPARAMETER seed 1.5", "(line 2): invalid int value [1.5]"),
        ("FROM a\nPARAMETER seed 1_0", "(line 2): invalid int value [1_0]"),
        ("FROM a\nPARAMETER seed 9999999999999999999", "(line 2): invalid int value"),
        ("FROM a\nPARAMETER temperature nan", "(line 2): invalid float value [nan]"),
        ("FROM a\nPARAMETER temperature 1e99", "(line 2): invalid float value [1e99]"),
        ("FROM a\nPARAMETER use_mmap yes", "(line 2): invalid bool value [yes]"),
        ("FROM a\nMESSAGE tool x", '(line 2): message role must be one of "system", "user", or "assistant"'),
        ("FROM a\nMESSAGE user", "(line 2): message needs a role and a text"),
        ("FROM a\nFROM b", "(line 2): FROM names one model"),
        ("FROM a\nDRAFT b\nDRAFT c", "(line 3): there is one DRAFT at most"),
        ("FROM a\nREQUIRES new", "(line 2): requires must be a valid semver (e.g. 0.14.0)"),
        (b"FROM a\nSYSTEM \xff", "(line 2): this is neither UTF-8 nor UTF-16 text"),
        (b"FROM a\n\nSYSTEM \0", "(line 3): a NUL has no place here"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(text, message):
    with pytest.raises(BadRequest) as caught:
        made(text)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


@pytest.mark.parametrize(
    "line, said",
    [
        ("RENDERER qwen3-coder", "RENDERER names code inside of Ollama"),
        ("PARSER qwen3-coder", "PARSER names code inside of Ollama"),
        ("REQUIRES 0.99.0", "a newer Ollama than the 0.33.0"),
        ("PARAMETER main_gpu 1", "parameter main_gpu is not supported"),
    ],
)
def test_what_cannot_be_done_here_is_refused_with_the_reason(line, said):
    with pytest.raises(Unsupported) as caught:
        made(f"FROM a\n{line}")
    assert caught.value.message.startswith("(line 2): ")
    assert said in caught.value.message


@pytest.mark.parametrize("version", ["0.14.0", "v0.33", "0.33.0", "0.5.0-rc1"])
def test_a_model_for_an_ollama_of_before_is_taken(version):
    assert made(f"FROM a\nREQUIRES {version}").base == "a"


def test_a_file_and_a_model_are_not_both_weights():
    with pytest.raises(BadRequest, match="FROM names one model"):
        made("FROM m.gguf\nFROM a", "m.gguf")
    with pytest.raises(BadRequest, match="FROM names one model"):
        made("FROM a\nFROM m.gguf", "m.gguf")


@pytest.mark.parametrize(
    "hostile", ["FROM a\n" * 2 + '"' * 10**6, "# " * 10**6, 'FROM a\nSYSTEM "' + '" \t' * 10**6 + "x"]
)
def test_a_hostile_file_ends_at_once(hostile):
    began = time.process_time()
    with pytest.raises(BadRequest):
        made(hostile)
    assert time.process_time() - began < 1


def test_a_file_has_an_end():
    with pytest.raises(BadRequest, match="4 MiB"):
        made("#" * (4 * 2**20 + 1))


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(
    template=TEXTS,
    system=TEXTS,
    licence=TEXTS,
    stops=st.lists(TEXTS, max_size=3),
    temperature=st.floats(0, 100, width=32),
    seed=st.integers(-(2**62), 2**62),
    message=TEXTS,
)
@example('a"""\nb', '"""\n', '""" \r', ["\\x41", '"""\n'], 1e-5, 0, '"')
def test_the_modelfile_of_a_model_makes_it_again(
    template, system, licence, stops, temperature, seed, message
):
    defaults = {"temperature": temperature, "seed": seed, **({"stop": tuple(stops)} if stops else {})}
    card = Card(
        name=ModelName.parse("me/tiny"), digest="0" * 64, weights="/w", weights_digest="", size=1,
        footprint=Footprint(1, 1), template=template, system=system, licence=licence, defaults=defaults,
        messages=(("user", message), ("assistant", "ok")),
    )  # fmt: skip
    order = made(modelfile.render(card))
    assert order.base == "me/tiny:latest"
    assert order.parameters == defaults
    # What a Modelfile cannot say is left to FROM, never changed.
    assert order.template in (template, None)
    assert order.system in (system, None)
    assert order.licence in ((licence,), ())
    assert set(order.messages or ()) <= {("user", message), ("assistant", "ok")}
    if '"""' not in template:
        assert order.template == template
    if '"""' not in message:
        assert order.messages == card.messages


def test_a_text_that_no_modelfile_can_say_is_named_in_a_comment():
    card = Card(
        name=ModelName.parse("tiny"), digest="0" * 64, weights="", weights_digest="", size=1,
        footprint=Footprint(1, 1), system='Quote with """\nalways.',
    )  # fmt: skip
    shown = modelfile.render(card)
    assert "# SYSTEM has a line" in shown
    assert made(shown).system is None


@given(st.binary(max_size=80) | st.text(alphabet='FROMSYTE abc"#\n\r\t0.', max_size=80))
def test_any_bytes_are_read_or_refused(data):
    try:
        order = made(data)
    except BadRequest:
        return
    assert order.base
