"""The catalogue: locations, server types, images, load balancer types and prices.

Names, sizes and network zones are Hetzner's. Prices, IDs and what is sold out or deprecated where are
invented: a client must read them from the API.
"""

from collections.abc import Mapping
from decimal import Decimal

from tests.lab.hetzner.records import Json

CURRENCY = "EUR"
VAT_PERCENT = Decimal(19)
PLACEMENT_GROUP_SIZE = 10
HOURS_A_MONTH = 624
TERABYTE = 1024**4

EUROPE = ("fsn1", "nbg1", "hel1")
EVERYWHERE = (*EUROPE, "ash", "hil", "sin")

GONE = {"announced": "2025-10-01T00:00:00+00:00", "unavailable_after": "2026-01-01T00:00:00+00:00"}
GOING = {"announced": "2026-09-01T00:00:00+00:00", "unavailable_after": "2035-01-01T00:00:00+00:00"}

SOLD_OUT = {("cax21", "nbg1"), ("cx43", "fsn1")}
DEPRECATED: Mapping[tuple[str, str], Json] = {
    **{("cx22", location): GONE for location in EUROPE},
    ("cpx32", "hel1"): GOING,
}


def price(net: Decimal) -> Json:
    """Return a price in the API's format: decimals as text, with ten places."""
    gross = net * (100 + VAT_PERCENT) / 100
    return {"net": f"{net:.10f}", "gross": f"{gross:.10f}"}


def _location(number: int, name: str, zone: str, city: str, country: str, at: tuple[float, float]) -> Json:
    return {
        "id": number,
        "name": name,
        "description": f"{city} DC Park 1",
        "country": country,
        "city": city,
        "latitude": at[0],
        "longitude": at[1],
        "network_zone": zone,
    }


LOCATIONS: dict[str, Json] = {
    location["name"]: location
    for location in (
        _location(1, "fsn1", "eu-central", "Falkenstein", "DE", (50.47612, 12.370071)),
        _location(2, "nbg1", "eu-central", "Nuremberg", "DE", (49.452102, 11.076665)),
        _location(3, "hel1", "eu-central", "Helsinki", "FI", (60.169855, 24.938379)),
        _location(4, "ash", "us-east", "Ashburn, VA", "US", (39.045821, -77.487073)),
        _location(5, "hil", "us-west", "Hillsboro, OR", "US", (45.54222, -122.951924)),
        _location(6, "sin", "ap-southeast", "Singapore", "SG", (1.283333, 103.833333)),
    )
}


def _prices(monthly: str, locations: tuple[str, ...]) -> list[Json]:
    """Return prices by location: outside Europe a fifth more, with less included traffic."""
    prices = []
    for name in locations:
        net = Decimal(monthly) if name in EUROPE else Decimal(monthly) * Decimal("1.2")
        prices.append(
            {
                "location": name,
                "price_hourly": price(net / HOURS_A_MONTH),
                "price_monthly": price(net),
                "included_traffic": (20 if name in EUROPE else 1) * TERABYTE,
                "price_per_tb_traffic": price(Decimal("1.00") if name in EUROPE else Decimal("7.40")),
            }
        )
    return prices


def _server_type(
    number: int,
    name: str,
    size: tuple[int, int, int],
    monthly: str,
    *,
    locations: tuple[str, ...] = EUROPE,
    dedicated: bool = False,
    arm: bool = False,
) -> Json:
    """Return a server type; `size` is cores, GB of memory and GB of disk."""
    cores, memory, disk = size
    return {
        "id": number,
        "name": name,
        "description": name.upper(),
        "category": "Dedicated General Purpose" if dedicated else "Shared vCPU",
        "cores": cores,
        "memory": memory,
        "disk": disk,
        "storage_type": "local",
        "cpu_type": "dedicated" if dedicated else "shared",
        "architecture": "arm" if arm else "x86",
        "prices": _prices(monthly, locations),
        "deprecated": all(DEPRECATED.get((name, location)) == GONE for location in locations),
        "deprecation": DEPRECATED.get((name, locations[0])),
        "locations": [_offer(name, location) for location in locations],
    }


def _offer(server_type: str, location: str) -> Json:
    deprecation = DEPRECATED.get((server_type, location))
    available = deprecation != GONE and (server_type, location) not in SOLD_OUT
    return {
        "id": LOCATIONS[location]["id"],
        "name": location,
        "available": available,
        "recommended": available and deprecation is None,
        "deprecation": deprecation,
    }


