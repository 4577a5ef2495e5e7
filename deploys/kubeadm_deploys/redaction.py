r"""Texts that may be shown to others: what is or could be a secret is taken out.

First by value, for the secrets that the run was given, then by form. Neither finds everything: forms are those of the
programs that a node runs and of the operator's own files, and a secret in another form stays.
"""

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote, unquote

MASK = "<redacted>"

_SHORTEST = 3
"""A secret with fewer characters would take words out of the text without hiding much."""

_SHORTEST_ANYWHERE = 6
"""A shorter one is taken out only where it stands as a word of its own."""

_FLAGS = frozenset({"true", "false", "none", "null", "yes", "off"})
"""Values of data and variables like ``_use_sudo_password``, which are named after a secret and are none."""

_SECRET_NAME = re.compile(
    r"passw(?:or)?d|passphrase|(?:^|[-_.])pass$|token|secret|credential"
    r"|(?:api|access|private|encryption)[-_]?key(?:$|[-_.])",
    re.IGNORECASE,
)
# PASSWORD_STORE_DIR, secretName, AWS_ACCESS_KEY_ID.
_NAME_OF_SOMETHING_ABOUT_IT = re.compile(
    r"(?:[-_.]|(?<=[a-z])(?=[A-Z]))(?i:file|path|dir|folder|name|id|ttl|url)s?$"
)

_USERINFO = re.compile(r"://([^\s/@:]{0,256}):([^\s@]{1,256})@")

_PHRASE = r"(?:passw(?:or)?d|passphrase|[-_.]pass)"
_WORD = (
    r"(?:token|secret(?:[-_]?(?:access[-_]?)?key)?|(?:api|access|private|encryption)[-_]?key|client-key-data"
    r"|credentials?)"
)
# The last one is for texts with quotes inside of another text with quotes.
_QUOTED = r"""
    "(?:[^"\\\n]|\\.){1,4096}" | '(?:'\\''|[^'\n]){1,4096}' | (?P<quotes>\\+["'])[^\n]{1,4096}?(?P=quotes)
"""
# Without quotes around it, a value may have one between two letters.
_LINE = r"""["']?(?:[^"'\n]|(?<=\w)["'](?=\w)){1,4096}"""
_UNTIL_BLANK = r"""["']?(?:[^\s"']|(?<=\w)["'](?=\w)){1,4096}"""
_LONG_WORD = r"""[\\"']{0,4}[^\s"',;}\\]{6,4096}"""
_NUMBER = r"""[^,}\]\n"'\\]{1,4096}"""

# Lengths have bounds, so that a long line takes no long time.
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
"""A value after its name, in YAML, JSON, variables and options.

A pass phrase without quotes goes on to the end of the line after a colon, or when its name begins the line; any other
value to the next blank.
"""

_ARGUMENT = re.compile(
    rf"""
    (?P<name> --(?:[\w-]{{0,40}}-)?(?:passw(?:or)?d|passphrase|{_WORD})[ \t]{{1,8}} )
    (?P<value> {_QUOTED} | (?!-){_UNTIL_BLANK} )
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""An option and its value in the next argument."""


def _without_value(found: re.Match[str]) -> str:
    """The name with a mask in the place of the value; its quotes stay."""
    opening = re.match(r"""\\*["']?""", found["value"])
    quotes = opening[0] if opening else ""
    closing = quotes if quotes and found["value"].endswith(quotes) else ""
    return f"{found['name']}{quotes}{MASK}{closing}"


_PATTERNS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (
        re.compile(r"-----BEGIN ([A-Z0-9 ]{0,40}PRIVATE KEY)-----.{0,16384}?-----END \1-----", re.DOTALL),
        rf"\1 {MASK}",
    ),
    # Passwords in URLs, also with an "@" or, where no port stands before it, a "/" in them; and tokens in their place.
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
    # netrc(5), in which apt too keeps passwords.
    (re.compile(r"(\blogin\s{1,8}\S{1,256}\s{1,8}password\s{1,8})\S{1,4096}"), rf"\1{MASK}"),
    # User and password of a registry, in the configuration of Docker and of the kubelet.
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
    # Certificate keys of kubeadm, and IDs of containers, which crictl shows with these first 13 digits. Digests are
    # public.
    (re.compile(r"(?<!sha256:)(?<![0-9A-Za-z])([0-9a-f]{13})[0-9a-f]{51}(?![0-9A-Za-z])"), rf"\1{MASK}"),
    # Keys in base64, also lines of a PEM block that has lost its begin or end, and tokens of Hetzner.
    (
        re.compile(
            r"(?<![A-Za-z0-9+/])(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*[0-9])"
            r"[A-Za-z0-9+/]{60,}={0,2}"
        ),
        MASK,
    ),
)


def redacted(text: str, *, known: Iterable[str] = ()) -> str:
    """A text without the ``known`` secrets, however they are encoded, and without what has the form of one.

    The forms are private keys, kubeadm's bootstrap tokens and certificate keys, tokens of well-known services, bearer
    tokens, passwords and tokens in URLs, values and options that are called a token, password or key, registries'
    credentials, and long base64.
    """
    values = {form for secret in known for form in _forms(secret)}
    if values:
        # All at once: what has been taken out is not looked at again, and the longest goes first.
        by_length = sorted(values, key=len, reverse=True)
        text = re.sub("|".join(map(_as_pattern, by_length)), MASK, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def secret_values(data: Mapping[str, object]) -> frozenset[str]:
    """The values in data or environment variables that are secrets: by their names, and passwords in URLs.

    All values below a secret's name count, numbers too.
    """
    return frozenset(_secrets(data, named=False))


def _secrets(value: object, *, named: bool) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _secrets(each, named=named or _is_secret_name(str(key)))
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _secrets(each, named=named)
    elif isinstance(value, str):
        yield from (match[2] for match in _USERINFO.finditer(value))
        if named:
            yield value
    elif named and isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _is_secret_name(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _NAME_OF_SOMETHING_ABOUT_IT.search(name)


def _forms(secret: str) -> Iterator[str]:
    """The ways in which a secret may be written: as it is, and as shells, JSON, Python, URLs and base64 have it.

    Of one with several lines each is a secret, as a text may have them indented.
    """
    for each in {secret.strip(), *map(str.strip, secret.splitlines())}:
        if len(each) < _SHORTEST or each.lower() in _FLAGS:
            continue
        yield each
        yield json.dumps(each)[1:-1]
        yield repr(each)[1:-1]
        yield shlex.quote(each)
        yield quote(each, safe="", errors="replace")
        yield base64.b64encode(each.encode(errors="replace")).decode()
        if len(unquoted := unquote(each).strip()) >= _SHORTEST:
            yield unquoted


def _as_pattern(secret: str) -> str:
    found = re.escape(secret)
    return found if len(secret) >= _SHORTEST_ANYWHERE else rf"(?<!\w){found}(?!\w)"
