r"""Redact secrets from text that may be shown to others.

Secrets that the run was given are redacted by value, others by form. Neither finds everything: the known
forms are those of the programs that a node runs and of the operator's files, and a secret in another form
stays.
"""

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote, unquote

MASK = "<redacted>"

_SHORTEST = 3
"""A secret with fewer characters is ignored: redacting it would remove ordinary words and hide little."""

_SHORTEST_ANYWHERE = 6
"""A secret with fewer characters is redacted only where it is a whole word."""

_FLAGS = frozenset({"true", "false", "none", "null", "yes", "off"})
"""Values of variables that are only named like a secret, such as ``_use_sudo_password``."""

_SECRET_NAME = re.compile(
    r"passw(?:or)?d|passphrase|(?:^|[-_.])pass$|token|secret|credential"
    r"|(?:api|access|private|encryption)[-_]?key(?:$|[-_.])",
    re.IGNORECASE,
)
# PASSWORD_STORE_DIR, secretName, AWS_ACCESS_KEY_ID.
_NAME_OF_SOMETHING_ABOUT_IT = re.compile(
    r"(?:[-_.]|(?<=[a-z])(?=[A-Z]))(?i:file|path|dir|folder|name|id|ttl|url|env)s?$"
)

_USERINFO = re.compile(r"://([^\s/@:]{0,256}):([^\s@]{1,256})@")

_PHRASE = r"(?:passw(?:or)?d|passphrase|[-_.]pass)"
_WORD = (
    r"(?:token|secret(?:[-_]?(?:access[-_]?)?key)?|(?:api|access|private|encryption)[-_]?key|client-key-data"
    r"|credentials?)"
)
# The last alternative is for quoted text inside quoted text.
_QUOTED = r"""
    "(?:[^"\\\n]|\\.){1,4096}" | '(?:'\\''|[^'\n]){1,4096}' | (?P<quotes>\\+["'])[^\n]{1,4096}?(?P=quotes)
"""
# An unquoted value may contain a quote between two letters.
_LINE = r"""["']?(?:[^"'\n]|(?<=\w)["'](?=\w)){1,4096}"""
_UNTIL_BLANK = r"""["']?(?:[^\s"']|(?<=\w)["'](?=\w)){1,4096}"""
_LONG_WORD = r"""[\\"']{0,4}[^\s"',;}\\]{6,4096}"""
_NUMBER = r"""[^,}\]\n"'\\]{1,4096}"""

