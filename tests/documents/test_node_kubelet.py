"""The files that give one node's kubelet own fields: their content, and what is seen of files that were found."""

import pytest
import yaml
from hypothesis import given

from kubeadm_deploys.documents.node_kubelet import (
    FIELDS_FILE,
    UNIT,
    UNIT_FILE,
    FoundFiles,
    differ,
    fields_file,
    wanted_files,
)
from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.scripts import text
from tests.support.strategies import DOCUMENTS

FIELDS = {"maxPods": 50, "kubeReserved": {"memory": "1Gi", "cpu": "500m"}}


def sums(contents: dict[str, str]) -> dict[str, str]:
    return {path: sha256(content) for path, content in contents.items()}


def test_the_kubelet_is_given_the_folder_of_its_fields_beside_kubeadms_file() -> None:
    files = wanted_files(FIELDS)
    assert yaml.safe_load(files[FIELDS_FILE]) == {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        **FIELDS,
    }
    # The kubelet reads only files with this ending; systemd applies drop-ins in the order of their names.
    assert FIELDS_FILE.endswith(".conf") and UNIT_FILE.rpartition("/")[2] > "10-kubeadm.conf"
    folder = FIELDS_FILE.rpartition("/")[0]
    line = f'Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml --config-dir={folder}"'
    assert line in files[UNIT_FILE].splitlines()


@pytest.mark.parametrize("name", ["read-kube-packages", "library/cluster-traces"])
def test_scripts_that_name_the_file_name_the_same(name: str) -> None:
    assert FIELDS_FILE in text(name)


def test_the_folder_is_not_the_one_of_kubernetes_documentation() -> None:
    assert not FIELDS_FILE.startswith("/etc/kubernetes/kubelet.conf.d/")


def test_without_fields_there_are_no_files() -> None:
    assert wanted_files({}) == {}
    assert not differ({}, found={"/etc/apt/x": "0"})
    for path, content in wanted_files(FIELDS).items():
        assert differ({}, found=sums({path: content}))


def test_files_differ_unless_both_are_those_of_the_fields() -> None:
    files = wanted_files(FIELDS)
    assert not differ(FIELDS, found=sums(files))
    assert not differ(dict(reversed(FIELDS.items())), found=sums(files))
    assert differ({**FIELDS, "maxPods": 51}, found=sums(files))
    assert differ(FIELDS, found=sums({**files, FIELDS_FILE: fields_file(FIELDS, unfinished=True)}))
    for path in files:
        assert differ(FIELDS, found=sums({path: files[path]}))


@given(DOCUMENTS)
def test_what_was_written_is_found_again(fields: dict[str, object]) -> None:
    for unfinished in (False, True):
        content = fields_file(fields, unfinished=unfinished)
        found = FoundFiles(contents={FIELDS_FILE: content, UNIT_FILE: UNIT})
        assert (found.fields, found.unfinished, found.edited) == (fields, unfinished, [])
        assert not found.doubtful


def test_an_edit_is_seen_in_either_file() -> None:
    files = wanted_files(FIELDS)
    for path in files:
        edited = FoundFiles(contents={**files, path: files[path].replace("50", "60") + "# mine\n"})
        assert edited.edited == [path] and edited.doubtful
    for broken in ("maxPods: [\n", "maxPods: 2026-13-45\n"):
        assert FoundFiles(contents={**files, FIELDS_FILE: broken}).fields == {}
    assert FIELDS_FILE in FoundFiles(contents={FIELDS_FILE: "maxPods: 5\n"}).edited
    assert FoundFiles().edited == [] and not FoundFiles().doubtful


def test_a_file_that_somebody_deleted_is_an_edit() -> None:
    files = wanted_files(FIELDS)
    for path, other in ((FIELDS_FILE, UNIT_FILE), (UNIT_FILE, FIELDS_FILE)):
        found = FoundFiles(contents={other: files[other]})
        assert found.edited == [path] and found.doubtful
    # What changes leave that were cut off: before the unit was written, and after it was removed.
    for fields, unfinished in ((FIELDS, True), ({}, True), ({}, False)):
        found = FoundFiles(contents={FIELDS_FILE: fields_file(fields, unfinished=unfinished)})
        assert found.edited == [] and found.doubtful == bool(fields)


def test_a_unit_of_another_release_gives_the_kubelet_its_fields() -> None:
    _, _, rest = UNIT.partition("\n")
    longer = f"# other words\n{rest}"
    other = UNIT.replace(rest, longer).replace(sha256(rest), sha256(longer))
    found = FoundFiles(contents={**wanted_files(FIELDS), UNIT_FILE: other})
    assert (found.fields, found.edited, found.doubtful) == (FIELDS, [], False)
    assert differ(FIELDS, found=sums(dict(found.contents)))
