"""What a caller names to be posted to is judged alike by every Python, and never is a crash."""

from base64 import b64encode
from ipaddress import ip_address, ip_network
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blurline.errors import OptionError
from blurline.webhooks.rules import CallbackRules
from tests.parts import refusal, serving, settings_for

SECRET = f"whsec_{b64encode(bytes(32)).decode()}"
RULES = CallbackRules(allow_http=True)

NOT_PUBLIC = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/96", "::ffff:10.0.0.0/104", "::ffff:192.88.99.0/120", "64:ff9b::/96", "64:ff9b:1::/48"),
    *("100::/64", "100:0:0:1::/64", "2001::/32", "2001:2::/48", "2001:10::/28", "2001:20::/28"),
    *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7"),
    *("fe80::/10", "fec0::/10", "ff00::/8", "4000::/2", "8000::/1", "::/3"),
)
PUBLIC_BESIDE = (
    *("9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("191.255.255.255", "192.0.1.0", "192.0.1.255", "192.0.3.0", "192.88.98.255", "192.88.100.0"),
    *("192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.99.255"),
    *("198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "1.0.0.0"),
    *("2001:200::", "2001:db7:ffff::", "2001:db9::", "2001:ffff::", "2003::", "2000::"),
    *("3ffe:ffff::", "3fff:1000::", "::ffff:8.8.8.8", "2606:4700::1111"),
)


@pytest.mark.parametrize("network", NOT_PUBLIC)
def test_no_address_of_a_network_that_is_not_public_is_reached(network: str) -> None:
    whole = ip_network(network)
    for address in (whole[0], whole[1], whole[-2], whole[-1]):
        if getattr(address, "ipv4_mapped", None) is None or "ffff" in network:
            assert not RULES.allows(str(address)), address


@pytest.mark.parametrize("address", PUBLIC_BESIDE)
def test_the_neighbours_of_those_networks_are_public(address: str) -> None:
    assert RULES.allows(address)


@pytest.mark.parametrize(
    "disguise",
    [
        *("169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::169.254.169.254"),
        *("2002:a9fe:a9fe::1", str(ip_address(0x20010000 << 96 | (0xA9FEA9FE ^ 0xFFFFFFFF)))),
    ],
)
def test_no_setting_and_no_disguise_allows_a_clouds_metadata(disguise: str) -> None:
    everything = CallbackRules(True, (ip_network("::/0"), ip_network("0.0.0.0/0")))
    assert not everything.allows(disguise)
    assert everything.allows("127.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        *("xn--n3h.com", "xn--bcher-kva.example", "hook.example.org.", "a_b.example.org", "a"),
        *("HOOK.Example.ORG", "hook-1.example.org", "1.2.3.com", "x" * 63 + ".org"),
        *("8.8.8.8", "[2606:4700::1111]", "hook.example.org:8443", "[2606:4700::1111]:1"),
    ],
)
def test_a_name_of_the_public_internet_is_taken(host: str) -> None:
    RULES.check(f"http://{host}/path?query")


@pytest.mark.parametrize(
    "host",
    [
        *("", ".", "..", ".a", "a..b", "-a.org", "a-.org", "x" * 64 + ".org", "a." * 127 + "org"),
        *("1.2.3", "127.1", "0x7f.1", "0x", "2130706433", "017700000001", "0x7f000001", "a.1"),
        *("127.0.0.1", "127.0.0.1.", "1.2.3.4.5", "256.256.256.256", "[::1]", "[::1", "::1", "[]"),
        *("[fe80::1%25eth0]", "[v1.a]", "[1.2.3.4]", "[::ffff:127.0.0.1]", "a%00b", "a%2fb"),
        *("%31%32%37.0.0.1", "a:99999", "a:-1", "a:0", "a:b", "a:1:2", "u@a", "u:p@a", "a/#x"),
        *(
            "a\\b",
            "a<b",
            "a b",
            "a\x00b",
            "\udcff",
            "☃.com",
            "\uff11\uff12\uff17.0.0.1",
            "a\u3002b",
        ),
        *("a^b", "a|b", "a*b", "*.a", "a{b", "$a", "a,b", "a;b", "a'b", 'a"b', "xn--" + "a" * 60),
    ],
)
def test_what_is_no_host_is_refused_and_not_repeated(host: str) -> None:
    with pytest.raises(OptionError) as caught:
        RULES.check(f"http://{host}")
    assert caught.value.message.startswith("callback_url ")
    assert len(caught.value.message) < 100


@given(
    st.sampled_from(
        ["http://", "https://", "http:", "//", "", "http://[", "http://xn--", "HTTP://"]
    )
    .flatmap(lambda start: st.text(max_size=60).map(lambda rest: start + rest))
    .flatmap(lambda text: st.sampled_from([text, text + ":65536/", text + ".xn--a/", text + "]"]))
)
@example("http://xn--/")
@example("http://xn--a/")
@example("http://xn--zzzzzzzzzz.xn--1/")
@example("http://[1:2:3:4:5:6:7:8:9]/")
@example("http://a:" + "9" * 1990)
@example("http://" + "a." * 990)
@example("http://" + "-" * 1990)
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        RULES.check(text)
    except OptionError:
        return
    url = httpx.URL(text)
    assert url.raw_host
    assert url.netloc
    assert url.copy_with(host="192.0.2.1").netloc


@pytest.mark.process
def test_a_name_that_is_punycode_of_nothing_is_no_fault_of_ours(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path, webhook_secret=SECRET, webhook_allow_http=True)
    picture = {"file": ("a.jpg", small_jpeg)}
    with serving(settings) as client:
        for url, status in (
            ("http://xn--n3h.com/", 202),
            ("http://xn--a/", 202),
            ("http://xn--.com/", 422),
            ("http://xn--" + "a" * 60 + ".com/", 422),
            ("http://\x00/", 422),
        ):
            answer = client.post("/upload", files=picture, data={"callback_url": url})
            assert answer.status_code == status, answer.text
            if status != 202:
                assert refusal(answer) == (422, "bad_option")
