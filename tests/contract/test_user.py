"""One's own account: changing it, a new password, deleting it."""
import concurrent.futures

import pytest
from stoa_contract import Both, GrpcClient, HttpClient, session_of

TAKEN = ["has already been taken"]
BLANK = ["can't be blank"]
ENDED = {"token": ["is invalid"]}


@pytest.fixture
def update(both):
    """update(account, **changes): PUT /api/user over both; no answer may differ."""

    def make(account, current_password=None, **changes):
        given = {"currentPassword": current_password} if current_password else {}
        return both("auth", "UpdateCurrentUser", {"user": changes, **given}, account["token"])

    return make


@pytest.fixture
def current(call_grpc):
    def get(account):
        code, answer = call_grpc("auth", "GetCurrentUser", {}, account["token"])
        assert code == "OK", answer
        return answer["user"]

    return get


def test_each_field(new_account, update, current, unique):
    account, name = new_account(), unique("renamed")
    for changes in ({"username": name}, {"email": f"{name}@example.org"}, {"bio": "Two\nlines"},
                    {"image": "https://example.com/a.png"}):
        code, answer, http = update(account, **changes)
        assert code == "OK" and http.status == 200
        expected = {**current(account), **changes}
        assert answer["user"] == expected == current(account), "and nothing else has changed"
        assert answer["user"]["token"] == account["token"]


def test_all_fields_at_once(new_account, update, current, unique):
    account, name = new_account(), unique("all")
    changes = {"username": name, "email": f"{name}@example.org", "bio": "b", "image": "i"}
    _, answer, _ = update(account, **changes, password="another password")
    assert answer["user"] == {**changes, "token": account["token"]} == current(account)


@pytest.mark.parametrize("field", ["bio", "image"])
@pytest.mark.parametrize("empty", ["", None])
def test_null_and_empty_clear_absent_leaves(new_account, update, current, call_http, field, empty):
    """Over HTTP null is told from a member that is not there; over gRPC the empty text clears."""
    account = new_account()
    update(account, bio="before", image="before")
    other = "image" if field == "bio" else "bio"
    answer = call_http("PUT", "/api/user", {"user": {field: empty}}, account["token"])
    assert answer.status == 200 and answer.json["user"][field] is None and answer.json["user"][other] == "before"
    assert field not in current(account)
    update(account, **{field: "again"})
    update(account, **{field: ""})
    assert field not in current(account) and current(account)[other] == "before"


def masked(account, changes, mask):
    return {"user": changes, "updateMask": mask}, account["token"]


def test_mask(call_grpc, new_account, current, unique):
    """Over gRPC the mask (AIP-134) clears and leaves what the message cannot say."""
    account, name = new_account(), unique("masked")
    call_grpc("auth", "UpdateCurrentUser", {"user": {"bio": "b", "image": "i"}}, account["token"])
    changes = {"username": name, "bio": "not this", "password": "not this either"}
    code, answer = call_grpc("auth", "UpdateCurrentUser", *masked(account, changes, "username,image"))
    assert code == "OK" and answer["user"] == current(account)
    assert answer["user"]["username"] == name and answer["user"]["bio"] == "b" and "image" not in answer["user"]
    code, problem = call_grpc("auth", "UpdateCurrentUser", *masked(account, {}, "username,email,password"))
    assert code == "INVALID_ARGUMENT" and problem.errors == {f: BLANK for f in ("username", "email", "password")}
    code, problem = call_grpc("auth", "UpdateCurrentUser", *masked(account, {"bio": "x"}, "bio,token"))
    assert code == "INVALID_ARGUMENT" and problem.fields == ["update_mask"]
    every = {"username": name, "email": account["email"], "password": account["password"]}
    assert call_grpc("auth", "UpdateCurrentUser", *masked(account, every, "*"))[0] == "OK"
    assert "bio" not in current(account)


