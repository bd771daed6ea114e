"""Who must not get in, or must not act on a page: refused, or shown as text."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from generated import generate
from serving import Served, served
from typer.testing import CliRunner

from flows.cli import app
from flows.review.door import CSRF, MOST_BYTES
from tasks.stores.catalog.browsing import Chosen
from tasks.stores.layout import StoreLayout

SCRIPT = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' onmouseover=alert(3) {{ 7 * 7 }}"
PAGES = ("/", "/c/bottle", "/c/bottle/clusters/c1", "/c/bottle/history", "/c/bottle/columns?column=line")


@pytest.fixture
def stranger(review: Served) -> Iterator[httpx.Client]:
    """Give a client that was not let in."""
    with httpx.Client(base_url=review.base, trust_env=False, timeout=60) as client:
        yield client


class Tags(HTMLParser):
    """Attributes of all tags of a page, as a browser reads them, and the addresses of its scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))


def raw(client: httpx.Client, path: str) -> tuple[int, str]:
    """Ask for a path as it stands, with the cookies of a client, which would tidy up dots and slashes."""
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    with closing(HTTPConnection(client.base_url.netloc.decode(), timeout=60)) as connection:
        connection.request("GET", path, headers={"Cookie": cookies})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")


def some_image(review: Served) -> str:
    return review.reading.members("bottle", "c1", Chosen())[0]


@pytest.mark.parametrize("path", [*PAGES, "/c/bottle/pictures/{image}/thumbnail", "/c/bottle/images/{image}"])
def test_nobody_gets_in_without_the_token(review: Served, stranger: httpx.Client, path: str) -> None:
    """Without the token of the printed address there is no page and no picture, and a guess does not help."""
    path = path.format(image=some_image(review))
    assert stranger.get(path).status_code == 401
    assert stranger.get(path, params={"token": "x" * 43}).status_code == 401
    stranger.cookies.set(review.keys.cookie, "guessed." + "0" * 64)
    answer = stranger.get(path)
    assert answer.status_code == 401
    assert "bottle" not in answer.text.replace(path, "")


def test_the_token_leaves_the_address_and_the_cookie_is_closed(review: Served, stranger: httpx.Client) -> None:
    """The first request is sent on to the same page without the token; no script and no other page gets the cookie."""
    answer = stranger.get(f"/c/bottle?line=3&token={review.keys.token}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/c/bottle?line=3")
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))


def test_a_redirect_never_leaves_the_server(review: Served, stranger: httpx.Client) -> None:
    """A path that looks like another server's address, and a page to go back to that is one, lead nowhere else."""
    answer = stranger.get(f"{review.base}//example.org/?token={review.keys.token}")
    assert answer.headers["location"].startswith("/example.org")
    with review.client() as client:
        for back in ("https://example.org/", "//example.org", "/\\example.org", "javascript:alert(1)", "/\nx"):
            assert review.post(client, "/name", name="kim", back=back).headers["location"] == "/"


@pytest.mark.parametrize("host", ["example.org", "example.org:80", "127.0.0.1.example.org", "localhost.evil", ""])
def test_a_foreign_name_gets_no_answer(review: Served, host: str) -> None:
    """A name that a foreign name server made to lead here (DNS rebinding) is refused, with cookie and token too."""
    with review.client() as client:
        for path in (*PAGES, f"/?token={review.keys.token}"):
            answer = client.get(path, headers={"Host": host})
            assert answer.status_code in {400, 403}
            assert "bottle" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_a_stolen_cookie_is_of_no_use_to_another_page(review: Served, headers: dict[str, str]) -> None:
    """Requests that pages of other addresses make are refused, whatever cookie they carry; so are their forms."""
    with review.client() as client:
        assert client.get("/c/bottle", headers=headers).status_code == 403
        assert client.get(f"/c/bottle/pictures/{some_image(review)}/thumbnail", headers=headers).status_code == 403
        form = {CSRF: review.csrf(client), "name": "owned"}
        assert client.post("/c/bottle/clusters/c1/do/rename", data=form, headers=headers).status_code == 403
    assert review.reading.catalog.cluster("bottle", "c1").name is None


