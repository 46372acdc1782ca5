"""The Hub itself, asked through the library huggingface_hub: what a repository holds, who may have it.

The library knows the tokens, mirrors and errors of the Hub. The bytes of files are fetched by the store's
own client (``net``): in its second major version the library throws a broken download away and begins
anew, and can neither be stopped nor slowed down while it reads.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeVar

from ...core.errors import BadRequest, Forbidden, InhouseError, ModelNotFound, SourceFailed, Unsupported
from ...net import retry
from ...net import url as urls
from ..sources.base import Watch
from .listing import HubFile
from .names import COMMIT, MAIN, HubName, is_safe

ENDPOINT: Final = "https://huggingface.co"
POLL: Final = 0.1
TRIES: Final = 3
ANSWER_TIME: Final = 120.0
OFFLINE: Final = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
TRUE: Final = frozenset({"1", "on", "yes", "true"})

T = TypeVar("T")


class Unreachable(Exception):
    """The Hub did not answer, or may not be asked. ``failure`` is what to tell the user."""

    def __init__(self, failure: SourceFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Repository:
    """What a repository holds at a commit. ``licence`` is that of its card, "" if it has none."""

    commit: str
    files: tuple[HubFile, ...]
    licence: str = ""


def library() -> ModuleType:
    """huggingface_hub, kept from telling anybody what this machine is. Raises Unsupported."""
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError as error:
        raise Unsupported(
            "Models of Hugging Face need a library that is not installed.",
            hint="Install it with: pip install huggingface_hub",
        ) from error
    # It would also fetch a list of programs to recognise which one it runs in.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return huggingface_hub


class HubClient:
    """The Hub, or the mirror that HF_ENDPOINT names, for one pull. Methods raise Cancelled too.

    ``own_hosts``: the mirror that the operator chose, which may be private, as ``host:port``.
    """

    def __init__(self, watch: Watch, environ: Mapping[str, str]) -> None:
        self._watch = watch
        self.endpoint = (environ.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
        self.own_hosts = _own_hosts(self.endpoint)
        self.offline = any(environ.get(name, "").lower() in TRUE for name in OFFLINE)

    def look(self, name: HubName) -> Repository:
        """What a repository holds.

        Raises Unreachable, ModelNotFound, Forbidden, SourceFailed, Unsupported.
        """
        hub = library()

        def ask() -> Any:
            api = hub.HfApi(endpoint=self.endpoint)
            return api.model_info(
                name.repo,
                revision=name.revision or MAIN,
                files_metadata=True,
                timeout=self._watch.policy.stall,
            )

        info = self._ask(ask, name)
        try:
            return _repository(info)
        except (AttributeError, TypeError, ValueError) as error:
            raise _garbled(error) from error

    def locate(self, name: HubName, commit: str, file: str) -> tuple[str, dict[str, str], str]:
        """Where a file is fetched from, with which secret headers, and the name of its blob ("" unknown).

        Asks whether this user may have it. Raises as ``look`` does.
        """
        hub = library()

        def ask() -> tuple[str, dict[str, str], str]:
            url = hub.hf_hub_url(name.repo, file, revision=commit, endpoint=self.endpoint)
            found = hub.get_hf_file_metadata(url, timeout=self._watch.policy.stall, endpoint=self.endpoint)
            headers = hub.utils.build_hf_headers()
            secret = {k: v for k, v in headers.items() if k.lower() == "authorization"}
            return url, secret, found.etag or ""

        return self._ask(ask, name)

    def _ask(self, call: Callable[[], T], name: HubName) -> T:
        if self.offline:
            failure = SourceFailed(
                "Hugging Face may not be asked: HF_HUB_OFFLINE is set.",
                hint="Unset it, or use a model that is here already: inhouse list --all",
            )
            raise Unreachable(failure)
        for failures in range(1, TRIES + 1):
            try:
                return patiently(call, self._watch)
            except InhouseError:
                raise
            except Exception as error:
                wait = _wait(error, failures)
                if failures == TRIES or wait is None:
                    raise self._failure(error, name) from error
            self._watch.stopped.wait(wait)
        raise AssertionError("the last try returns or raises")

    def _failure(self, error: Exception, name: HubName) -> Exception:
        """A failure of the library in our words; nothing of a token is ever in its texts."""
        from huggingface_hub import errors, get_token

        detail = f"{type(error).__name__}: {error}"[:500]
        status = _status(error)
        page = f"{self.endpoint}/{name.repo}"
        if isinstance(error, errors.GatedRepoError):
            return Forbidden(
                "This model is gated: Hugging Face gives it only to those who accepted its terms.",
                hint=f"Accept them at {page}, then set HF_TOKEN to a token of that account.",
                detail=detail,
            )
        if status == 403 or (status == 401 and _has_token(get_token)):
            return Forbidden(
                "Hugging Face refuses this model to you.",
                hint="Check HF_TOKEN: missing, wrong, expired, or not allowed to read this.",
                detail=detail,
            )
        nobody = isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError)
        if status in (401, 404) or nobody:
            missing = ModelNotFound(str(name))
            missing.hint = "Check its name. If it is private, set HF_TOKEN to a token that may read it."
            missing.detail = detail
            return missing
        if status == 429:
            return SourceFailed(
                "Hugging Face answers that too much was asked of it.",
                hint="Try again later, or set HF_TOKEN: known users may ask more.",
                retry_after=_retry_after(error),
                detail=detail,
            )
        if isinstance(error, ValueError | KeyError | TypeError | AttributeError) and status == 0:
            return _garbled(error)
        failure = SourceFailed(
            "Hugging Face cannot be reached." if not status else f"Hugging Face answers HTTP {status}.",
            hint="Check this machine's network and HF_ENDPOINT, and try again.",
            detail=detail,
        )
        return Unreachable(failure) if not status or status >= 500 else failure


def patiently(call: Callable[[], T], watch: Watch) -> T:
    """Run a call that cannot be interrupted, in a thread that is left behind when nobody waits any more.

    Raises what the call does, Cancelled, and TimeoutError after two minutes.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001  (raised below, in the thread that waits)
            failures.append(error)

    thread = threading.Thread(target=run, name="huggingface", daemon=True)
    thread.start()
    deadline = time.monotonic() + ANSWER_TIME
    while thread.is_alive():
        watch.check()
        thread.join(POLL)
        if time.monotonic() > deadline:
            raise TimeoutError("no complete answer")
    if failures:
        raise failures[0]
    return results[0]


