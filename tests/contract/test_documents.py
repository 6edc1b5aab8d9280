"""What documents say of settings, directives and checks is so: the tables are what the programs read, each check of
the threat model exists, links lead somewhere, and nothing stands twice."""
import re

import pytest
from stoa_suite_fixture import REPOSITORY, output_folder
from test_migrations import load_tool

describe_settings = load_tool("describe-settings")
THREATS = REPOSITORY / "docs/threat-model.md"
CHECK = re.compile(r"`([a-z_0-9.]+\.(?:py|c|mjs))::([^`]+)`")
# Where a setting may be read, and what looks like one there.
SOURCES = ("deploy/*", "deploy/stoa_suite/*.py", "lib/*/*.c", "services/*/*.c", "gateway/*.c", "gateway/*.in",
           "deploy/kubernetes/**/*.yaml")
FOLDERS = ("bench", "cli", "deploy", "docs", "gateway", "lib", "proto", "services", "tests", "tools", "web")
NAME = re.compile(r"\bSTOA_[A-Z0-9]+(?:_[A-Z0-9]+)*\b")
LIMIT = re.compile("STOA_(?:AUTH|CHAT)_[A-Z_]+_RATE")
LINK = re.compile(r"\]\(([^)\s]+)\)")
DOCUMENTS = [file for pattern in ("*.md", *(f"{folder}/**/*.md" for folder in FOLDERS)) for file in REPOSITORY.glob(pattern)]
# Beginnings of names, in patterns.
NO_SETTINGS = {"STOA_AUTH", "STOA_CHAT"}


def test_the_table_of_settings_is_current():
    """`make settings-doc` writes it."""
    _, written, _ = describe_settings.parts(describe_settings.DOCUMENT.read_text())
    assert written == describe_settings.render(output_folder())


def test_each_setting_that_is_read_is_in_the_table():
    rows = describe_settings.collect(output_folder())
    assert all(row.about for row in rows.values())
    found = {}
    for pattern in SOURCES:
        for path in REPOSITORY.glob(pattern):
            if path.is_file():
                for name in NAME.findall(path.read_text(errors="replace")):
                    found.setdefault(name.removesuffix("_FILE"), path.name)
    assert len(found) > 90
    missing = {name: place for name, place in found.items() if name not in rows and name not in NO_SETTINGS}
    assert not missing, missing


def test_limits_in_containers_are_the_services_own():
    """What a service limits can be set there, and is what it is by itself: the limits for production."""
    defaults = {name: row.defaults for name, row in describe_settings.collect(output_folder()).items() if LIMIT.fullmatch(name)}
    assert len(defaults) > 12
    for name, each in defaults.items():
        assert set(each["services"].values()) == {each.get("compose")}, name


def test_each_directive_of_the_module_is_in_the_table():
    """With where it may stand, and nothing else is."""
    contexts = {"EVERYWHERE": "all", "NGX_HTTP_MAIN_CONF": "http", "NGX_HTTP_LOC_CONF": "location"}
    found = re.findall(r'(?:DIRECTIVE\(|ngx_string\()"(grpc_json[a-z_]*)"\)?,\s*(\w+) \|', (REPOSITORY / "gateway/module.c").read_text())
    told = re.findall(r"(?m)^\| `(grpc_json[a-z_]*)[^`]*` \| (\w+) \|", (REPOSITORY / "gateway/README.md").read_text())
    assert len(found) > 40
    assert sorted(told) == sorted((name, contexts[where]) for name, where in found)


def test_links_lead_somewhere():
    broken = []
    for file in DOCUMENTS:
        for target in LINK.findall(file.read_text()):
            path, _, heading = target.partition("#")
            page = file.parent / path if path else file
            if "://" not in target and not (page.exists() and (not heading or heading in headings(page))):
                broken.append((str(file.relative_to(REPOSITORY)), target))
    assert len(DOCUMENTS) > 40 and not broken, broken


def test_no_line_stands_twice():
    """As a paragraph does, or a row, that a merge has left behind. Commands may, and what they print."""
    for file in DOCUMENTS:
        lines = [line for line in file.read_text().splitlines() if len(line) > 60 and not line.startswith(("    ", "|--"))]
        assert sorted(set(lines)) == sorted(lines), (file.name, [line for line in lines if lines.count(line) > 1])


def headings(page):
    """As the names of their anchors."""
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"(?m)^#+ (.*)$", page.read_text())}


def checks():
    return sorted(set(CHECK.findall(THREATS.read_text())))


def definition(file, name):
    """What a test of this name looks like in a file of this kind."""
    name = re.escape(name)
    if file.endswith(".py"):
        return rf"(?m)^def {name}\("
    return rf"(?m)^test\([\"`]{name}[\"`]," if file.endswith(".mjs") else rf"(?m)^(?:static void|int) {name}\((?:void \*\*state|const uint8_t)"


@pytest.mark.parametrize("file, name", checks())
def test_each_check_of_the_threat_model_exists(file, name):
    (path,) = [path for path in (REPOSITORY / "tests").rglob(file) if "build" not in path.parts]
    assert re.search(definition(file, name), path.read_text()), f"{path.name} has no {name}"


def test_each_threat_has_a_check():
    rows = [line for line in THREATS.read_text().splitlines() if line.startswith("| ") and line.count("|") == 4]
    threats = [row for row in rows if not row.startswith("| threat |")]
    assert len(threats) > 40
    without = [row for row in threats if not CHECK.search(row.split("|")[3])]
    assert not without, without
