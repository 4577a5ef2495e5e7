"""The images of a kubeadm control plane, and agnhost of the tests, by upstream's names and tags."""

from pathlib import Path

from tests.lab.docker import LabError
from tests.lab.mirror import kubernetes
from tests.lab.mirror.commands import run
from tests.lab.mirror.golang import module_folder
from tests.lab.mirror.images import Image, publish


def make(
    folder: Path,
    *,
    version: str,
    programs: Path,
    etcd: tuple[str, Path],
    coredns: tuple[str, Path],
    network_tools: Path,
    test_tools: Path,
) -> None:
    """Publish the images that this version's kubeadm names, and the agnhost that belongs to it.

    `programs` is the folder of Kubernetes' programs; etcd and CoreDNS come as version and folder.
    """
    available = {
        **{name: _program(programs / name) for name in kubernetes.IMAGE_PROGRAMS},
        "kube-proxy": _program(programs / "kube-proxy", base=network_tools),
        "etcd": Image(files={f"/usr/local/bin/{path.name}": path for path in etcd[1].iterdir()}),
        "coredns": Image(files={"/coredns": coredns[1] / "coredns"}, entrypoint=["/coredns"]),
        "pause": Image(files={"/pause": programs / "pause"}, entrypoint=["/pause"], user="65535:65535"),
    }
    listed = run(
        str(programs / "kubeadm"), "config", "images", "list", "--kubernetes-version", f"v{version}"
    ).split()
    wanted = {_short_name(reference): reference for reference in listed}
    for name, built in (("etcd", etcd[0]), ("coredns", coredns[0])):
        if built not in wanted[name]:
            raise LabError(
                f"kubeadm {version} wants {wanted[name]}, and {name} {built} is built: correct components.py"
            )
    images = {reference: available[name] for name, reference in wanted.items()}
    agnhost = f"registry.k8s.io/e2e-test-images/agnhost:{kubernetes.agnhost_version(version)}"
    images[agnhost] = _agnhost(version=version, programs=programs, base=test_tools)
    publish(images, storage=folder / "registry")


def _short_name(reference: str) -> str:
    """`coredns` of `registry.k8s.io/coredns/coredns:v1.14.2`."""
    return reference.rpartition("/")[2].partition(":")[0]


def _program(program: Path, *, base: Path | None = None) -> Image:
    return Image(files={f"/usr/local/bin/{program.name}": program}, base=base)


def _agnhost(*, version: str, programs: Path, base: Path) -> Image:
    source = module_folder(module=kubernetes.MODULE, version=f"v{version}") / "test/images/agnhost/porter"
    return Image(
        files={
            "/agnhost": programs / "agnhost",
            "/agnhost-2": programs / "agnhost",
            **{f"/{name}": source / name for name in ("localhost.crt", "localhost.key")},
        },
        base=base,
        entrypoint=["/agnhost"],
        command=["pause"],
    )