def test_only_a_form_of_a_page_changes_anything(review: Served) -> None:
    """A POST without origin or without the form's token, or with that of another session, is refused; a GET is too."""
    with review.client() as client, review.client() as other:
        path = "/c/bottle/clusters/c1/do/rename"
        assert client.post(path, data={CSRF: review.csrf(client), "name": "owned"}).status_code == 403
        for token in ("", "x", review.csrf(other)):
            answer = client.post(path, data={CSRF: token, "name": "owned"}, headers={"Origin": review.base})
            assert answer.status_code == 403
        assert client.get(path, params={CSRF: review.csrf(client), "name": "owned"}).status_code == 405
        assert client.get(path.replace("/do/", "/ask/"), params={"name": "owned"}).status_code == 200
        assert client.request("PUT", path).status_code == 403
        assert review.reading.catalog.cluster("bottle", "c1").name is None
        assert review.post(client, path, name="chip").status_code == 303
    assert review.reading.catalog.cluster("bottle", "c1").name == "chip"


@pytest.mark.parametrize(
    "content",
    [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e%2f%2e%2e%2fcatalog.sqlite",
        "/etc/passwd",
        "c" * 64,
        "{image}%00.jpg",
        "{IMAGE}",
        "{image}/../{image}",
    ],
)
def test_no_path_leads_to_a_file(review: Served, content: str) -> None:
    """Pictures are named by content hash; a path, a hash that no image has or one written otherwise gets none."""
    image = some_image(review)
    content = content.replace("{image}", image).replace("{IMAGE}", image.upper())
    with review.client() as client:
        for kind in ("thumbnail", "original", "heat"):
            status, text = raw(client, f"/c/bottle/pictures/{content}/{kind}")
            assert status == 404
            assert "root:" not in text
        assert raw(client, f"/c/bottle/images/{content}")[0] == 404
        assert raw(client, f"/c/{content}")[0] == 404


@pytest.mark.parametrize("path", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "vendor/../../app.py", "/etc/passwd"])
def test_files_of_the_page_are_those_of_its_folder(stranger: httpx.Client, path: str) -> None:
    """What is served to everybody are the page's own scripts and styles, nothing beside them."""
    assert stranger.get("/static/review.css").status_code == 200
    status, text = raw(stranger, f"/static/{path}")
    assert status in {401, 404}
    assert "import" not in text


def test_a_picture_of_another_category_is_not_given(tmp_path: Path, layout: StoreLayout) -> None:
    """An address of one category shows no picture that only another one has."""
    generate(layout.root, 12, category="cable", n_nights=2)
    with served(layout) as review, review.client() as client:
        image = review.reading.members("cable", "c1", Chosen())[0]
        generated_too = review.reading.catalog.known_images("bottle", [image])
        expected = 200 if generated_too else 404
        assert client.get(f"/c/bottle/pictures/{image}/thumbnail").status_code == expected
        assert client.get(f"/c/cable/pictures/{image}/thumbnail").status_code == 200


