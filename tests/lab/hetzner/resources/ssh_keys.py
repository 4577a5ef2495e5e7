"""SSH keys for access to new servers."""

import base64
import binascii
import hashlib

from flask import Blueprint, request
from pydantic import Field

from tests.lab.hetzner.bodies import Body, Labels, Name, body
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, NOTHING, Answer, project
from tests.lab.hetzner.errors import invalid_input, not_unique
from tests.lab.hetzner.listing import resource_list
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Json, SSHKey

bp = Blueprint("ssh_keys", __name__)


class CreateSSHKey(Body):
    name: Name
    public_key: str
    labels: Labels = Field(default_factory=dict)


@bp.get("/ssh_keys")
def index() -> Answer:
    lab = project()
    wanted = request.args.get("fingerprint")
    with lab.lock:
        keys = [key for key in lab.ssh_keys.values() if wanted in (None, key.fingerprint)]
        return resource_list("ssh_keys", keys, view, sortable=("id", "name"))


@bp.post("/ssh_keys")
def create() -> Answer:
    order = body(CreateSSHKey)
    lab = project()
    key_fingerprint = fingerprint(order.public_key)
    with lab.lock:
        if any(key.fingerprint == key_fingerprint for key in lab.ssh_keys.values()):
            raise not_unique("public_key", "SSH key with the same fingerprint already exists")
        lab.admit("ssh_keys", lab.ssh_keys, name=order.name)
        key = SSHKey(
            id=next(lab.ids),
            name=order.name,
            created=now(),
            labels=order.labels,
            public_key=order.public_key.strip(),
            fingerprint=key_fingerprint,
        )
        lab.ssh_keys[key.id] = key
        return {"ssh_key": view(key)}, CREATED


@bp.delete("/ssh_keys/<int:key_id>")
def delete(key_id: int) -> Answer:
    lab = project()
    with lab.lock:
        del lab.ssh_keys[found(lab.ssh_keys, key_id).id]
    return NOTHING


def fingerprint(public_key: str) -> str:
    """Return the MD5 fingerprint of a public key in OpenSSH format, as the API shows it."""
    parts = public_key.split()
    try:
        data = base64.b64decode(parts[1], validate=True)
    except (IndexError, binascii.Error):
        raise invalid_input("public_key", "is not a public key in OpenSSH's format") from None
    kind = parts[0].encode()
    if data[4 : 4 + len(kind)] != kind:
        raise invalid_input("public_key", "is not a public key in OpenSSH's format")
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def named_in(lab: Project, wanted: list[int | str]) -> tuple[str, ...]:
    """Return the public keys with these IDs or names."""
    keys = {str(handle): key for key in lab.ssh_keys.values() for handle in (key.id, key.name)}
    for one in wanted:
        if str(one) not in keys:
            raise invalid_input("ssh_keys", f"SSH key '{one}' not found")
    return tuple(keys[str(one)].public_key for one in wanted)


def view(key: SSHKey) -> Json:
    """Return a key in the API's format."""
    return {
        "id": key.id,
        "name": key.name,
        "fingerprint": key.fingerprint,
        "public_key": key.public_key,
        "labels": key.labels,
        "created": key.created,
    }
