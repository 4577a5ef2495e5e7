"""Parse the commands that the product sends: their fence, lock, readings, and script or known words.

Only this module knows how the product writes its commands. Scripts are recognised by their whole text.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys import scripts
from kubeadm_deploys.cluster import recording
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.run import diagnosis
from kubeadm_deploys.sections.api_endpoint import BEFORE_RESTART

SEVERAL = "several readings"
"""The label in histories of a command with more than one reading."""

# A shell word of quoted and unquoted pieces. The product uses "" only around a single quote.
_WORD = re.compile(r"""\s*((?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+)""")
_PIECE = re.compile(r"""'([^']*)'|"([^"]*)"|\\(.)|([^\s'"\\]+)""")
_FENCE = re.compile(r"^\{ if \[ -e \S+ \] && ! grep -qxF 'run (\w+)' [^\n]*\|\| exit\n")
_LOCK = re.compile(r"first=\$\(\{ (.*?)\n\} 2>&1 < /dev/null\)\necho; echo '<<< (\w+)'; .*\n?", re.DOTALL)
_THEN = "\ncase $first in *taken) ;; *) exit 0 ;; esac\n"
_ALONE = re.compile(r"echo; echo '<<< (\w+)'; \(\n(.*)\n\); status=\$\?; .*exit \$status", re.DOTALL)
_BESIDE = re.compile(r'\(\n(.*?)\n\) > "\$answers/(\w+)" 2> ', re.DOTALL)
_FAILURE = re.compile(r"echo (.*) >&2; exit 1", re.DOTALL)

_KUBECTLS = (f"{KUBECTL} ", f"{KUBECTL_WAIT} ")
_UNINTERRUPTED = f"{BEFORE_RESTART} "
_CALLED = f"{scripts.ENVIRONMENT} sh -c "
_SIDE_BY_SIDE = scripts.text("library/side-by-side")
_DIAGNOSIS = diagnosis.DIAGNOSE.get_raw_value()


