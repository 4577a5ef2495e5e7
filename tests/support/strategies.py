"""Hypothesis strategies for pyinfra's data, valid and invalid.

Nothing here uses the package's own checks: valid values are built from the rules of Kubernetes, DNS and IP.
"""

import ipaddress
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from kubeadm_deploys.model.checksums import SHA256

# Includes surrogates, which no file and no terminal accepts.
TEXT = st.text(st.characters(), max_size=30) | st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\0",
        "null",
        "~",
        "no",
        "{{ x }}",
        "$(reboot)",
        "\x1b[31mred",
        "\ud800",
        "x" * 3000,
        "1.0٣.3",
    ]
)
_NUMBERS = st.integers() | st.sampled_from([2**64, -(10**4000)]) | st.floats()
_WRITTEN = st.none() | st.booleans() | st.binary(max_size=5)
ANYTHING: SearchStrategy[Any] = st.recursive(
    _WRITTEN | _NUMBERS | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(TEXT | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
NOT_TEXT = ANYTHING.filter(lambda value: not isinstance(value, str))
NO_LIST = ANYTHING.filter(lambda value: not isinstance(value, list | tuple | str))
"""Text also counts as a list: its comma-separated parts."""

_LETTERS, _DIGITS = string.ascii_lowercase, string.digits
NUMBER_LIKE = [
    "y",
    "n",
    "no",
    "on",
    "null",
    "true",
    "1e3",
    "0x1f",
    "0o17",
    "017",
    "123",
    "2001-01-01",
    "nan",
]
"""Names that a YAML reader does not take for text."""

LABELS = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True) | st.sampled_from(
    [*NUMBER_LIKE, "a" * 63]
)
_SHORT_LABELS = LABELS.filter(lambda label: len(label) < 20)
NAMES = st.lists(_SHORT_LABELS, min_size=1, max_size=3).map(".".join) | LABELS
ADDRESSES = st.integers(0, 2**24 - 1).map(lambda number: str(ipaddress.IPv4Address((10 << 24) + number)))
IPV6 = st.ip_addresses(v=6).map(str)
_SUMS = st.text("0123456789abcdef", min_size=64, max_size=64)
_UPSTREAM = _SHORT_LABELS.map(lambda name: f"https://github.com/{name}/{name}.tar.gz")
ALIASES = st.sampled_from(["cp_1", "Host.Example.COM", "cp-1.example.com"])
"""Host names that SSH accepts."""

URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https"]),
    NAMES | ADDRESSES | IPV6.map("[{}]".format) | st.just("my_mirror"),
    st.just("") | st.integers(1, 65535).map(":{}".format),
    st.sampled_from(["", "/", "/files", "/a-b_c.d~/%20/v1/"]),
)
_PROXIES = st.builds(
    "{}://{}{}:{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["", "bob@", "bob:p%40ss-word@", "bob:@"]),
    NAMES | ADDRESSES | IPV6.map("[{}]".format),
    st.integers(1, 65535),
    st.sampled_from(["", "/"]),
)
_NO_PROXY_URL = (
    *("10.0.0.9:3128", "http://10.0.0.9", "http://10.0.0.9:0", "http://10.0.0.9:65536", "http://a:3128/x"),
    *(
        "socks5://10.0.0.9:1080",
        "http://bob:p$w@a:3128",
        "http://bob:p w@a:3128",
        "http://b:%4@a:1",
        "http://~@a:1",
    ),
)
_SECONDS = st.integers(1, 3600)
_CHECKS = st.sampled_from(
    [
        "Swap",
        "Port-6443",
        "FileContent--proc-sys-net-ipv4-ip_forward",
        "FileAvailable--etc-kubernetes-kubelet.conf",
    ]
)
_WAIVABLE = st.sampled_from(["clock", "disk-space", "other-runtime", "ports"])
_PATHS = st.text(st.characters(categories=("L", "N")) | st.sampled_from(" .-_/~$'\"#"), max_size=20).map(
    # A leading "~" means a home, and most names have none.
    lambda text: f"{text.lstrip('~')}/one.kubeconfig"
)

_SPOILERS = [
    "\n",
    "\0",
    "\x1b[31m",
    "\u2028",
    "\ud800",
    "é",
    "٣",
    " ",
    "#",
    "'",
    '"',
    "\\",
    "$(reboot)",
    "{{ x }}",
]
_UNPRINTABLE = ["\n", "\0", "\x1b[31m", "\u2028", "\ud800"]


