"""The description of a cluster's servers: accepted values, defaults, and errors."""

import ast
from pathlib import Path

import pytest

from kubeadm_deploys.hetzner.servers.description import ClusterDescription, Pool
from kubeadm_deploys.hetzner.servers.description_file import describe, load_description
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.hetzner_cluster import write_key

ROOT = Path(__file__).parents[2]


def problems(variables: dict[str, object]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        describe(variables)
    return caught.value.problems


def test_only_the_name_is_required() -> None:
    description = describe({"cluster_name": "demo"})
    assert description == ClusterDescription(cluster_name="demo")
    control_plane, workers = description.pools
    assert control_plane == Pool(
        name="control-plane", role="control-plane", count=1, server_type="cx23", labels={}
    )
    assert workers == Pool(name="worker", role="worker", count=1, server_type="cx23", labels={})
    assert not description.has_load_balancer and description.is_api_public


def test_the_name_is_required() -> None:
    [problem] = problems({})
    assert problem.startswith("cluster_name: is missing;")


def test_sources_may_be_a_comma_separated_text() -> None:
    settings = {"ssh_from": "203.0.113.7/32", "api_from": "198.51.100.0/24, 2001:db8::/32"}
    description = describe({"cluster_name": "demo", "hetzner": settings})
    assert [str(network) for network in description.ssh_from] == ["203.0.113.7/32"]
    assert [str(network) for network in description.api_from] == ["198.51.100.0/24", "2001:db8::/32"]


def test_pools_have_defaults_for_missing_settings() -> None:
    description = describe(
        {
            "cluster_name": "demo",
            "hetzner": {"control_plane": {"count": 3}, "worker_pools": {"a": {}, "b": {"count": 0}}},
        }
    )
    assert description.has_load_balancer
    assert [(pool.name, pool.count, pool.server_type) for pool in description.pools] == [
        ("control-plane", 3, "cx23"),
        ("a", 1, "cx23"),
        ("b", 0, "cx23"),
    ]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"locaton": "fsn1"}, "hetzner.locaton: is not a setting; did you mean location?"),
        ({"colour": "green"}, "hetzner.colour: is not a setting; choose location, image"),
        ({"location": "FSN 1"}, "hetzner.location: 'FSN 1' is not a valid Hetzner name"),
        ({"ssh_key": "~/.ssh/id_ed25519"}, "hetzner.ssh_key: '~/.ssh/id_ed25519' is not a public key file"),
        ({"network": "10.0.0.0"}, "hetzner.network: '10.0.0.0' is not an IPv4 network"),
        ({"network": "8.8.0.0/16"}, "hetzner.network: '8.8.0.0/16' is not a private network"),
        (
            {"network": "172.31.0.0/16"},
            "hetzner.network: '172.31.0.0/16' contains 172.31.1.1, the gateway of",
        ),
        ({"network": "10.0.0.0/25"}, "hetzner.network: '10.0.0.0/25' is too small"),
        ({"network": "10.244.0.0/16"}, "hetzner.network: 10.244.0.0/16 overlaps pod_subnet 10.244.0.0/16"),
        ({"network": "10.0.0.0/8"}, "hetzner.network: 10.0.0.0/8 overlaps service_subnet 10.96.0.0/12"),
        ({"ssh_from": "me"}, "hetzner.ssh_from: 'me' is not a list of networks"),
        ({"ssh_from": ["10.0.0.1/8"]}, "hetzner.ssh_from: ['10.0.0.1/8'] is not a list of networks"),
        ({"ssh_from": []}, "hetzner.ssh_from: [] blocks SSH, but connect_by is 'public_ipv4'"),
        (
            {"api_from": [f"10.0.{n}.0/24" for n in range(101)]},
            "has 101 networks, but a firewall rule takes at most 100",
        ),
        ({"control_plane": 3}, "hetzner.control_plane: 3 is not a mapping"),
        ({"control_plane": {"count": 0}}, "hetzner.control_plane.count: 0 is not a number of servers"),
        ({"control_plane": {"count": True}}, "hetzner.control_plane.count: True is not a number"),
        (
            {"control_plane": {"tipe": "cx23"}},
            "hetzner.control_plane.tipe: is not a setting; did you mean type?",
        ),
        ({"worker_pools": []}, "hetzner.worker_pools: [] is not a mapping; write it like {'worker'"),
        ({"worker_pools": {"a": 3}}, "hetzner.worker_pools.a: 3 is not a mapping"),
        ({"worker_pools": {"workers": {}}}, "hetzner.worker_pools.workers: 'workers' is reserved for"),
        (
            {"worker_pools": {"control-plane": {}}},
            "hetzner.worker_pools.control-plane: 'control-plane' is",
        ),
        ({"worker_pools": {"Big": {}}}, "hetzner.worker_pools.Big: 'Big' is not a valid name"),
        (
            {"worker_pools": {"a": {"labels": {"x": 1}}}},
            "hetzner.worker_pools.a.labels: {'x': 1} is not a mapping",
        ),
        (
            {"worker_pools": {"a": {"labels": {"x": "ä"}}}},
            "hetzner.worker_pools.a.labels: {'x': 'ä'} has 'x=ä', which is not a valid label",
        ),
        (
            {"worker_pools": {"a": {"labels": {"kubeadm-deploys/role": "x"}}}},
            "has 'kubeadm-deploys/role', whose prefix is reserved for kubeadm-deploys",
        ),
        (
            {"worker_pools": {"a": {"labels": {"hetzner.cloud/x": "y"}}}},
            "has 'hetzner.cloud/x', whose prefix is reserved for Hetzner",
        ),
        (
            {"worker_pools": {"a": {"count": 100}}},
            "hetzner.worker_pools: 101 servers in total, a network takes 100",
        ),
        ({"worker_pools": {"a" * 60: {}}}, "would be longer than a host name's 63 characters"),
        (
            {"connect_by": "ipv4"},
            "hetzner.connect_by: 'ipv4' is not valid; choose public_ipv4 or public_ipv6 or",
        ),
        ({"jump_host": "bastion"}, "hetzner.jump_host: 'bastion' is not a jump host"),
        (
            {"jump_host": "me@bastion"},
            "hetzner.jump_host: 'me@bastion' is only used with connect_by 'private'",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_a_fix(settings: dict[str, object], problem: str) -> None:
    found = problems({"cluster_name": "demo", "hetzner": settings})
    assert [text for text in found if problem in text], found


def test_all_problems_are_reported_at_once() -> None:
    found = problems(
        {
            "cluster_name": "Demo",
            "kubernets_version": "1.36.3",
            "hetzner": {
                "locaton": "x",
                "network": "x",
                "control_plane": {"count": 0},
                "worker_pools": {"all": {}},
            },
        }
    )
    assert len(found) == 6
    assert "kubernets_version: is not an option; did you mean kubernetes_version?" in found
    assert len([text for text in found if text.startswith("cluster_name:")]) == 1


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        ({"control_plane": {"count": 2}}, "use 1, 3 or 5"),
        ({"control_plane": {"count": 3}, "api_from": ["203.0.113.0/24"]}, "load balancers have no firewall"),
        ({"connect_by": "private"}, "without jump_host"),
    ],
)
def test_settings_that_are_probably_not_intended_are_warnings(
    settings: dict[str, object], warning: str
) -> None:
    [text] = describe({"cluster_name": "demo", "hetzner": settings}).warnings()
    assert warning in text