def test_script_in_names_labels_notes_and_columns_is_text(tmp_path: Path) -> None:
    """Whatever people and manifests call things, the pages show it and run nothing of it."""
    layout = generate(
        tmp_path / "store", 60, category=SCRIPT, n_nights=3, label=SCRIPT, columns={SCRIPT: (SCRIPT, "plain")}
    )
    with served(layout) as review, review.client(who="kim") as client:
        catalog = review.reading.catalog
        catalog.rename(SCRIPT, "c1", SCRIPT[:90], who=SCRIPT)
        catalog.annotate(SCRIPT, "c1", SCRIPT, who=SCRIPT)
        (folder,) = review.reading.categories()
        where = f"/c/{folder.replace('%', '%25')}"
        image = review.reading.members(SCRIPT, "c1", Chosen())[0]
        paths = ["/", where, f"{where}/clusters/c1", f"{where}/clusters/c1/ask/rename", f"{where}/history"]
        paths += [f"{where}/images/{image}", f"{where}/images/{image}/nearest", f"{where}/clusters/c2?done=1"]
        pages = [client.get(path) for path in paths]
        pages.append(client.get(f"{where}/columns", params={"column": SCRIPT}))
        pages.append(client.get(where, params={f"column:{SCRIPT}": SCRIPT, "since": SCRIPT}))
        pages.append(client.get(f"{where}/clusters/{SCRIPT.replace('/', '')}"))
        assert [page.status_code for page in pages] == [200] * 10 + [404]
        shown = [page for page in pages if "alert(1)" in page.text]
        assert len(shown) >= 8
        assert all("{{ 7 * 7 }}" in page.text for page in shown if "onmouseover" in page.text)
        for page in pages:
            found = Tags()
            found.feed(page.text)
            assert {name for _, name, _ in found.attributes if name.startswith("on")} == set()
            sources = [value for _, name, value in found.attributes if name == "src"]
            assert all(source.startswith("/") and "alert(" not in source for source in sources)
            assert all((source or "").startswith("/static/") for source in found.scripts)


def test_every_answer_forbids_foreign_scripts_and_frames(review: Served, stranger: httpx.Client) -> None:
    """Pages, pictures, files and refusals carry the policy; pages have no inline script, style or handler."""
    with review.client() as client:
        image = some_image(review)
        answers = [client.get(path) for path in PAGES]
        answers += [client.get(f"/c/bottle/pictures/{image}/original"), client.get("/static/review.js")]
        answers += [stranger.get("/"), client.get("/nowhere"), client.get("/", headers={"Host": "example.org"})]
        for answer in answers:
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            if answer.headers["content-type"].startswith("text/html"):
                assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|javascript:", answer.text)


def test_a_huge_form_is_refused(review: Served) -> None:
    """A form beyond any choice of images is not read into memory."""
    with review.client() as client:
        answer = review.post(client, "/name", name="x" * (MOST_BYTES + 1))
        assert answer.status_code == 413


def test_a_password_opens_a_server_that_others_reach(layout: StoreLayout) -> None:
    """Such a server asks for the password, makes a guesser wait, and takes no token; an address is one of its names."""
    with (
        served(layout, password="correct horse") as review,
        httpx.Client(base_url=review.base, trust_env=False, timeout=60) as client,
    ):
        headers = {"Origin": review.base}
        assert client.get("/", params={"token": review.keys.token}).status_code == 401
        assert 'type="password"' in client.get("/").text
        began = time.monotonic()
        assert client.post("/enter", data={"password": "wrong"}, headers=headers).status_code == 403
        assert time.monotonic() - began >= 1
        assert client.post("/enter", data={"password": "correct horse"}).status_code == 403
        assert client.post("/enter", data={"password": "correct horse"}, headers=headers).status_code == 303
        assert client.get("/").status_code == 200
        assert client.get("/", headers={"Host": "10.0.0.7:8765"}).status_code == 200
        assert client.get("/", headers={"Host": "example.org"}).status_code == 403


@pytest.mark.parametrize("password", ["", "short"])
def test_others_reach_the_page_only_with_a_password(
    layout: StoreLayout, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    """`anoclust review --host 0.0.0.0` without a password, or with a short one, says what to set and does not start."""
    monkeypatch.setenv("ANOCLUST_REVIEW__PASSWORD", password)
    words = ["review", "--store", str(layout.root), "--host", "0.0.0.0", "--port", "0"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "ANOCLUST_REVIEW__PASSWORD" in result.stderr
    assert "--host 0.0.0.0 lets other machines reach the page" in result.stderr
