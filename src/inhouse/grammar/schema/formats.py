"""String formats as patterns. Each matches only strings that the format's own definition allows."""

from __future__ import annotations

_LABEL = r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*"
_HOST = (rf"^{_LABEL}(?:\.{_LABEL})*$", r"^[^.]{1,63}(?:\.[^.]{1,63})*$", r"^[\s\S]{1,253}$")
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_MONTHS = (
    r"(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8])"
)
_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|0[48]|[13579][26])00)-02-29"
_DATE = rf"(?:(?:[1-9]\d{{3}}|0[1-9]\d\d|00[1-9]\d|000[1-9])-(?:{_MONTHS})|{_LEAP})"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_H16 = "[0-9a-fA-F]{1,4}"


def _ipv6() -> str:
    forms = [rf"(?:{_H16}:){{7}}{_H16}"]
    for before in range(8):
        after = 7 - before
        left = "" if before == 0 else _H16 + (rf"(?::{_H16}){{{before - 1}}}" if before > 1 else "")
        right = "" if after == 0 else rf"(?:{_H16}(?::{_H16}){{0,{after - 1}}})?"
        forms.append(f"{left}::{right}")
    return "|".join(forms)


def _uri(extra: str, *, relative: bool) -> str:
    pct = "%[0-9A-Fa-f]{2}"
    safe = rf"A-Za-z0-9._~!$&'()*+,;=\-{extra}"
    segment = rf"(?:[{safe}:@]|{pct})"
    authority = rf"(?:(?:[{safe}:]|{pct})*@)?(?:[{safe}]|{pct})*(?::\d{{0,4}})?"
    abempty = rf"(?:/{segment}*)*"
    absolute = rf"/(?:{segment}+{abempty})?"
    tail = rf"(?:\?(?:{segment}|[/?])*)?(?:#(?:{segment}|[/?])*)?"
    whole = rf"[A-Za-z][A-Za-z0-9+.\-]*:(?://{authority}{abempty}|{absolute}|{segment}+{abempty}|){tail}"
    if not relative:
        return f"^{whole}$"
    noscheme = rf"(?:[{safe}@]|{pct})+{abempty}"
    return rf"^(?:{whole}|(?://{authority}{abempty}|{absolute}|{noscheme}|){tail})$"


_POINTER = r"(?:/(?:[^~/]|~[01])*)*"
_SECONDS, _DAYS = r"\d{1,9}S", r"\d{1,9}D"
_MINUTES, _MONTH = rf"\d{{1,9}}M(?:{_SECONDS})?", rf"\d{{1,9}}M(?:{_DAYS})?"
_CLOCK = rf"T(?:\d{{1,9}}H(?:{_MINUTES})?|{_MINUTES}|{_SECONDS})"
_DURATION = rf"P(?:(?:\d{{1,9}}Y(?:{_MONTH})?|{_MONTH}|{_DAYS})(?:{_CLOCK})?|{_CLOCK}|\d{{1,9}}W)"
_VAR = r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*(?::[1-9]\d{0,3}|\*)?"
_TEMPLATE = rf"(?:[A-Za-z0-9._~!$&()*+,;=:/?#@\-]|%[0-9A-Fa-f]{{2}}|\{{[+#./;?&]?{_VAR}(?:,{_VAR})*\}})*"
_UNICODE = r"\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef"
_EMAIL = (
    rf"^{_ATEXT}(?:\.{_ATEXT})*@{_LABEL}(?:\.{_LABEL})*$",
    r"^[^@]{1,64}@[^.@]{1,63}(?:\.[^.@]{1,63})*$",
)
_RX_ATOM = (
    r"(?:[A-Za-z0-9 _:;,@/<>=!%&'\"#~-]|\\[dDwWsS.*+?()\[\]{}|^$\\/]|\.|\[\^?(?:[A-Za-z0-9_ .,]|\\[dws])+\])"
)
_RX_TIMES = r"(?:[*+?]|\{[1-9]\})?"
_RX_BODY = rf"(?:(?:{_RX_ATOM}|\((?:\?:)?{_RX_ATOM}+(?:\|{_RX_ATOM}+)*\)){_RX_TIMES})*"

FORMATS: dict[str, tuple[str, ...]] = {
    "date": (f"^{_DATE}$",),
    "time": (f"^{_TIME}$",),
    "date-time": (f"^{_DATE}T{_TIME}$",),
    "duration": (f"^{_DURATION}$",),
    "email": (*_EMAIL, r"^[\s\S]{1,254}$"),
    "idn-email": (*_EMAIL, r"^[\s\S]{1,254}$"),
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "ipv4": (f"^(?:{_IPV4})$",),
    "ipv6": (f"^(?:{_ipv6()})$",),
    "uuid": (r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",),
    "uri": (_uri("", relative=False),),
    "uri-reference": (_uri("", relative=True),),
    "iri": (_uri(_UNICODE, relative=False),),
    "iri-reference": (_uri(_UNICODE, relative=True),),
    "uri-template": (f"^{_TEMPLATE}$",),
    "json-pointer": (f"^{_POINTER}$",),
    "relative-json-pointer": (rf"^(?:0|[1-9]\d{{0,8}})(?:#|{_POINTER})$",),
    "regex": (rf"^\^?{_RX_BODY}(?:\|{_RX_BODY})*\$?$",),
}
"""Formats that some draft defines. A format that none defines is an annotation, as the drafts say."""

BASE64 = (r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",)
