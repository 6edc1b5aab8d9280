"""deploy/observability: a Prometheus that really scrapes a suite knows every name that rules and dashboard use; each alert
fires when it should and has its page in docs/runbooks, whose commands run; docs/observability.md lists what is told."""
import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml
from metrics_fixture import Numbers, service_numbers
from stoa_suite_fixture import REPOSITORY, SERVICES, free_ports, load_tool, output_folder, wait_until

describe_metrics = load_tool("describe-metrics")

FOLDER = REPOSITORY / "deploy/observability"
RUNBOOKS = REPOSITORY / "docs/runbooks"
RULES = yaml.safe_load((FOLDER / "rules.yaml").read_text())
ALL_RULES = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in ALL_RULES if "record" in rule}
DASHBOARD = json.loads((FOLDER / "grafana/dashboards/stoa.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
NAME = re.compile(r"\b(?:stoa:[a-z0-9_:]+|(?:stoa|grpc_json|process)_[a-z0-9_]+)\b")


def dashboard_queries():
    """(title, PromQL) with Grafana's variables filled in."""
    for panel in PANELS:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*")
            yield panel["title"], text


# ---- alerts ----

# For each alert: series that let it fire, after how long, the labels of what fires, and series that do not.
POSTS = '{job="posts",instance="a"}'
GATEWAY_FINE = 'grpc_json_requests_total{status="200",rpc="/x"}'
GATEWAY_BAD = 'grpc_json_requests_total{status="503",rpc="/x"}'
WRONG = 'stoa_auth_sign_ins_total{job="auth",instance="a",result="wrong"}'
RIGHT = 'stoa_auth_sign_ins_total{job="auth",instance="a",result="ok"}'
HASHED = 'stoa_auth_hashes_total{job="auth",instance="a"}'
REFUSED = 'stoa_auth_hashes_refused_total{job="auth",instance="a"}'
WITHOUT_PLACE = 'stoa_grpc_calls_without_place_total{job="posts",instance="a",rpc="/x"}'
CALLS = 'stoa_grpc_calls_total{job="posts",instance="a",rpc="/x",code="OK"}'
OTHERS = {f'up{{job="{job}",instance="a"}}': "1x60" for job in ("auth", "chat", "gateway")}
HERE = {"job": "posts", "instance": "a"}


def histogram(name, labels, fast, slow):
    """Bucket counters of a histogram: so many a minute are under 0.1 s, and under 10 s."""
    return {f'{name}_bucket{{{labels}le="0.1"}}': f"0+{fast}x60", f'{name}_bucket{{{labels}le="10"}}': f"0+{fast + slow}x60",
            f'{name}_bucket{{{labels}le="+Inf"}}': f"0+{fast + slow}x60"}


RPC = 'job="posts",instance="a",rpc="/stoa.posts.v1.ArticleService/GetArticle",'
LOGIN = 'job="auth",instance="a",rpc="/stoa.auth.v1.AuthService/Login",'
CASES = {
    "StoaInstanceDown": ({**OTHERS, "up" + POSTS: "0x60"}, "5m", HERE, {**OTHERS, "up" + POSTS: "1x60", 'up{job="other",instance="a"}': "0x60"}),
    "StoaNotReady": ({"stoa_ready" + POSTS: "0x60"}, "5m", HERE, {"stoa_ready" + POSTS: "1 0 1x60"}),
    "StoaErrors": ({GATEWAY_FINE: "0+600x60", GATEWAY_BAD: "0+60x60"}, "15m", {}, {GATEWAY_FINE: "0+600x60", GATEWAY_BAD: "0+2x60"}),
    "StoaSlow": (
        histogram("stoa_grpc_call_duration_seconds", RPC, 90, 10), "20m",
        {"job": "posts", "rpc": "/stoa.posts.v1.ArticleService/GetArticle"},
        {**histogram("stoa_grpc_call_duration_seconds", RPC, 100, 0), **histogram("stoa_grpc_call_duration_seconds", LOGIN, 0, 100)},
    ),
    "StoaOverloaded": ({"stoa_grpc_calls_overload_total" + POSTS: "7x60", WITHOUT_PLACE: "0+6x60", CALLS: "0+60x60"}, "10m",
                       {"job": "posts"},
                       {"stoa_grpc_calls_overload_total" + POSTS: "0+1x60", WITHOUT_PLACE: "0+6x60", CALLS: "0+6000x60"}),
    "StoaDatabaseDown": ({"stoa_db_up" + POSTS: "0x60"}, "2m", HERE, {"stoa_db_up" + POSTS: "1x60"}),
    "StoaDatabaseConnections": (
        {'stoa_db_connections{job="posts",instance="a",state="down"}': "13x60", "stoa_db_up" + POSTS: "1x60"}, "10m", HERE,
        {'stoa_db_connections{job="posts",instance="a",state="down"}': "16x60", "stoa_db_up" + POSTS: "0x60"},
    ),
    "StoaDatabaseQueue": (
        {"stoa_db_queries_waiting" + POSTS: "2500x60", "stoa_db_queries_in_flight" + POSTS: "128x60", "stoa_db_queries_limit" + POSTS: "4096x60"},
        "5m", HERE,
        {"stoa_db_queries_waiting" + POSTS: "100x60", "stoa_db_queries_in_flight" + POSTS: "128x60", "stoa_db_queries_limit" + POSTS: "4096x60"},
    ),
    "StoaDatabaseErrors": ({'stoa_db_errors_total{job="posts",instance="a",class="53"}': "0+60x60"}, "15m", {"job": "posts", "class": "53"},
                           {'stoa_db_errors_total{job="posts",instance="a",class="23"}': "0+60x60"}),
    "StoaRedisDown": (
        {'stoa_redis_up{job="chat",instance="a",connection="commands"}': "1x60", 'stoa_redis_up{job="chat",instance="a",connection="publisher"}': "0x60"},
        "5m", {"job": "chat", "instance": "a"}, {'stoa_redis_up{job="chat",instance="a",connection="commands"}': "1x60"},
    ),
    "StoaRedisErrors": ({'stoa_redis_commands_total{job="auth",instance="a",connection="commands",outcome="refused"}': "0+6x60"},
                        "15m", {"job": "auth"},
                        {'stoa_redis_commands_total{job="auth",instance="a",connection="commands",outcome="refused"}': "1x60"}),
    "StoaPurgeStale": ({"stoa_purge_last_success_timestamp_seconds" + POSTS: "0x120", "stoa_db_up" + POSTS: "1x120"}, "80m", HERE,
                       {"stoa_purge_last_success_timestamp_seconds" + POSTS: "0+60x120", "stoa_db_up" + POSTS: "1x120"}),
    "StoaHashingQueue": ({REFUSED: "0+9x60", HASHED: "0+60x60"}, "15m", {"job": "auth"}, {REFUSED: "0+3x60", HASHED: "0+60x60"}),
    "StoaWrongPasswords": ({WRONG: "0+600x60", RIGHT: "0+6x60"}, "30m", {}, {WRONG: "0+600x60", RIGHT: "0+500x60"}),
    "StoaRefreshTokensReused": ({'stoa_auth_refreshes_total{job="auth",instance="a",result="used_twice"}': "0+5x60"}, "20m", {},
                                {'stoa_auth_refreshes_total{job="auth",instance="a",result="used_twice"}': "4x60"}),
    "StoaMessagesLate": (histogram("stoa_chat_delivery_lag_seconds", 'job="chat",instance="a",', 90, 10), "15m", {},
                         histogram("stoa_chat_delivery_lag_seconds", 'job="chat",instance="a",', 100, 0)),
    "StoaSlowConsumers": ({'stoa_chat_slow_consumers_total{job="chat",instance="a"}': "0+120x60"}, "20m", {},
                          {'stoa_chat_slow_consumers_total{job="chat",instance="a"}': "0+6x60"}),
    "StoaPublicationsLost": ({'stoa_chat_publications_total{job="chat",instance="a",outcome="lost"}': "0+60x60"}, "15m", {},
                             {'stoa_chat_publications_total{job="chat",instance="a",outcome="sent"}': "0+60x60"}),
    "StoaFilesRunningOut": ({"process_open_fds" + POSTS: "900x60", "process_max_fds" + POSTS: "1000x60"}, "10m", HERE,
                            {"process_open_fds" + POSTS: "700x60", "process_max_fds" + POSTS: "1000x60"}),
    "StoaRestarting": ({"process_start_time_seconds" + POSTS: "1 1 2 2 3 3 4x60"}, "10m", HERE,
                       {"process_start_time_seconds" + POSTS: "1 1 2x60"}),
}


def promtool_test(alert, series, time, labels):
    """labels: of the alert that fires; None: it does not."""
    rule = ALERTS[alert]
    expected = [] if labels is None else [{"exp_labels": {**rule["labels"], **labels}, "exp_annotations": rule["annotations"]}]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"alertname": alert, "eval_time": time, "exp_alerts": expected}],
    }


