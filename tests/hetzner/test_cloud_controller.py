"""Hetzner's cloud controller: what is installed, and where the token is stored."""

import base64
import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from kubeadm_deploys.clouds import place_from_data
from kubeadm_deploys.clouds.hetzner.controller import (
    CloudAdministrator,
    CloudFiles,
    CloudSecret,
    CloudSecretState,
    kustomization,
    refuse_unknown_token,
    secret,
)
from kubeadm_deploys.clouds.hetzner.place import HetznerCloud
from kubeadm_deploys.cni import CNIS
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections import readiness
from kubeadm_deploys.sections.images import node_images

TOKEN = "t0ken" * 12 + "1234"
DATA = {"hcloud_network": "shop", "hcloud_location": "fsn1"}
OPTIONS = ClusterOptions(cluster_name="shop", cloud_provider="hetzner", pod_subnet="10.32.0.0/16")
CLOUD = HetznerCloud(network="shop", location="fsn1", token=TOKEN)


def read(data: Mapping[str, object], **environment: str) -> object:
    return place_from_data(data, options=OPTIONS, environment=environment)


def test_place_and_token_come_from_the_inventory_and_the_environment() -> None:
    assert read(DATA, HCLOUD_TOKEN=f"{TOKEN}\n") == CLOUD
    assert read({**DATA, "hcloud_endpoint": "http://10.0.0.9/v1"}) == HetznerCloud(
        network="shop", location="fsn1", endpoint="http://10.0.0.9/v1"
    )


def test_without_a_cloud_nothing_is_read() -> None:
    assert place_from_data({}, options=ClusterOptions(), environment={"HCLOUD_TOKEN": "rubbish"}) is None


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(InputError) as error:
        read({"hcloud_endpoint": "10.0.0.9"}, HCLOUD_TOKEN="short")
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "hcloud_network",
        "hcloud_location",
        "hcloud_endpoint",
        "HCLOUD_TOKEN",
    ]
    assert "short" not in str(error.value)


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(CLOUD)


@pytest.mark.parametrize(
    ("token", "found", "refused"),
    [
        (TOKEN, CloudSecretState(), False),
        ("", CloudSecretState(token_sha256="1f", network="shop"), False),
        ("", CloudSecretState(), True),
        ("", CloudSecretState(token_sha256="1f", network="other"), True),
    ],
)
def test_without_a_token_the_cluster_must_have_one(
    token: str, found: CloudSecretState, refused: bool
) -> None:
    cloud = HetznerCloud(network="shop", location="fsn1", token=token)
    if refused:
        with pytest.raises(InputError, match="HCLOUD_TOKEN: is not set"):
            refuse_unknown_token(found=found, cloud=cloud)
    else:
        refuse_unknown_token(found=found, cloud=cloud)


def test_the_secret_has_the_keys_that_the_manifests_read() -> None:
    document = json.loads(secret(CLOUD))
    assert (document["metadata"]["namespace"], document["metadata"]["name"]) == ("kube-system", "hcloud")
    assert {key: base64.b64decode(value).decode() for key, value in document["data"].items()} == {
        "token": TOKEN,
        "network": "shop",
    }


def test_the_fact_only_contains_the_hash_of_the_token() -> None:
    state = CloudSecret().process(["token 1f", "network shop"])
    assert state == CloudSecretState(token_sha256="1f", network="shop")
    assert CloudSecret().process(["no-secret"]) == CloudSecretState(token_sha256="")
    with pytest.raises(KeyError):
        CloudSecret().process([])
    assert CloudFiles().process(["file:/a 2e"]) == {"/a": "2e"}


@pytest.mark.parametrize(
    ("output", "administrator"),
    [
        ([], False),
        ([""], False),
        (["cluster-admin"], True),
        # A binding with this name to another role does not concern us.
        (["system:hcloud-cloud-controller-manager"], False),
    ],
)
def test_only_a_binding_to_cluster_admin_is_from_an_older_manifest(
    output: list[str], administrator: bool
) -> None:
    assert CloudAdministrator().process(output) is administrator


def document(*, options: ClusterOptions = OPTIONS, cloud: HetznerCloud = CLOUD, token: str = "1f") -> Any:
    return yaml.safe_load(kustomization(options=options, cloud=cloud, token_sha256=token))


def patched(document: Any, deployment: str) -> Any:
    patches = [yaml.safe_load(patch["patch"]) for patch in document["patches"] if "target" not in patch]
    (found,) = [patch for patch in patches if patch["metadata"]["name"] == deployment]
    return found["spec"]["template"]


