"""``modelscope:org/repo[:quant|:file]``."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import Unsupported
from .base import Asset, Got, Listing, Ref, Watch


class ModelScope:
    """See ``base.Source``."""

    def parse(self, text: str) -> Ref:
        raise Unsupported("This is not yet a source of models.", hint="Use another.", param="model")

    def find(self, ref: Ref, watch: Watch) -> Listing:
        raise NotImplementedError

    def fetch(self, asset: Asset, folder: Path, watch: Watch) -> Got:
        raise NotImplementedError

    def missing(self, asset: Asset, folder: Path) -> int:
        return asset.size
