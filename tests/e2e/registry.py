"""A registry on this machine that wants a user and a password and has one image."""

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.lab import layout

USER, PASSWORD = "robot$lab", "Kd7-lab:%~x-right"

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass
class PrivateRegistry:
    """The registry's ``address``, and the paths that it ``served`` to clients with the right password."""

    address: str
    served: list[str] = field(default_factory=list)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _described(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _unpacked(exported: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the blobs by digest, and the manifest, of an image that ``ctr images export`` wrote."""
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        files = {each.name: archive.extractfile(each) for each in archive.getmembers() if each.isfile()}
        contents = {name: file.read() for name, file in files.items() if file}
    blobs = {f"sha256:{name.rpartition('/')[2]}": text for name, text in contents.items() if "blobs/" in name}
    manifest = json.loads(contents["index.json"])
    while "layers" not in manifest:
        # Of several platforms, only this machine's was pulled.
        manifest = next(
            json.loads(blobs[each["digest"]]) for each in manifest["manifests"] if each["digest"] in blobs
        )
    return blobs, manifest


def _image(exported: bytes | None) -> dict[str, bytes]:
    """Return the contents of an image by digest, and its manifest as "manifest"; no machine has its last layer.

    It is an image of a machine with one more layer, or has only that layer and cannot be run.
    """
    blobs: dict[str, bytes] = {}
    manifest: dict[str, Any] = {"layers": []}
    config: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": []},
    }
    if exported:
        blobs, manifest = _unpacked(exported)
        config = json.loads(blobs[manifest["config"]["digest"]])
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("private"))
    layer = gzip.compress(unpacked.getvalue())
    config["rootfs"]["diff_ids"].append(_digest(unpacked.getvalue()))
    config.pop("history", None)
    written = json.dumps(config).encode()
    new = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _described(written, _CONFIG),
        "layers": [*manifest["layers"], _described(layer, _LAYER)],
    }
    return {**blobs, _digest(layer): layer, _digest(written): written, "manifest": json.dumps(new).encode()}


def _handler(image: Mapping[str, bytes], registry: PrivateRegistry) -> type[BaseHTTPRequestHandler]:
    right = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            if self.headers["Authorization"] != right:
                self.answer(401, b"", {"WWW-Authenticate": 'Basic realm="lab"'})
                return
            registry.served.append(self.path)
            kind, reference = urlsplit(self.path).path.split("/")[-2:]
            content = image.get("manifest" if kind == "manifests" else reference)
            if content is None:
                self.answer(404 if reference else 200, b"", {})
            else:
                media_type = _MANIFEST if kind == "manifests" else "application/octet-stream"
                self.answer(
                    200, content, {"Content-Type": media_type, "Docker-Content-Digest": _digest(content)}
                )

        do_GET = do_HEAD

        def answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    return Handler


@contextmanager
def private_registry(*, exported: bytes | None = None) -> Iterator[PrivateRegistry]:
    """Serve an image under every name, with plain HTTP; it is ``exported`` with one more layer."""
    with ThreadingHTTPServer((layout.GATEWAY, 0), BaseHTTPRequestHandler) as server:
        registry = PrivateRegistry(address=f"{layout.GATEWAY}:{server.server_port}")
        server.RequestHandlerClass = _handler(_image(exported), registry)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield registry
        finally:
            server.shutdown()
