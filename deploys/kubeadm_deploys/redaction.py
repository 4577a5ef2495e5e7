"""Texts that may be shown to others: what is or could be a secret is taken out."""

import re
from collections.abc import Iterable

MASK = "<redacted>"

_SHORTEST = 4
"""A secret with fewer characters would take words out of the text without hiding much."""

_PATTERNS = (
    (re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL), rf"\1 {MASK}"),
    # YAML, JSON, environment variables and options. The value ends where one of these could end.
    (
        re.compile(
            r"""(\b[\w.-]{0,40}(?:client-key-data|token|password|passwd|secret|api[-_]?key)["']?\s*[:=]\s*["']?)"""
            r"""[^\s"',;}]{6,}""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:\w+\s+)?)[^\s\"']+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"(\bbearer\s+)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1{MASK}"),
    # Passwords in URLs.
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s:@]*:[^/\s@]+@", re.IGNORECASE), rf"\1{MASK}@"),
    # JSON Web Tokens, such as those of service accounts.
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"), MASK),
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
    """A text without the ``known`` secrets and without what has the form of one.

    The forms are private keys, kubeadm's bootstrap tokens and certificate keys, bearer tokens, passwords in URLs,
    values that are called a token, password or key, and long base64.
    """
    for secret in sorted({each for each in known if len(each) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
