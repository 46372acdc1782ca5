"""A whole model to a registry: its blobs, then the manifest, so that it is never half there."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from ...core.errors import BadRequest, Conflict, InhouseError, SourceFailed
from ...core.models import Card
from ..layout import guarded
from ..sources.base import PullEvent, Ref, Texts, Watch
from . import names, package
from .names import Place
from .remote import Remote
from .settings import Settings, read
from .upload import Upload

_HINT: Final = "Write ollama:namespace/name:tag, host/namespace/name:tag or oci://host/repository:tag."


def push(card: Card, ref: Ref, texts: Texts, watch: Watch, settings: Settings | None = None) -> None:
    """Push a stored model to the registry that a Ref names. Blocking.

    ``ollama:`` texts and bare hosts get Ollama's form, ``oci://`` and ``docker://`` a ModelPack. Blobs
    that the registry has are skipped, blobs of the same registry are mounted. Progress: ``retrieving
    manifest``, ``pushing <12 hex>`` with digest, total and completed, ``pushing manifest``, ``success``.
    ``settings`` default to the environment's. Raises BadRequest, Unsupported, Conflict, SourceFailed,
    DigestMismatch, Forbidden, StoreError, Cancelled.
    """
    place = _place(ref)
    config = settings or read(watch.policy.environ)
    watch.say(PullEvent("retrieving manifest"))
    built = package.build(card, texts, place.dialect)
    for blob in built.blobs:
        _check(blob)
    remote = Remote(place, "pull,push", config, watch)
    try:
        source = _source(card, place)
        for blob in built.blobs:
            Upload(remote, blob, etag=place.dialect == "ollama").run(source)
        watch.say(PullEvent("pushing manifest"))
        _put(remote, built)
    finally:
        remote.close()
    watch.say(PullEvent("success"))


def _place(ref: Ref) -> Place:
    """Where to push to. Raises BadRequest."""
    if ref.kind != "registry":
        raise BadRequest("Models are pushed to registries only.", hint=_HINT, param="model")
    place = names.parse(ref.text)
    if place.digest:
        raise BadRequest("A push goes to a tag, not to a digest.", hint=_HINT, param="model")
    return place


def _check(blob: package.Blob) -> None:
    """A file must be there in its size before anything is sent. Raises StoreError, Conflict."""
    if blob.path is None:
        return
    with guarded("reading a model"):
        size = os.stat(blob.path).st_size
    if size != blob.size:
        raise Conflict(
            "A file of this model is not what it was when the model came in.",
            hint="Check it with: inhouse verify",
        )


def _source(card: Card, place: Place) -> str:
    """The repository of the same registry that the model came from, "" if there is none."""
    if not names.is_text(card.origin):
        return ""
    try:
        origin = names.parse(card.origin)
    except InhouseError:
        return ""
    same = origin.host == place.host and origin.repository != place.repository
    return origin.repository if same else ""


def _put(remote: Remote, built: package.Package) -> None:
    """The manifest, last: with it the model is there."""
    reply = remote.ask(
        "PUT",
        remote.url("manifests", remote.place.tag),
        headers={"Content-Type": built.media_type},
        body=built.manifest,
    )
    remote.demand(reply, 200, 201, 202, 204)
    digest = "sha256:" + hashlib.sha256(built.manifest).hexdigest()
    said = reply.headers.get("docker-content-digest", digest)
    if said.startswith("sha256:") and said != digest:
        raise SourceFailed(
            "The registry stored another manifest than was pushed.", hint="Push again, or tell its operator."
        )
