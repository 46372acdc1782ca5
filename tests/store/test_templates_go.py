"""Go templates become Jinja templates that print the same; an interpreter of Go templates is the judge."""

from __future__ import annotations

import contextlib
import datetime
import json
import time
from typing import Any

import jinja2
import jinja2.sandbox
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import BadRequest, Unsupported
from inhouse.store.templates import is_go, is_jinja, translate
from support import gotemplate

CHATML = """\
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
"""
CHATML_TOOLS = """\
{{- if .Suffix }}<|before|>{{ .Prompt }}<|after|>{{ .Suffix }}<|middle|>
{{- else if .Messages }}
{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

You may call these functions:
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function.Name | json }}, "all": {{ . }}}
{{- end }}
</tools>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}
{{- else }}{{ .Prompt }}{{ .Response }}
{{- end }}"""
LLAMA = """\
{{- range $index, $message := .Messages }}<|start_header_id|>{{ $message.Role }}<|end_header_id|>

{{ if and $.Tools (eq $index 0) }}Date: {{ currentDate }}
{{ json $.Tools }}

{{ end }}{{ with $message.ToolCalls }}{{ range $n, $call := . }}{{ if gt $n 0 }}; {{ end }}
{{- $call.Function.Name }}({{ range $key, $value := $call.Function.Arguments }}{{ $key }}={{ $value }},{{ end }})
{{- else }}never{{ end }}{{ else }}{{ .Content }}{{ end }}<|eot_id|>
{{- end }}<|start_header_id|>assistant<|end_header_id|>

"""
MISTRAL = """\
{{- $instructions := "" }}
{{- range .Messages }}
  {{- if eq .Role "system" }}{{ $instructions = printf "%s\\n\\n" .Content }}{{ continue }}
  {{- end }}
  {{- if eq .Role "user" }}[INST] {{ $instructions }}{{ .Content }} [/INST]{{ $instructions = "" }}
  {{- else if eq .Role "assistant" }} {{ .Content }}</s>
    {{- range .ToolCalls }}[TOOL]{{ .ID }}{{ break }}{{ end }}
  {{- else }}[{{ .Role }}:{{ .ToolName }}]
  {{- end }}
{{- end }}"""
MISTRAL_TURNS = """[INST] {{ if .System }}{{ .System }}

{{ end }}{{ .Prompt }} [/INST]{{ .Response }}</s>"""
GEMMA = """\
{{- range $i, $m := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if or (eq .Role "user") (eq .Role "system") }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ if $last }}<start_of_turn>model
{{ end }}
{{- else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}{{ if not $last }}<end_of_turn>
{{ end }}
{{- end }}
{{- end }}"""
PHI = """{{ if .System }}<|system|>
{{ .System }}<|end|>
{{ end }}{{ if .Prompt }}<|user|>
{{ .Prompt }}<|end|>
{{ end }}<|assistant|>
{{ .Response }}<|end|>
"""
ALPACA = """{{ .System }}

### Instruction:
{{ .Prompt }}

### Response:
"""
NESTED_RESPONSE = (
    "{{ if .Prompt }}Q: {{ .Prompt }}\nA: {{ .Response }}\n{{ else }}- {{ .Response }}{{ end }}END"
)
FUNCTIONS = """\
{{- /* what a tool is made of */ -}}
{{ range $t := .Tools }}def {{ $t.Function.Name }}(
{{- range $name, $property := .Function.Parameters.Properties }}{{ $name }}: {{ $property.Type }}, {{ end -}}
) # {{ .Function.Description }} {{ .Function.Parameters.Required }}{{ .Function.Parameters.Properties }}
{{ else }}no tools
{{ end }}
{{- range .Messages }}{{ .Role | printf "<%s>" }}{{ .Content }}{{ end }}"""
THINKING = """\
{{- $seen := -1 }}{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}{{ $seen = $i }}{{ end }}{{ end }}
{{- range $i, $_ := .Messages }}{{ .Role }}:
{{- if and $.IsThinkSet .Thinking (or (gt $i $seen) $.Think) }}<think>{{ .Thinking }}</think>{{ end }}
{{- .Content }}{{ with $x := .Role }}[{{ len $x }}{{ .  }}]{{ end }}
{{ end }}last: {{ (index .Messages 0).Role }} {{ len .Messages }} {{ le 1 2 }} {{ lt 2 1 }} {{ ge 2 2 }}"""
BRANCHES = """\
{{- range .Messages }}
{{- if eq .Role "system" "tool" }}skip {{ continue }}never{{ else if eq .Role "assistant" }}A{{ break }}{{ end }}
{{- with .ToolCalls }}calls{{ else with .Content }}({{ . }}){{ else }}empty{{ end }}{{ "raw" }}{{ `as "is" {{` }}
{{- print .Role "/" }}{{ if true }}yes{{ end }}{{ if false }}no{{ end }}{{ printf "%d%% %v" 5 .Role }}
{{ end -}}
  end {% of %} {{ "{{ the }}" }} {# text #}"""

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells it's raining.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where"}, "Day": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
SYSTEM = {"role": "system", "content": "Be brief.\nUse 'words'."}
USER = {"role": "user", "content": "Hello \\n {{ x }} {% y %} é"}
ANSWER = {"role": "assistant", "content": "Hi.", "reasoning_content": "They greet."}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": f"c{i}", "type": "function", "function": {"name": "weather", "arguments": arguments}}
        for i, arguments in enumerate(({"city": "Rome", "Day": 2}, {}))
    ],
}
RESULT = {"role": "tool", "content": '{"rain": true}', "name": "weather", "tool_call_id": "c0"}
CHATS: dict[str, list[dict[str, Any]]] = {
    "one": [USER],
    "system": [SYSTEM, USER],
    "turns": [SYSTEM, USER, ANSWER, USER],
    "same roles": [SYSTEM, SYSTEM, USER, USER, ANSWER, USER, SYSTEM, USER],
    "tools": [SYSTEM, USER, CALL, RESULT, RESULT, ANSWER, USER],
    "results last": [USER, CALL, RESULT],
    "answer first": [ANSWER, USER],
}
TEMPLATES = {
    "chatml": CHATML,
    "chatml with tools": CHATML_TOOLS,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "mistral by turns": MISTRAL_TURNS,
    "gemma": GEMMA,
    "phi": PHI,
    "alpaca": ALPACA,
    "response in a branch": NESTED_RESPONSE,
    "functions": FUNCTIONS,
    "thinking": THINKING,
    "branches": BRANCHES,
}