def _own_hosts(endpoint: str) -> tuple[str, ...]:
    if endpoint == ENDPOINT:
        return ()
    try:
        url = urls.parse(endpoint)
    except BadRequest as error:
        raise SourceFailed(
            "HF_ENDPOINT is not a usable address.", hint="It looks like https://huggingface.co."
        ) from error
    return (f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}",)


def _repository(info: Any) -> Repository:
    commit = info.sha
    if not isinstance(commit, str) or not COMMIT.match(commit):
        raise ValueError("no commit")
    files = []
    for sibling in info.siblings or ():
        path, lfs = str(sibling.rfilename), sibling.lfs
        # A hostile mirror may name anything; such files are nobody's model.
        if is_safe(path) and path.isprintable():
            sha256 = str(lfs.sha256) if lfs else ""
            size = int(sibling.size or (lfs.size if lfs else 0) or 0)
            files.append(HubFile(path, max(0, size), sha256, sha256 or str(sibling.blob_id or "")))
    return Repository(commit, tuple(files), _licence(info.card_data))


def _licence(card: Any) -> str:
    """``apache-2.0``; the name that the card gives where the licence is none that the Hub knows."""
    get = getattr(card, "get", None)
    if get is None:
        return ""
    found = get("license")
    known = ", ".join(map(str, found)) if isinstance(found, list) else str(found or "")
    return str(get("license_name") or known) if known in ("other", "") else known


def _has_token(get_token: Callable[[], str | None]) -> bool:
    try:
        return bool(get_token())
    except Exception:  # noqa: BLE001  (a login that fails to renew itself is as good as none)
        return False


def _garbled(error: Exception) -> SourceFailed:
    return SourceFailed(
        "Hugging Face's answer cannot be read.",
        hint="Check HF_ENDPOINT: it must be a server that speaks the Hub's protocol.",
        detail=f"{type(error).__name__}: {error}"[:500],
    )


def _status(error: Exception) -> int:
    """The HTTP status behind an error of the library, 0 if there was no answer."""
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _retry_after(error: Exception) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return retry.retry_after({str(key).lower(): str(value) for key, value in headers.items()})


def _wait(error: Exception, failures: int) -> float | None:
    """Seconds before another try, None where none makes sense."""
    status = _status(error)
    if not retry.should_retry("GET", status):
        return None
    asked = _retry_after(error)
    if asked is not None and asked > retry.PATIENCE:
        return None
    return retry.backoff(failures, 0.5) if asked is None else asked


def environ() -> Mapping[str, str]:
    """What Hugging Face's own programs go by; its variables are theirs, hence not among our settings."""
    return os.environ


__all__ = ["HubClient", "Repository", "Unreachable", "environ", "library", "patiently"]
