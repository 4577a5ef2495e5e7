"""The programs beside Kubernetes' own that a control plane and its packages need."""

from pathlib import Path

from tests.lab.mirror.commands import run
from tests.lab.mirror.golang import BUILD, ENVIRONMENT, STRIPPED, folder_replacements, go_build, required


def make_etcd(folder: Path, *, version: str) -> None:
    """Build etcd, etcdctl and etcdutl, each a module of its own."""
    for name in ("server", "etcdctl", "etcdutl"):
        module = f"go.etcd.io/etcd/{name}/v3"
        siblings = folder_replacements(module=module, version=f"v{version}")
        go_build(
            module=module,
            version=f"v{version}",
            packages=["."],
            output=folder / "bin",
            replace=dict.fromkeys(siblings, f"v{version}"),
        )
    # The module's last path element names the program, and upstream's own build renames it as well.
    (folder / "bin/server").rename(folder / "bin/etcd")


COREDNS_PLUGINS = (
    *("cache", "errors", "forward", "health", "kubernetes", "loadbalance", "log", "loop", "metrics"),
    *("ready", "reload"),
)
"""What kubeadm's Corefile names, and log, which its documentation has people add."""


def make_coredns(folder: Path, *, version: str, kubernetes: str) -> None:
    """Build CoreDNS with the plugins that kubeadm's Corefile names, on this Kubernetes' client libraries.

    Of upstream's other plugins most of the code is that of cloud providers.
    """
    module = "github.com/coredns/coredns"
    imports = "".join(f'\t_ "github.com/coredns/coredns/plugin/{name}"\n' for name in COREDNS_PLUGINS)
    go_build(
        module=module,
        version=f"v{version}",
        packages=["."],
        output=folder / "bin",
        replace=_client_libraries(module=module, version=f"v{version}", kubernetes=kubernetes),
        overlay={"core/plugin/zplugin.go": f"package plugin\n\nimport (\n{imports})\n"},
    )


def make_crictl(folder: Path, *, version: str, kubernetes: str) -> None:
    """Build crictl, the content of the package cri-tools, on this Kubernetes' client libraries."""
    module = "sigs.k8s.io/cri-tools"
    go_build(
        module=module,
        version=f"v{version}",
        packages=["cmd/crictl"],
        output=folder / "bin",
        ldflags=f"-X sigs.k8s.io/cri-tools/pkg/version.Version=v{version}",
        replace=_client_libraries(module=module, version=f"v{version}", kubernetes=kubernetes),
    )


def _client_libraries(*, module: str, version: str, kubernetes: str) -> dict[str, str]:
    """The release of Kubernetes' libraries that a program gets which needs any of them: then they are compiled once."""
    _, minor, patch = kubernetes.split(".")
    published = folder_replacements(module="k8s.io/kubernetes", version=f"v{kubernetes}")
    wanted = required(module=module, version=version, prefix="k8s.io/")
    return dict.fromkeys((name for name in wanted if name in published), f"v0.{minor}.{patch}")


def make_server(folder: Path) -> None:
    """Build the mirror's own server: see server/main.go."""
    source = Path(__file__).parent / "server"
    run(*BUILD, STRIPPED, "-o", f"{folder}/bin/", ".", cwd=source, env=ENVIRONMENT)
