"""Which interfaces already have the lab's subnet."""

from tests.lab.docker import interfaces_to

# As the kernel prints them: a bridge that a killed docker daemon has left, and that of the lab's network.
ROUTES = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
br-201fb7a83a25	0000D50A	00000000	0001	0	0	0	00FFFFFF	0	0	0
br-a90ac67bda13	0000D50A	00000000	0001	0	0	0	00FFFFFF	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""


def test_every_interface_with_a_route_to_the_subnet_is_found() -> None:
    assert interfaces_to("10.213.0.0/24", routes=ROUTES) == {"br-201fb7a83a25", "br-a90ac67bda13"}
    assert interfaces_to("172.17.0.0/16", routes=ROUTES) == {"docker0"}
    assert interfaces_to("172.17.0.0/24", routes=ROUTES) == set()
    assert interfaces_to("10.213.0.0/24", routes="") == set()
