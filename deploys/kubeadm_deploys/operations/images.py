"""Container images in containerd."""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys.facts.images import Images
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.scripts import script

_UNIT = "kubeadm-deploys-pull"


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
    yield script("pull-images", _UNIT, *missing)
