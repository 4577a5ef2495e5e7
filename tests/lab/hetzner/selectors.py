"""Label selectors. Source: https://docs.hetzner.cloud/#label-selector."""

import re
from collections.abc import Callable, Mapping
from functools import cache

from tests.lab.hetzner.errors import invalid_input

Labels = Mapping[str, str]
Matcher = Callable[[Labels], bool]

_KEY = r"(?P<key>[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?)"
_SET = re.compile(rf"{_KEY}\s+(?P<operator>in|notin)\s+\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(rf"{_KEY}\s*(?P<operator>==|=|!=)\s*(?P<value>[-A-Za-z0-9_.]*)")
_PRESENCE = re.compile(rf"(?P<operator>!?)\s*{_KEY}")
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")


@cache
def matcher(selector: str) -> Matcher:
    """Parse a selector into a predicate on labels; refuse an invalid one."""
    terms = [_term(part.strip(), selector) for part in _COMMA_OUTSIDE_PARENTHESES.split(selector)]
    return lambda labels: all(term(labels) for term in terms)


def _term(text: str, selector: str) -> Matcher:
    if found := _SET.fullmatch(text):
        return _membership(found)
    if found := _EQUALITY.fullmatch(text):
        return _equality(found)
    if found := _PRESENCE.fullmatch(text):
        key, wanted = found["key"], not found["operator"]
        return lambda labels: (key in labels) is wanted
    raise invalid_input("label_selector", f"'{selector}' is not a label selector")


def _membership(found: re.Match[str]) -> Matcher:
    key, wanted = found["key"], found["operator"] == "in"
    values = {value.strip() for value in found["values"].split(",")}
    if wanted:
        return lambda labels: labels.get(key) in values
    return lambda labels: labels.get(key) not in values


def _equality(found: re.Match[str]) -> Matcher:
    key, value = found["key"], found["value"]
    if found["operator"] == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value
