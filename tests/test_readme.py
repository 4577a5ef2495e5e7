"""What README.md says is what the code has."""

import dataclasses
import re
from pathlib import Path

from kubeadm_deploys.findings import CHECKS
from kubeadm_deploys.options import ClusterOptions

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- options: tests/test_readme.py holds this table against ClusterOptions -->\n"
END = "<!-- /options -->"
CHECKS_BEGIN = "<!-- checks: tests/test_readme.py holds this table against findings.CHECKS -->\n"
CHECKS_END = "<!-- /checks -->"


def options_table() -> str:
    """The table of options from the fields of ClusterOptions."""
    rows = ["| option | default | meaning |", "| --- | --- | --- |"]
    defaults = ClusterOptions()
    for field in dataclasses.fields(ClusterOptions):
        default = getattr(defaults, field.name)
        shown = (
            "" if default in ("", (), {}) else f"`{str(default).lower() if default is False else default}`"
        )
        rows.append(f"| `{field.name}` | {shown} | {field.metadata['meaning']} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_options_is_complete_and_true() -> None:
    text = README.read_text()
    table = text.partition(BEGIN)[2].partition(END)[0]
    assert table == options_table(), f"write this into README.md:\n{options_table()}"


def checks_table() -> str:
    """The table of preflight's checks; those that cannot be waived are marked."""
    rows = ["| check | danger | doubt | cure |", "| --- | --- | --- | --- |"]
    for name, check in CHECKS.items():
        mark = "" if check.waivable else " (not to be waived)"
        rows.append(f"| `{name}`{mark} | {check.danger} | {check.doubt} | {check.cure} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_checks_is_complete_and_true() -> None:
    table = README.read_text().partition(CHECKS_BEGIN)[2].partition(CHECKS_END)[0]
    assert table == checks_table(), f"write this into README.md:\n{checks_table()}"


def test_the_two_commands_come_first() -> None:
    (first, *_) = re.findall(r"```console\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["$ make cluster", "$ make test"]
