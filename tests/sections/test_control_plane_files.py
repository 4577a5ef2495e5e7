"""Which files of ``control_plane_files`` differ on a machine, read by the real script."""

import subprocess
from pathlib import Path

from kubeadm_deploys.model.control_plane_file import ControlPlaneFile
from kubeadm_deploys.sections.control_plane_files import ControlPlaneFiles, ControlPlaneFilesState, differing
from tests.support.remote_scripts import with_programs


def found(*paths: Path) -> ControlPlaneFilesState:
    fact = ControlPlaneFiles()
    command = with_programs(fact.command(paths=tuple(map(str, paths))), "")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    return fact.process(done.stdout.splitlines())


def test_a_file_differs_by_content_mode_or_absence(tmp_path: Path) -> None:
    same, other, readable, missing = (tmp_path / name for name in ("same", "other", "readable", "missing"))
    for path, content, mode in ((same, "a", 0o600), (other, "b", 0o600), (readable, "a", 0o644)):
        path.write_text(content)
        path.chmod(mode)
    paths = (same, other, readable, missing)
    files = {str(path): ControlPlaneFile(content="a") for path in paths}
    wanted = dict.fromkeys(files, b"a")
    assert differing(files, wanted, found(*paths)) == [str(other), str(readable), str(missing)]
    files[str(readable)] = ControlPlaneFile(content="a", mode="644")
    assert differing(files, wanted, found(*paths)) == [str(other), str(missing)]
