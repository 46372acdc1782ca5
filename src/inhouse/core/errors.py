"""One error tree. Every failure has a cause (the message), a hint and a stable code.

    InhouseError
    ├── BadRequest                 the caller can mend it                     invalid_request
    │   ├── InvalidName            not a model name                           invalid_model_name
    │   ├── Unsupported            this model or engine cannot do that        unsupported
    │   ├── ContextExceeded        prompt longer than the context             context_length_exceeded
    │   └── BodyTooLarge           over a size limit                          body_too_large
    ├── Unauthorized               no or wrong key                            unauthorized
    ├── Forbidden                  wrong origin or host                       forbidden
    ├── NotFound                                                              not_found
    │   └── ModelNotFound          no such model here                         model_not_found
    ├── Conflict                   the state does not allow it now            conflict
    ├── Busy                       try again later                            busy
    │   ├── QueueFull              too many are waiting                       queue_full
    │   ├── RateLimited            too many of one key are waiting            rate_limited
    │   ├── OutOfMemory            the model does not fit beside the others   out_of_memory
    │   ├── DeadlineExceeded       waited longer than allowed                 deadline_exceeded
    │   └── Draining               the server is stopping                     draining
    ├── EngineError                the engine failed this request             engine_error
    │   ├── LoadFailed             a worker did not become ready              load_failed
    │   ├── CrashLoop              it keeps failing; backing off              crash_loop
    │   ├── WorkerDied             the process ended under the request        worker_died
    │   └── WorkerHung             the process stopped answering              worker_hung
    ├── StoreError                 the models on disk                         store_error
    │   ├── DigestMismatch         bytes are not what was promised            digest_mismatch
    │   ├── NoSpace                the disk is full                           no_space
    │   └── SourceFailed           a model source refused or broke            source_failed
    ├── ServerUnreachable          a client finds no server that answers      server_unreachable
    └── Cancelled                  the caller left                            cancelled

A message never holds a path, an address, a prompt or a key. What only the operator may see
goes into ``detail``, which is logged and never sent.
"""

from __future__ import annotations

from typing import ClassVar


class InhouseError(Exception):
    """Base of the tree.

    ``message`` is the cause in one sentence, ``hint`` what to do about it, ``param`` the request
    field at fault, ``retry_after`` seconds after which trying again makes sense, ``detail`` text
    for the log alone.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        param: str | None = None,
        retry_after: float | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param
        self.retry_after = retry_after
        self.detail = detail


class BadRequest(InhouseError):
    code = "invalid_request"


class InvalidName(BadRequest):
    code = "invalid_model_name"


class Unsupported(BadRequest):
    code = "unsupported"


class ContextExceeded(BadRequest):
    """The prompt has ``prompt_tokens`` tokens, the context holds ``context_length``."""

    code = "context_length_exceeded"

    def __init__(self, prompt_tokens: int, context_length: int, *, param: str = "messages") -> None:
        super().__init__(
            f"This model's maximum context length is {context_length} tokens. "
            f"However, your prompt has {prompt_tokens} tokens.",
            hint="Shorten the prompt, or load the model with a larger context length.",
            param=param,
        )
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class BodyTooLarge(BadRequest):
    code = "body_too_large"


class Unauthorized(InhouseError):
    code = "unauthorized"


class Forbidden(InhouseError):
    code = "forbidden"


class NotFound(InhouseError):
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"

    def __init__(self, model: str) -> None:
        super().__init__(
            f"model '{model}' not found",
            hint=f"Pull it first: inhouse pull {model}",
            param="model",
        )
        self.model = model


class Conflict(InhouseError):
    code = "conflict"


class Busy(InhouseError):
    code = "busy"
    retryable = True


class QueueFull(Busy):
    code = "queue_full"


class RateLimited(Busy):
    code = "rate_limited"


class OutOfMemory(Busy):
    code = "out_of_memory"


class DeadlineExceeded(Busy):
    code = "deadline_exceeded"


class Draining(Busy):
    code = "draining"


class EngineError(InhouseError):
    code = "engine_error"
    retryable = True


class LoadFailed(EngineError):
    code = "load_failed"


class CrashLoop(EngineError):
    code = "crash_loop"


class WorkerDied(EngineError):
    code = "worker_died"


class WorkerHung(EngineError):
    code = "worker_hung"


class StoreError(InhouseError):
    code = "store_error"


class DigestMismatch(StoreError):
    code = "digest_mismatch"


class NoSpace(StoreError):
    code = "no_space"


class SourceFailed(StoreError):
    code = "source_failed"


class ServerUnreachable(InhouseError):
    code = "server_unreachable"


class Cancelled(InhouseError):
    code = "cancelled"
