"""The import layers: each folder imports only what the table allows, and there are no cycles."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import kubeadm_deploys

ROOT = Path(kubeadm_deploys.__file__).parent

BASE = {"scripts", "model", "documents", "remote"}
CLUSTER = BASE | {"facts", "operations", "cluster"}
SECTIONS = CLUSTER | {"endpoints", "clouds", "cni", "sections"}
MAY_USE: dict[str, set[str]] = {
    "scripts": set(),
    "model": set(),
    "documents": {"model"},
    "remote": {"scripts"},
    "facts": BASE,
    "operations": BASE,
    "endpoints": BASE | {"operations"},
    "cluster": BASE | {"facts", "operations"},
    "clouds": CLUSTER | {"hetzner.api"},
    "cni": CLUSTER,
    "run": CLUSTER | {"endpoints"},
    "sections": SECTIONS,
    "preflight": SECTIONS | {"run"},
    "lifecycle": SECTIONS | {"run", "preflight"},
    "inventory": {"model"},
    "command_line": {"model"},
    "hetzner.api": {"model", "documents"},
    "hetzner.servers": {"model", "inventory", "hetzner.api"},
    "hetzner.inventory": {"model", "remote", "hetzner.api", "hetzner.servers"},
    # It checks the results of the other modules, so it uses none of them.
    "verification": set(),
}
"""The folders that each folder may import, besides itself; docs/architecture.md has the diagram."""


def imports() -> dict[str, set[str]]:
    """Return the modules that each module of the package imports, by dotted names below the package."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in ROOT.rglob("*.py")
        if path.name != "__init__.py"
    }
    packages = {
        ".".join(path.relative_to(ROOT).parent.parts): path
        for path in ROOT.rglob("__init__.py")
        if path.parent != ROOT
    }
    known = packages | modules
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kubeadm_deploys."):
                module = str(node.module).removeprefix("kubeadm_deploys.")
                found[name] |= {
                    inner if (inner := f"{module}.{alias.name}") in known else module for alias in node.names
                }
    return found


def layer(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] == "hetzner" else parts[:1])


def test_a_folder_imports_only_what_the_table_allows() -> None:
    wrong = {
        f"{module} imports {used}"
        for module, all_used in imports().items()
        for used in all_used
        if layer(used) != layer(module) and layer(used) not in MAY_USE[layer(module)]
    }
    assert wrong == set()


def test_there_are_no_import_cycles() -> None:
    TopologicalSorter({name: used - {name} for name, used in imports().items()}).prepare()


def test_module_names_are_unique() -> None:
    names = Counter(name.rpartition(".")[2] for name in imports() if not name.startswith("verification."))
    # A cloud's folders are named like the folders that they extend.
    assert [name for name, count in names.items() if count > 1] == ["hetzner", "inventory"]


def test_the_table_lists_every_folder() -> None:
    assert {layer(module) for module in imports() if module != "hetzner"} == MAY_USE.keys()
