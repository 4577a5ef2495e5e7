"""The option ``control_plane_files``: paths, modes, contents, and that no message shows a content."""

from pathlib import Path

import pytest

from kubeadm_deploys.model.control_plane_file import MOST_BYTES, contents
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions

POLICY = "/etc/kubernetes/audit/policy.yaml"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"/etc/kubernetes/pki/x.yaml": {"content": "hidden"}}, ["a folder that kubeadm"]),
        ({"/etc/kubernetes/manifests/x.yaml": {"content": "hidden"}}, ["a folder that kubeadm"]),
        ({"/etc/kubernetes/admin.conf": {"content": "hidden"}}, ["not in a folder below"]),
        ({"/etc/passwd": {"content": "hidden"}}, ["not in a folder below"]),
        ({"/etc/kubernetes/a/../../passwd": {"content": "hidden"}}, ["not in a folder below"]),
        ({"/etc/kubernetes/a/b c": {"content": "hidden"}}, ["not the path"]),
        ({POLICY: "hidden"}, ["not a mapping", "audit-policy.yaml"]),
        ({POLICY: {}}, ["neither or both"]),
        ({POLICY: {"content": "hidden", "file": "x"}}, ["neither or both"]),
        ({POLICY: {"content": ["hidden"]}}, ["not text"]),
        ({POLICY: {"content": "hidden", "mode": "0777"}}, ["'0777'", "0640"]),
        ({POLICY: {"text": "hidden"}}, ["text", "choose content, file, mode"]),
    ],
)
def test_wrong_files_are_refused_without_their_content(files: object, words: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        ClusterOptions(control_plane_files=files)
    assert all(word in str(refused.value) for word in words), refused.value
    assert "hidden" not in str(refused.value)


def test_contents_are_read_when_they_are_needed(tmp_path: Path) -> None:
    local = tmp_path / "policy.yaml"
    options = ClusterOptions(
        control_plane_files={
            POLICY: {"file": str(local), "mode": "640"},
            "/etc/kubernetes/audit/other": {"content": "hidden"},
        }
    )
    assert "hidden" not in repr(options)
    assert [file.mode for file in options.control_plane_files.values()] == ["0640", "0600"]
    with pytest.raises(InputError, match="cannot be read"):
        contents(options.control_plane_files)
    local.write_text("rules: []")
    assert contents(options.control_plane_files) == {
        POLICY: b"rules: []",
        "/etc/kubernetes/audit/other": b"hidden",
    }
    local.write_bytes(b"x" * (MOST_BYTES + 1))
    with pytest.raises(InputError, match="use a file of 1 to"):
        contents(options.control_plane_files)