def environment() -> jinja2.Environment:
    """Jinja as chat templates meet it: a sandbox, white space cut around blocks, ``tojson`` as upstream's."""
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    made.filters["tojson"] = lambda x, separators=None: json.dumps(
        x, separators=separators, ensure_ascii=False
    )
    made.globals["strftime_now"] = lambda form: datetime.date.today().strftime(form)
    return made


JINJA = environment()


def rendered(template: str, messages: list[dict[str, Any]], **data: Any) -> str:
    data = {"add_generation_prompt": True, **data}
    return JINJA.from_string(translate(template)).render(messages=messages, **data)


@pytest.mark.parametrize("tools", [None, [WEATHER]], ids=["without tools", "with tools"])
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_translation_prints_what_the_go_template_prints(name, chat, tools):
    expected = gotemplate.chat(TEMPLATES[name], CHATS[chat], tools)
    assert expected
    assert rendered(TEMPLATES[name], CHATS[chat], tools=tools) == expected


ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
CONTENT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": CONTENT}), min_size=1, max_size=8)


@given(messages=MESSAGES, name=st.sampled_from([n for n in TEMPLATES if n not in ("thinking",)]))
@settings(max_examples=150, deadline=None)
def test_any_chat_is_printed_the_same(messages, name):
    expected = gotemplate.chat(TEMPLATES[name], messages)
    assert rendered(TEMPLATES[name], messages) == expected


def test_by_turns_only_the_text_up_to_the_response_asks_for_an_answer():
    assert rendered(PHI, [USER | {"content": "Q"}]) == "<|user|>\nQ<|end|>\n<|assistant|>\n"
    done = [USER | {"content": "Q"}, ANSWER]
    assert rendered(PHI, done, add_generation_prompt=False).endswith("Hi.<|end|>\n")
    assert rendered(PHI, done).endswith("Hi.")


def test_text_behind_the_messages_begins_the_answer():
    told = rendered(LLAMA, [USER], add_generation_prompt=False)
    assert told + "<|start_header_id|>assistant<|end_header_id|>\n\n" == rendered(LLAMA, [USER])


def test_thinking_follows_the_request():
    template = "{{ range .Messages }}{{ .Content }}{{ end }}{{ if .Think }}on {{ .ThinkLevel }}{{ else }}off{{ end }}"
    assert rendered(template, [ANSWER]) == "Hi.on "
    assert rendered(template, [ANSWER], enable_thinking=True, reasoning_effort="low") == "Hi.on low"
    assert rendered(template, [ANSWER], enable_thinking=False) == "Hi.off"


