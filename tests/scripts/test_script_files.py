"""Scripts are files: each is called by its name, checked as a file, and runs in the same environment."""

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyinfra.api.command import StringCommand

from kubeadm_deploys import scripts
from kubeadm_deploys.facts.cluster_health import ADMIN_CONF, KUBECTL, KUBECTL_CACHE, KUBECTL_WAIT
from kubeadm_deploys.scripts import ENVIRONMENT, script
from tests.support.remote_scripts import script_called

FOLDER = Path(scripts.__file__).parent
FILES = sorted(FOLDER.glob("*.sh"))
LIBRARIES = sorted(FOLDER.glob("library/*.sh"))
MODULES = [path for path in FOLDER.parent.rglob("*.py") if path.parent.name != "verification"]

INLINE_LINES = 10
"""The most lines of a script in a Python module."""

SHELL = re.compile(r"; (then|do)\b|^\s*(fi|done|esac)\b|\$\(|\$[1@]", re.MULTILINE)
"""What distinguishes a shell script from other long texts."""


def called(module: str) -> Iterator[str]:
    """Yield the names of the scripts that a module calls."""
    for node in ast.walk(ast.parse(module)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("script", "in_unit")
        ):
            yield str(ast.literal_eval(node.args[0]))


def long_scripts(module: str) -> Iterator[int]:
    """Yield the lines at which a module has a shell script that belongs in a file."""
    for line, text in literals(ast.parse(module)):
        if len(text.strip().splitlines()) > INLINE_LINES and SHELL.search(text):
            yield line


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every string of a module with its line, without interpolated values."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(text for _, text in literals(node))
        elif isinstance(node, ast.Constant):
            yield node.lineno, str(node.value)
        else:
            yield from literals(node)


def test_every_script_is_called_and_every_call_has_its_script() -> None:
    names = {name for module in MODULES for name in called(module.read_text())}
    assert names == {path.stem for path in FILES}


def test_every_library_is_used() -> None:
    used = {
        name
        for path in (*FILES, *LIBRARIES, *MODULES)
        for names in re.findall(
            r"""^\. library/([a-z-]+)\.sh$|text\("library/([a-z-]+)"\)""", path.read_text(), re.MULTILINE
        )
        for name in names
        if name
    }
    assert used == {path.stem for path in LIBRARIES}


def test_no_long_script_is_left_in_python() -> None:
    assert [f"{path}:{line}" for path in MODULES for line in long_scripts(path.read_text())] == []


def test_a_long_script_in_python_is_found() -> None:
    body = "\n".join(f"echo {number}" for number in range(INLINE_LINES))
    assert list(long_scripts(f'_RUN = """\nset -eu\n{body}\nif true; then\n  echo "$1"\nfi\n"""')) == [1]
    assert list(long_scripts(f'_RUN = f"""\n{body}\nfor each in {{x}}; do echo; done\n"""')) == [1]
    assert list(long_scripts('_RUN = """\nfor each in "$@"; do\n  echo "$each"\ndone\n"""')) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_script_describes_its_arguments_and_both_shells_parse_it(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    assert first == "#!/bin/sh" and second.startswith("# ")
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", path.stem)
    text = scripts.text(path.stem)
    assert not re.search(r"^\. library/", text, re.MULTILINE)
    for shell in ("dash", "bash"):
        done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_script_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        script("do-what-i-mean")


def run(command: StringCommand, *, shell: str = "sh") -> list[str]:
    done = subprocess.run(
        [shell, "-c", command.get_raw_value()],
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin", "http_proxy": "http://proxy:3128", "NO_PROXY": "x"},
        input=str(command.connector_arguments.get("_stdin", "")),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


ARGUMENTS = ("", "a b", "it's", '"$(id)"', "`id`", "a\nb", "*", "-- ;&|\\")


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_arguments_arrive_unchanged_and_the_environment_is_always_the_same(
    monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    text = 'printf "<%s>" "$0" "$@"; echo; echo "$LC_ALL $PATH ${http_proxy-none} $NO_PROXY"; cat'
    monkeypatch.setattr(scripts, "text", lambda _: text)
    command = script("show-all", *ARGUMENTS, stdin="a secret\n")
    shown = "".join(f"<{word}>" for word in ("show-all", *ARGUMENTS))
    environment = f"C.UTF-8 {scripts.PATH} none x"
    assert run(command, shell=shell) == [*shown.splitlines(), environment, "a secret"]
    assert script_called(command.get_raw_value()) == ("show-all", list(ARGUMENTS))


def test_stdin_and_the_time_limit_are_only_passed_to_the_connector() -> None:
    command = script("write-files", "/etc/x", stdin="c2VjcmV0\n", seconds=7)
    assert command.connector_arguments == {"_stdin": "c2VjcmV0\n", "_timeout": 7}
    assert "c2VjcmV0" not in command.get_raw_value()
    assert script("read-swap").connector_arguments == {}


def test_scripts_and_python_call_kubectl_with_the_same_options() -> None:
    library = " ".join(scripts.text("library/kubectl").replace("\\\n", "").split())
    assert f"kubeconfig={ADMIN_CONF} " in library
    assert KUBECTL_WAIT.removeprefix(ENVIRONMENT).replace(ADMIN_CONF, '"$kubeconfig"') in library
    assert f"watch_api{KUBECTL.removeprefix(KUBECTL_WAIT)} " in library
    for path in (*FILES, *LIBRARIES):
        found = re.findall(r"/run/kubeadm-deploys-kubectl[^\s;]*", path.read_text())
        assert set(found) <= {KUBECTL_CACHE}


def test_the_wheel_has_every_script(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=FOLDER.parents[2], check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    names = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    assert {path.relative_to(FOLDER.parents[1]) for path in (*FILES, *LIBRARIES)} <= names
