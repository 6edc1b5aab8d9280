"""Accounts and access tokens: sign up, sign in, who am I, and what a token must be."""
import base64
import concurrent.futures
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from metrics_fixture import service_numbers, settled
from stoa_contract import token_part

TAKEN = ["has already been taken"]
BLANK = ["can't be blank"]


def sign_up(unique, **changes):
    """A CreateUser request for `both`: a fresh name each time it is made."""

    def request(surface):
        name = unique(surface)
        return {"user": {"username": name, "email": f"{name}@example.com", "password": "password123", **changes}}

    return request


# ---- CreateUser ----


def test_sign_up(both, unique):
    ignore = ("user.username", "user.email", "user.token", "refreshToken")
    code, answer, http = both("auth", "CreateUser", sign_up(unique), ignore=ignore)
    assert code == "OK" and http.status == 201
    user = http.json["user"]
    assert sorted(user) == ["bio", "email", "image", "token", "username"]
    assert user["bio"] is None and user["image"] is None
    assert "bio" not in answer["user"]
    assert user["username"].startswith("http") and user["email"] == f"{user['username']}@example.com"


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("username", "", BLANK),
        ("username", "   ", BLANK),
        ("username", None, BLANK),
        ("username", "x" * 65, ["is too long (maximum is 64 characters)"]),
        ("username", "\ufdfa" * 32, ["is too long in its compatibility form"]),
        ("email", "", BLANK),
        ("email", None, BLANK),
        ("email", "ada", ["is not a valid email address"]),
        ("email", "ada@", ["is not a valid email address"]),
        ("email", "a b@example.com", ["is not a valid email address"]),
        ("password", "", BLANK),
        ("password", None, BLANK),
        ("password", "1234567", ["is too short (minimum is 8 characters)"]),
        ("password", "x" * 257, ["is too long (maximum is 256 characters)"]),
    ],
)
def test_sign_up_refuses(both, unique, field, value, message):
    code, problem, http = both("auth", "CreateUser", sign_up(unique, **{field: value}))
    assert code == "INVALID_ARGUMENT" and http.status == 422
    assert http.json["errors"] == {field: message}
    assert problem.fields == [f"user.{field}"]


@pytest.mark.parametrize(
    "name", ["tab\tname", "new\nline", "bell\x07", "rtl\u202ename", " leading", "trailing "]
)
def test_username_without_hidden_characters(both, unique, name):
    code, _, http = both("auth", "CreateUser", sign_up(unique, username=name))
    assert code == "INVALID_ARGUMENT" and list(http.json["errors"]) == ["username"]


def test_all_violations_at_once(both):
    request = {"user": {"username": "", "email": "x", "password": "short"}}
    _, problem, http = both("auth", "CreateUser", request)
    assert sorted(http.json["errors"]) == ["email", "password", "username"]
    assert problem.reason == "INVALID_FIELDS"


def test_without_user(both):
    _, problem, http = both("auth", "CreateUser", {})
    assert http.status == 422 and http.json["errors"] == {"user": BLANK}


@pytest.mark.parametrize("password", ["12345678", "x" * 64, "x" * 256, "pässwörd", "🙂" * 8, "   spaces   "])
def test_passwords_that_count(both, unique, password):
    request = sign_up(unique, password=password)
    created = request("http")
    ignore = ("user", "refreshToken")
    code, _, _ = both("auth", "CreateUser", lambda _: sign_up(unique, password=password)(_), ignore=ignore)
    assert code == "OK"
    assert created["user"]["password"] == password


@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_taken_without_regard_to_case(both, new_account, unique, change):
    taken = new_account()
    for field in ("username", "email"):
        code, problem, http = both("auth", "CreateUser", sign_up(unique, **{field: change(taken[field])}))
        assert code == "ALREADY_EXISTS" and http.status == 409
        assert http.json["errors"] == {field: TAKEN} and problem.fields == [f"user.{field}"]


def test_both_taken_are_both_named(both, new_account):
    taken = new_account()
    request = {"user": {"username": taken["username"], "email": taken["email"], "password": "password123"}}
    _, _, http = both("auth", "CreateUser", request)
    assert http.json["errors"] == {"username": TAKEN, "email": TAKEN}


@pytest.mark.parametrize("field, value", [("username", "{}"), ("email", "{}@example.com")])
def test_one_of_many_gets_a_name(call_grpc, unique, field, value):
    """Whose password is hashed at the same time: when they were asked, nobody had it."""
    taken = {field: value.format(unique("wanted"))}
    requests = [sign_up(unique, **taken)("many") for _ in range(6)]
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda request: call_grpc("auth", "CreateUser", request), requests))
    refused = [(code, answer.errors) for code, answer in answers if code != "OK"]
    assert refused == [("ALREADY_EXISTS", {field: TAKEN})] * 5


