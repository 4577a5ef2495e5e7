"""What the documents say is what the code has: tables, commands, links and Python."""

import re
from pathlib import Path

import pytest

import kubeadm_deploys
from kubeadm_deploys.model.findings import CHECKS
from kubeadm_deploys.model.host_data import HostData
from kubeadm_deploys.model.options import ClusterOptions, scope_of

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = [README, *ROOT.glob("docs/*.md"), *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md"))]

OPTIONS_HEAD = """\
# Options

Fields of `ClusterOptions`, and the data of single hosts; [configuration](configuration.md) says how to set them and what holds on a cluster that exists.
This page is generated from the code: `python -m tests.test_docs`.

"""
CHECKS_HEAD = """\
# Preflight checks

```console
$ pyinfra -y inventories/machines.py deploys/preflight.py     # only the checks; exit code 1 if there is an error
```

`cluster.py` begins with the same checks. Each machine is read with one command that changes nothing, and all problems are
reported at once, with machine, check, finding and fix. Errors stop the run before any change; warnings are only printed. On
machines that already are nodes of the cluster most errors are warnings, because they work there.

`skip_preflight_checks = ["os", "hostname"]` skips checks by name. Checks marked "always on" protect data that this project did
not create, or are repeated when a machine joins. kubeadm's own checks are another option, `ignore_preflight_errors`. Download
hosts are tried only while a machine needs something from them. This page is generated from the code:
`python -m tests.test_docs`.

"""


def options_page() -> str:
    """docs/options.md, from the fields of ClusterOptions and HostData."""
    rows = ["| option | default | of | meaning |", "| --- | --- | --- | --- |"]
    defaults = ClusterOptions()
    for option, field in ClusterOptions.model_fields.items():
        default = getattr(defaults, option)
        text = str(default).lower() if isinstance(default, bool) else str(default)
        shown = "" if default in ("", (), {}, None) else f"`{text}`"
        rows.append(f"| `{option}` | {shown} | {scope_of(option)} | {field.description} |")
    rows += ["", "## Data of single hosts", "", "| data | meaning |", "| --- | --- |"]
    rows += [f"| `{name}` | {field.description} |" for name, field in HostData.model_fields.items()]
    return OPTIONS_HEAD + "\n".join(rows) + "\n"


def checks_page() -> str:
    """docs/preflight.md, from the checks."""
    rows = ["| check | error | warning | fix |", "| --- | --- | --- | --- |"]
    for name, check in CHECKS.items():
        mark = "" if check.skippable else " (always on)"
        rows.append(f"| `{name}`{mark} | {check.error} | {check.warning} | {check.fix} |")
    return CHECKS_HEAD + "\n".join(rows) + "\n"


PAGES = {"options.md": options_page, "preflight.md": checks_page}


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run: python -m tests.test_docs"


def test_the_two_commands_come_first() -> None:
    (first, *_) = re.findall(r"```console\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["$ make cluster", "$ make test"]
    assert len(README.read_text().splitlines()) <= 160


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (declared,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert sorted(re.findall(r"^# make (\S+)", makefile, re.MULTILINE)) == sorted(declared.split())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings_that_exist(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_name_scripts_and_targets_that_exist(path: Path) -> None:
    text = path.read_text()
    for script in re.findall(r"\bdeploys/(\w+\.py)", text):
        assert (ROOT / "deploys" / script).exists() or path.name == "library.md", script
    targets = set(re.findall(r"^# make (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^\$ |`)make ([a-z-]+)", text, re.MULTILINE):
        assert target in targets, target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_in_documents_runs(path: Path) -> None:
    """Deploys run inside pyinfra: of these the names that they import are looked for."""
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), flags=re.DOTALL):
        code = compile(block, str(path), "exec")
        if "from pyinfra import" not in block:
            exec(code, {})
            continue
        (imported,) = re.findall(r"from kubeadm_deploys import \((.*?)\)", block, flags=re.DOTALL)
        for name in filter(None, (each.strip() for each in imported.split(","))):
            assert name in kubeadm_deploys.__all__


if __name__ == "__main__":
    for file, page in PAGES.items():
        (ROOT / "docs" / file).write_text(page())
