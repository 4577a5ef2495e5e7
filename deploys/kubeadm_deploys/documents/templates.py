"""Render the files in ``templates/`` and YAML documents, which are compared by their sha256."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_PACKAGE = Path(__file__).parents[1]


class _Dumper(yaml.SafeDumper):
    """Quotes strings that Go's YAML parser, unlike Python's, reads as other types, like y and 1e3.

    Source: resolve.go of sigs.k8s.io/yaml, the parser of Kubernetes.
    """


_Dumper.add_implicit_resolver("!ambiguous", re.compile(r"[yYnN]$|[-+.0-9]"), list("yYnN-+.0123456789"))


@cache
def templates_folder() -> Path:
    """Return the templates folder: inside the installed package, or at the top of a checkout.

    Raises:
        FileNotFoundError: neither exists, so the installation is broken.
    """
    for folder in (_PACKAGE / "templates", _PACKAGE.parents[1] / "templates"):
        if (folder / "containerd-config.toml.j2").is_file():
            return folder
    raise FileNotFoundError(f"no templates found for {_PACKAGE}; reinstall kubeadm-deploys")


def _toml_string(text: str) -> str:
    """Return a printable text as a string of TOML, which knows no surrogate pairs."""
    return json.dumps(text, ensure_ascii=False)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_folder()),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # These are configuration files, not HTML.
        autoescape=False,
    )
    environment.filters["toml_string"] = _toml_string
    return environment


def render(template: str, **variables: object) -> str:
    """Render a template from ``templates/``; an undefined variable is an error."""
    return _environment().get_template(template).render(**variables)


def yaml_text(*documents: Mapping[str, Any]) -> str:
    """Return documents as YAML in which Go's parser also reads every string as a string."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False)


def sha256(text: str) -> str:
    """Return the sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()
