"""Wire formats as pure codecs: no HTTP framework, no await. A dialect is never built on another.

One folder a dialect: ``openai`` (with ``responses``), ``ollama``, ``anthropic`` and ``tasks``. Each gives
``decode_*(body) -> Decoded`` for every generating route and ``render_error(error) -> ErrorAnswer``;
``llamaserver`` is the client half that speaks to workers. What they share is here: ``codec`` (the
contract), ``fields`` (strict reading), ``schemas`` and ``images`` (what may come in), ``wire`` (bytes
that go out) and ``fold`` (the whole answer as a fold of the stream).
"""