def test_each_alert_fires_when_it_should(tmp_path):
    assert CASES.keys() == ALERTS.keys()
    tests = []
    for alert, (firing, time, labels, quiet) in CASES.items():
        tests += [promtool_test(alert, firing, time, labels), promtool_test(alert, quiet, time, None)]
    # Not one of them is found any more.
    tests.append(promtool_test("StoaInstanceDown", OTHERS, "5m", {"job": "posts"}))
    # All that may be in work are, and each has its place.
    full = {"stoa_grpc_calls_overload_total" + POSTS: "0+6x60", WITHOUT_PLACE: "0x60", CALLS: "0+60x60"}
    tests.append(promtool_test("StoaOverloaded", full, "10m", {"job": "posts"}))
    file = tmp_path / "alerts.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FOLDER / "rules.yaml")], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ("prometheus.yaml", "prometheus-run.yaml"))
def test_configurations(name):
    done = subprocess.run(["promtool", "check", "config", FOLDER / name], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_its_page_and_each_page_its_alert():
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{name}.md"
        assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"].endswith(".")
        page = (REPOSITORY / rule["annotations"]["runbook_url"]).read_text()
        assert page.startswith(f"# {name}\n")
        headings = re.findall(r"^## (.*)$", page, re.M)
        assert headings == ["What it means", "What people see", "What to look at", "How to mend it", "How to see that it is over"], name
    pages = {page.stem for page in RUNBOOKS.glob("*.md")}
    assert pages - {"README"} == ALERTS.keys()
    index = (RUNBOOKS / "README.md").read_text()
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == ALERTS.keys()


# ---- a Prometheus that scrapes ----

@pytest.fixture(scope="module")
def told(suite, call_grpc, new_account):
    """Names of all series that the suite's processes tell, once it has been used a little."""
    call_grpc("posts", "ListTags", {}, new_account()["token"])
    describe_metrics.use(suite.http)
    names = set().union(*(service_numbers(suite, service).series() for service in SERVICES))
    with urllib.request.urlopen(f"{suite.http}/metrics", timeout=30) as answer:
        return names | Numbers(answer.read().decode()).series()


@pytest.fixture(scope="module")
def prometheus(suite, told, tmp_path_factory):
    """query(PromQL) of a Prometheus that has scraped the suite, by prometheus-run.yaml."""
    folder = tmp_path_factory.mktemp("prometheus")
    text = (FOLDER / "prometheus-run.yaml").read_text()
    assert text.count("localhost:8080") == 4
    text = text.replace("localhost:8080", suite.http.removeprefix("http://")).replace("rules.yaml", str(FOLDER / "rules.yaml"))
    (folder / "prometheus.yaml").write_text(text.replace("15s", "1s"))
    port, = free_ports(1)
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)

    def api(path, **parameters):
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it begins
                return None
            pytest.fail(f"{parameters}: {error.read().decode()}")
        except urllib.error.URLError:
            assert process.poll() is None, (folder / "log").read_text()
            return None

    try:
        # Two scrapes, so that there are rates.
        wait_until(lambda: (data := api("query", query="count_over_time(up[1m]) > 1")) and len(data["result"]) == 4,
                   "each of four is scraped twice", 60)
        yield api
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_no_panel_is_empty(prometheus, call_grpc, call_http):
    """Of a suite that is used and does well, also where nothing has failed on the way through the gateway."""
    call_grpc("posts", "GetArticle", {"slug": "there-is-none-such"})

    empty = []

    def full():
        call_http("GET", "/api/articles/there-is-none-such")
        empty[:] = [(title, query) for title, query in dashboard_queries() if not prometheus("query", query=query)["result"]]
        return not empty

    with contextlib.suppress(AssertionError):
        wait_until(full, "each query of the dashboard finds something")
    assert not empty


