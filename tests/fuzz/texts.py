"""Options of a picture, and ids and queries in paths, as nobody means them."""

import json
from random import Random
from urllib.parse import quote

from blurline.pipeline_architecture import pipelines
from blurline.settings import Settings
from blurline.stages.pipeline import all_options
from tests.fuzz.attempt import request
from tests.fuzz.forms import ROUTES, simple_form
from tests.fuzz.mutation import sometimes
from tests.fuzz.seeds import small_picture
from tests.parts import BAD_IDS, NOBODY

OPTIONS = tuple(all_options(pipelines(Settings())))

NO_PICTURE = b"no picture"
"""What a callback goes with: the URL is checked first, and nothing is ever posted to it."""

WORDS = (
    "face",
    "face,license_plate,car,person",
    "mosaic",
    "solid",
    "fast",
    "minimal",
    "keep",
    "none",
    "obscure",
    "blur",
    "face=0.3,license_plate=0.2",
    "0.3",
    "[[[0, 0], [1, 0], [1, 0.25]]]",
    "",
    " ",
    "\0",
    "nan",
    "face=nan",
    "inf",
    "1e999",
    "-0",
    "0x1p-1",
    "٣",
    "ﬀ",
    "\ud800",
    "null",
    "{}",
    "[[[NaN, 0], [1, 0], [1, 1]]]",
    "[[[1e999, 0], [1, 0], [1, 1]]]",
    '[[["0", "0"], [1, 0], [1, 1]]]',
    "[[[0,0],[0,0],[0,0]]]",
    "[[[true, 0], [1, 0], [1, 1]]]",
)
HOSTS = (
    "xn--n3h.invalid",
    "xn--.invalid",
    "☃.invalid",
    "a..invalid",
    "-a.invalid",
    "a" * 70 + ".invalid",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[fe80::1%25lo]",
    "127.1",
    "0x7f.1",
    "2130706433",
    "192.0.0.8",
    "192.88.99.1",
    "user:secret@a.invalid",
    "a.invalid:99999",
    "a.invalid:-1",
    "a.invalid:٣",
    "",
)
URLS = ("https://{}/a", "http://{}", "HTTPS://{}?a=b#c", "//{}", "file://{}", "https:{}", "{}")
PATHS = ("/status/{}", "/batch/{}", "/result/{}", "/certificate/{}", "/original/{}", "/jobs/{}")
SIZES = (100, 5_000, 200_000, 1_500_000)
DEEPEST = 20_000


def text(chance: Random) -> tuple[bytes, ...]:
    """A whole request whose texts are odd: most are uploads, some are questions about a job."""
    if chance.random() < 0.2:
        return _question(chance)
    route = chance.choice(list(ROUTES))
    names = (*OPTIONS, "pipeline")
    fields = {name: _text(chance) for name in chance.sample(names, chance.randint(1, 3))}
    picture = small_picture(chance)
    if chance.random() < 0.25:
        fields["callback_url"] = chance.choice(URLS).format(chance.choice(HOSTS))
        picture = NO_PICTURE
    body = simple_form(fields, picture, ROUTES[route])
    kind = "multipart/form-data; boundary=a-boundary"
    return request("POST", route, {"Content-Type": kind}, body, chance)


def _text(chance: Random) -> str:
    word = chance.choice(WORDS)
    match chance.randrange(6):
        case 0:
            return _zones(chance)
        case 1:
            return _long(word, chance)
        case 2:
            depth = chance.randint(1, DEEPEST)
            return "[" * depth + "0" + "]" * chance.choice((0, depth))
        case 3:
            return sometimes(word.encode("utf-8", "surrogatepass"), chance, 1).decode("latin-1")
        case _:
            return word


def _zones(chance: Random) -> str:
    """Polygons, of which few are within the bounds."""
    polygons = chance.choice((1, 3, 20, 21, 1_000))
    points = chance.choice((2, 3, 100, 101)) if polygons < 1_000 else 3
    value = chance.choice((0.5, 1e-320, -0.0, 2, 10**400, "0.5", None, [0]))
    point = [value, chance.random()]
    return json.dumps([[point] * points] * polygons)


def _long(word: str, chance: Random) -> str:
    """The word again and again, with or without commas."""
    between = chance.choice(("", ",", "=", "[", " "))
    size = chance.choice(SIZES)
    return (word + between) * max(1, size // (len(word) + len(between) or 1))


def _question(chance: Random) -> tuple[bytes, ...]:
    name = chance.choice((*BAD_IDS, NOBODY, _text(chance)[:2_000]))
    path = chance.choice(PATHS).format(quote(name, safe="%", errors="surrogatepass"))
    path += chance.choice(("", "", "/", "?a=b", "?" + "a=b&" * 500, "%00", "%"))
    method = chance.choice(("GET", "HEAD", "DELETE", "OPTIONS", "POST"))
    return request(method, path, {}, b"" if method == "POST" else None, chance)