def spoilt(right: SearchStrategy[str], spoilers: Sequence[str] = _SPOILERS) -> SearchStrategy[str]:
    """Generate valid text with an invalid part inserted."""
    return st.builds(
        lambda text, spoiler, place: text[:place] + spoiler + text[place:],
        right,
        st.sampled_from(spoilers),
        st.integers(0, 40),
    )


@dataclass(frozen=True)
class Field:
    """Valid and invalid values of one field."""

    right: SearchStrategy[Any]
    wrong: SearchStrategy[Any]


def text_field(
    right: SearchStrategy[str], *wrong: str, optional: bool = False, or_none: bool = False
) -> Field:
    others = wrong if optional else ("", *wrong)
    not_text = NOT_TEXT.filter(lambda value: value is not None) if or_none else NOT_TEXT
    wrongs = not_text | spoilt(right)
    return Field(
        right=st.just("") | right if optional else right,
        wrong=wrongs | st.sampled_from(others) if others else wrongs,
    )


def _release(*releases: str, unsupported: str = "latest") -> Field:
    written = st.builds("{}{}".format, st.sampled_from(["", "v"]), st.sampled_from(releases))
    huge = f"{'9' * 5000}.0.0"
    return text_field(
        written,
        unsupported,
        "latest",
        "1.36",
        "1.36.3.1",
        "1.36.3-rc.1",
        "01.36.3",
        "1.0٣.3",
        "1.36.3\n",
        huge,
    )


def _one_of(*words: str) -> Field:
    return Field(right=st.sampled_from(words), wrong=NOT_TEXT | spoilt(st.sampled_from(words)))


def list_field(item: Field, *, most: int) -> Field:
    lists = st.lists(item.right.filter(bool), max_size=most)
    broken = st.builds(lambda start, wrong: [*start, wrong], st.lists(item.right, max_size=1), item.wrong)
    one_wrong = item.wrong.filter(
        lambda wrong: isinstance(wrong, str) and wrong and wrong == wrong.strip() and "," not in wrong
    )
    broken_text = st.builds(lambda start, wrong: ", ".join([*start, wrong]), lists, one_wrong)
    return Field(right=lists | lists.map(tuple), wrong=NO_LIST | broken | broken_text)


def _number(right: SearchStrategy[int], *wrong: int) -> Field:
    others = ANYTHING.filter(lambda value: isinstance(value, bool) or not isinstance(value, int))
    return Field(right=right, wrong=others | st.sampled_from(wrong))


_AGE_KEYS = st.from_regex(r"age1[0-9a-z]{1,9}", fullmatch=True)
_SSH_KEYS = st.from_regex(r"ssh-(ed25519|rsa) AAAA[A-Za-z0-9+/]{1,9}", fullmatch=True)
_COMMENTS = st.sampled_from(["", " operator@host", " an operator's key $2"])
TOO_LONG = "a" * 64
IPV6_TEXT = ("fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1")
NO_NAME = ("-a", "a-", "A", "a_b", "a..b", ".a", "a.", f"{TOO_LONG}.b", "a." * 130 + "a")
_NO_NETWORK = (
    "10.244.0.0",
    "10.244.0.1/16",
    "10.244.0.0/33",
    "10.244.0.0/-1",
    "010.0.0.0/8",
    "fd00::/48",
    "10.0.0.0/8/8",
    "10.0.0.0/١٦",
    "127.0.0.0/8",
    "224.0.0.0/8",
    "0.0.0.0/0",
    "169.254.0.0/16",
    "/",
    "10.0.0.0/",
    "a.b.c.d/16",
)
_NO_URL = (
    "10.0.0.9",
    "ftp://10.0.0.9",
    "HTTP://10.0.0.9",
    "http://",
    "http:///a",
    "http://[::1",
    "http://[zz]",
    "http://a:0",
    "http://a:65536",
    "http://a:b",
    "http://user:password@a",
    "http://a?b=c",
    "http://a#b",
    "http://a/\tb",
    "//a",
)
_NETWORKS = st.sampled_from(["10.9.0.0/16", "192.168.7.0/24", "172.30.0.0/255.255.0.0"])

_ANY_NAME = text_field(NAMES, *NO_NAME, "10.0.0.1", *IPV6_TEXT)
_OPTIONAL_NAME = text_field(NAMES, *NO_NAME, "10.0.0.1", *IPV6_TEXT, optional=True)
_SAN = text_field(NAMES | ADDRESSES | IPV6, *NO_NAME, "fe80::1%eth0", "fe80::1%\n")
_NAMESERVER = text_field(ADDRESSES, "127.0.0.53", "0.0.0.0", "2620:fe::fe", "10.0.0.1/32", "010.0.0.1")