def test_arguments_that_come_as_text_are_printed_as_they_are():
    call = json.loads(json.dumps(CALL))
    for one in call["tool_calls"]:
        one["function"]["arguments"] = '{"city": "Oslo"}'
    assert '"arguments": {"city": "Oslo"}}' in rendered(CHATML_TOOLS, [USER, call, RESULT])


def test_only_what_the_template_uses_is_touched():
    """Engines find out what a template supports by what it touches."""
    plain = translate("{{ range .Messages }}{{ .Role }}{{ .Content }}{{ end }}")
    assert not any(name in plain for name in ("tool", "reasoning_content", "set g.system"))
    assert "set g.system = (m['content']" in translate("{{ .System }}{{ .Prompt }}")
    assert "set g.system = (m['content']" not in translate("{{ .Prompt }}")
    assert "tool_calls" in translate(CHATML_TOOLS)


def test_dead_branches_are_left_out():
    made = translate(
        "{{ if .Suffix }}{{ nonsense . }}{{ else if .Messages }}{{ range .Messages }}a{{ end }}{{ end }}"
    )
    assert "nonsense" not in made
    assert rendered("{{ if and .Prompt .Messages }}x{{ end }}{{ if not .First }}y{{ end }}", [USER]) == "y"


@pytest.mark.parametrize(
    "template, said",
    [
        ('{{ define "x" }}a{{ end }}', "line 1: {{ define }}"),
        ('a\n{{ template "x" . }}', "line 2: {{ template }}"),
        ("{{ range .Messages }}\n\n{{ .Secret }}{{ end }}", "line 3: the field .Secret"),
        ("{{ range .Messages }}{{ . }}{{ end }}", "printing a value that is no text"),
        ("{{ range .Messages }}{{ toTypeScriptType .Role }}{{ end }}", "the function toTypeScriptType"),
        ("{{ range .Messages }}{{ yesterdayDate }}{{ end }}", "the function yesterdayDate"),
        ("{{ .Messages }}{{ .Prompt }}", "line 1"),
        ("{{ range .Messages }}{{ end }}{{ .Prompt }}", "printing what a chat does not have"),
        ("{{ range .Messages }}{{ index .Content 1 }}{{ end }}", "index of this value"),
        ("{{ range .Messages }}{{ slice .Content 1 }}{{ end }}", "slice of this value"),
        ("{{ range .Messages }}{{ eq .Role 1 }}{{ end }}", "eq of values that Go does not compare"),
        ("{{ range .Messages }}{{ lt .Role .Content }}{{ end }}", "lt of what are no numbers"),
        ("{{ range .Messages }}{{ printf `%q` .Role }}{{ end }}", "printf with %q"),
        ("{{ range .Messages }}{{ printf `%s` }}{{ end }}", "printf with %s"),
        ("{{ range .Messages }}{{ printf `x` .Role }}{{ end }}", "another number of values"),
        ("{{ range .Messages }}{{ printf .Role }}{{ end }}", "printf without a plain format"),
        ("{{ range .Messages }}{{ print 1 }}{{ end }}", "print of what is no text"),
        ("{{ range .Messages }}{{ len .ToolCalls }}{{ len true }}{{ end }}", "len of this value"),
        ("{{ range .Messages }}{{ json . }}{{ end }}", "json of this value"),
        ("{{ range .Messages }}{{ .Role .Content }}{{ end }}", "arguments for what is no function"),
        ("{{ $x := .Foo }}{{ range .Messages }}{{ end }}", "what a chat does not have"),
        ('{{ $x := "" }}{{ range .Messages }}{{ $x = true }}{{ end }}', "$x changes its type"),
        ("{{ range $m := .Messages }}{{ $m = index $.Messages 0 }}{{ end }}", "$m belongs to the range"),
        ("{{ $m := 1 }}{{ range $m = .Messages }}{{ end }}", "assigns to variables of before"),
        ("{{ range .Messages }}{{ range .Content }}{{ end }}{{ end }}", "a range over this value"),
        ("{{ range .Messages }}{{ eq 1.5 2 }}{{ end }}", "not a plain whole one"),
        ("{{ range .Messages }}{{ eq . nil }}{{ end }}", "nil"),
        ("{{ range .Messages }}{{ and }}{{ end }}", "and with 0 arguments"),
        ("{{ $ }}{{ .Messages }}", "the whole data"),
        ("{{ range .Tools }}{{ .Response }}{{ end }}{{ .Prompt }}", "inside of a range"),
    ],
)
def test_what_jinja_cannot_say_is_refused_with_line_and_reason(template, said):
    with pytest.raises(Unsupported) as caught:
        translate(template)
    assert said in caught.value.message
    assert "use_embedded_template" in caught.value.hint


