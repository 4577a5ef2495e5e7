"""What the mirror is made of: every component with its version, and the order in which they are made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from tests.lab.docker import LabError
from tests.lab.mirror import (
    apt,
    calico,
    calico_images,
    control_plane_images,
    debian,
    hetzner_images,
    kubernetes,
    packages,
    programs,
    releases,
    userland,
)
from tests.lab.mirror.cache import Component

CONTAINERD_VERSIONS = ("2.3.4", "2.2.3")
"""The second one writes the older schema of its configuration."""
RUNC_VERSIONS = ("1.4.3", "1.4.2")
CNI_PLUGINS_VERSION = "1.9.1"
PACKAGED_CNI_PLUGINS_VERSION = "1.8.0"
"""As in real life, the package kubernetes-cni brings older plugins than a release tarball of today."""
CALICO_VERSION = "3.31.0"
HCLOUD_CLOUD_CONTROLLER_VERSION = "1.35.0"


@dataclass(frozen=True)
class Release:
    """What upstream publishes together with a version of Kubernetes; kubeadm names the images' versions."""

    etcd: str
    coredns: str
    crictl: str


RELEASES = {
    "1.37.2": Release(etcd="3.7.0", coredns="1.14.6", crictl="1.37.0"),
    "1.36.5": Release(etcd="3.6.8", coredns="1.14.2", crictl="1.36.0"),
}


def components(versions: Iterable[str]) -> list[Component]:
    """Everything that a mirror of these Kubernetes versions is made of, each after what it needs."""
    ordered: dict[str, Component] = {}
    _add(server(), ordered=ordered)
    for version in versions:
        if version not in RELEASES:
            raise LabError(
                f"Kubernetes version {version!r} cannot be built: the mirror knows {', '.join(RELEASES)}"
            )
        _add(_control_plane_images(version), ordered=ordered)
        _add(_packages(version), ordered=ordered)
    for containerd in CONTAINERD_VERSIONS:
        _add(_go("containerd", containerd, seconds=70, make=releases.make_containerd), ordered=ordered)
    for runc in RUNC_VERSIONS:
        _add(_go("runc", runc, seconds=20, make=releases.make_runc), ordered=ordered)
    _add(_cni_plugins(CNI_PLUGINS_VERSION), ordered=ordered)
    _add(_calico_images(), ordered=ordered)
    _add(_hetzner_images(), ordered=ordered)
    _add(_debian(), ordered=ordered)
    return list(ordered.values())


def made_versions() -> list[str]:
    """The Kubernetes versions that are in the cache completely."""
    return [version for version in RELEASES if all(component.made for component in components([version]))]


def server() -> Component:
    """The program that serves the mirror."""
    return Component(
        name="mirror server",
        seconds=15,
        make=programs.make_server,
        recipe=("programs.py", "golang.py", "commands.py", "server/main.go", "server/go.mod"),
    )


def _add(component: Component, *, ordered: dict[str, Component]) -> None:
    for need in component.needs:
        _add(need, ordered=ordered)
    ordered.setdefault(component.name, component)


def _go(name: str, version: str, *, seconds: int, make: Callable[..., None]) -> Component:
    """A component that is nothing but a version of a Go module, built."""
    recipe = f"{make.__module__.rpartition('.')[2]}.py"
    return Component(
        name=f"{name} {version}",
        seconds=seconds,
        make=partial(make, version=version),
        recipe=(recipe, "golang.py"),
    )


def _on_kubernetes(
    name: str, version: str, *, kubernetes: str, seconds: int, make: Callable[..., None]
) -> Component:
    """The same with the libraries of a Kubernetes, after that, which has compiled them."""
    return Component(
        name=f"{name} {version} with Kubernetes {kubernetes}",
        seconds=seconds,
        make=partial(make, version=version, kubernetes=kubernetes),
        recipe=("programs.py", "golang.py"),
        needs=(_kubernetes(kubernetes),),
    )


