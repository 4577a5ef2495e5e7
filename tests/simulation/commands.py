"""What a command that the product sends is made of: its fence, its lock, its readings, and the script or the known words.

The one place that knows how the product phrases what it sends. Scripts are recognised by their whole text.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys import diagnosis, scripts
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.operations import cluster_record

READING = "reading"
SCRIPT = "script"
COMMAND = "command"
KUBECTL_COMMAND = "kubectl"
ETCDCTL_COMMAND = "etcdctl"

SEVERAL = "several readings"
"""What a command is called in histories that asks for more than one thing."""

# A word of the shell, of pieces that are quoted or not. None of ours is quoted with "" but for a single quote.
_WORD = re.compile(r"""\s*((?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+)""")
_PIECE = re.compile(r"""'([^']*)'|"([^"]*)"|\\(.)|([^\s'"\\]+)""")
_FENCE = re.compile(r"^\{ if \[ -e \S+ \] && ! grep -qxF 'run (\w+)' [^\n]*\|\| exit\n")
_LOCK = re.compile(r"first=\$\(\{ (.*?)\n\} 2>&1 < /dev/null\)\necho; echo '<<< (\w+)'; .*\n?", re.DOTALL)
_THEN = "\ncase $first in *taken) ;; *) exit 0 ;; esac\n"
_ALONE = re.compile(r"echo; echo '<<< (\w+)'; \(\n(.*)\n\); status=\$\?; .*exit \$status", re.DOTALL)
_BESIDE = re.compile(r'\(\n(.*?)\n\) > "\$answers/(\w+)" 2> ', re.DOTALL)
_SAID = re.compile(r"echo (.*) >&2; exit 1", re.DOTALL)

_KUBECTLS = (f"{KUBECTL} ", f"{KUBECTL_WAIT} ")
_UNINTERRUPTED = "trap '' HUP; "
_CALLED = f"{scripts.ENVIRONMENT} sh -c "
_SIDE_BY_SIDE = scripts.text("library/side-by-side")
_DIAGNOSIS = diagnosis.DIAGNOSE.get_raw_value()


class UnknownCommand(AssertionError):
    """The product sends something that the world does not know."""

    def __init__(self, machine: str, command: str) -> None:
        super().__init__(f"{machine} got a command that the world does not know:\n{command}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that a command does: of a ``kind``, with the ``name`` of the reading or script, or the verb.

    ``words`` are its arguments, ``text`` is all of it, and ``frame`` the name in the marks around what it prints, which
    is empty without them.
    """

    kind: str
    name: str
    words: tuple[str, ...] = ()
    text: str = ""
    frame: str = ""

    @property
    def label(self) -> str:
        """What it is called in histories."""
        if self.name == "kubeadm":
            return " ".join(("kubeadm", *(word for word in self.words if not word.startswith("-"))))
        return self.name


@dataclass(frozen=True, kw_only=True)
class Sent:
    """All that a command does, in its order: it takes the ``lock`` first where it has one, and then does its ``parts``.

    ``beside`` is whether these are done beside each other, each with a failure of its own.
    """

    parts: tuple[Part, ...]
    lock: Part | None = None
    beside: bool = False

    @property
    def label(self) -> str:
        """What it is called in histories."""
        return self.lock.label if self.lock else SEVERAL if self.beside else self.parts[0].label


def fence_of(command: str) -> tuple[str, str]:
    """The run by whose lock a command is fenced, empty without one, and the command itself."""
    found = _FENCE.match(command)
    return (found[1], command[found.end() :]) if found else ("", command)


def sent(machine: str, command: str) -> Sent:
    """What a command (without its fence) does.

    Raises:
        UnknownCommand: it is none that the world knows.
    """
    first, _, then = command.partition(_THEN)
    if found := _LOCK.fullmatch(first):
        (lock,) = _known(machine, found[1])
        asked = sent(machine, then) if then else Sent(parts=())
        return replace(asked, lock=replace(lock, frame=found[2]))
    if command.startswith(_SIDE_BY_SIDE):
        asked_beside = _BESIDE.findall(command[len(_SIDE_BY_SIDE) :])
        return Sent(
            parts=tuple(_reading(machine, name, text) for text, name in asked_beside),
            beside=True,
        )
    if found := _ALONE.fullmatch(command):
        return Sent(parts=(_reading(machine, found[1], found[2]),))
    return Sent(parts=tuple(_known(machine, command)))


def _reading(machine: str, frame: str, command: str) -> Part:
    _, words = _script(command.removesuffix(" ; exit 0"))
    # Several readings of one kind are numbered.
    kind = re.sub(r"_\d+$", "", frame)
    return Part(kind=READING, name=kind, words=tuple(words), text=command, frame=frame)


def _known(machine: str, command: str) -> list[Part]:
    found = _simple(command.strip())
    if found is None:
        raise UnknownCommand(machine, command)
    return found


def _simple(command: str) -> list[Part] | None:
    if command.startswith(_UNINTERRUPTED):
        first, _, second = command.removeprefix(_UNINTERRUPTED).rpartition(f" && {_CALLED}")
        return [*(_simple(first) or []), *(_simple(_CALLED + second) or [])]
    if command == _DIAGNOSIS:
        return [Part(kind=COMMAND, name="diagnose")]
    if command == cluster_record.WRITE:
        return [Part(kind=KUBECTL_COMMAND, name="write record")]
    name, words = _script(command)
    if name == "run-kubeadm":
        return [Part(kind=SCRIPT, name="kubeadm", words=tuple(words[1:]))]
    if name == "etcdctl":
        return [Part(kind=ETCDCTL_COMMAND, name=_verb(words), words=tuple(words))]
    if name:
        return [Part(kind=SCRIPT, name=name, words=tuple(words))]
    for prefix in _KUBECTLS:
        if command.startswith(prefix):
            rest = words_of(command[len(prefix) :])
            return [Part(kind=KUBECTL_COMMAND, name=_verb(rest), words=tuple(rest), text=command)]
    return _by_words(command)


def _script(command: str) -> tuple[str, list[str]]:
    """The name of the script that a command runs, empty when it runs none, and its arguments."""
    if command.startswith(_CALLED):
        for text, name in _scripts().items():
            if command.startswith(text, len(_CALLED)):
                called, *words = words_of(command[len(_CALLED) + len(text) :])
                assert called == name, called
                return name, words
    return "", []


@cache
def _scripts() -> dict[str, str]:
    """The names of all scripts by their text, as a shell's word."""
    files = resources.files(scripts.__name__).iterdir()
    names = [file.name.removesuffix(".sh") for file in files if file.name.endswith(".sh")]
    return {StringCommand(QuoteString(scripts.text(name))).get_raw_value(): name for name in names}


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
    "register": r"systemctl restart kubelet && .*kubectl .* wait --for=create --timeout=120s node/(\S+)",
}


def words_of(text: str) -> list[str]:
    """The words of a command as the shell takes them; shlex takes a millisecond for each of our scripts."""
    words, at = [], 0
    while found := _WORD.match(text, at):
        words.append("".join("".join(piece) for piece in _PIECE.findall(found[1])))
        at = found.end()
    return words