@pytest.mark.parametrize(
    "template, said",
    [
        ("a\n{{ if .X }}b", "line 2: {{ if }} has no end"),
        ("{{ range .X }}b", "{{ range }} has no end"),
        ("{{ if .X }}{{ else }}{{ else }}{{ end }}", "{{ else }} is out of place"),
        ("{{ with .X }}{{ else if .Y }}{{ end }}", "{{ else }} is out of place"),
        ("{{ end }}", "{{ end }} without a beginning"),
        ("{{ .X", "an action has no end"),
        ("{{ .X ? }}", "an action cannot be read"),
        ('{{ "a\\q" }}', "an escape that Go does not know"),
        ("{{ }}", "an action is empty"),
        ("{{/* x }}", "a comment has no end"),
        ("{{/* x */ .X }}", "a comment has no end"),
        ("{{ break }}", "{{ break }} outside of a range"),
        ("{{ $y }}", "undefined variable $y"),
        ("{{ $y = 1 }}", "undefined variable $y"),
        ("{{ $a, $b := .X }}", "two variables outside"),
        ("{{ if $a = 1 }}{{ end }}", "declares one variable"),
        ("{{ (eq 1 1 }}", "a parenthesis has no end"),
        ("{{ eq 1 | }}", "a value is missing"),
        ("{{ | eq 1 }}", "a command is missing"),
        ("{{ if }}{{ end }}", "a value is missing"),
        ('{{ eq 1"x" }}', "without a space"),
        ("{{ eq 1 = }}", "an action cannot be read"),
    ],
)
def test_a_malformed_template_is_refused_with_its_line(template, said):
    with pytest.raises(BadRequest) as caught:
        translate(template)
    assert caught.value.message.startswith("template error: ")
    assert said in caught.value.message


@pytest.mark.parametrize(
    "hostile",
    [
        "{{ if .X }}" * 1000,
        "{{ eq " + "(" * 1000,
        "{{ .Role }}" * 90_000,
        "{{" * 400_000,
        "x" * (2**20 + 1),
        '{{ "' + "\\" * 500_000,
        "{{ range .Messages }}" + "{{ if .Role }}{{ continue }}{{ end }}" * 3000 + "{{ end }}",
        "{{ " + "not " * 200_000 + "true }}",
        "{{/*" * 200_000,
        "{{ $a := " + ".A" * 400_000 + " }}",
    ],
    ids=range(10),
)
def test_a_hostile_template_ends_at_once(hostile):
    """Row 53: bounded in length, depth and time, and nothing of the machine is touched."""
    spent = []
    for _ in range(2):  # a machine that does much else makes one of them dear now and then
        began = time.thread_time()
        try:
            made = translate(hostile)
        except BadRequest as error:
            assert len(error.message) < 200
        else:
            assert len(made) < 12 * len(hostile)
        spent.append(time.thread_time() - began)
    assert min(spent) < 1


@given(st.text(alphabet='{}-.$()|:= \n"`RCangeifdlsor1/*', max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_translated_or_refused(text):
    with contextlib.suppress(BadRequest):
        JINJA.from_string(translate(text))


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_go_templates_are_known_as_such(template):
    assert is_go(template)
    assert not is_jinja(template)
    assert is_jinja(translate(template))
    assert not is_go(translate(template).replace("{{ the }}", "").replace("{{ x }}", "")) or "{{ " in template


@pytest.mark.parametrize(
    "text, go, jinja",
    [
        ("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}", False, True),
        ("{{- raise_exception('no') -}}", False, True),
        ("{# note #}", False, True),
        ("{{ not (x) }}", False, True),
        ("{{.Prompt}}", True, False),
        ("{{- $x := 1 }}", True, False),
        ("{{/* c */}}", True, False),
        ("{{ . }}", True, False),
        ("{{ json .Tools }}", True, False),
        ("plain", False, False),
        ("", False, False),
    ],
)
def test_the_two_languages_are_told_apart(text, go, jinja):
    assert (is_go(text), is_jinja(text)) == (go, jinja)