_TEXTS = st.text(max_size=20) | st.sampled_from(NUMBER_LIKE)
DOCUMENTS: SearchStrategy[dict[str, Any]] = st.dictionaries(
    _TEXTS.filter(lambda key: key not in ("apiVersion", "kind")),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | _TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


def _nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels):
        document = {"a": document}
    return document


def _endless() -> dict[str, Any]:
    document: dict[str, Any] = {}
    document["a"] = [document]
    return document


_NO_VALUE = st.sampled_from(
    [b"x", float("nan"), float("-inf"), 2**64, {1}, {1: 2}, "\ud800", 10**4000, object()]
)
DOCUMENT_FIELD = Field(
    right=DOCUMENTS,
    wrong=ANYTHING.filter(lambda value: not isinstance(value, dict))
    | st.builds(lambda right, wrong: {**right, "maxPods": [wrong]}, DOCUMENTS, _NO_VALUE)
    | st.builds(lambda right, key: {**right, key: "v1"}, DOCUMENTS, st.sampled_from(["apiVersion", "kind"]))
    | st.sampled_from([{1: 2}, {"\ud800": 1}, _nested(50), _endless()]),
)
_CHECKSUMS = Field(
    right=st.dictionaries(_UPSTREAM, _SUMS, max_size=3),
    wrong=ANYTHING.filter(lambda value: not isinstance(value, str | dict))
    # Paths of missing files; some of these paths cannot exist.
    | st.sampled_from(
        ["", "/nowhere/sums", "\0", "\ud800", "~nobody-has-this-name/sums", "x" * 3000, "a\n\x1b[31m"]
    )
    | st.dictionaries(_UPSTREAM, NOT_TEXT | spoilt(_SUMS) | TEXT, min_size=1, max_size=2)
    | st.dictionaries(TEXT | st.integers() | st.none(), _SUMS, min_size=1, max_size=2),
)
_FINGERPRINTS = st.text("0123456789ABCDEFabcdef ", min_size=40, max_size=40).map(
    lambda text: f"{text.replace(' ', '')}{'0' * 40}"[:40]
)

_REGISTRIES = st.dictionaries(
    (NAMES | ADDRESSES).map("{}:5000".format),
    st.fixed_dictionaries({"mirrors": st.lists(URLS.map("{}/v2/x".format), min_size=1, max_size=3)}),
    max_size=3,
)

