"""Addresses are read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.bundle.deploy import Address, parse_address, parse_host
from edgekd.errors import DeviceError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://pi@raspberry/srv/model", Address("pi", "raspberry", None, "/srv/model")),
        ("ssh://raspberry:2222/srv/model/", Address(None, "raspberry", 2222, "/srv/model")),
        ("ssh://a.b@10.0.0.7/m", Address("a.b", "10.0.0.7", None, "/m")),
        ("ssh://pi@[fe80::1%eth0]:22/srv/a b", Address("pi", "fe80::1%eth0", 22, "/srv/a b")),
        ("ssh://[::1]/m@x:1", Address(None, "::1", None, "/m@x:1")),
    ],
)
def test_an_address_is_a_user_a_host_a_port_and_a_folder(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pi@raspberry:/srv", "is not a device address"),
        ("http://raspberry/srv", "is not a device address"),
        ("ssh://raspberry", "names no folder"),
        ("ssh://raspberry/", "names no folder"),
        ("ssh:///srv", "'' is not a host name"),
        ("ssh://-oProxyCommand=reboot/srv", "is not a host name"),
        ("ssh://pi@-host/srv", "'-host' is not a host name"),
        ("ssh://-l@host/srv", "'-l' is not a user name"),
        ("ssh://@host/srv", "'' is not a user name"),
        ("ssh://pi:secret@host/srv", "holds a password"),
        ("ssh://a@b@c/srv", "is not a device address"),
        ("ssh://host name/srv", "is not a host name"),
        ("ssh://höst/srv", "is not a host name"),
        ("ssh://fe80::1/srv", "is not a port"),
        ("ssh://[fe80::1/srv", "is not a device address"),
        ("ssh://[raspberry]/srv", "is not an IPv6 address"),
        ("ssh://host:0/srv", "'0' is not a port"),
        ("ssh://host:65536/srv", "'65536' is not a port"),
        ("ssh://host:2_2/srv", "'2_2' is not a port"),
        ("ssh://host:/srv", "'' is not a port"),
        ("ssh://host/srv/../etc", "has .. in its path"),
        ("ssh://host/~/model", "~ is not known"),
        ("ssh://host/srv\nx", "cannot be printed"),
        ("ssh://host/\x1b[2J", "cannot be printed"),
    ],
)
def test_what_is_no_address_is_told_in_one_line(text: str, problem: str) -> None:
    with pytest.raises(DeviceError) as caught:
        parse_address(text)

    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "secret" not in str(caught.value)


def test_a_device_alone_has_no_folder() -> None:
    assert parse_host("ssh://pi@raspberry:2222") == Address("pi", "raspberry", 2222, "")
    with pytest.raises(DeviceError, match="names a folder"):
        parse_host("ssh://pi@raspberry/srv")


@given(st.text(st.sampled_from("ssh:/@[]-.~%a1\n é"), max_size=30))
def test_no_text_smuggles_an_option_in(tail: str) -> None:
    address = _parsed_or_none(f"ssh://{tail}")

    if address:
        assert not address.host.startswith("-")
        assert not (address.user or "").startswith("-")
        assert address.path.startswith("/")


def _parsed_or_none(text: str) -> Address | None:
    try:
        return parse_address(text)
    except DeviceError:
        return None
