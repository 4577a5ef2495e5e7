"""Server metadata: a server's information about itself; the caller is identified by its address."""

import yaml
from flask import Blueprint, Response, request

from tests.lab.hetzner.addresses import gateway, subnet_of
from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.context import project
from tests.lab.hetzner.errors import ApiError
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Json, Server
from tests.lab.hetzner.resources.load_balancer_targets import public_ipv4

bp = Blueprint("metadata", __name__, url_prefix="/hetzner/v1")


@bp.get("/metadata")
def summary() -> Response:
    lab = project()
    with lab.lock:
        return _text(yaml.safe_dump(_data(lab, _caller(lab)), sort_keys=True))


@bp.get("/metadata/<any('hostname', 'instance-id', 'public-ipv4', 'region', 'availability-zone'):item>")
def single(item: str) -> Response:
    lab = project()
    with lab.lock:
        return _text(str(_data(lab, _caller(lab))[item]))


@bp.get("/metadata/private-networks")
def private_networks() -> Response:
    lab = project()
    with lab.lock:
        return _text(yaml.safe_dump(_private_networks(lab, _caller(lab)), sort_keys=False))


@bp.get("/userdata")
def user_data() -> Response:
    lab = project()
    with lab.lock:
        return _text(_caller(lab).user_data)


def _text(text: str) -> Response:
    return Response(text, mimetype="text/plain")


def _caller(lab: Project) -> Server:
    address = request.remote_addr
    for server in lab.servers.values():
        own = {attachment.ip for attachment in server.networks.values()} | {public_ipv4(lab, server)}
        if address in own:
            return server
    raise ApiError("not_found", f"no server has the address {address}")


def _data(lab: Project, server: Server) -> Json:
    return {
        "hostname": server.name,
        "instance-id": server.id,
        "public-ipv4": public_ipv4(lab, server) or "",
        "region": LOCATIONS[server.location]["network_zone"],
        "availability-zone": f"{server.location}-dc1",
    }


def _private_networks(lab: Project, server: Server) -> list[Json]:
    entries = []
    for number, (network_id, attachment) in enumerate(server.networks.items(), start=1):
        network = lab.networks[network_id]
        entries.append(
            {
                "ip": attachment.ip,
                "alias_ips": attachment.alias_ips,
                "interface_num": number,
                "mac_address": attachment.mac,
                "network_id": network.id,
                "network_name": network.name,
                "network": network.ip_range,
                "subnet": subnet_of(network, attachment.ip),
                "gateway": gateway(network.ip_range),
            }
        )
    return entries