def test_nothing_to_change(new_account, update, current):
    account = new_account()
    before = current(account)
    code, answer, http = update(account)
    assert code == "OK" and answer["user"] == before
    assert http.json["user"]["bio"] is None


@pytest.mark.parametrize("field", ["username", "email", "password"])
@pytest.mark.parametrize("empty", ["", None])
def test_what_must_not_be_empty(new_account, update, call_http, current, field, empty):
    account = new_account()
    before = current(account)
    answer = call_http("PUT", "/api/user", {"user": {field: empty, "bio": "x"}}, account["token"])
    assert answer.status == 422 and answer.json["errors"] == {field: BLANK}
    code, _, http = update(account, **{field: "", "bio": "x"})
    assert code == "INVALID_ARGUMENT" and http.json["errors"] == {field: BLANK}
    assert current(account) == before, "all or nothing"


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("username", "   ", "can't be blank"),
        ("username", "x" * 65, "is too long (maximum is 64 characters)"),
        ("username", "a\u202eb", "must not contain characters that change the direction of text"),
        ("email", "x", "is not a valid email address"),
        ("email", f"{'x' * 64}@{'y' * 63}.{'y' * 63}.{'y' * 62}", "is too long (maximum is 254 characters)"),
        ("password", "1234567", "is too short (minimum is 8 characters)"),
        ("password", "x" * 257, "is too long (maximum is 256 characters)"),
        ("bio", "x" * 4097, "is too long (maximum is 4096 characters)"),
        ("bio", "a\x07b", "must not contain control characters"),
        ("bio", "a\u202eb", "must not contain characters that change the direction of text around them"),
        ("image", "x" * 2049, "is too long (maximum is 2048 characters)"),
        ("image", "a\nb", "must be one line"),
    ],
)
def test_refuses(new_account, update, current, field, value, message):
    account = new_account()
    before = current(account)
    code, problem, http = update(account, **{field: value})
    assert code == "INVALID_ARGUMENT" and http.status == 422
    assert http.json["errors"] == {field: [message]} and problem.fields == [f"user.{field}"]
    assert current(account) == before


@pytest.mark.parametrize("value", [1, True, [], {}])
@pytest.mark.parametrize("field", ["username", "email", "password", "bio", "image"])
def test_wrong_type(call_http, new_account, field, value):
    answer = call_http("PUT", "/api/user", {"user": {field: value}}, new_account()["token"])
    assert answer.status == 400 and "must be a string" in answer.json["errors"]["body"][0]


def test_at_the_limits(new_account, update, current, unique):
    account = new_account()
    long_email = f"{unique('x').ljust(64, 'x')}@{'y' * 63}.{'y' * 63}.{'y' * 61}"
    for changes in ({"bio": "\U0001f642" * 4096}, {"image": "x" * 2048}, {"email": long_email}):
        assert update(account, **changes)[0] == "OK"
        assert changes.items() <= current(account).items()


def test_taken(new_account, update, current):
    account, other = new_account(), new_account()
    before = current(account)
    for changes in ({"username": other["username"].upper()}, {"email": other["email"].upper()},
                    {"username": other["username"], "email": other["email"]}):
        code, problem, http = update(account, bio="x", **changes)
        assert code == "ALREADY_EXISTS" and http.status == 409
        assert http.json["errors"] == {field: TAKEN for field in changes}
        assert problem.fields == [f"user.{field}" for field in changes]
    assert current(account) == before


def test_own_names_in_another_case(new_account, update, current):
    account = new_account("Case")
    code, answer, _ = update(account, username=account["username"].upper(), email=account["email"].title())
    assert code == "OK" and current(account)["username"] == account["username"].upper()