def test_compatible_spellings_are_one_name(call_grpc, new_account, unique):
    """NFKC: the ligature and the full-width letters are the plain ones."""
    name = unique("office")
    assert new_account(name)["username"]
    for spelling in (name.replace("ffi", "\ufb03"), name.replace("o", "\uff4f", 1)):
        request = {"user": {"username": spelling, "email": f"{unique()}@example.com", "password": "password123"}}
        first = call_grpc("auth", "CreateUser", request)
        second = call_grpc("auth", "CreateUser", {"user": {**request["user"], "email": f"{unique()}@example.com"}})
        assert {first[0], second[0]} <= {"OK", "ALREADY_EXISTS"} and second[0] == "ALREADY_EXISTS"


# ---- Login ----


def test_sign_in(both, new_account):
    account = new_account()
    request = {"user": {"email": account["email"].upper(), "password": account["password"]}}
    code, answer, http = both("auth", "Login", request, ignore=("user.token", "refreshToken"))
    assert code == "OK" and http.status == 200
    assert http.json["user"]["username"] == account["username"]
    assert http.json["user"]["token"] != answer["user"]["token"], "each sign-in is a session of its own"


def test_wrong_password_and_unknown_account_are_one_answer(both, new_account, unique):
    account = new_account()
    wrong = {"user": {"email": account["email"], "password": "not the password"}}
    unknown = {"user": {"email": f"{unique()}@example.com", "password": "not the password"}}
    answers = []
    for request in (wrong, unknown):
        code, problem, http = both("auth", "Login", request)
        assert code == "UNAUTHENTICATED" and http.status == 401
        answers.append((problem.code, problem.message, problem.reason, problem.errors))
    assert answers[0] == answers[1]
    assert answers[0][3] == {"credentials": ["invalid"]}


def test_wrong_password_and_unknown_account_are_the_same_work(suite, call_grpc, new_account, unique):
    """Each is hashed: who waits for the answer cannot tell one from the other."""
    account = new_account()
    for email in (account["email"], f"{unique()}@example.com"):
        before = service_numbers(suite, "auth").get("stoa_auth_hashes_total")
        assert call_grpc("auth", "Login", {"user": {"email": email, "password": "not the password"}})[0] == "UNAUTHENTICATED"
        settled(suite, "auth", lambda now, before=before: now.get("stoa_auth_hashes_total") == before + 1)


@pytest.mark.parametrize("field", ["email", "password"])
def test_sign_in_needs_both(both, field):
    request = {"user": {"email": "a@example.com", "password": "password123", field: ""}}
    _, _, http = both("auth", "Login", request)
    assert http.status == 422 and http.json["errors"] == {field: BLANK}


# ---- GetCurrentUser, and tokens ----


def test_who_am_i(both, new_account):
    account = new_account()
    code, answer, http = both("auth", "GetCurrentUser", {}, account["token"])
    assert code == "OK"
    assert http.json["user"]["token"] == account["token"]
    assert http.json["user"]["email"] == account["email"]


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "bearer", "TOKEN", "Bearer  ", "Token "])
def test_both_schemes_count(call_grpc, call_http, new_account, scheme):
    """In any case, and with more than one space behind them (RFC 9110 section 11.4)."""
    token = new_account()["token"]
    assert call_http("GET", "/api/user", token=token, scheme=scheme).status == 200
    assert call_grpc("auth", "GetCurrentUser", {}, metadata=(("authorization", f"{scheme} {token}"),))[0] == "OK"


def test_missing_token(both):
    code, problem, http = both("auth", "GetCurrentUser", {})
    assert code == "UNAUTHENTICATED" and problem.reason == "TOKEN_MISSING"
    assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}


@pytest.mark.parametrize("service, method, path", [
    ("auth", "GetCurrentUser", "/api/user"), ("posts", "ListFeed", "/api/articles/feed"), ("posts", "ListArticles", "/api/articles")])
def test_an_empty_header_is_no_token(call_grpc, call_http, service, method, path):
    """Clients that set the header in one place leave it empty for whoever is not signed in."""
    code, answer = call_grpc(service, method, {}, metadata=(("authorization", ""),))
    http = call_http("GET", path, headers={"Authorization": ""})
    if method == "ListArticles":
        assert code == "OK" and http.status == 200
        return
    assert code == "UNAUTHENTICATED" and answer.reason == "TOKEN_MISSING"
    assert http.status == 401 and http.json["errors"] == {"token": ["is missing"]}
    assert http.headers["WWW-Authenticate"] == "Bearer"


