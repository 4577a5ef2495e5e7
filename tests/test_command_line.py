"""``kubeadm-deploys init``: a project's files from the package, as a checkout has them and as the wheel has them."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kubeadm_deploys.command_line import FILES, main

ROOT = Path(__file__).parents[1]


def pyinfra(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyinfra", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "deploys")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_a_project_has_scripts_inventories_and_commented_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "cluster"
    assert main(["init", str(folder)]) == 0
    assert "inventories/machines.py" in capsys.readouterr().out
    for name, source in FILES.items():
        assert (folder / name).read_bytes() == (ROOT / source).read_bytes()
    data = (folder / "inventories/group_data/all.py").read_text().partition('"""\n\n')[2]
    assert [line for line in data.splitlines() if line and not line.startswith("#")] == []


def test_pyinfra_reads_the_inventory_of_a_new_project(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path)]) == 0
    shown = pyinfra("inventories/machines.py", "debug-inventory", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    for word in ("203.0.113.10", "control-plane-1", "203.0.113.11", "worker-1"):
        assert word in shown.stdout + shown.stderr


def test_a_file_that_exists_is_not_overwritten_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    existing = tmp_path / "deploys" / "cluster.py"
    existing.parent.mkdir()
    existing.write_text("mine\n")
    assert main(["init", str(tmp_path)]) == 1
    assert str(existing) in capsys.readouterr().err
    assert existing.read_text() == "mine\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [existing]


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_the_wheel_has_all_files_of_a_project(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"kubeadm_deploys/project/{source}" for source in FILES.values()} <= names
    assert {name.rpartition("/")[2] for name in names} >= {"LICENSE", "entry_points.txt"}
    # As installed: from the wheel's own files, with no checkout beside them.
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    write = "import sys; from kubeadm_deploys import command_line as c; c.write_project(c.Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-c", write, str(tmp_path / "new")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
    )
    assert all(
        (tmp_path / "new" / name).read_bytes() == (ROOT / source).read_bytes()
        for name, source in FILES.items()
    )
    # A new entry script or inventory belongs into a project too.
    scripts = {f"deploys/{path.name}" for path in (ROOT / "deploys").glob("*.py")}
    assert scripts == {name for name in FILES if name.startswith("deploys/")}


def test_the_importing_example_is_the_one_that_the_documents_show() -> None:
    text = (ROOT / "examples/importing/deploys/node.py").read_text()
    code = text.partition('"""\n\n')[2]
    assert code and code in (ROOT / "docs/library.md").read_text()
