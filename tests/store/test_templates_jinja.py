"""Broken Jinja templates are refused with their line; those that work never are."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest
from inhouse.store.gguf import read_header
from inhouse.store.making import jinja_of
from inhouse.store.templates import check
from support import tiny_gguf

WORKING = [
    "",
    "plain text with } and { and %} and }} in it",
    tiny_gguf.CHATML,
    "{{- 'a' }}{{ \"b}}\" -}}{{ '{%' }}{%- if a -%}x{%+ endif +%}",
    "{{ {'a': {'b': [1, (2)]}}}}{{ {}}}",
    "{% set x = {'a': '%}'} %}{{ x }}",
    "{% set x %}{% if y %}{% endif %}{% endset %}{% set ns = namespace(a=1) %}{% set ns.a = 2 %}",
    "{% for m in messages %}{% if m %}a{% elif b %}b{% else %}c{% endif %}{% else %}none{% endfor %}",
    "{% for m in l recursive %}{{ loop(m) }}{% continue %}{% break %}{% endfor %}",
    "{% macro f(a, b='x') %}{{ a }}{% endmacro %}{{ f(1) }}{% call(x) f() %}{% endcall %}",
    "{% filter upper %}x{% endfilter %}{% generation %}x{% endgeneration %}",
    "{% raw %}{{ }} {% if %}{% endraw %}{# {{ {% #}",
    "{{ 'it\\'s' }}{{ \"\\\"\" }}\n{{ a\n  ~ b }}",
    "{% if a %}{{ raise_exception('no }} here') }}{% endif %}",
    "{% do x.append(1) %}{% with a = 1 %}{{ a }}{% endwith %}",
    "{% set x | replace(old='a', new='b') %}a{% endset %}{% set a, b = 1, 2 %}",
]


@pytest.mark.parametrize("text", WORKING)
def test_templates_that_work_are_left_alone(text):
    check(text)
    assert jinja_of(text) == text


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("{{ a", 1, "'{{' has no end"),
        ("a\n{% if x", 2, "'{%' has no end"),
        ("a\n\n{# x", 3, "a comment has no end"),
        ("{{ }}", 1, "an expression is empty"),
        ("{% %}", 1, "a statement is empty"),
        ("{% if %}{% endif %}", 1, "'if' says nothing"),
        ("{% for %}{% endfor %}", 1, "'for' says nothing"),
        ("x\n{% if a %}\n", 2, "'if' has no end"),
        ("{% if a %}{% endfor %}", 1, "'endfor' ends nothing"),
        ("{% endif %}", 1, "'endif' ends nothing"),
        ("{% for a in b %}{% if a %}{% endfor %}{% endif %}", 1, "'endfor' ends nothing"),
        ("{% else %}", 1, "'else' stands alone"),
        ("{% for a in b %}{% elif c %}{% endfor %}", 1, "'elif' stands alone"),
        ("{% set x %}", 1, "'set' has no end"),
        ("{% raw %}", 1, "'raw' has no end"),
        ("{{ (a] }}", 1, "']' closes nothing"),
        ("{{ a) }}", 1, "')' closes nothing"),
        ("{{ (a }}", 1, "'}' closes nothing"),
        ("{{ 'a }}", 1, "a text has no end"),
    ],
)
def test_broken_templates_are_refused_with_their_line(text, line, what):
    with pytest.raises(BadRequest) as caught:
        jinja_of(text)
    assert caught.value.message == f"The chat template cannot be read: line {line}: {what}."
    assert caught.value.param == "template"


@given(st.text(alphabet="{}%#'\"()[]- \nabendifor", max_size=80))
def test_any_text_is_passed_or_refused(text):
    try:
        check(text)
    except BadRequest as error:
        assert "line " in error.message


@pytest.mark.parametrize("text", ["{{ '" * 200_000, "{{(" * 300_000, "{% if a %}" * 100_000, "{%" * 500_000])
def test_a_hostile_template_takes_no_time(text):
    began = time.monotonic()
    with pytest.raises(BadRequest):
        check(text)
    assert time.monotonic() - began < 2


@pytest.mark.model
def test_the_templates_of_real_models_are_left_alone():
    from support.models import CODER, SMALL, model_home

    home = model_home(SMALL, CODER)
    for blob in (home / "models" / "blobs").glob("sha256-*"):
        check(str(read_header(blob).values["tokenizer.chat_template"]))
