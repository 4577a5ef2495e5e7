"""Hypothesis strategies for a single host's data, valid and invalid, like ``strategies`` for the options."""

from typing import Any

from hypothesis import strategies as st

from tests.support.strategies import (
    ADDRESSES,
    ANYTHING,
    DOCUMENT_FIELD,
    IPV6_TEXT,
    NAMES,
    NO_LIST,
    NO_NAME,
    NOT_TEXT,
    NUMBER_LIKE,
    TOO_LONG,
    Field,
    list_field,
    spoilt,
    text_field,
)

MACS = st.lists(st.text("0123456789abcdefABCDEF", min_size=2, max_size=2), min_size=6, max_size=6).map(
    ":".join
)
_PROVIDER_IDS = st.integers(1).map("hcloud://{}".format) | st.just("aws:///eu-central-1a/i-0123456789abcdef0")
_NO_NUMBER = NOT_TEXT.filter(lambda value: isinstance(value, bool) or not isinstance(value, int | float))

_LABEL_NAMES = st.from_regex(
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,10}[A-Za-z0-9])?", fullmatch=True
) | st.sampled_from([*NUMBER_LIKE, "a" * 63])
_LABEL_KEYS = _LABEL_NAMES | st.builds(
    "{}/{}".format,
    NAMES | st.sampled_from(["topology.kubernetes.io", ".".join(["a" * 63] * 3)]),
    _LABEL_NAMES,
)
LABEL_VALUES = st.just("") | _LABEL_NAMES
_EFFECTS = st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"])
_NO_LABEL_NAME = ("-a", "a-", ".a", "_a", TOO_LONG)
_NO_LABEL_KEY = st.sampled_from(
    [
        *("", "/a", "a/", "a/b/c", "Example.com/a", "a_b/c", *(f"a/{name}" for name in _NO_LABEL_NAME)),
        *_NO_LABEL_NAME,
    ]
) | spoilt(_LABEL_KEYS)
_KEPT_LABELS = st.sampled_from(
    ["kubernetes.io/hostname", "beta.kubernetes.io/arch", "node-role.kubernetes.io/gpu"]
)


def _with_values(value: Any) -> Any:
    """Return a document without None, which a node's fields must not have."""
    if isinstance(value, dict):
        return {key: _with_values(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_values(part) for part in value]
    return "" if value is None else value


_LABEL_SETS = st.dictionaries(_LABEL_KEYS, LABEL_VALUES, max_size=3)
_LABEL_SET = Field(
    right=_LABEL_SETS,
    wrong=ANYTHING.filter(lambda value: not isinstance(value, dict))
    | st.builds(
        lambda right, key, value: {**right, key: value},
        _LABEL_SETS,
        _NO_LABEL_KEY | _KEPT_LABELS | st.none() | st.integers(),
        LABEL_VALUES,
    )
    | st.builds(
        lambda right, key, value: {**right, key: value},
        _LABEL_SETS,
        _LABEL_KEYS,
        NOT_TEXT | spoilt(_LABEL_NAMES) | st.sampled_from(_NO_LABEL_NAME),
    ),
)

_TAINT_SETS = st.dictionaries(st.tuples(_LABEL_KEYS, _EFFECTS), st.none() | LABEL_VALUES, max_size=3).map(
    lambda taints: [
        f"{key}:{effect}" if value is None else f"{key}={value}:{effect}"
        for (key, effect), value in taints.items()
    ]
)
_TAINTS = st.builds("{}={}:{}".format, _LABEL_KEYS, LABEL_VALUES, _EFFECTS)
_NO_TAINT = st.sampled_from(
    [
        *("", "spot", "spot:", ":NoExecute", "=a:NoExecute", "spot:Never", "spot:noexecute", "spot=a"),
        *(
            "a=b=c:NoExecute",
            "a:NoSchedule:NoExecute",
            "a=-b:NoExecute",
            "node.kubernetes.io/not-ready:NoExecute",
        ),
    ]
)
_TAINT_SET = Field(
    right=st.none() | _TAINT_SETS | _TAINT_SETS.map(tuple),
    wrong=NO_LIST.filter(lambda value: value is not None)
    | st.builds(lambda right, wrong: [*right, wrong], _TAINT_SETS, NOT_TEXT | spoilt(_TAINTS) | _NO_TAINT)
    | _LABEL_KEYS.map(lambda key: [f"{key}=a:NoExecute", f"{key}:NoExecute"]),
)

NODE_FIELDS: dict[str, Field] = {
    # pyinfra's command line passes a name like 1 as a number.
    "node_name": Field(
        right=NAMES,
        wrong=_NO_NUMBER
        | spoilt(NAMES)
        | st.sampled_from(["", *NO_NAME, TOO_LONG, f"{'a' * 40}.{'b' * 40}"]),
    ),
    "node_ip": text_field(
        ADDRESSES, "127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.1.1", "10.0.0.0/24", *IPV6_TEXT
    ),
    "node_interface_mac": text_field(MACS, "86:00:00", "86-00-00-12-34-56", "8600.0012.3456", optional=True),
    "provider_id": text_field(_PROVIDER_IDS, "42", "hcloud://", "://42", "HCLOUD://42", optional=True),
    "node_labels": _LABEL_SET,
    "node_taints": _TAINT_SET,
    "node_roles": list_field(text_field(_LABEL_NAMES, "a/b", "control-plane", *_NO_LABEL_NAME), most=3),
    "node_kubelet_configuration": Field(
        right=DOCUMENT_FIELD.right.map(_with_values),
        wrong=DOCUMENT_FIELD.wrong
        | st.sampled_from(
            [
                *({"cgroupDriver": "cgroupfs"}, {"staticPodPath": ""}, {"rotateCertificates": False}),
                *({"healthzPort": 1}, {"maxPods": None}),
            ]
        ),
    ),
}
"""By key of the host's data."""
