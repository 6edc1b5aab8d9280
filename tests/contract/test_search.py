"""Search: GET /api/articles?q=. Articles get into it in the background, so tests wait for what they look for."""
import collections
import concurrent.futures
import contextlib
import time
import urllib.parse

import psycopg2
import pytest
from stoa_suite_fixture import wait_until
from test_pages import follow, slugs

SEARCH_SECONDS = 3  # that a search may take


@pytest.fixture
def search(call_http):
    """search(q, want, token, more="&limit=3"): the answer, once it has these slugs, in whatever order."""

    def run(q, want, token=None, more=""):
        def found():
            answer = call_http("GET", f"/api/articles?q={urllib.parse.quote(q)}{more}", None, token)
            assert answer.status == 200, answer.text
            return answer if sorted(slugs(answer)) == sorted(want) else None

        return wait_until(found, f"{want} for {q!r}")

    return run


@pytest.fixture
def whales(new_account, publish, unique):
    """(a word of its own, author, slugs of three articles, the best match first)."""
    author, word = new_account(), unique("whale")
    texts = [{"title": f"Of {word}"}, {"description": f"The {word} and the sea"}, {"body": f"Yesterday a {word} was spotted."}]
    made = [publish(author, tagList=[f"tag{word}"], **text)["slug"] for text in texts]
    return word, author, made


def test_the_best_match_comes_first(both, search, whales):
    word, author, made = whales
    answer = search(word, made)
    assert slugs(answer) == made and answer.json["articlesCount"] == 3
    both("posts", "ListArticles", {"q": word}, author["token"])
    both("posts", "ListArticles", {"q": f"{word} sea", "limit": 1}, author["token"])


def test_websearch_syntax(search, whales):
    word, _, made = whales
    search(word, made)
    for q, want in ((f"{word} sea", made[1:2]), (f"{word} -sea", [made[0], made[2]]), (f'"yesterday a {word}"', made[2:]),
                    (f'"{word} yesterday"', []), (f"the {word.upper()}", made), (f"sea{word} or {word}", made),
                    (f"{word} spots", made[2:]), (f"tag{word}", made), (f"{word}, !!((& |", made), (f"no{word}", [])):
        search(q, want)


def test_filters_combine(call_http, search, whales, publish, new_account):
    word, author, made = whales
    other = new_account()
    by_other = publish(other, title=word)["slug"]
    call_http("POST", f"/api/articles/{made[1]}/favorite", None, other["token"])
    search(word, [*made, by_other])
    search(word, made, more=f"&author={author['username']}")
    search(word, made, more=f"&tag=tag{word}")
    search(word, made[1:2], more=f"&favorited={other['username']}")
    search(word, made[1:2], more=f"&favorited={other['username']}&tag=tag{word}&author={author['username']}")
    search(word, [], more="&author=nobody")


def test_highlights(call_http, search, new_account, publish, unique):
    word, account = unique("mark"), new_account()
    article = publish(account, title=f"<b>{word}</b> & 'co'", description="\x01none\x02 <mark>here</mark>",
                      body="filler " * 300 + f"see {word.upper()} <script>alert(1)</script> " + "filler " * 300)
    (found,) = search(word, [article["slug"]]).json["articles"]
    highlight = found["highlight"]
    assert set(highlight) == {"title", "description", "excerpt"}
    assert f"<mark>{word}</mark>" in highlight["title"] and highlight["title"].endswith("&amp; &#39;co&#39;")
    assert f"see <mark>{word.upper()}</mark>" in highlight["excerpt"] and len(highlight["excerpt"]) < 600
    for text in highlight.values():
        rest = text.replace("<mark>", "").replace("</mark>", "")
        assert text.count("<mark>") == text.count("</mark>") and not set("<>\"'\x01\x02") & set(rest)
    assert "<mark>" not in highlight["description"]
    assert found["title"] == article["title"] and "body" not in found
    for path in ("/api/articles?limit=1", f"/api/articles?author={account['username']}"):
        assert "highlight" not in call_http("GET", path).json["articles"][0]
    assert "highlight" not in call_http("GET", f"/api/articles/{article['slug']}").json["article"]