def test_usual_settings_have_no_warning() -> None:
    settings = {
        "control_plane": {"count": 3},
        "connect_by": "private",
        "jump_host": "me@bastion.example.com:2222",
    }
    assert list(describe({"cluster_name": "demo", "hetzner": settings}).warnings()) == []


def test_a_file_is_read_as_pyinfra_reads_group_data(tmp_path: Path) -> None:
    path = tmp_path / "demo.py"
    key = write_key(tmp_path)
    path.write_text(
        "import os.path\nfrom pathlib import Path\n"
        "cluster_name = 'demo'\nkubernetes_version = '1.35.4'\n_private = 1\n"
        f"hetzner = {{'ssh_key': str(Path({str(key.parent)!r}) / 'id_ed25519.pub')}}\n"
    )
    description, others = load_description(path)
    assert description.ssh_key == str(key)
    assert others == {"cluster_name": "demo", "kubernetes_version": "1.35.4", "_private": 1}


def test_a_file_may_list_its_variables_in_all(tmp_path: Path) -> None:
    path = tmp_path / "demo.py"
    key = write_key(tmp_path)
    path.write_text(
        "__all__ = ['cluster_name', 'hetzner']\nhelper = 1\ncluster_name = 'demo'\n"
        f"hetzner = {{'ssh_key': {str(key)!r}}}\n"
    )
    assert load_description(path)[1] == {"cluster_name": "demo"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cluster_name = ", "cannot be executed (SyntaxError"),
        ("cluster_name = 1 / 0", "cannot be executed (ZeroDivisionError: division by zero)"),
        ("hetzner = {}", "cluster_name: is missing"),
        ("cluster_name = 'demo'\nhetzner = 7", "hetzner: 7 is not a mapping"),
        (
            "cluster_name = 'demo'\nhetzner = {'ssh_key': '/none.pub'}",
            "'/none.pub' cannot be read (No such file",
        ),
        ("cluster_name = 'demo'\nhetzner = {'ssh_key': 'BAD'}", "is not an OpenSSH public key"),
        (
            "cluster_name = 'demo'\nhetzner = {'ssh_key': 'KEY', 'worker_pools': {'demo': {}}}",
            "pool 'demo' has the inventory's name",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_path(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "bad.pub").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    path = tmp_path / "demo.py"
    path.write_text(text.replace("KEY", str(write_key(tmp_path))).replace("BAD", str(tmp_path / "bad.pub")))
    with pytest.raises(InputError) as caught:
        load_description(path)
    assert str(path) in str(caught.value) and problem in str(caught.value)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(InputError, match=r"description: '/none\.py' cannot be read"):
        load_description(Path("/none.py"))


def test_the_shipped_description_shows_the_defaults() -> None:
    """Uncommented, every setting in the file that users edit is the default."""
    text = (ROOT / "inventories/group_data/hetzner.py").read_text()
    settings = text.partition("hetzner: dict[str, object] = {")[2].rpartition("}")[0]
    code = [bare for line in settings.splitlines() if (bare := line.strip(" #")).startswith(('"', "}"))]
    shown = ast.literal_eval(f"{{{''.join(code)}}}")
    # An example, not the default.
    del shown["jump_host"]
    assert describe({"cluster_name": "demo", "hetzner": shown}) == describe({"cluster_name": "demo"})
    fields = set(ClusterDescription.model_fields)
    assert set(shown) == fields - {"cluster_name", "jump_host"}


def test_no_setting_has_the_name_of_an_option() -> None:
    settings = set(ClusterDescription.model_fields) - {"cluster_name"}
    assert not settings & set(ClusterOptions.model_fields)