FIELDS: dict[str, Field] = {
    "cluster_name": text_field(LABELS, *NO_NAME, TOO_LONG, "a.b"),
    "kubernetes_version": _release("1.31.0", "1.33.5", "1.35.4", "1.36.3", "1.36.99", unsupported="1.30.0"),
    "containerd_version": _release(*SHA256["containerd"]),
    "runc_version": _release(*SHA256["runc"]),
    "cni_plugins_version": _release(*SHA256["cni_plugins"]),
    "cni": _one_of("calico", "none"),
    "calico_version": _release(*SHA256["calico"]),
    "pod_subnet": text_field(_NETWORKS, *_NO_NETWORK, "10.0.0.0/25", "12.0.0.0/7"),
    "service_subnet": text_field(_NETWORKS, *_NO_NETWORK, "172.16.0.0/29", "172.16.0.0/11"),
    "dns_domain": _ANY_NAME,
    "control_plane_endpoint": _OPTIONAL_NAME,
    "certificate_sans": list_field(_SAN, most=3),
    "encapsulation": Field(
        right=_one_of("VXLAN", "IPIP", "None").right | st.none(),
        wrong=_one_of("VXLAN", "IPIP", "None").wrong.filter(lambda value: value is not None),
    ),
    "pod_mtu": _number(st.just(0) | st.integers(576, 9000), -1, 1, 575, 9001, 10**4000),
    "vxlan_checksum_offload": Field(
        right=st.booleans(), wrong=ANYTHING.filter(lambda value: not isinstance(value, bool))
    ),
    "swap": _one_of("off", "keep"),
    "mirror": text_field(URLS, *_NO_URL, optional=True),
    "http_proxy": text_field(_PROXIES, *_NO_PROXY_URL, optional=True),
    "https_proxy": text_field(_PROXIES, *_NO_PROXY_URL, optional=True),
    "no_proxy": list_field(
        text_field(
            NAMES | ADDRESSES | IPV6 | _NETWORKS | NAMES.map(".{}".format) | NAMES.map("*.{}".format),
            *("a:80", "*", ".", "10.0.0.1/8", "http://a", "fe80::1%eth0", "a_b"),
        ),
        most=3,
    ),
    "registries": Field(right=_REGISTRIES, wrong=ANYTHING.filter(lambda value: not isinstance(value, dict))),
    "checksums": _CHECKSUMS,
    "kubernetes_apt_key_fingerprint": Field(
        right=_FINGERPRINTS,
        wrong=NOT_TEXT
        | spoilt(_FINGERPRINTS, [spoiler for spoiler in _SPOILERS if spoiler != " "])
        | st.sampled_from(["", "DE15", "G" * 40, "A" * 41, "٣" * 40]),
    ),
    "containerd_restrict_oom_score_adj": Field(
        right=st.booleans(), wrong=ANYTHING.filter(lambda value: not isinstance(value, bool))
    ),
    "kubelet_configuration": DOCUMENT_FIELD,
    "kube_proxy_configuration": DOCUMENT_FIELD,
    "cluster_configuration": Field(
        right=st.fixed_dictionaries(
            {},
            optional={
                "apiServer": st.builds(lambda value: {"extraArgs": [{"name": "v", "value": value}]}, NAMES),
                "certificateValidityPeriod": st.integers(1, 9999).map("{}h".format),
                # The only one that kubeadm still has in 1.37; it refuses a document with any other name.
                "featureGates": st.dictionaries(st.just("RootlessControlPlane"), st.booleans()),
            },
        ),
        wrong=ANYTHING.filter(lambda value: not isinstance(value, dict))
        | st.sampled_from(
            [
                {"clusterName": "x"},
                {"apiServer": {"certSANs": []}},
                {"scheduler": {"extraArgs": {"v": "1"}}},
                {"etcd": {"local": {"dataDir": "/x"}}},
                {"kind": "ClusterConfiguration"},
                {"certificateValidityPeriod": 5},
            ]
        ),
    ),
    "control_plane_files": Field(
        right=st.dictionaries(
            LABELS.map("/etc/kubernetes/{}-folder/policy.yaml".format),
            st.fixed_dictionaries({"content": NAMES}, optional={"mode": st.sampled_from(["0600", "0644"])}),
            max_size=2,
        ),
        wrong=ANYTHING.filter(lambda value: not isinstance(value, dict)),
    ),
    "ignore_preflight_errors": list_field(text_field(_CHECKS, "all", "All", "-Swap", "Swap,Mem"), most=3),
    "skip_preflight_checks": list_field(
        text_field(_WAIVABLE, "all", "All", "clocks", "another-cluster", "node-role"), most=3
    ),
    "kubeconfig": Field(
        right=st.just("") | _PATHS,
        wrong=NOT_TEXT
        | spoilt(_PATHS, _UNPRINTABLE)
        | st.sampled_from(
            [
                "~",
                "~no-such-user/a",
                ".",
                "..",
                "a/..",
                "/",
                "a/",
                "x" * 256,
                f"{'x' * 256}/a",
                "é" * 200,
                "a/" * 3000 + "a",
            ]
        ),
    ),
    "kubeconfig_address": text_field(
        NAMES | ADDRESSES | IPV6, *NO_NAME, "fe80::1%eth0", "a:6443", optional=True
    ),
    "ready_timeout": _number(_SECONDS, 0, -1, 3601, 10**4000),
    "backup_recipients": Field(
        right=list_field(
            text_field(st.builds("{}{}".format, _SSH_KEYS, _COMMENTS) | _AGE_KEYS), most=3
        ).right,
        # A comment may be any text, so nothing spoils it.
        wrong=list_field(
            text_field(_SSH_KEYS | _AGE_KEYS, "age1", "AGE-SECRET-KEY-1", "ssh-dss AAAA", "age1A"), most=3
        ).wrong,
    ),
    "cloud_init_timeout": _number(_SECONDS, 0, -1, 3601, 10**4000),
    "nameservers": Field(
        right=list_field(_NAMESERVER, most=3).right,
        wrong=list_field(_NAMESERVER, most=3).wrong | st.just(["9.9.9.9"] * 4),
    ),
    "cloud_provider": _one_of("none", "hetzner"),
    "hcloud_cloud_controller_version": _release("1.35.0", "1.35.1", "2.0.0", unsupported="1.34.0"),
    "hcloud_csi_version": _release("2.22.1", "0.0.1"),
    "endpoint_kind": _one_of("", "single", "load_balancer", "local_proxy"),
    "api_load_balancer_address": text_field(
        ADDRESSES, "10.0.0.256", "010.0.0.1", "lb", *IPV6_TEXT, optional=True, or_none=True
    ),
    "service_load_balancer_cidr": text_field(_NETWORKS, *_NO_NETWORK, optional=True, or_none=True),
}
"""By option. ``generated_clusters`` makes the valid values fit each other."""