def test_an_excerpt_has_two_pieces(both, search, new_account, publish, unique):
    """And between them what the contract says."""
    word, account = unique("twice"), new_account()
    article = publish(account, body=f"the {word} here " + "filler " * 300 + f"the other {word} there")
    search(word, [article["slug"]])
    _, answer, http = both("posts", "ListArticles", {"q": word}, account["token"])
    for each in (answer, http.json):
        pieces = each["articles"][0]["highlight"]["excerpt"].split(" … ")
        assert len(pieces) == 2 and all(f"<mark>{word}</mark>" in piece for piece in pieces)


def test_pages(call_http, search, whales, publish):
    word, author, made = whales
    for _ in range(4):  # of the same score: the newest first
        made.insert(3, publish(author, body=f"just {word}")["slug"])
    search(word, made)
    whole = slugs(call_http("GET", f"/api/articles?q={word}"))
    for size in (1, 3, 7):
        for how in (f"page_size={size}", f"limit={size}"):
            pages = list(follow(call_http, f"/api/articles?q={word}&{how}"))
            assert [slug for page in pages for slug in slugs(page)] == whole
            assert all(page.json["articlesCount"] == 7 for page in pages)
    assert slugs(call_http("GET", f"/api/articles?q={word}&limit=2&offset=3")) == whole[3:5]
    first = call_http("GET", f"/api/articles?q={word}&page_size=2")
    publish(author, title=f"{word} {word} {word}")
    token = first.json["nextPageToken"]
    search(f'"{word} {word} {word}"', [slug for slug in slugs(call_http("GET", f"/api/articles?author={author['username']}&limit=1"))])
    assert slugs(call_http("GET", f"/api/articles?q={word}&page_size=2&page_token={token}")) == whole[2:4]
    for other in (f"q={word}x", f"author={author['username']}", f"q={word}&author={author['username']}"):
        answer = call_http("GET", f"/api/articles?{other}&page_token={token}")
        assert answer.status == 422 and list(answer.json["errors"]) == ["pageToken"]


def test_links_of_long_words(call_http, search, new_account, publish, unique):
    """The link to the next page has room for the longest words and filters."""
    account, word = new_account(), unique("long")
    made = [publish(account, body=word, tagList=["\U0001f40b" * 64])["slug"] for _ in range(2)]
    q = word + " or " + "\U0001f40b" * (256 - len(word) - 4)
    more = f"&tag={urllib.parse.quote(chr(0x1f40b) * 64)}&author={account['username']}"
    search(q, made, more=more)
    pages = list(follow(call_http, f"/api/articles?q={urllib.parse.quote(q)}{more}&page_size=1"))
    assert sorted(slug for page in pages for slug in slugs(page)) == sorted(made)


@pytest.mark.parametrize("q", ["the", "to be or not to be", "-whale", "whale or -fish", '""', "& | ! ( ) :*", " ", "-", "%", "\U0001f40b", "- " * 120 + "whale"])
def test_no_word_to_search_for(both, q):
    code, problem, http = both("posts", "ListArticles", {"q": q})
    assert code == "INVALID_ARGUMENT" and problem.reason == "NO_WORDS"
    assert http.status == 422 and http.json["errors"] == {"q": ["has no word to search for"]}


@pytest.mark.parametrize("q, status", [("x" * 256, 200), ("x" * 257, 422), ('"' * 255 + "x", 200), ("%00", 422),
                                       ("'; DROP TABLE posts.articles; --", 200), ("-" * 200 + " whale", 422), ("- - whale", 422),
                                       ("(((((((((whale", 200), ("\x01 whale", 200)])
def test_limits(call_http, q, status):
    q = q if q == "%00" else urllib.parse.quote(q)
    answer = call_http("GET", f"/api/articles?q={q}")
    assert answer.status == status, answer.text
    assert status == 200 or list(answer.json["errors"]) == ["q"]


def test_an_empty_q_is_none(call_http, new_account, publish):
    account = new_account()
    slug = publish(account)["slug"]
    assert slugs(call_http("GET", f"/api/articles?q=&author={account['username']}")) == [slug]