def variables(document: Any, deployment: str) -> dict[str, str]:
    (container,) = patched(document, deployment)["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_the_cloud_controller_is_configured_for_the_cluster() -> None:
    assert variables(document(), "hcloud-cloud-controller-manager") == {
        "KUBERNETES_SERVICE_HOST": "api.shop.internal",
        "KUBERNETES_SERVICE_PORT": "6443",
        "HCLOUD_NETWORK_ROUTES_ENABLED": "false",
        "HCLOUD_LOAD_BALANCERS_LOCATION": "fsn1",
        "HCLOUD_LOAD_BALANCERS_USE_PRIVATE_IP": "true",
    }
    operations = [yaml.safe_load(patch["patch"]) for patch in document()["patches"] if "target" in patch]
    assert "--cluster-cidr=10.32.0.0/16" in [operation["value"] for operation in itertools.chain(*operations)]


def test_volumes_carry_the_clusters_label() -> None:
    assert variables(document(), "hcloud-csi-controller") == {
        "HCLOUD_VOLUME_DEFAULT_LOCATION": "fsn1",
        "HCLOUD_VOLUME_EXTRA_LABELS": "kubeadm-deploys/cluster=shop",
    }


def test_controller_and_csi_driver_use_the_given_endpoint() -> None:
    cloud = HetznerCloud(network="shop", location="fsn1", endpoint="http://10.0.0.9/v1")
    for deployment in ("hcloud-cloud-controller-manager", "hcloud-csi-controller"):
        assert variables(document(cloud=cloud), deployment)["HCLOUD_ENDPOINT"] == "http://10.0.0.9/v1"


def test_names_that_look_like_numbers_stay_text() -> None:
    options = ClusterOptions(control_plane_endpoint="1.5", cloud_provider="hetzner")
    found = variables(document(options=options), "hcloud-cloud-controller-manager")
    assert found["KUBERNETES_SERVICE_HOST"] == "1.5"


def test_a_location_must_be_a_name() -> None:
    with pytest.raises(InputError, match="hcloud_location: 'fsn1: x' is not a valid name"):
        read({**DATA, "hcloud_location": "fsn1: x"})
    with pytest.raises(InputError, match="hcloud_location: is missing"):
        read({**DATA, "hcloud_location": None})


def test_the_images_are_those_of_the_wanted_versions() -> None:
    options = ClusterOptions(hcloud_cloud_controller_version="1.35.9", hcloud_csi_version="2.20.0")
    assert {image["name"]: image["newTag"] for image in document(options=options)["images"]} == {
        "docker.io/hetznercloud/hcloud-cloud-controller-manager": "v1.35.9",
        "docker.io/hetznercloud/hcloud-csi-driver": "v2.20.0",
    }


def test_another_token_or_network_restarts_controller_and_csi_driver() -> None:
    for deployment in ("hcloud-cloud-controller-manager", "hcloud-csi-controller"):
        first, same, token, network = (
            patched(given, deployment)["metadata"]["annotations"]
            for given in (
                document(),
                document(),
                document(token="2e"),
                document(cloud=HetznerCloud(network="other", location="fsn1")),
            )
        )
        assert first == same
        assert first != token
        assert first != network


def test_a_release_that_lacks_a_feature_gate_of_the_manifests_is_refused() -> None:
    with pytest.raises(InputError, match=r"hcloud_cloud_controller_version: '1\.34\.0' .* 1\.35\.0 or newer"):
        ClusterOptions(hcloud_cloud_controller_version="1.34.0")


@pytest.mark.parametrize(
    ("options", "control_plane", "pulled"),
    [(OPTIONS, True, True), (OPTIONS, False, False), (ClusterOptions(), True, False)],
)
def test_the_first_control_plane_pulls_the_controllers_image_early(
    options: ClusterOptions, control_plane: bool, pulled: bool
) -> None:
    images = node_images(options=options, control_plane=control_plane)
    assert ("docker.io/hetznercloud/hcloud-cloud-controller-manager:v1.35.0" in images) == pulled


def test_readiness_waits_for_the_workloads_of_the_cluster() -> None:
    assert readiness.workloads(ClusterOptions()) == [*readiness.WORKLOADS, *CNIS["calico"].workloads]
    assert "deployment/hcloud-cloud-controller-manager" in readiness.workloads(OPTIONS)