class UnknownCommand(AssertionError):
    """The product sends a command that the world does not know."""

    def __init__(self, machine: str, command: str) -> None:
        super().__init__(f"{machine} got an unknown command:\n{command}")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One action of a command, by the ``name`` of the reading or script, or the verb.

    ``reading`` is whether it is a reading, ``words`` are its arguments, ``text`` is the whole command, and
    ``frame`` the name in the marks around its output, "" without marks.
    """

    name: str
    reading: bool = False
    words: tuple[str, ...] = ()
    text: str = ""
    frame: str = ""

    @property
    def label(self) -> str:
        """The name in histories."""
        if self.name == "kubeadm":
            return " ".join(("kubeadm", *(word for word in self.words if not word.startswith("-"))))
        return self.name


@dataclass(frozen=True, kw_only=True)
class Sent:
    """All actions of a command in order: it takes the ``lock`` if it has one, then does its ``parts``.

    ``beside`` is whether the parts run concurrently and can fail independently.
    """

    parts: tuple[Part, ...]
    lock: Part | None = None
    beside: bool = False

    @property
    def label(self) -> str:
        """The name in histories."""
        return self.lock.label if self.lock else SEVERAL if self.beside else self.parts[0].label


def fence_of(command: str) -> tuple[str, str]:
    """Return the run whose lock fences a command ("" without a fence), and the command itself."""
    match = _FENCE.match(command)
    return (match[1], command[match.end() :]) if match else ("", command)


def sent(machine: str, command: str) -> Sent:
    """Parse a command without its fence.

    Raises:
        UnknownCommand: the world does not know it.
    """
    first, _, then = command.partition(_THEN)
    if match := _LOCK.fullmatch(first):
        (lock,) = _known(machine, match[1])
        asked = sent(machine, then) if then else Sent(parts=())
        return replace(asked, lock=replace(lock, frame=match[2]))
    if command.startswith(_SIDE_BY_SIDE):
        asked_beside = _BESIDE.findall(command[len(_SIDE_BY_SIDE) :])
        return Sent(
            parts=tuple(_reading(machine, name, text) for text, name in asked_beside),
            beside=True,
        )
    if match := _ALONE.fullmatch(command):
        return Sent(parts=(_reading(machine, match[1], match[2]),))
    return Sent(parts=tuple(_known(machine, command)))


def _reading(machine: str, frame: str, command: str) -> Part:
    _, words = _script(command.removesuffix(" ; exit 0"))
    # Several readings of one kind are numbered.
    kind = re.sub(r"_\d+$", "", frame)
    return Part(reading=True, name=kind, words=tuple(words), text=command, frame=frame)


def _known(machine: str, command: str) -> list[Part]:
    parts = _simple(command.strip())
    if parts is None:
        raise UnknownCommand(machine, command)
    return parts


def _simple(command: str) -> list[Part] | None:
    if command.startswith(_UNINTERRUPTED):
        first, _, second = command.removeprefix(_UNINTERRUPTED).rpartition(f" && {_CALLED}")
        halves = [_simple(half) for half in (first, _CALLED + second)]
        return None if None in halves else [part for half in halves if half for part in half]
    if command == _DIAGNOSIS:
        return [Part(name="diagnose")]
    if command == recording.WRITE:
        return [Part(name="write record")]
    name, words = _script(command)
    if name == "run-kubeadm":
        return [Part(name="kubeadm", words=tuple(words[1:]))]
    if name == "run-in-unit":
        return [Part(name=words[2], words=tuple(words[3:]))]
    if name == "etcdctl":
        return [Part(name=_verb(words), words=tuple(words))]
    if name:
        return [Part(name=name, words=tuple(words))]
    for prefix in _KUBECTLS:
        if command.startswith(prefix):
            rest = words_of(command[len(prefix) :])
            return [Part(name=_verb(rest), words=tuple(rest), text=command)]
    return _by_words(command)


def _script(command: str) -> tuple[str, list[str]]:
    """Return the name of the script that a command runs ("" if none), and its arguments."""
    if command.startswith(_CALLED):
        for text, name in _scripts().items():
            if command.startswith(text, len(_CALLED)):
                called, *words = words_of(command[len(_CALLED) + len(text) :])
                assert called == name, called
                return name, words
    return "", []


@cache
def _scripts() -> dict[str, str]:
    """Return the names of all scripts by their text as a shell word."""
    files = resources.files(scripts.__name__).iterdir()
    names = [file.name.removesuffix(".sh") for file in files if file.name.endswith(".sh")]
    return {StringCommand(QuoteString(scripts.text(name))).get_raw_value(): name for name in names}


def _verb(words: list[str]) -> str:
    plain = [word for word in words if not word.startswith("--") and word != "kube-system"]
    return " ".join(plain[: 2 if plain[0] in ("delete", "member", "label", "taint") else 1])


def _by_words(command: str) -> list[Part] | None:
    if failure := _FAILURE.fullmatch(command):
        return [Part(name="fail", words=tuple(words_of(failure[1])))]
    for name, pattern in _KNOWN.items():
        if match := re.fullmatch(pattern, command, re.DOTALL):
            return [Part(name=name, words=tuple(words_of(" ".join(match.groups()))), text=command)]
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
    "restart kubelet": r"systemctl restart kubelet()",
    "finish join": r"rm --force (/etc/kubernetes/bootstrap-kubelet.conf)",
    "make token": r"env .* KUBECONFIG=/etc/kubernetes/admin.conf kubeadm token create .*",
    "register": r"systemctl restart kubelet && .*kubectl .* wait --for=create --timeout=120s node/(\S+)",
}


def words_of(text: str) -> list[str]:
    """Split a command into words as the shell does; shlex would take a millisecond per script."""
    words, at = [], 0
    while match := _WORD.match(text, at):
        words.append("".join("".join(piece) for piece in _PIECE.findall(match[1])))
        at = match.end()
    return words