def test_no_answer_with_a_token_is_kept(contract, call_http, new_account):
    """Neither a cache nor a browser's disk keeps tokens (RFC 6749 section 5.1)."""
    account = new_account()
    sign_in = {"user": {"email": account["email"], "password": account["password"]}}
    calls = {"CreateUser": ("POST", "/api/users", {"user": {**sign_in["user"], "username": f"{account['username']}2", "email": f"2{account['email']}"}}),
             "Login": ("POST", "/api/users/login", sign_in),
             "RefreshSession": ("POST", "/api/session:refresh", {"refreshToken": account["refreshToken"]}),
             "GetCurrentUser": ("GET", "/api/user", None),
             "UpdateCurrentUser": ("PUT", "/api/user", {"user": {"bio": "x"}})}
    user = contract.message("stoa.auth.v1.User").DESCRIPTOR
    assert set(calls) == {method.path.rpartition("/")[2] for method in contract.methods() if user in
                          [field.message_type for field in method.response.DESCRIPTOR.fields]}
    for verb, path, body in calls.values():
        answer = call_http(verb, path, body, account["token"])
        assert answer.status in (200, 201) and answer.headers.get("Cache-Control") == "no-store", f"{verb} {path}"


def encoded(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def forged(token, kind, jwks):
    """A token that must be refused, made from a good one."""
    header, claims = (json.loads(token_part(token, i)) for i in (0, 1))
    mine = ec.generate_private_key(ec.SECP256R1())
    if kind == "none":
        return f"{encoded({**header, 'alg': 'none'})}.{token.split('.')[1]}."
    if kind == "hs256 with the public key":
        return jwt.encode(claims, json.dumps(jwks["keys"][0]), "HS256", {"kid": header["kid"]})
    if kind == "another key":
        return jwt.encode(claims, mine, "ES256", {"kid": header["kid"]})
    if kind == "unknown key id":
        return jwt.encode(claims, mine, "ES256", {"kid": "unknown"})
    if kind == "embedded jwk":
        jwk = json.loads(jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).to_jwk(mine.public_key()))
        return jwt.encode(claims, mine, "ES256", {"kid": header["kid"], "jwk": jwk})
    if kind == "changed claim":
        first, _, last = token.split(".")
        return f"{first}.{encoded({**claims, 'sub': '1'})}.{last}"
    if kind == "cut":
        return token[:-5]
    if kind == "long":
        return token + "A" * 4000
    return kind


FORGERIES = ["none", "hs256 with the public key", "another key", "unknown key id", "embedded jwk", "changed claim",
             "cut", "long", "nonsense", "a.b.c", "..", "undefined"]


@pytest.mark.parametrize("kind", FORGERIES)
@pytest.mark.parametrize("service, method, request_", [
    ("auth", "GetCurrentUser", {}),
    ("posts", "GetArticle", {"slug": "x"}),
    ("chat", "ListRooms", {}),
])
def test_forged_token(both, call_http, new_account, kind, service, method, request_):
    """Every service refuses by itself, also where a token is optional."""
    jwks = call_http("GET", "/.well-known/jwks.json").json
    token = forged(new_account()["token"], kind, jwks)
    code, problem, http = both(service, method, request_, token)
    assert code == "UNAUTHENTICATED" and http.json["errors"] == {"token": ["is invalid"]}, problem


def test_published_key_verifies_tokens(both, new_account):
    """Somebody else's JOSE library agrees with ours."""
    _, answer, http = both("auth", "GetJsonWebKeySet", {})
    assert http.headers["Cache-Control"] == "public, max-age=300"
    token = new_account()["token"]
    kid = jwt.get_unverified_header(token)["kid"]
    (key,) = [key for key in http.json["keys"] if key["kid"] == kid]
    assert "d" not in key
    public = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).from_jwk(json.dumps(key))
    claims = jwt.decode(token, public, ["ES256"], audience="stoa", issuer="stoa")
    assert sorted(claims) == ["aud", "exp", "iat", "iss", "jti", "nbf", "sid", "sub"]
    assert claims["exp"] - claims["iat"] == 900 and abs(claims["iat"] - time.time()) < 60


def test_expired_token(own_suite, contract):
    from stoa_contract import GrpcClient
    from stoa_suite_fixture import wait_until

    suite = own_suite(STOA_AUTH_TOKEN_TTL_S=10)
    call = GrpcClient(contract, suite.grpc)
    request = {"user": {"username": "brief", "email": "brief@example.com", "password": "password123"}}
    _, answer = call("auth", "CreateUser", request)
    token = answer["user"]["token"]
    assert call("auth", "GetCurrentUser", {}, token)[0] == "OK"

    def refused():
        code, problem = call("auth", "GetCurrentUser", {}, token)
        return code != "OK" and problem

    problem = wait_until(refused, "the token expires", 40)
    assert problem.code == "UNAUTHENTICATED" and problem.errors == {"token": ["is invalid"]}
    assert problem.reason == "TOKEN_EXPIRED"
