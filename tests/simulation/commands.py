"""What a command that the product sends is made of: its fence, its readings, and the script or the known words.

The one place that knows how the product phrases what it sends. What is recognised here by its text is to be recognised
by its script's name once scripts are files.
"""

import re
from dataclasses import dataclass

from kubeadm_deploys import diagnosis
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.facts.etcd import ETCDCTL
from kubeadm_deploys.operations import cluster_record

READING = "reading"
SCRIPT = "script"
COMMAND = "command"
KUBECTL_COMMAND = "kubectl"
ETCDCTL_COMMAND = "etcdctl"

# A word of the shell, of pieces that are quoted or not. None of ours is quoted with "" but for a single quote.
_WORD = re.compile(r"""\s*((?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+)""")
_PIECE = re.compile(r"""'([^']*)'|"([^"]*)"|\\(.)|([^\s'"\\]+)""")
_FENCE = re.compile(r"^\{ if \[ -e \S+ \] && ! grep -qxF 'run (\w+)' [^\n]*\|\| exit\n")
_MARK = re.compile(r"echo '<<< (\w+)'")
_SAID = re.compile(r"echo (.*) >&2; exit 1", re.DOTALL)
_PATHS = re.compile(r"for path in ([^;]*?) ?; ?do(?:\n|\s)+(?:if \[ -f|echo \"release:)")

_KUBECTLS = {
    f"{KUBECTL} ": KUBECTL_COMMAND,
    f"{KUBECTL_WAIT} ": KUBECTL_COMMAND,
    f"{ETCDCTL} ": ETCDCTL_COMMAND,
}

_STOP_API_SERVER = "rm --force kube-apiserver.yaml kube-controller-manager.yaml kube-scheduler.yaml"

_DIAGNOSIS = diagnosis.DIAGNOSE.get_raw_value()


class UnknownCommand(AssertionError):
    """The product sends something that the world does not know."""

    def __init__(self, machine: str, command: str) -> None:
        super().__init__(f"{machine} got a command that the world does not know:\n{command}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that a command does: of a ``kind``, with the ``name`` of the reading or script, or the verb.

    ``words`` are its arguments, ``text`` is all of it.
    """

    kind: str
    name: str
    words: tuple[str, ...] = ()
    text: str = ""

    @property
    def label(self) -> str:
        """What it is called in histories."""
        if self.name == "kubeadm":
            return " ".join(("kubeadm", *(word for word in self.words if not word.startswith("-"))))
        return self.name


def fence_of(command: str) -> tuple[str, str]:
    """The run by whose lock a command is fenced, empty without one, and the command itself."""
    found = _FENCE.match(command)
    return (found[1], command[found.end() :]) if found else ("", command)


def parts(machine: str, command: str) -> list[Part]:
    """All that a command (without its fence) does, in its order.

    Raises:
        UnknownCommand: it is none that the world knows.
    """
    marks = list(_MARK.finditer(command))
    if marks:
        return [_reading(command, mark) for mark in marks]
    found = _simple(command.strip())
    if found is None:
        raise UnknownCommand(machine, command)
    return found


def _reading(command: str, mark: re.Match[str]) -> Part:
    end = command.find(f"echo '>>> {mark[1]}'", mark.end())
    return Part(kind=READING, name=mark[1], text=command[mark.end() : end])


def _simple(command: str) -> list[Part] | None:
    if command.startswith("trap '' HUP; "):
        first, _, second = command.removeprefix("trap '' HUP; ").rpartition(" && sh -c ")
        return [*(_simple(first) or []), *(_simple(f"sh -c {second}") or [])]
    if command == _DIAGNOSIS:
        return [Part(kind=COMMAND, name="diagnose")]
    if command == cluster_record.WRITE:
        return [Part(kind=KUBECTL_COMMAND, name="write record")]
    if command.startswith("sh -c "):
        _, _, script, *rest = words_of(command)
        if not rest:
            return [Part(kind=SCRIPT, name="stop-api-server")] if _STOP_API_SERVER in script else None
        return [Part(kind=SCRIPT, name=rest[0], words=tuple(rest[1:]), text=script)]
    for prefix, kind in _KUBECTLS.items():
        if command.startswith(prefix):
            rest = words_of(command[len(prefix) :])
            return [Part(kind=kind, name=_verb(rest), words=tuple(rest), text=command)]
    return _by_words(command)


def _verb(words: list[str]) -> str:
    plain = [word for word in words if not word.startswith("--") and word != "kube-system"]
    return " ".join(plain[: 2 if plain[0] in ("delete", "member", "label", "taint") else 1])


def _by_words(command: str) -> list[Part] | None:
    if said := _SAID.fullmatch(command):
        return [Part(kind=COMMAND, name="fail", words=tuple(words_of(said[1])))]
    for name, pattern in _KNOWN.items():
        if found := re.fullmatch(pattern, command, re.DOTALL):
            return [
                Part(kind=COMMAND, name=name, words=tuple(words_of(" ".join(found.groups()))), text=command)
            ]
    return None


_KNOWN = {
    "true": r"true",
    "change marks": r"sh -s",
    "load sysctls": r"sysctl --load=(\S+)",
    "load modules": r"modprobe --all (.*)",
    "hold packages": r"apt-mark hold (.*)",
    "swap off": r"swapoff --all",
    "disable unit": r"systemctl --quiet disable --now (\S+)",
    "disable our unit": r"if systemctl --quiet is-enabled (\S+) 2> /dev/null; then systemctl .*; fi",
    "reload unit": r"systemctl reload-or-restart (\S+)",
    "delete our files": r"rm --recursive --force (/.*) && systemctl daemon-reload",
    "restore manifest": r"cp --preserve (\S+) \S+ && mv --force \S+ (\S+)",
    "finish join": r"rm --force (/etc/kubernetes/bootstrap-kubelet.conf)",
    "make token": r"KUBECONFIG=/etc/kubernetes/admin.conf kubeadm token create .*",
    "register": r"systemctl restart kubelet && kubectl .* wait --for=create --timeout=120s node/(\S+)",
}


def words_of(text: str) -> list[str]:
    """The words of a command as the shell takes them; shlex takes a millisecond for each of our scripts."""
    words, at = [], 0
    while found := _WORD.match(text, at):
        words.append("".join("".join(piece) for piece in _PIECE.findall(found[1])))
        at = found.end()
    return words


def paths_asked(part: Part) -> list[str]:
    """The files that a reading asks for."""
    return [path for found in _PATHS.findall(part.text) for path in words_of(found)]
