"""Log lines: one per event, each with its request id; text for people, JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import time

from ..config import Log
from .guard import request_id


class _WithId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "request_id": getattr(record, "request_id", "-"),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def setup(settings: Log) -> None:
    """Send our log to stderr. The root logger is left alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_WithId())
    form: logging.Formatter = (
        _Json()
        if settings.format == "json"
        else logging.Formatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)s %(request_id)s %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
    )
    form.converter = time.gmtime
    handler.setFormatter(form)
    for name in ("inhouse", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    logging.getLogger("inhouse").setLevel(settings.level.upper())
