"""Texts and settings without secrets and host names, for files that others will read.

Secrets are known by the name of a setting and by their shape; what is neither passes.
"""

import hashlib
import platform
import re
from typing import Any

HIDDEN = "***"

_SECRET_WORDS = (
    r"secret|passw|passphrase|passcode|\bpwd\b|token|signature|api[._-]?key|"
    r"credential(?!s$|s\.provider$)|(?:access|account|private|encryption)[._-]?key(?!size)"
)
SECRET_NAME = re.compile(rf"{_SECRET_WORDS}|[._](?:key|auth)$", re.IGNORECASE)
SECRET_WORD = re.compile(_SECRET_WORDS, re.IGNORECASE)  # `section.key=value` is none
HOST_NAME = re.compile(
    r"(?:host(?:name)?s?|address(?:es)?|endpoint(?:_url)?)$", re.IGNORECASE
)
SECRET_SHAPES = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS access key
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON web token
    r"|\bgh[oprsu]_\w{20,}"
    r"|(?<=-----BEGIN )[A-Z ]*PRIVATE KEY[\s\S]*"
    r"|(?<=\bBearer )[\w.~+/=-]+"
)
# 40 characters of base64 with all of its kinds: an AWS secret key. No hash of Git.
AWS_SECRET = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[\w/+]{40}")
ASSIGNMENT = re.compile(r"([\w.-]+)(=)([^\s&,;'\"]+)")
# A password may hold a slash, or an @.
URL = re.compile(r"\b([a-z][a-z0-9+.-]*://)([^\s'\"<>]*@)?([^\s/'\"()<>]*)", re.I)
NO_HOST = ("s3", "s3a", "s3n", "file")  # what follows is a bucket or a path
PUBLIC = re.compile(
    r"localhost|127(\.\d+){3}|0\.0\.0\.0|\[?::1\]?|s3[.-][\w.-]*amazonaws\.com(\.cn)?",
    re.IGNORECASE,
)
HOST_SHAPES = re.compile(
    r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w.-]*\w)"
    r"|\bip(?:-\d+){4}[\w.-]*\b"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:internal|local|lan|corp|intranet)\b"
    r"|\b[\w.-]+(?=/\d+(?:\.\d+){3})"  # as Java writes name/address
    r"|(?<=connect to )[\w.-]+(?=:\d)"
    r"|(?<=\bon host )[\w.-]+"
)
EXECUTOR = re.compile(r"(executor \S+ on )([\w.-]*\w)")


def without_secrets(text: str) -> str:
    """The text with `***` for what has a secret's shape or is assigned to its name."""
    text = URL.sub(_hide_user, text)
    text = SECRET_SHAPES.sub(HIDDEN, text)
    return ASSIGNMENT.sub(_hide_assigned, text)


def without_hosts(text: str) -> str:
    """The text with a hash for each host that it names, but for loopback and AWS S3."""
    text = URL.sub(_hash_url, text)
    text = EXECUTOR.sub(lambda found: found[1] + hashed_host(found[2]), text)
    text = HOST_SHAPES.sub(lambda found: hashed_host(found[0]), text)
    own = re.escape(platform.node())
    if own:
        text = re.sub(
            rf"(?<![\w/.-]){own}(?![\w-])", lambda found: hashed_host(found[0]), text
        )
    return text


def redacted(value: Any, name: str = "") -> Any:
    """JSON values without secrets and host names, by the names of their keys as well.

    Args:
        value: texts, numbers, lists and mappings; not changed itself.
        name: of the setting that has the value.
    """
    if isinstance(value, dict):
        return {key: redacted(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(part, name) for part in value]
    if value is None or isinstance(value, bool) or _is_switch(value):
        return value
    if SECRET_NAME.search(name):
        return HIDDEN
    if not isinstance(value, str):
        return value
    if AWS_SECRET.fullmatch(value):
        return HIDDEN
    if HOST_NAME.search(name) and "://" not in value:
        return ",".join(_hash_authority(part) for part in value.split(","))
    return without_hosts(without_secrets(value))


def hashed_host(name: str) -> str:
    """`host-` and 8 hexadecimal digits, one for one name; public names stay."""
    if not name or name.startswith("host-") or PUBLIC.fullmatch(name):
        return name
    return f"host-{hashlib.sha256(name.lower().encode()).hexdigest()[:8]}"


def _hide_user(found: re.Match) -> str:
    scheme, user, rest = found.groups()
    # s3://prefix/a@b names no user, s3a://key:secret@bucket does.
    if not user or (scheme[:-3].lower() in NO_HOST and ":" not in user):
        return found[0]
    return f"{scheme}{HIDDEN}@{rest}"


def _hide_assigned(found: re.Match) -> str:
    name, equals, value = found.groups()
    hide = SECRET_WORD.search(name) and not _is_switch(value)
    return f"{name}{equals}{HIDDEN if hide else value}"


def _hash_url(found: re.Match) -> str:
    scheme, user, hosts = found[1], found[2] or "", found[3]
    if scheme[:-3].lower() in NO_HOST:
        return found[0]
    return scheme + user + ",".join(map(_hash_authority, hosts.split(",")))


def _hash_authority(text: str) -> str:
    """`host:port` with its host hashed; `[::1]:80` and a full stop at the end, too."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:?#]*?)(\.?(?:[:?#].*)?)", text)
    return hashed_host(found[1]) + found[2] if found else hashed_host(text)


def _is_switch(value: Any) -> bool:
    """Whether a text is a switch, which is no secret whatever its name."""
    return isinstance(value, str) and value.lower() in ("", "true", "false", "none")