@pytest.mark.parametrize("field, value", [("username", "{}"), ("email", "{}@example.com")])
def test_one_of_many_gets_a_name(new_account, call_grpc, unique, field, value):
    accounts, changes = [new_account() for _ in range(6)], {field: value.format(unique("wanted"))}

    def take(account):
        code, answer = call_grpc("auth", "UpdateCurrentUser", {"user": changes}, account["token"])
        return code, None if code == "OK" else answer.errors

    with concurrent.futures.ThreadPoolExecutor(len(accounts)) as pool:
        outcomes = list(pool.map(take, accounts))
    assert outcomes.count(("OK", None)) == 1 and outcomes.count(("ALREADY_EXISTS", {field: TAKEN})) == 5


def test_needs_a_token(both):
    for method, request in (("UpdateCurrentUser", {"user": {"bio": "x"}}), ("DeleteCurrentUser", {})):
        code, _, http = both("auth", method, request)
        assert code == "UNAUTHENTICATED" and http.json["errors"] == {"token": ["is missing"]}


def test_without_user(both, new_account):
    code, _, http = both("auth", "UpdateCurrentUser", {}, new_account()["token"])
    assert code == "INVALID_ARGUMENT" and http.json["errors"] == {"user": BLANK}


# ---- a new password ----

NEEDED = {"currentPassword": ["is needed, since the sign-in was a while ago"]}
QUARTER_OF_AN_HOUR = 15 * 60


def signs_in(call_grpc, account, password):
    request = {"user": {"email": account["email"], "password": password}}
    return call_grpc("auth", "Login", request)[0] == "OK"


def test_new_password_after_a_young_sign_in(new_account, call_http, call_grpc):
    """As the blog's public clients do it."""
    account = new_account()
    answer = call_http("PUT", "/api/user", {"user": {"password": "a new password"}}, account["token"])
    assert answer.status == 200
    assert signs_in(call_grpc, account, "a new password") and not signs_in(call_grpc, account, account["password"])
    assert call_grpc("auth", "GetCurrentUser", {}, account["token"])[0] == "OK", "this session goes on"


def test_new_password_later_needs_the_current_one(new_account, update, call_grpc, pass_time):
    account = new_account()
    pass_time(session_of(account["token"]), QUARTER_OF_AN_HOUR + 1)
    code, problem, http = update(account, password="a new password", bio="x")
    assert code == "INVALID_ARGUMENT" and http.json["errors"] == NEEDED and problem.reason == "PASSWORD_NEEDED"
    code, problem, http = update(account, password="a new password", current_password="not the password")
    assert code == "INVALID_ARGUMENT" and http.json["errors"] == {"currentPassword": ["is wrong"]}
    assert signs_in(call_grpc, account, account["password"])
    request = {"user": {"password": "a new password"}, "currentPassword": account["password"]}
    assert call_grpc("auth", "UpdateCurrentUser", request, account["token"])[0] == "OK"
    assert signs_in(call_grpc, account, "a new password")


def test_a_refresh_is_no_sign_in(new_account, update, call_grpc, pass_time):
    account = new_account()
    pass_time(session_of(account["token"]), QUARTER_OF_AN_HOUR + 1)
    _, answer = call_grpc("auth", "RefreshSession", {"refreshToken": account["refreshToken"]})
    code, _, http = update({"token": answer["user"]["token"]}, password="a new password")
    assert code == "INVALID_ARGUMENT" and http.json["errors"] == NEEDED


def test_wrong_current_password_counts_also_after_a_young_sign_in(new_account, update):
    code, _, http = update(new_account(), password="a new password", current_password="not the password")
    assert code == "INVALID_ARGUMENT" and http.json["errors"] == {"currentPassword": ["is wrong"]}


def test_other_changes_need_no_password(new_account, update, pass_time):
    account = new_account()
    pass_time(session_of(account["token"]), QUARTER_OF_AN_HOUR + 1)
    assert update(account, bio="x", current_password="whatever")[0] == "OK"


