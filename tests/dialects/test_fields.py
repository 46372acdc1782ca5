"""The strict reader: what is read, what is refused, and in which words."""

from __future__ import annotations

import math

import pytest

from inhouse.core.errors import BadRequest, Unsupported
from inhouse.dialects.fields import Fields, engine_seed, kind_of, parse_duration


def refused(call, *args, **kwargs) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        call(*args, **kwargs)
    return caught.value


def test_absent_and_null_are_the_same():
    fields = Fields({"a": None})
    for name in ("a", "b"):
        assert fields.text(name) is None
        assert fields.number(name, 0, 1) is None
        assert fields.whole(name, 0, 1) is None
        assert fields.flag(name) is None
        assert fields.flag(name, True) is True
        assert fields.items(name, 1) is None
        assert fields.object(name) is None
        assert fields.mapping(name) is None
        assert fields.choice(name, "x") is None
        assert fields.duration(name) is None
        assert list(fields.objects(name, 1)) == []
        assert not fields.has(name)
        fields.refuse(name)


@pytest.mark.parametrize(
    "reader, args, value, came",
    [
        ("text", (), 5, "a number"),
        ("text", (), ["x"], "an array"),
        ("number", (0, 1), True, "a boolean"),
        ("number", (0, 1), "0.5", "a string"),
        ("whole", (0, 1), False, "a boolean"),
        ("whole", (0, 1), {}, "an object"),
        ("flag", (), 1, "a number"),
        ("flag", (), "true", "a string"),
        ("items", (3,), {}, "an object"),
        ("object", (), [], "an array"),
        ("mapping", (), "x", "a string"),
        ("choice", ("a",), 3, "a number"),
        ("duration", (), True, "a boolean"),
        ("duration", (), [], "an array"),
        ("seed", (), "1", "a string"),
    ],
)
def test_a_wrong_type_names_the_field_and_what_came(reader, args, value, came):
    error = refused(getattr(Fields({"x": value}, "messages[2]"), reader), "x", *args)
    assert error.param == "messages[2].x"
    assert "'messages[2].x'" in error.message
    assert error.message.endswith(f"but got {came}.")


@pytest.mark.parametrize(
    "reader, args, value",
    [
        ("number", (0, 2), 2.0001),
        ("number", (0, 2), -1),
        ("number", (0, 2), 10**400),
        ("whole", (1, 5), 6),
        ("whole", (1, 5), 2.5),
        ("whole", (1, 5), 1e308),
        ("items", (2,), [1, 2, 3]),
        ("choice", ("a", "b"), "c"),
        ("duration", (), "5 minutes"),
        ("duration", (), ""),
        ("duration", (), "-"),
        ("seed", (), 2**63),
    ],
)
def test_a_value_out_of_range_is_refused(reader, args, value):
    error = refused(getattr(Fields({"x": value}), reader), "x", *args)
    assert error.param == "x"
    assert "expected" in error.message


def test_a_float_without_fraction_is_whole():
    assert Fields({"x": 10.0}).whole("x", 0, 10) == 10


def test_long_values_are_never_echoed():
    secret = "s3cret" * 50
    assert secret[:20] not in refused(Fields({"x": secret}).choice, "x", "a").message
    assert "999999" not in refused(Fields({"x": 10**300}).number, "x", 0, 1).message
    assert "\n" not in refused(Fields({"x": "a\nb"}).choice, "x", "a").message


def test_text_has_a_ceiling_and_may_be_required():
    assert refused(Fields({"x": "abcd"}).text, "x", longest=3).param == "x"
    assert refused(Fields({"x": ""}).required_text, "x").param == "x"
    assert Fields({"x": "abc"}).required_text("x") == "abc"


def test_objects_carry_their_place():
    first, second = Fields({"m": [{"a": 1}, {"a": "x"}]}).objects("m", 5)
    assert first.whole("a", 0, 1) == 1
    assert refused(second.whole, "a", 0, 1).param == "m[1].a"
    assert refused(list, Fields({"m": [3]}).objects("m", 5)).param == "m[0]"


def test_what_nobody_read_is_noted_with_its_path():
    fields = Fields({"model": "x", "user": "u", "odd": 1, "in": {"deep": 2, "read": 3}})
    fields.text("model")
    fields.note("user", "metadata")
    inner = fields.mapping("in")
    assert inner is not None
    inner.whole("read", 0, 5)
    assert fields.noted() == ("user", "odd", "in.deep")


def test_noted_names_are_few_and_short():
    fields = Fields({f"{'n' * 200}{i}": i for i in range(500)})
    assert len(fields.noted()) == 100
    assert max(map(len, fields.noted())) <= 80


def test_refuse_lets_harmless_values_pass_by_type_too():
    Fields({"store": False}).refuse("store", False)
    with pytest.raises(Unsupported) as caught:
        Fields({"store": 0}).refuse("store", False)
    assert caught.value.param == "store"


@pytest.mark.parametrize(
    "value, seconds",
    [
        (0, 0.0),
        (300, 300.0),
        (0.5, 0.5),
        (-1, math.inf),
        (10**400, math.inf),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("300ms", 0.3),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("+2s", 2.0),
        ("-1", math.inf),
        ("-5m", math.inf),
        ("0", 0.0),
        ("-0s", 0.0),
        ("42", 42.0),
        ("1µs", 1e-6),
    ],
)
def test_durations(value, seconds):
    assert parse_duration("keep_alive", value) == pytest.approx(seconds)


@pytest.mark.parametrize("seed", [0, 1, -1, 2**32 - 1, 2**32, 2**63 - 1, -(2**63)])
def test_every_int64_seed_becomes_one_that_is_not_random(seed):
    assert 0 <= engine_seed(seed) < 2**32 - 1


def test_kinds():
    shown = [kind_of(v) for v in (None, True, 1, 1.5, "", [], {})]
    assert shown[0] == "null"
    assert len(set(shown)) == 6