def test_what_changes_is_found_anew(call_http, search, whales, unique):
    word, author, made = whales
    search(word, made)
    other = unique("other")
    changed = call_http("PUT", f"/api/articles/{made[0]}", {"article": {"title": other}}, author["token"]).json["article"]
    search(word, made[1:])
    search(other, [changed["slug"]])
    call_http("DELETE", f"/api/articles/{made[1]}", None, author["token"])
    answer = call_http("GET", f"/api/articles?q={word}")
    assert slugs(answer) == made[2:] and answer.json["articlesCount"] == 1, "at once"
    assert call_http("DELETE", "/api/user", None, author["token"]).status == 204
    assert slugs(call_http("GET", f"/api/articles?q={word}")) == []


def test_what_the_caller_sees(call_http, search, whales, new_account):
    word, author, made = whales
    reader = new_account()
    call_http("POST", f"/api/articles/{made[2]}/favorite", None, reader["token"])
    call_http("POST", f"/api/profiles/{author['username']}/follow", None, reader["token"])
    answer = search(word, made, reader["token"])
    assert [article["favorited"] for article in answer.json["articles"]] == [False, False, True]
    assert all(article["author"]["following"] for article in answer.json["articles"])
    tag = answer.headers["ETag"]
    assert call_http("GET", f"/api/articles?q={word}", None, reader["token"], {"If-None-Match": tag}).status == 304


def hold_up_searches(suite, call_http, crowds, running, meanwhile=lambda: None):
    """Searches come, so many after so many, and hang for a table that is locked here until all but a few are refused and
    meanwhile() has returned. How many of them were not refused."""
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        with contextlib.closing(psycopg2.connect(**suite.database("stoa_posts"))) as lock, lock.cursor() as cursor:
            cursor.execute("LOCK posts.article_search")
            start = time.monotonic()
            searches = []
            for crowd in crowds:
                searches += [pool.submit(call_http, "GET", "/api/articles?q=anything") for _ in range(crowd)]
                wait_until(lambda: sum(each.done() for each in searches) >= len(searches) - running, "the others are refused")
            meanwhile()
            locked = time.monotonic() - start
        answers = [each.result() for each in searches]
    for answer in answers:
        if answer.status == 429:
            assert answer.headers["Retry-After"] and answer.json["reason"] == "OVERLOADED"
    statuses = collections.Counter(answer.status for answer in answers)
    # On a busy machine the one that hangs is given up meanwhile, and somebody else may wait in its place.
    assert statuses[504] == 0 or locked > SEARCH_SECONDS
    assert set(statuses) <= {200, 429, 504}
    # By any of the gateway's workers.
    wait_until(lambda: [call_http("GET", "/api/articles?q=anything").status for _ in range(8)] == [200] * 8, "searches are served again")
    return statuses[200], statuses[504]


def test_searches_that_wait_delay_nobody_else(suite, call_http, new_account, publish):
    """One runs, and as many wait as are usually soon done, 15 at most; the others are refused, by the gateway itself before long,
    and reads go on: lists too, which are of the same RPC."""
    slug = publish(new_account())["slug"]

    def read():
        assert call_http("GET", f"/api/articles/{slug}").status == 200
        assert [call_http("GET", "/api/articles").status for _ in range(20)] == [200] * 20

    found, given_up = hold_up_searches(suite, call_http, (24, 40), 16, read)
    assert 4 - given_up <= found <= 16


def test_three_wait_for_searches_that_take_long(suite, call_http):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with contextlib.closing(psycopg2.connect(**suite.database("stoa_posts"))) as lock, lock.cursor() as cursor:
            cursor.execute("LOCK posts.article_search")
            slow = pool.submit(call_http, "GET", "/api/articles?q=anything")
            time.sleep(0.5)
        assert slow.result().status == 200
    found, given_up = hold_up_searches(suite, call_http, (24,), 4)
    assert 4 - given_up <= found <= 4


def test_a_search_is_given_up_after_a_while(suite, call_http, call_grpc):
    with contextlib.closing(psycopg2.connect(**suite.database("stoa_posts"))) as lock, lock.cursor() as cursor:
        cursor.execute("LOCK posts.article_search")
        start = time.monotonic()
        # Long before its deadline.
        assert call_grpc("posts", "ListArticles", {"q": "anything"}, timeout=300)[0] == "DEADLINE_EXCEEDED"
        assert SEARCH_SECONDS <= time.monotonic() - start < 200
        assert call_http("GET", "/api/articles?q=anything").status == 504
    assert call_http("GET", "/api/articles?q=anything").status == 200