def test_new_password_ends_all_other_sessions(new_account, sign_in, call_grpc):
    account = new_account()
    others = [sign_in(account) for _ in range(3)]
    request = {"user": {"password": "a new password"}}
    assert call_grpc("auth", "UpdateCurrentUser", request, account["token"])[0] == "OK"
    for other in others:
        code, problem = call_grpc("auth", "GetCurrentUser", {}, other["token"])
        assert code == "UNAUTHENTICATED" and problem.errors == ENDED
        assert call_grpc("auth", "RefreshSession", {"refreshToken": other["refreshToken"]})[0] == "UNAUTHENTICATED"
    _, answer = call_grpc("auth", "ListSessions", {}, account["token"])
    assert [session["id"] for session in answer["sessions"]] == [session_of(account["token"])]
    assert call_grpc("auth", "RefreshSession", {"refreshToken": account["refreshToken"]})[0] == "OK"


def test_no_sign_in_with_the_old_password_outlasts_the_change(new_account, call_grpc):
    """Sign-ins that run while the password is changed: their sessions end, or they fail."""
    for _ in range(5):
        account = new_account()
        request = {"user": {"email": account["email"], "password": account["password"]}}
        change = {"user": {"password": "a new password"}}
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            logins = [pool.submit(call_grpc, "auth", "Login", request) for _ in range(4)]
            assert pool.submit(call_grpc, "auth", "UpdateCurrentUser", change, account["token"]).result()[0] == "OK"
        for code, answer in (login.result() for login in logins):
            assert code in ("OK", "UNAUTHENTICATED"), answer
            if code == "OK":
                assert call_grpc("auth", "RefreshSession", {"refreshToken": answer["refreshToken"]})[0] != "OK"
                assert call_grpc("auth", "GetCurrentUser", {}, answer["user"]["token"])[0] != "OK"


def test_two_changes_at_once(new_account, sign_in, call_grpc):
    """Of two sessions that change the password, one wins, and the other one is ended."""
    account = new_account()
    sessions = [sign_in(account) for _ in range(2)]

    def change(number):
        request = {"user": {"password": f"new password {number}"}, "currentPassword": account["password"]}
        return call_grpc("auth", "UpdateCurrentUser", request, sessions[number]["token"])[0]

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(change, range(2)))
    assert sorted(codes) in (["OK", "UNAUTHENTICATED"], ["INVALID_ARGUMENT", "OK"])
    assert signs_in(call_grpc, account, f"new password {codes.index('OK')}")


# ---- deleting the account ----


def test_delete_after_a_young_sign_in(call_http, call_grpc, new_account, sign_in):
    account = new_account()
    other = sign_in(account)
    answer = call_http("DELETE", "/api/user", token=account["token"])
    assert answer.status == 204 and answer.text == ""
    for token in (account["token"], other["token"]):
        assert call_grpc("auth", "GetCurrentUser", {}, token)[0] == "UNAUTHENTICATED"
    for refresh_token in (account["refreshToken"], other["refreshToken"]):
        assert call_grpc("auth", "RefreshSession", {"refreshToken": refresh_token})[0] == "UNAUTHENTICATED"
    assert not signs_in(call_grpc, account, account["password"])
    again = {"user": {name: account[name] for name in ("username", "email", "password")}}
    assert call_grpc("auth", "CreateUser", again)[0] == "OK", "the names are free"


def test_delete_takes_what_was_written(both, call_grpc, new_account, publish):
    account, reader = new_account(), new_account()
    article = publish(account, tagList=["left behind"])
    theirs = publish(reader)
    assert call_grpc("posts", "FavoriteArticle", {"slug": theirs["slug"]}, account["token"])[0] == "OK"
    comment = {"slug": theirs["slug"], "comment": {"body": "Mine."}}
    assert call_grpc("posts", "CreateComment", comment, account["token"])[0] == "OK"
    assert call_grpc("auth", "DeleteCurrentUser", {}, account["token"])[0] == "OK"
    assert both("posts", "GetArticle", {"slug": article["slug"]})[0] == "NOT_FOUND"
    _, answer, _ = both("posts", "GetArticle", {"slug": theirs["slug"]})
    assert answer["article"]["favoritesCount"] == 0
    _, answer, _ = both("posts", "ListComments", {"slug": theirs["slug"]})
    assert answer["comments"] == []
    _, answer, _ = both("posts", "ListArticles", {"tag": "left behind"})
    assert answer["articles"] == [] and answer["articlesCount"] == 0