def test_everything_is_scraped(prometheus, told):
    up = {each["metric"]["job"]: each["value"][1] for each in prometheus("query", query="up")["result"]}
    assert up == {"auth": "1", "posts": "1", "chat": "1", "gateway": "1"}
    assert told - {"up"} <= set(prometheus("label/__name__/values"))


def test_every_query_is_of_what_there_is(prometheus, told):
    queries = [*dashboard_queries(), *((rule.get("alert") or rule["record"], rule["expr"]) for rule in ALL_RULES)]
    assert len(queries) > 80
    for title, query in queries:
        names = NAME.findall(query)
        assert names or "up{" in query, title
        for name in names:
            assert name in told or name in RECORDED, f"{title}: nobody tells {name}"
        data = prometheus("query", query=query)
        assert data["resultType"] == "vector", title
    for name in RECORDED:
        assert any(name in query for _, query in queries)


def test_every_label_is_of_what_there_is(prometheus):
    """A selector or a grouping by a label that nobody tells is no error for Prometheus: it finds nothing, and no alert fires."""
    by = re.compile(r"\bby \(([^)]*)\)")
    told = {name: {label for rule in ALL_RULES if rule.get("record") == name for labels in by.findall(rule["expr"]) for label in labels.split(", ")}
            for name in RECORDED}
    values = {}  # of a series' labels

    def labels_of(name):
        if name not in told:
            series = prometheus("series", **{"match[]": name})
            told[name] = set().union(*series)
            values[name] = {pair for each in series for pair in each.items()}
        return told[name]

    legends = [(panel["title"], target["expr"], re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
               for panel in PANELS for target in panel["targets"]]
    rules = [(rule.get("alert") or rule["record"], rule["expr"], re.findall(r"\$labels\.(\w+)", str(rule.get("annotations"))))
             for rule in ALL_RULES]
    for title, query, shown in legends + rules:
        names = {name for name in [*NAME.findall(query), *re.findall(r"\bup\b(?={)", query)]}
        grouped = {label for labels in by.findall(query) for label in labels.split(", ")}
        assert grouped | set(shown) <= set().union(*map(labels_of, names)), title
        for name, selector in re.findall(r"\b([a-z][a-z0-9_:]*){([^}]*)}", query):
            for label, operator, value in re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', selector):
                assert label in labels_of(name), f"{title}: {name} has no {label}"
                assert operator != "=" or (label, value) in values[name], f"{title}: {name} is never of {label} {value}"


def test_rules_are_evaluated(prometheus):
    groups = prometheus("rules")["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} == ALERTS.keys() | RECORDED
    for group in groups:
        for rule in group["rules"]:
            assert rule["health"] in ("ok", "unknown") and not rule.get("lastError"), rule
            assert rule.get("state", "inactive") != "firing", rule["name"]


# ---- the dashboard ----

def test_dashboard():
    """What Grafana 11 wants of a dashboard file, as far as it can be seen without Grafana."""
    assert DASHBOARD["uid"] == "stoa" and DASHBOARD["title"] == "Stoa" and DASHBOARD["schemaVersion"] >= 36
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/stoa.yaml").read_text())["datasources"][0]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["type"] in ("timeseries", "stat") and panel["title"] and panel["targets"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
            assert set(re.findall(r"\$([a-z]+)\b", target["expr"])) <= variables
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


# ---- documents ----

def test_the_table_of_metrics_is_what_is_told(suite):
    document = REPOSITORY / "docs/observability.md"
    assert describe_metrics.written(document.read_text(), suite.http) == document.read_text(), "make metrics-doc writes it"


COMMAND = re.compile(r"^    \$ (.*)$")


def commands():
    """(page, command, the lines that it is said to print) of the runbooks: indented lines that begin with $."""
    found = []
    for page in sorted(RUNBOOKS.glob("*.md")):
        for line in page.read_text().splitlines():
            if match := COMMAND.match(line):
                found.append((page.stem, match[1], []))
            elif line.startswith("    ") and found and found[-1][0] == page.stem:
                found[-1][2].append(line.strip())
    return found


def shape(line):
    """Any number is as good as another, however wide it is; ... is anything."""
    text = re.sub(r"(\\ )+", " +", re.escape(line).replace(r"\.\.\.", ".*"))
    return re.compile(re.sub(r"\d+(?:\\\.\d+)?(?:e(?:\\-|\\\+)?\d+)?", r"[-+.0-9e]+", text))


def test_commands_of_the_runbooks(suite):
    environment = {**os.environ, "PGPASSFILE": str(suite.run_dir / "secrets/pgpass"), "STOA_OUT": str(output_folder())}
    ran = commands()
    assert {page for page, _, _ in ran} == ALERTS.keys()
    for page, command, lines in dict.fromkeys((page, command, tuple(lines)) for page, command, lines in ran):
        run = command.replace("localhost:8080", suite.http.removeprefix("http://")).replace(".run/", f"{suite.run_dir}/")
        run = run.replace("make status", f"STOA_RUN_DIR={suite.run_dir} STOA_OUT={output_folder()} deploy/suite status")
        done = subprocess.run(["bash", "-o", "pipefail", "-c", run], env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, (page, command, done.stdout, done.stderr)
        for line in lines:
            assert shape(line).search(done.stdout), f"{page}: {command}: {line!r} is not in:\n{done.stdout}"
