"""The page: served closed to foreign scripts, and itself free of ways to turn data into markup. A browser tries it in tests/e2e."""

import re
from pathlib import Path

import pytest

from functions.query import static
from tests.functions.query.world import World

FOLDER = Path(static.__file__).parent / "page"
FILES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@pytest.mark.parametrize("path", ["/query/", "/"])
async def test_page_is_there_without_a_session(world: World, path: str) -> None:
    answer = await world.ask("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"<title>Obstack</title>" in answer.body


async def test_path_without_slash_leads_to_the_page(world: World) -> None:
    answer = await world.ask("GET", "/query")
    assert (answer.status, answer.headers["location"]) == (308, "/query/")


@pytest.mark.parametrize(("name", "media_type"), FILES.items())
async def test_files_have_their_types_and_a_tag(world: World, name: str, media_type: str) -> None:
    answer = await world.ask("GET", f"/query/page/{name}")
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, media_type, (FOLDER / name).read_bytes())
    again = await world.ask("GET", f"/query/page/{name}", {"if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


async def test_policy_allows_own_files_only(world: World) -> None:
    headers = (await world.ask("GET", "/query/")).headers
    assert headers["content-security-policy"] == "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
    assert headers["x-content-type-options"] == "nosniff"


def test_page_asks_no_other_host_and_has_no_inline_code() -> None:
    html = (FOLDER / "index.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?!/query/|#)", html)
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", html)
    for name in ("page.js", "page.css"):
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", (FOLDER / name).read_text())


def test_script_has_no_way_from_text_to_markup() -> None:
    script = (FOLDER / "page.js").read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|createContextualFragment|DOMParser|javascript:", script
    )


def test_links_made_of_data_are_hashes() -> None:
    script = (FOLDER / "page.js").read_text()
    assert all(link.startswith("#/") for link in re.findall(r"href: [\"`]([^\"`]*)", script))


def test_every_element_the_script_names_is_in_the_page() -> None:
    html, script = (FOLDER / "index.html").read_text(), (FOLDER / "page.js").read_text()
    assert set(re.findall(r"\$\(\"([\w-]+)\"\)", script)) <= set(re.findall(r"\sid=\"([\w-]+)\"", html))
