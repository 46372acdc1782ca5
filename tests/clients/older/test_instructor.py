"""instructor: typed answers in its modes."""

from __future__ import annotations

import instructor
import openai
import pytest
from pydantic import BaseModel

from conftest import CODER, KEY, URL

MODES = [
    instructor.Mode.TOOLS,
    instructor.Mode.TOOLS_STRICT,
    instructor.Mode.JSON,
    instructor.Mode.JSON_SCHEMA,
    instructor.Mode.MD_JSON,
]


class Dog(BaseModel):
    name: str
    age: int


ASK = [{"role": "user", "content": "A dog called Rex is 4 years old."}]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_typed_answer(mode: instructor.Mode) -> None:
    client = instructor.from_openai(openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY), mode=mode)
    dog = client.chat.completions.create(
        model=CODER, messages=ASK, response_model=Dog, temperature=0, max_tokens=100, max_retries=2
    )
    assert dog.name
    assert isinstance(dog.age, int)


async def test_async_and_partial_stream() -> None:
    client = instructor.from_openai(
        openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY), mode=instructor.Mode.TOOLS
    )
    stream = client.chat.completions.create_partial(
        model=CODER, messages=ASK, response_model=Dog, temperature=0, max_tokens=100
    )
    dogs = [dog async for dog in stream]
    assert dogs[-1].name
    assert len(dogs) > 2
