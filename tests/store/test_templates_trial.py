"""Chat templates are tried in a child with little before they are kept."""

from __future__ import annotations

import io
import json
import sys
import time

import pytest

from inhouse.core.errors import BadRequest, BodyTooLarge, StoreError
from inhouse.store.templates import sandbox, trial

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HOSTILE = {
    "counts": ("{% for i in range(10**12) %}x{% endfor %}", "counts further"),
    "doubles": (
        "{% set n = namespace(s='x'*1000) %}{% for i in range(5000) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "memory",
    ),
    "repeats": ("{{ 'x' * 10000000000 }}", "memory"),
    "recurses": ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "calls itself"),
    "burrows": ("{{ ''.__class__.__mro__ }}", "insides"),
    "globals": ("{{ cycler.__init__.__globals__ }}", "insides"),
    "loops": (
        "{% for a in range(9999) %}{% for b in range(9999) %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}",
        "more than a second",
    ),
}


@pytest.fixture(autouse=True)
def forgotten():
    trial.check.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are the kernel's of Linux")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_template_that_runs_away_is_refused_soon(what):
    template, reason = HOSTILE[what]
    began = time.monotonic()
    with pytest.raises(BadRequest, match=reason) as caught:
        trial.check(template + "{{ messages[0].content }}")
    assert caught.value.hint
    assert time.monotonic() - began < trial.WALL_SECONDS


@pytest.mark.parametrize(
    "template",
    [
        CHATML,
        "{{ raise_exception('roles must alternate') }}",
        "{{ strftime_now('%Y') }}{{ messages | length }}",
        "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
        "{{ some.thing.missing }}",
        "{{ messages | a_filter_of_some_engine }}",
        "{{ tools | tojson }}",
    ],
)
def test_what_only_raises_or_speaks_another_dialect_is_the_engines_to_judge(template):
    trial.check(template)


def test_the_same_template_is_tried_once(monkeypatch):
    trial.check(CHATML)
    monkeypatch.setattr(trial.subprocess, "run", lambda *_, **__: pytest.fail("tried again"))
    trial.check(CHATML)


def test_the_child_gets_no_keys(monkeypatch):
    seen = {}

    def run(argv, **how):
        seen.update(how["env"])
        raise trial.subprocess.TimeoutExpired(argv, 1)

    monkeypatch.setenv("INHOUSE_API_KEY", "secret")
    monkeypatch.setattr(trial.subprocess, "run", run)
    with pytest.raises(BadRequest, match="more than a second"):
        trial.check("{{ 1 }}")
    assert "secret" not in seen.values()


def test_a_child_that_does_not_start_is_said_to_be_that(monkeypatch, tmp_path):
    monkeypatch.setattr(trial, "CHILD", tmp_path / "absent.py")
    with pytest.raises(StoreError, match="could not be tried"):
        trial.check("{{ 1 }}")


@pytest.mark.parametrize(
    ("template", "word"),
    [(CHATML, "ok"), ("{{ ''.__class__.__mro__ }}", "unsafe"), ("{{ range(10**9) }}", "range")],
)
def test_the_child_says_one_word(monkeypatch, capsys, template, word):
    stdin = io.TextIOWrapper(io.BytesIO(template.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(sandbox, "_limit", lambda: None)
    sandbox.main()
    assert capsys.readouterr().out == word


TALK = {"messages": [{"role": "user", "content": "Hé <b>?"}], "add_generation_prompt": True}


def test_one_chat_is_rendered():
    assert trial.render(CHATML, TALK) == "<|im_start|>user\nHé <b>?<|im_end|>\n<|im_start|>assistant\n"
    assert trial.render("{{ messages | tojson }}", TALK) == '[{"role": "user", "content": "Hé <b>?"}]'
    compact = "{{ messages | tojson(separators=(',', ':')) }}"
    assert trial.render(compact, TALK) == '[{"role":"user","content":"Hé <b>?"}]'
    assert trial.render("{{ strftime_now('%Y') }}", TALK).isdigit()


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('roles must alternate') }}", "{% for %}", "{{ x | no_such_filter }}"]
)
def test_a_rendering_that_fails_is_the_requests_fault_and_says_no_more(template):
    with pytest.raises(BadRequest, match="cannot be rendered") as caught:
        trial.render(template, TALK)
    assert caught.value.param == "template"
    assert caught.value.detail


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are the kernel's of Linux")
@pytest.mark.parametrize("what", ["doubles", "recurses", "burrows", "loops"])
def test_a_rendering_that_runs_away_is_refused(what):
    template, reason = HOSTILE[what]
    with pytest.raises(BadRequest, match=reason) as caught:
        trial.render(template, TALK)
    assert caught.value.param == "template"


def test_a_rendering_has_a_ceiling():
    with pytest.raises(BadRequest, match="more memory"):
        trial.render("{{ 'x' * 9000000 }}", TALK)
    with pytest.raises(BodyTooLarge):
        trial.render("x", {"messages": "x" * (33 * 2**20)})


def test_a_rendering_whose_child_does_not_start_is_said_to_be_that(monkeypatch, tmp_path):
    monkeypatch.setattr(trial, "CHILD", tmp_path / "absent.py")
    with pytest.raises(StoreError, match="could not be tried"):
        trial.render("{{ 1 }}", TALK)


@pytest.mark.parametrize(
    ("template", "word"),
    [("{{ x }}", "ok"), ("{{ ''.__class__.__mro__ }}", "unsafe"), ("{% if %}", "failed")],
)
def test_the_child_renders(monkeypatch, capsys, template, word):
    order = json.dumps({"template": template, "variables": {"x": "here"}})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(order.encode())))
    monkeypatch.setattr(sys, "argv", ["sandbox.py", "render"])
    monkeypatch.setattr(sandbox, "_limit", lambda: None)
    sandbox.main()
    said = json.loads(capsys.readouterr().out)
    assert said["word"] == word
    assert (said["text"] == "here") == (word == "ok")
