from __future__ import annotations

import pytest

from inhouse.core.errors import BadRequest, Unsupported
from inhouse.core.messages import Format, Grammar
from inhouse.grammar import check

LLG = frozenset({"gbnf", "lark"})


def test_a_keyword_that_cannot_be_enforced_is_refused_with_the_way_out() -> None:
    with pytest.raises(Unsupported) as refused:
        check(Format("schema", {"type": "array", "contains": {"type": "null"}}, param="format"), LLG)
    assert refused.value.param == "format"
    assert '"after"' in refused.value.hint


def test_a_broken_lark_grammar_never_reaches_the_engine() -> None:
    with pytest.raises(BadRequest):
        check(Format("grammar", grammar=Grammar("lark", "start: nothing")), LLG)