# Lengths are bounded, so that long lines stay fast.
_NAMED = re.compile(
    rf"""
    (?P<name>
        (?P<begin>^[ \t]{{0,200}}(?:-[ ]|export[ ])?[\w.-]{{0,40}}?)?
        (?:(?P<phrase>{_PHRASE})|{_WORD})(?P<json>\\*["'])?
        (?:(?P<colon>[ \t]{{0,8}}:[ \t]{{1,8}}+)|[ \t]{{0,8}}[:=][ \t]{{0,8}}+)
    )
    (?!(?:true|false|none|null)[ \t]*(?:[\],;}}"']|$))
    (?P<value>
        {_QUOTED}
        | (?(json){_NUMBER}|(?(phrase)(?(begin){_LINE}|(?(colon){_LINE}|{_UNTIL_BLANK}))|{_LONG_WORD}))
    )
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
"""Matches a value after its name, in YAML, JSON, variables and options.

An unquoted passphrase extends to the end of the line if it follows a colon or if its name starts the line;
any other value ends at the next blank.
"""

_ARGUMENT = re.compile(
    rf"""
    (?P<name> --(?:[\w-]{{0,40}}-)?(?:passw(?:or)?d|passphrase|{_WORD})[ \t]{{1,8}} )
    (?P<value> {_QUOTED} | (?!-){_UNTIL_BLANK} )
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""Matches an option whose value is the next argument."""


def _without_value(found: re.Match[str]) -> str:
    """Return the name with a mask instead of the value; keep its quotes."""
    opening = re.match(r"""\\*["']?""", found["value"])
    quotes = opening[0] if opening else ""
    closing = quotes if quotes and found["value"].endswith(quotes) else ""
    return f"{found['name']}{quotes}{MASK}{closing}"


_PATTERNS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY)-----.{0,16384}?-----END \1-----", re.DOTALL),
        rf"\1 {MASK}",
    ),
    # Passwords in URLs, which may contain "@" and, unless a port precedes it, "/"; and tokens in their place.
    (
        re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^/\s:@]{0,256}:[^/\s]{1,256}@", re.IGNORECASE),
        rf"\1{MASK}@",
    ),
    (
        re.compile(
            r"(\b[a-z][a-z0-9+.-]{0,30}://)(?![^/\s:@]{0,256}:\d{1,5}/)[^/\s:@]{0,256}:[^\s@\"']{1,256}@",
            re.IGNORECASE,
        ),
        rf"\1{MASK}@",
    ),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^/\s:@]{20,256}@", re.IGNORECASE), rf"\1{MASK}@"),
    (_NAMED, _without_value),
    (_ARGUMENT, _without_value),
    # netrc(5), which apt also uses for passwords.
    (re.compile(r"(\blogin\s{1,8}\S{1,256}\s{1,8}password\s{1,8})\S{1,4096}"), rf"\1{MASK}"),
    # User and password of a registry, in the configuration of Docker or the kubelet.
    (re.compile(r"""("auth\\{0,8}"\s{0,8}:\s{0,8}\\{0,8}")[^"\\\s]{1,4096}""", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?)[^\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\bbearer\s+)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1{MASK}"),
    # JSON Web Tokens, such as those of service accounts.
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"), MASK),
    # Tokens of GitHub, GitLab, Slack and k3s.
    (
        re.compile(
            r"\b(?:gh[a-z]_|github_pat_|glpat-|xox[a-z]-)[A-Za-z0-9_-]{16,256}|\bK10[0-9a-f]{16,64}::[\w:.-]{1,256}"
        ),
        MASK,
    ),
    # Bootstrap tokens of kubeadm.
    (re.compile(r"(?<![a-z0-9])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9])"), MASK),
    # Certificate keys of kubeadm, and container IDs, of which crictl shows the first 13 digits. Digests are
    # public.
    (re.compile(r"(?<!sha256:)(?<![0-9A-Za-z])([0-9a-f]{13})[0-9a-f]{51}(?![0-9A-Za-z])"), rf"\1{MASK}"),
    # Keys in base64, lines of a PEM block without its begin or end, and tokens of clouds.
    (
        re.compile(
            r"(?<![A-Za-z0-9+/])(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*[0-9])"
            r"[A-Za-z0-9+/]{60,}={0,2}"
        ),
        MASK,
    ),
)


def redacted(text: str, *, known: Iterable[str] = ()) -> str:
    """Return the text without the ``known`` secrets, in any encoding, and without text that looks like one.

    The recognized forms are private keys, kubeadm's bootstrap tokens and certificate keys, tokens of
    well-known services, bearer tokens, passwords and tokens in URLs, values and options that are named token,
    password or key, registry credentials, and long base64.
    """
    values = {form for secret in known for form in _forms(secret)}
    if values:
        # Replace all in one pass, the longest first, so that a mask is never redacted again.
        by_length = sorted(values, key=len, reverse=True)
        text = re.sub("|".join(map(_as_pattern, by_length)), MASK, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def secret_values(data: Mapping[str, object]) -> frozenset[str]:
    """Return the values in data or environment variables that are secret by name, and passwords in URLs.

    Under the name of a secret, all nested values count, numbers too.
    """
    return frozenset(_secrets(data, named=False))


def _secrets(value: object, *, named: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, nested in value.items():
            yield from _secrets(nested, named=named or _is_secret_name(str(key)))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item, named=named)
    elif isinstance(value, str):
        yield from (match[2] for match in _USERINFO.finditer(value))
        if named:
            yield value
    elif named and isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _NAME_OF_SOMETHING_ABOUT_IT.search(name)


def _forms(secret: str) -> Iterator[str]:
    """Yield the ways to write a secret: plain, and as shells, JSON, Python, URLs and base64 encode it.

    Each line of a multi-line secret is a secret of its own, because the text may indent them.
    """
    for plain in {secret.strip(), *map(str.strip, secret.splitlines())}:
        if len(plain) < _SHORTEST or plain.lower() in _FLAGS:
            continue
        yield plain
        yield json.dumps(plain)[1:-1]
        yield repr(plain)[1:-1]
        yield shlex.quote(plain)
        yield quote(plain, safe="", errors="replace")
        yield base64.b64encode(plain.encode(errors="replace")).decode()
        if len(unquoted := unquote(plain).strip()) >= _SHORTEST:
            yield unquoted


def _as_pattern(secret: str) -> str:
    escaped = re.escape(secret)
    return escaped if len(secret) >= _SHORTEST_ANYWHERE else rf"(?<!\w){escaped}(?!\w)"