SERVER_TYPES: dict[str, Json] = {
    server_type["name"]: server_type
    for server_type in (
        _server_type(104, "cx22", (2, 4, 40), "3.29"),
        _server_type(114, "cx23", (2, 4, 40), "3.49"),
        _server_type(115, "cx33", (4, 8, 80), "5.49"),
        _server_type(116, "cx43", (8, 16, 160), "9.49"),
        _server_type(108, "cpx22", (2, 4, 80), "6.49", locations=EVERYWHERE),
        _server_type(109, "cpx32", (4, 8, 160), "10.99", locations=EVERYWHERE),
        _server_type(96, "ccx13", (2, 8, 80), "12.49", locations=EVERYWHERE, dedicated=True),
        _server_type(45, "cax11", (2, 4, 40), "3.79", arm=True),
        _server_type(93, "cax21", (4, 8, 80), "6.49", arm=True),
    )
}


def _image(number: int, flavor: str, version: str, codename: str, architecture: str) -> Json:
    return {
        "id": number,
        "type": "system",
        "status": "available",
        "name": f"{flavor}-{version}",
        "description": f"{flavor.capitalize()} {version} ({codename})",
        "image_size": None,
        "disk_size": 5,
        "created": "2025-08-18T06:51:21+00:00",
        "created_from": None,
        "bound_to": None,
        "os_flavor": flavor,
        "os_version": version,
        "rapid_deploy": True,
        "protection": {"delete": False},
        "deprecated": None,
        "deprecation": None,
        "labels": {},
        "deleted": None,
        "architecture": architecture,
    }


IMAGES: dict[int, Json] = {
    image["id"]: image
    for image in (
        _image(114690387, "debian", "12", "bookworm", "x86"),
        _image(114690389, "debian", "12", "bookworm", "arm"),
        _image(310557660, "debian", "13", "trixie", "x86"),
        _image(310557661, "debian", "13", "trixie", "arm"),
        _image(161547269, "ubuntu", "24.04", "noble", "x86"),
        _image(161547270, "ubuntu", "24.04", "noble", "arm"),
    )
}


def _load_balancer_type(number: int, name: str, scale: tuple[int, int, int, int], monthly: str) -> Json:
    """Return a load balancer type; `scale` is its maximum of connections, services, targets, certificates."""
    connections, services, targets, certificates = scale
    return {
        "id": number,
        "name": name,
        "description": name.upper(),
        "max_connections": connections,
        "max_services": services,
        "max_targets": targets,
        "max_assigned_certificates": certificates,
        "deprecated": None,
        "deprecation": None,
        "prices": _prices(monthly, EVERYWHERE),
    }


LOAD_BALANCER_TYPES: dict[str, Json] = {
    balancer_type["name"]: balancer_type
    for balancer_type in (
        _load_balancer_type(1, "lb11", (10000, 5, 25, 10), "5.39"),
        _load_balancer_type(2, "lb21", (20000, 15, 75, 25), "16.40"),
        _load_balancer_type(3, "lb31", (40000, 30, 150, 50), "32.90"),
    )
}


def _address_prices(ipv4: str, *, hourly: bool) -> list[Json]:
    """Return prices of addresses by type; IPv6 is free."""
    prices = []
    for version, net in (("ipv4", Decimal(ipv4)), ("ipv6", Decimal(0))):
        rates = {"price_monthly": price(net)}
        if hourly:
            rates["price_hourly"] = price(net / HOURS_A_MONTH)
        prices.append({"type": version, "prices": [{"location": name, **rates} for name in LOCATIONS]})
    return prices


def _price_list(catalogue: Mapping[str, Json]) -> list[Json]:
    return [{key: item[key] for key in ("id", "name", "prices")} for item in catalogue.values()]


PRICING: Json = {
    "currency": CURRENCY,
    "vat_rate": f"{VAT_PERCENT:.6f}",
    "image": {"price_per_gb_month": price(Decimal("0.0119"))},
    "floating_ip": {"price_monthly": price(Decimal("3.00"))},
    "floating_ips": _address_prices("3.00", hourly=False),
    "primary_ips": _address_prices("0.50", hourly=True),
    "server_backup": {"percentage": "20.000000"},
    "server_types": _price_list(SERVER_TYPES),
    "load_balancer_types": _price_list(LOAD_BALANCER_TYPES),
    "volume": {"price_per_gb_month": price(Decimal("0.0440"))},
}


def included_traffic(item: Json, location: str) -> int:
    """Return the bytes per month included with a server type or load balancer type in a location."""
    return next(int(one["included_traffic"]) for one in item["prices"] if one["location"] == location)
