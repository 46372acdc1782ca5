"""Small text layers, read and written."""

from __future__ import annotations

import json

import pytest

from inhouse.core.errors import SourceFailed
from inhouse.store.oci import texts
from inhouse.store.sources.base import Texts


def test_texts_are_read():
    found = texts.read(
        [
            ("template", b"{{ .Prompt }}"),
            ("system", "Grüß".encode()),
            ("params", b'{"stop":["a","b"],"temperature":0.5,"num_ctx":4096,"use":true,"no":null}'),
            ("messages", b'[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}]'),
            ("licence", b"MIT\n"),
            ("licence", b"\xffmore"),
        ]
    )
    assert found == Texts(
        "{{ .Prompt }}",
        "Grüß",
        "MIT\n\n\ufffdmore",
        (("user", "hi"), ("assistant", "ho")),
        {"stop": ["a", "b"], "temperature": 0.5, "num_ctx": 4096, "use": True},
    )


def test_the_last_of_a_kind_counts_and_jinja_goes_first():
    assert texts.read([("system", b"a"), ("system", b"b")]).system == "b"
    assert texts.read([("jinja", b"{% x %}"), ("template", b"{{ .P }}")]).template == "{% x %}"
    assert texts.read([]) == Texts()
    assert texts.read([("messages", b"null")]).messages == ()


def test_one_stop_text_is_a_list_of_one():
    assert texts.read([("params", b'{"stop":"x"}')]).defaults == {"stop": ["x"]}


@pytest.mark.parametrize(
    "meaning, body, said",
    [
        ("params", b"[]", "not an object"),
        ("params", b"{", "not JSON"),
        ("params", b'{"temperature":NaN}', "not JSON"),
        ("params", b'{"temperature":Infinity}', "not JSON"),
        ("params", b"\xff", "not JSON"),
        ("params", b"[" * 10**5, "not JSON"),
        ("params", b'{"temperature":{}}', "'temperature' is neither"),
        ("params", b'{"stop":[1]}', "'stop' is neither"),
        ("params", b'{"num_ctx":[1]}', "'num_ctx' is neither"),
        ("messages", b"{}", "not a list"),
        ("messages", b"[1]", "no role"),
        ("messages", b'[{"role":"root","content":"x"}]', "no role"),
        ("messages", b'[{"role":"user","content":[]}]', "no role"),
        ("messages", b'[{"role":[],"content":""}]', "no role"),
        ("template", b"\xff", "template is not UTF-8"),
        ("system", b"\xff", "system is not UTF-8"),
    ],
)
def test_bad_texts_are_refused_by_name(meaning, body, said):
    with pytest.raises(SourceFailed, match=said):
        texts.read([(meaning, body)])


@pytest.mark.parametrize(
    "template", ["{{ .System }}{{ .Prompt }}", "{% for m in messages %}{% endfor %}", ""]
)
def test_what_is_written_is_read_the_same(template):
    said = Texts(template, "Sei kurz.", "MIT", (("user", "hi"),), {"temperature": 1, "stop": ["x"]})
    assert texts.read(texts.write(said)) == said


def test_nothing_makes_no_layers_and_jinja_is_not_called_go():
    assert texts.write(Texts()) == []
    assert [meaning for meaning, _ in texts.write(Texts("{% if x %}{% endif %}"))] == ["jinja"]
    assert [meaning for meaning, _ in texts.write(Texts("{{ .Prompt }}"))] == ["template"]
    written = dict(texts.write(Texts(defaults={"b": 1, "a": 2})))
    assert json.loads(written["params"]) == {"a": 2, "b": 1}
