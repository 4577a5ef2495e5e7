"""Texts that are written to machines: rendered from ``templates/``, compared by their sha256."""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

_PACKAGE = Path(__file__).parent


class _Dumper(yaml.SafeDumper):
    """Quotes strings that Go's reader, unlike Python's, takes for something else: y is true there, 1e3 a number.

    Source: resolve.go of sigs.k8s.io/yaml, with which Kubernetes reads.
    """


_Dumper.add_implicit_resolver("!ambiguous", re.compile(r"[yYnN]$|[-+.0-9]"), list("yYnN-+.0123456789"))


@cache
def templates_folder() -> Path:
    """The folder of the templates: inside the package when installed, at the top of a checkout.

    Raises:
        FileNotFoundError: when neither is there, that is, the installation is broken.
    """
    for folder in (_PACKAGE / "templates", _PACKAGE.parents[1] / "templates"):
        if (folder / "containerd-config.toml.j2").is_file():
            return folder
    raise FileNotFoundError(f"no templates beside {_PACKAGE}; install kubeadm-deploys again")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(templates_folder()),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # These are configuration files, not HTML.
        autoescape=False,
    )


def render(template: str, **variables: object) -> str:
    """Render a template of ``templates/``; an undefined variable is an error."""
    return _environment().get_template(template).render(**variables)


def yaml_text(*documents: Mapping[str, Any]) -> str:
    """Documents as YAML, in which every string is one to Go's reader too."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False)


def sha256(text: str) -> str:
    """The sha256 of a text as a file holds it."""
    return hashlib.sha256(text.encode()).hexdigest()
