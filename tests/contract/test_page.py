"""The page at /: its files, its addresses, and the headers that keep it what it is."""
import json
import os
import re
from html.parser import HTMLParser

import pytest
import requests
from gateway_fixture import ROOT

APP = ROOT / "web/app"
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
ADDRESSES = ("/", "/feed", "/search?q=x", "/tags/a%20b", "/articles/some-slug", "/articles/some-slug/edit", "/people/ada", "/write",
             "/drafts", "/chat", "/chat/7", "/settings", "/sign-in?return=/chat", "/sign-up")
STATIC = re.compile(r'^(?:import|export)\b[^;]*?\bfrom "([^"]+)";', re.MULTILINE)
DYNAMIC = re.compile(r'\bimport\("([^"]+)"\)')


class Markup(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.files, self.preloaded, self.inline = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag in ("script", "link", "img"):
            self.files.append(attrs.get("src") or attrs.get("href"))
        if attrs.get("rel") == "modulepreload":
            self.preloaded.add(attrs["href"])
        self.inline += [name for name in attrs if name.startswith("on") or name == "style"]
        if tag == "style" or tag == "script" and "src" not in attrs:
            self.inline.append(tag)


@pytest.fixture(scope="module")
def get(suite):
    with requests.Session() as session:
        yield lambda path, **headers: session.get(suite.http + path, headers={"Accept-Encoding": "identity", **headers}, timeout=20, allow_redirects=False)


def modules(name, pattern):
    """Paths under web/ of the modules that one imports."""
    text = (ROOT / "web" / name).read_text()
    return {os.path.normpath(os.path.join(os.path.dirname(name), path)) for path in pattern.findall(text)}


def reached(name, patterns):
    found, new = set(), {name}
    while new:
        found |= new
        new = {each for one in new for pattern in patterns for each in modules(one, pattern)} - found
    return found


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_show_the_page(get, address):
    answer = get(address)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == TYPES[".html"]
    assert answer.content == (APP / "index.html").read_bytes()


def test_every_file_is_served_as_what_it_is(get):
    files = [*APP.rglob("*"), *(ROOT / "web/docs").iterdir()]
    for file in (each for each in files if each.is_file()):
        answer = get("/" + str(file.relative_to(ROOT / "web")))
        assert answer.status_code == 200 and answer.content == file.read_bytes(), file
        assert answer.headers["Content-Type"] == TYPES[file.suffix]


def test_headers(get):
    for path in ("/", "/chat/7", "/app/main.js", "/docs/palette.css"):
        headers = get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
        assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors", "trusted-types")} == {"'none'"}
        assert policy["require-trusted-types-for"] == "'script'"
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer" and headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["X-Request-Id"]
        assert headers["Cache-Control"] == "no-cache" and headers["ETag"]


def test_a_browser_asks_whether_it_has_the_newest(get, suite):
    file = suite.run_dir / "program/web/app/app.css"
    for accept in ("identity", "gzip"):
        first = get("/app/app.css", **{"Accept-Encoding": accept})
        assert first.content == (APP / "app.css").read_bytes()
        assert first.headers.get("Content-Encoding", "identity") == accept
        tag = {"Accept-Encoding": accept, "If-None-Match": first.headers["ETag"]}
        assert get("/app/app.css", **tag).status_code == 304
        before = os.stat(file)
        try:
            # An upgrade that leaves the size as it is.
            os.utime(file, (before.st_atime, before.st_mtime + 10))
            assert get("/app/app.css", **tag).status_code == 200
        finally:
            os.utime(file, (before.st_atime, before.st_mtime))


@pytest.mark.parametrize("path", ["/nothing", "/chats", "/app/nothing.js", "/app/package.json", "/package.json", "/app/views", "/app/..%2fpackage.json",
                                  "/app/%2e%2e/package.json", "/app/main.js/x", "/README.md"])
def test_what_is_not_there(get, path):
    answer = get(path)
    if path == "/app/views":
        assert answer.status_code in (301, 404)
        answer = get(path + "/")
    assert answer.status_code in (403, 404), path
    assert answer.headers["Content-Type"] == "application/problem+json" and answer.json()["errors"]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_nothing_inline_and_nothing_foreign(get):
    page = Markup(get("/").text)
    assert page.inline == []
    assert all(re.match(r"/(app|docs)/", path) for path in page.files)
    for file in APP.rglob("*.css"):
        assert not re.search(r"url\(|@import", file.read_text()), file
    for name in reached("app/main.js", (STATIC, DYNAMIC)):
        assert (ROOT / "web" / name).is_file(), name
        # No way from text to markup or to code, even where the policy would not stop it.
        assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval|Function)\b", (ROOT / "web" / name).read_text()), name


def test_no_module_is_left_out_or_left_over():
    known = {str(file.relative_to(ROOT / "web")) for file in APP.rglob("*.js")}
    assert known == {name for name in reached("app/main.js", (STATIC, DYNAMIC)) if name.startswith("app/")}
    # What the first view needs is fetched at once instead of one module after another.
    page = Markup((APP / "index.html").read_text())
    assert page.preloaded == {f"/{name}" for name in reached("app/main.js", (STATIC,)) - {"app/main.js"}}


def test_the_api_is_where_it_was(get):
    answer = get("/api/articles")
    assert answer.status_code == 200 and "articles" in json.loads(answer.text)