def test_delete_later_needs_the_password(both, call_grpc, new_account, pass_time):
    account = new_account()
    pass_time(session_of(account["token"]), QUARTER_OF_AN_HOUR + 1)
    code, problem, http = both("auth", "DeleteCurrentUser", {}, account["token"])
    assert code == "INVALID_ARGUMENT" and http.json["errors"] == NEEDED and problem.fields == ["current_password"]
    code, _, http = both("auth", "DeleteCurrentUser", {"currentPassword": "not the password"}, account["token"])
    assert code == "INVALID_ARGUMENT" and http.json["errors"] == {"currentPassword": ["is wrong"]}
    request = {"currentPassword": account["password"]}
    assert call_grpc("auth", "DeleteCurrentUser", request, account["token"])[0] == "OK"
    assert not signs_in(call_grpc, account, account["password"])


def test_deleted_over_http_with_a_password(call_http, new_account, pass_time):
    account = new_account()
    pass_time(session_of(account["token"]), QUARTER_OF_AN_HOUR + 1)
    request = {"currentPassword": account["password"]}
    assert call_http("DELETE", "/api/user", request, account["token"]).status == 204
    assert call_http("GET", "/api/user", token=account["token"]).status == 401


def test_ended_session_changes_nothing(call_grpc, new_account, sign_in):
    """Not even before its revocation has arrived: the transaction itself looks at the session."""
    account = new_account()
    other = sign_in(account)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ended = pool.submit(call_grpc, "auth", "EndSession", {"session": other["session"]}, account["token"])
        assert ended.result()[0] == "OK"
        code, problem = call_grpc("auth", "UpdateCurrentUser", {"user": {"bio": "x"}}, other["token"])
    assert code == "UNAUTHENTICATED" and problem.errors == ENDED
    assert "bio" not in call_grpc("auth", "GetCurrentUser", {}, account["token"])[1]["user"]


# ---- common passwords ----


def test_common_passwords_are_refused(own_suite, contract):
    """A setting: for new passwords, at sign-up and at a change, and for no others."""
    suite = own_suite(STOA_AUTH_REFUSE_COMMON_PASSWORDS="on")
    http = HttpClient(suite.http)
    both = Both(contract, GrpcClient(contract, suite.grpc), http)
    refused = {"password": ["is too common: many people use it"]}

    def sign_up(password):
        return lambda surface: {"user": {"username": surface, "email": f"{surface}@example.com", "password": password}}

    for password in ("password123", "PassWord123", "12345678"):
        code, problem, answer = both("auth", "CreateUser", sign_up(password))
        assert code == "INVALID_ARGUMENT" and answer.status == 422 and answer.json["errors"] == refused
        assert problem.reason == "INVALID_FIELDS" and problem.fields == ["user.password"]
    ignore = ("user.username", "user.email", "user.token", "refreshToken")
    _, _, created = both("auth", "CreateUser", sign_up("correct horse battery"), ignore=ignore)
    token = created.json["user"]["token"]
    code, _, answer = both("auth", "UpdateCurrentUser", {"user": {"password": "qwertyuiop"}}, token)
    assert code == "INVALID_ARGUMENT" and answer.json["errors"] == refused
    # Nothing has changed, and what signs in is not judged.
    request = {"user": {"email": "http@example.com", "password": "correct horse battery"}}
    assert http("POST", "/api/users/login", request).status == 200
    request["user"]["password"] = "qwertyuiop"
    answer = http("POST", "/api/users/login", request)
    assert answer.status == 401 and answer.json["errors"] == {"credentials": ["invalid"]}
