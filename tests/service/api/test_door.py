"""Names by which the API is asked, and pages that send: browsers are talked into nothing."""

import httpx
import pytest

from blurline.errors import SettingsError
from blurline.settings import load_settings
from tests.callers import House, bearer
from tests.parts import Start, Taking, refusal
from tests.sockets import head, refusals, said_to

PAGE = "https://photos.example.org"
FOREIGN = "https://evil.example.org"
OURS = [
    "localhost",
    "LocalHost:8000",
    "localhost.",
    "127.0.0.1",
    "127.9.8.7:1",
    "[::1]",
    "[::1]:80",
]
OTHERS = [
    "evil.example.org",
    "evil.example.org:8000",
    "127.0.0.1.example.org",
    "localhost.example.org",
    "evil.localhost",
    "0.0.0.0",  # noqa: S104
    "10.1.2.3:8000",
    "[fe80::1]",
    "[::]",
    "2130706433",
    "127.1",
    "",
]


def asked_by(client: httpx.Client, host: str, path: str = "/openapi.json") -> httpx.Response:
    return client.get(path, headers={"Host": host})


@pytest.mark.parametrize("host", OURS)
def test_where_nobody_is_asked_the_machines_own_names_are_answered(
    taking: Taking, host: str
) -> None:
    assert asked_by(taking.client, host).status_code == 200


@pytest.mark.parametrize("host", OTHERS)
def test_where_nobody_is_asked_no_other_name_is_answered(
    refusing: httpx.Client, host: str, small_jpeg: bytes
) -> None:
    for path in ("/openapi.json", "/health", "/stats", "/docs", "/nowhere"):
        answer = asked_by(refusing, host, path)
        assert refusal(answer) == (403, "forbidden")
        assert "no-store" in answer.headers["Cache-Control"]
    files = {"file": ("a.jpg", small_jpeg)}
    sent = refusing.post("/upload", files=files, headers={"Host": host})
    assert refusal(sent) == (403, "forbidden")


def test_further_names_are_those_of_the_setting(idle_client: Start) -> None:
    client = idle_client(allowed_hosts="photos.example.org, fe80::1")
    for host in ("photos.example.org", "Photos.Example.org:8443", "[fe80::1]:80", "localhost:1"):
        assert asked_by(client, host).status_code == 200
    for host in ("evil.example.org", "a.photos.example.org", "10.1.2.3"):
        assert refusal(asked_by(client, host)) == (403, "forbidden")


def test_where_callers_are_asked_any_name_is_answered(house: House) -> None:
    for host in (*OURS, *OTHERS):
        assert asked_by(house.client, host, "/health").status_code == 200
        assert refusal(asked_by(house.client, host, "/stats")) == (401, "unauthorized")


def test_where_callers_are_asked_the_setting_holds_for_names_and_probes_ask_by_address(
    idle_client: Start, house: House
) -> None:
    keys = house.settings.api_keys_file
    client = idle_client(api_keys_file=keys, allowed_hosts="photos.example.org")
    for host in ("photos.example.org", "10.1.2.3:8000", "[fd00::7]:8000", "127.0.0.1"):
        assert asked_by(client, host, "/health").status_code == 200
    assert refusal(asked_by(client, "evil.example.org", "/health")) == (403, "forbidden")


def test_where_access_is_off_the_setting_alone_says_which_names(idle_client: Start) -> None:
    assert asked_by(idle_client(access="off"), "evil.example.org").status_code == 200
    named = idle_client(access="off", allowed_hosts="photos.example.org")
    assert asked_by(named, "photos.example.org").status_code == 200
    assert refusal(asked_by(named, "evil.example.org")) == (403, "forbidden")


@pytest.mark.parametrize("hosts", ["https://a.example.org", "a.example.org:80", "a b", "*", "a/b"])
def test_what_is_no_host_is_a_wrong_setting(hosts: str) -> None:
    with pytest.raises(SettingsError, match="ALLOWED_HOSTS"):
        load_settings(allowed_hosts=hosts)


FROM_ELSEWHERE = [
    {"Origin": FOREIGN},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
]


def check_refused(client: httpx.Client, picture: bytes, headers: dict[str, str]) -> None:
    files = {"file": ("a.jpg", picture)}
    for path in ("/upload", "/batch-upload", "/blur/"):
        assert refusal(client.post(path, files=files, headers=headers)) == (403, "forbidden")
    assert refusal(client.delete("/jobs/x", headers=headers)) == (403, "forbidden")


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
def test_a_page_of_elsewhere_changes_nothing(
    refusing: httpx.Client, small_jpeg: bytes, headers: dict[str, str]
) -> None:
    check_refused(refusing, small_jpeg, headers)


def test_a_page_of_elsewhere_changes_nothing_where_access_is_off(
    idle_client: Start, small_jpeg: bytes
) -> None:
    client = idle_client(access="off")
    for headers in FROM_ELSEWHERE:
        check_refused(client, small_jpeg, headers)


def test_two_origins_are_not_one_of_ours(refusing: httpx.Client) -> None:
    own = str(refusing.base_url).rstrip("/")
    said = said_to(
        refusing,
        head("DELETE /jobs/x", f"Origin: {own}", f"Origin: {FOREIGN}", "Connection: close"),
    )
    assert refusals(said) == [(403, "forbidden")]


def test_our_own_page_and_programs_may_send(taking: Taking, small_jpeg: bytes) -> None:
    own = str(taking.client.base_url).rstrip("/")
    for headers in (
        {},
        {"Origin": own},
        {"Origin": own, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        files = {"file": ("a.jpg", small_jpeg)}
        assert taking.client.post("/upload", files=files, headers=headers).status_code == 202


def test_pages_of_the_setting_may_send(idle_client: Start, small_jpeg: bytes) -> None:
    files = {"file": ("a.jpg", small_jpeg)}
    client, cross = idle_client(cors_origins=PAGE), {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/upload", files=files, headers={"Origin": PAGE, **cross}).is_success
    answer = client.post("/upload", files=files, headers={"Origin": FOREIGN, **cross})
    assert refusal(answer) == (403, "forbidden")
    anybody = idle_client(cors_origins="*")
    assert anybody.post("/upload", files=files, headers={"Origin": FOREIGN, **cross}).is_success


def test_whoever_shows_a_key_may_send_from_anywhere(house: House, small_jpeg: bytes) -> None:
    headers = {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site", **bearer(house.keys["alice"])}
    answer = house.client.post("/upload", files={"file": ("a", small_jpeg)}, headers=headers)
    assert answer.status_code == 202
