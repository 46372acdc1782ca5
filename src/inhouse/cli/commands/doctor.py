"""``inhouse doctor``."""

from __future__ import annotations

import os
from typing import Any

import click

from ... import __version__, config
from ...core.errors import NotFound, ServerUnreachable
from .. import output, server
from ..base import HELP, Command, json_option

_COLOURS = {"error": "red", "missing": "red", "warn": "yellow", "ok": "green", "note": "grey"}
_FAILED = ("error", "missing")


@click.command(
    "doctor",
    cls=Command,
    context_settings=HELP,
    examples="""
    inhouse doctor
    inhouse doctor --measure
    inhouse doctor --json > machine.json
    """,
)
@click.option("--measure", is_flag=True, help="Measure the memory's speed again; takes about a second.")
@json_option
@click.pass_context
def command(ctx: click.Context, measure: bool, as_json: bool) -> None:
    """Check hardware, engines and settings.

    Says what hardware is here, which engine runs models on it, and what is missing, each finding
    with its fix. Exits with 1 when something is missing, and with 4 when the server does not even
    start; then the last lines of its log are shown. The memory's speed is measured once and kept.
    What --json prints is read by inhouse plan --machine.
    """
    answer, code = _ask(config.load(os.environ), measure)
    if as_json:
        output.json_data(answer)
    else:
        for finding in answer["findings"]:
            _print(finding)
    ctx.exit(code)


def _ask(settings: config.Config, measure: bool) -> tuple[dict[str, Any], int]:
    """The report and the exit code; a server that does not start is a finding, too."""
    try:
        client = server.connect(settings)
        method, path = ("POST", "/api/machine/measure") if measure else ("GET", "/api/machine")
        answer = dict(client.call(method, path, timeout=60.0))
        version = client.get("/api/version").get("inhouse")
    except ServerUnreachable as error:
        return {"findings": [_finding("error", error.message, error.detail, error.hint)]}, 4
    except NotFound as error:
        return {"findings": [_finding("error", "the server is too old for this", "", error.hint)]}, 1
    findings = list(answer.get("findings") or [])
    if version != __version__:
        what = f"the server is {version}, this command is {__version__}"
        findings.append(_finding("warn", what, "", "Restart the server."))
    for name, meant in config.strangers(os.environ).items():
        fix = f"Did you mean {meant}? " if meant else ""
        findings.append(
            _finding("warn", f"{name} is no setting", "it changes nothing", f"{fix}List them: inhouse config")
        )
    answer["findings"] = findings
    return answer, int(any(f.get("level") in _FAILED for f in findings))


def _finding(level: str, what: str, detail: str, fix: str) -> dict[str, str]:
    return {"level": level, "what": what, "detail": detail, "fix": fix}


def _print(finding: dict[str, Any]) -> None:
    """``level  what: detail``, and the fix below; a detail of several lines stands below, too."""
    level, what = str(finding.get("level") or "note"), str(finding.get("what") or "")
    detail = str(finding.get("detail") or "").splitlines()
    below = detail if len(detail) > 1 else []
    text = what if below or not detail else f"{what}: {detail[0]}"
    output.labelled(level.ljust(8), _COLOURS.get(level, ""), text)
    for line in below:
        output.data(f"          {line}")
    if finding.get("fix"):
        output.data(f"          Fix: {finding['fix']}")
