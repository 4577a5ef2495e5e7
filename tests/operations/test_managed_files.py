"""Whole files that a section owns."""

from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.operations.managed_files import differing_files


def test_files_differ_when_missing_or_different() -> None:
    wanted = {"/a": "one\n", "/b": "two\n", "/c": "three\n"}
    found = {"/a": sha256("one\n"), "/b": sha256("other\n")}
    assert differing_files(wanted=wanted, found=found) == {"/b", "/c"}
