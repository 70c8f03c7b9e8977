"""The page: served closed to foreign scripts, small, kept by browsers, and itself free of ways to turn data into markup. A browser tries it in tests/e2e."""

import gzip
import re
from pathlib import Path

import pytest

from functions.query import static
from tests.functions.query.world import World

FOLDER = Path(static.__file__).parent / "page"
SCRIPTS = sorted(file.name for file in FOLDER.glob("*.js"))
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def source(name: str) -> str:
    return (FOLDER / name).read_text()


def without_comments(name: str) -> str:
    return re.sub(r"/\*.*?\*/|(?<![:\"'`\\/])//[^\n]*", "", source(name), flags=re.DOTALL)


@pytest.fixture
async def links(world: World) -> list[str]:
    """What the page loads."""
    page = (await world.ask("GET", "/query/")).body.decode()
    return sorted(set(re.findall(r"(?:src|href)=\"(/[^\"]*)\"", page)))


@pytest.mark.parametrize("path", ["/query/", "/"])
async def test_page_is_there_without_a_session(world: World, path: str) -> None:
    answer = await world.ask("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Obstack</title>" in answer.body


async def test_path_without_slash_leads_to_the_page(world: World) -> None:
    answer = await world.ask("GET", "/query")
    assert (answer.status, answer.headers["location"]) == (308, "/query/")


async def test_files_that_the_page_names_are_kept_for_ever(world: World, links: list[str]) -> None:
    assert {Path(link).name for link in links} == {file.name for file in FOLDER.iterdir()} - {"index.html"}
    for link in links:
        answer = await world.ask("GET", link)
        name = Path(link).name
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, TYPES[Path(name).suffix], (FOLDER / name).read_bytes())
        assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("path", ["/query/", "/query/page/index.html", "/query/page/main.js", f"/query/page/{'0' * 16}/main.js"])
async def test_page_and_other_versions_are_asked_for_each_time(world: World, path: str) -> None:
    answer = await world.ask("GET", path)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache")
    again = await world.ask("GET", path, {"if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path", ["/query/page/", "/query/page/none.js", "/query/page/main.py", "/query/page/0/main.js", "/query/page/../static.py", "/query/page/main.js/"]
)
async def test_nothing_else_is_served(world: World, path: str) -> None:
    assert (await world.ask("GET", path)).status in {401, 404}


async def test_files_are_compressed_for_whoever_can_read_it(world: World, links: list[str]) -> None:
    link = next(link for link in links if link.endswith("main.js"))
    plain, small = await world.ask("GET", link), await world.ask("GET", link, {"accept-encoding": "br, gzip"})
    assert (plain.headers.get("content-encoding"), small.headers["content-encoding"]) == (None, "gzip")
    assert gzip.decompress(small.body) == plain.body
    assert small.headers["vary"] == "accept-encoding"
    assert small.headers["etag"] != plain.headers["etag"]


async def test_first_paint_is_under_100_kb(world: World, links: list[str]) -> None:
    bodies = [(await world.ask("GET", path, {"accept-encoding": "gzip"})).body for path in ["/query/", *links]]
    assert sum(map(len, bodies)) < 100_000


async def test_policy_allows_own_files_only(world: World) -> None:
    headers = (await world.ask("GET", "/query/")).headers
    assert headers["content-security-policy"] == "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"


def test_page_asks_no_other_host_and_has_no_inline_code() -> None:
    html = source("index.html")
    assert not re.search(r"(?:src|href)=\"(?!/query/|#)", html)
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", html)
    for name in (*SCRIPTS, "page.css"):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", source(name)), name


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_has_no_way_from_text_to_markup(name: str) -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|createContextualFragment|DOMParser|setHTML|javascript:"
    assert not re.search(ways, source(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_links_made_of_data_are_hashes(name: str) -> None:
    literal = re.findall(r"href: ([^,}]*)", without_comments(name))
    checked = {"linkTo(", "logsOf(", "around", "mark.href", "href"}
    assert all(re.match(r"[\"`]#/", link) or any(link.startswith(way) for way in checked) for link in literal), literal


def test_only_own_modules_are_imported() -> None:
    for name in SCRIPTS:
        assert all((FOLDER / module).is_file() for module in re.findall(r"\bfrom \"\./([^\"]+)\"", source(name)))
        assert len(re.findall(r"^import ", source(name), re.MULTILINE)) == len(re.findall(r"^import [^;]*\bfrom \"\./", source(name), re.MULTILINE))


def test_every_element_that_scripts_name_is_in_the_page() -> None:
    made = {"confirm-yes"}  # by a script
    named = {id_ for name in SCRIPTS for id_ in re.findall(r"\$\(\"([\w-]+)\"\)", source(name))}
    assert named <= set(re.findall(r"\sid=\"([\w-]+)\"", source("index.html"))) | made


def test_every_field_has_a_label() -> None:
    html = source("index.html")
    for field in re.findall(r"<(?:input|select)\b[^>]*>", html):
        id_ = re.search(r"\sid=\"([\w-]+)\"", field)
        assert 'aria-label="' in field or (id_ and f'for="{id_[1]}"' in html) or re.search(rf"<label[^>]*>{re.escape(field)}", html), field
