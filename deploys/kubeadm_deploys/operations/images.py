"""Container images in containerd."""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.facts.images import Images
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.operations.failure import fails_clearly

_UNIT = "kubeadm-deploys-pull"

# Each argument is an image. A unit of an earlier run that still pulls is as good as a new one.
_PULL = f"""
systemctl is-active --quiet {_UNIT} || systemd-run --quiet --collect --unit={_UNIT} sh -c '
  for image in "$@"; do
    /usr/local/bin/ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d "$image" &
  done
  wait' pull-images "$@"
"""


@operation()
@fails_clearly
def pulling(*, images: list[str]) -> Generator[StringCommand, None, None]:
    """Start to pull the images that are missing, without waiting for them.

    A pull that fails does no harm: the kubelet pulls again and reports why it cannot.

    + images: full names with tag
    """
    # Read when containerd runs, not while the deploy is prepared: before, no image is known to be there.
    present = read(host, Images)
    missing = [image for image in images if image not in present]
    if not missing:
        host.noop("all of them are there")
        return
    yield StringCommand(
        "sh", "-c", QuoteString(_PULL), "start-pull", *(QuoteString(image) for image in missing)
    )