def _kubernetes(version: str) -> Component:
    return _go("kubernetes", version, seconds=330, make=kubernetes.make)


def _cni_plugins(version: str) -> Component:
    return _go("CNI plugins", version, seconds=15, make=releases.make_cni_plugins)


def _userland(name: str, packages: tuple[str, ...]) -> Component:
    make = partial(userland.make, packages=packages)
    return Component(name=f"Debian {name}", seconds=50, make=make, recipe=("userland.py",), inputs=packages)


def _control_plane_images(version: str) -> Component:
    release = RELEASES[version]
    programs_of_kubernetes = _kubernetes(version)
    etcd = _go("etcd", release.etcd, seconds=25, make=programs.make_etcd)
    coredns = _on_kubernetes(
        "CoreDNS", release.coredns, kubernetes=version, seconds=20, make=programs.make_coredns
    )
    network_tools = _userland("network tools", userland.NETWORK_TOOLS)
    test_tools = _userland("test tools", userland.TEST_TOOLS)
    return Component(
        name=f"images of Kubernetes {version}",
        seconds=60,
        make=partial(
            control_plane_images.make,
            version=version,
            programs=programs_of_kubernetes.folder / "bin",
            etcd=(release.etcd, etcd.folder / "bin"),
            coredns=(release.coredns, coredns.folder / "bin"),
            network_tools=network_tools.folder / userland.LAYER,
            test_tools=test_tools.folder / userland.LAYER,
        ),
        recipe=("control_plane_images.py", "images.py"),
        needs=(programs_of_kubernetes, etcd, coredns, network_tools, test_tools),
    )


def _calico_images() -> Component:
    built = Component(
        name=f"Calico {CALICO_VERSION}",
        seconds=210,
        make=partial(calico.make, version=CALICO_VERSION),
        recipe=("calico.py", "calico.sum", "golang.py"),
    )
    plugins = _cni_plugins(CNI_PLUGINS_VERSION)
    network_tools = _userland("network tools", userland.NETWORK_TOOLS)
    return Component(
        name=f"images of Calico {CALICO_VERSION}",
        seconds=30,
        make=partial(
            calico_images.make,
            version=CALICO_VERSION,
            programs=built.folder / "bin",
            cni_plugins=plugins.folder / "bin",
            network_tools=network_tools.folder / userland.LAYER,
        ),
        recipe=("calico_images.py", "images.py"),
        needs=(built, plugins, network_tools),
    )


def _hetzner_images() -> Component:
    return Component(
        name=f"Hetzner stand-ins {HCLOUD_CLOUD_CONTROLLER_VERSION}",
        seconds=60,
        make=partial(hetzner_images.make, version=HCLOUD_CLOUD_CONTROLLER_VERSION),
        recipe=("hetzner_images.py", "golang.py", "images.py", *hetzner_images.RECIPE),
    )


def _packages(version: str) -> Component:
    built = _kubernetes(version)
    release = RELEASES[version].crictl
    crictl = _on_kubernetes("crictl", release, kubernetes=version, seconds=20, make=programs.make_crictl)
    plugins = _cni_plugins(PACKAGED_CNI_PLUGINS_VERSION)
    return Component(
        name=f"packages of Kubernetes {version}",
        seconds=15,
        make=partial(
            packages.make,
            version=version,
            kubernetes=built.folder / "bin",
            crictl=(release, crictl.folder / "bin"),
            cni_plugins=(PACKAGED_CNI_PLUGINS_VERSION, plugins.folder / "bin"),
        ),
        recipe=("packages.py", "apt.py"),
        inputs=(apt.key_fingerprint(),),
        needs=(built, crictl, plugins),
    )


def _debian() -> Component:
    return Component(
        name="Debian packages",
        seconds=60,
        make=lambda folder: debian.build(folder / "www/debian"),
        recipe=("debian.py", "apt.py"),
        inputs=(apt.key_fingerprint(),),
    )
