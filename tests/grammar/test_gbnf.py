from __future__ import annotations

import time

import pytest

from inhouse.grammar.gbnf import BadGrammar, check_gbnf

JSONISH = r"""
# a list of words
root   ::= "[" ws ( word ( "," ws word )* )? "]" ws
word   ::= "\"" [a-zA-Z\-\u00e4]{1,20} "\"" ws   # quoted
ws     ::= | " " | "\n" [ \t]{0,20}
"""

GOOD = [
    'root ::= "a" | "b"',
    JSONISH,
    "root ::= .* [^\\n\\]]+",
    'root ::= (\n "a" |\n "b"\n){2,}',
    "root ::= x x?\nx ::= [0-9]{3}",
    "root ::= <[12]> !<think> . <end>",
    'root ::= "a" root | "a"',
    'root ::= e "a" root | ""\ne ::= "b"',
    "root-x ::= [a]\r\nroot ::= root-x",
    'root ::=\n  "a" |\n  "b"',
]

BAD = {
    "": "no rule 'root'",
    'start ::= "a"': "no rule 'root'",
    "root ::= x": "'x' is not defined",
    'root ::= root "a" | "b"': "begins with itself",
    'root ::= e root "a" | "b"\ne ::= "x" |': "begins with itself",
    'root ::= a\na ::= b\nb ::= a "x"': "begins with itself",
    'root ::= ("a"': "not closed",
    'root ::= "a")': "end of a line",
    'root ::= "a': "not closed",
    "root ::= [a": "not closed",
    'root ::= "\\q"': "unknown escape",
    'root = "a"': "expected '::='",
    '::= "a"': "name of a rule",
    'root ::= "a"{3,1}': "ends before it begins",
    'root ::= "a"{x}': "repetition is not",
    'root ::= "a"{5000}': "larger than",
    'root ::= (("a"{100}){100}){2}': "larger than",
    'root ::= ("a"*)*': "may be empty",
    'root ::= (x?)+\nx ::= "a"': "may be empty",
    "root ::= " + "(" * 100: "nested deeper",
    "root ::= " + '"a" ' * 20_000: "larger than 64 KiB",
    "\n".join(f'r{i} ::= "a"' for i in range(2500)): "more than 2000 rules",
    "%llguidance {}\nstart: /a/": "name of a rule",
}


@pytest.mark.parametrize("text", GOOD)
def test_grammars_of_the_engine_pass(text: str) -> None:
    check_gbnf(text)


@pytest.mark.parametrize("text", BAD, ids=[str(number) for number in range(len(BAD))])
def test_broken_grammars_are_told_why(text: str) -> None:
    with pytest.raises(BadGrammar) as told:
        check_gbnf(text)
    assert BAD[text] in str(told.value)


def test_the_line_of_a_fault_is_named() -> None:
    with pytest.raises(BadGrammar, match="in line 3"):
        check_gbnf('root ::= "a"\n\nx ::= )')


def test_a_long_chain_of_rules_that_may_be_empty_is_read_in_one_go() -> None:
    chain = "".join(f"r{i} ::= r{i + 1} | r{i + 1}\n" for i in range(1900))
    before = time.thread_time()
    check_gbnf("root ::= r0\n" + chain + 'r1900 ::= "a"?')
    assert time.thread_time() - before < 1
    with pytest.raises(BadGrammar, match="may be empty"):
        check_gbnf("root ::= r0*\n" + chain + 'r1900 ::= "a"?')
