"""/docs/ in Chromium: `make test-docs`. Not a part of `make test`, which needs no browser."""
import json
import urllib.request

import pytest
from browser_fixture import Window, start_chromium
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    driver = start_chromium(tmp_path_factory.mktemp("chromium"))
    yield driver
    driver.quit()


class Page(Window):
    def __init__(self, driver, base):
        super().__init__(driver)
        driver.get(base + "/docs/")
        driver.execute_script("sessionStorage.clear(); localStorage.clear()")
        driver.get(base + "/docs/")
        self.wait("#content details.operation")
        driver.get_log("browser")

    def open(self, operation):
        summary = self.one(f"#{operation} > summary")
        self.driver.execute_script("arguments[0].scrollIntoView()", summary)
        summary.send_keys(Keys.ENTER)
        return self.wait(f"#{operation} form.try")

    def write(self, element, text):
        element.clear()
        element.send_keys(text)

    def send(self, operation):
        """Sends the form by keyboard; the status line of the answer and its JSON."""
        self.one(f"#{operation} .primary").send_keys(Keys.ENTER)
        line = self.until(lambda: next((e for e in self.all(f"#{operation} .status.good, #{operation} .status.bad")), None))
        body = self.wait(f"#{operation} .answer pre.json").text
        return line.text, json.loads(body)


@pytest.fixture
def page(chromium, suite):
    opened = Page(chromium, suite.http)
    yield opened
    assert opened.faults() == []


def test_everything_is_there(page, suite):
    with urllib.request.urlopen(suite.http + "/openapi.json", timeout=20) as answer:
        document = json.load(answer)
    expected = {op["operationId"] for item in document["paths"].values() for op in item.values()}
    shown = {e.get_attribute("id") for e in page.all("#content .tag details.operation") if not e.get_attribute("id").startswith("schema-")}
    assert shown == expected
    for operation in expected:
        page.open(operation)
    assert page.driver.title == "Stoa API"
    # Each control of the forms has a name for those who do not see it.
    unnamed = page.driver.execute_script(
        "return [...document.querySelectorAll('input, select, textarea')].filter((e) => !e.labels.length).map((e) => e.outerHTML)"
    )
    assert unnamed == []
    ids = [e.get_attribute("id") for e in page.all("[id]")]
    assert len(ids) == len(set(ids))


def test_on_a_phone(page):
    """390 px wide: nothing is wider than the page, and what opens and closes has its triangle beside its name."""
    page.size(390, 844, mobile=True)
    try:
        page.open("CreateArticle")
        assert page.driver.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        tops = page.driver.execute_script(
            "const top = (e) => e.getBoundingClientRect().top;"
            "return [...document.querySelectorAll('#CreateArticle summary > .head')]"
            ".filter((e) => e.checkVisibility()).map((e) => top(e) - top(e.parentElement))"
        )
        assert len(tops) > 1 and max(tops) < 10, tops
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_sign_up_and_publish(page, unique):
    name = unique("browser")
    form = page.open("CreateUser")
    body = {"user": {"username": name, "email": f"{name}@example.com", "password": "long enough"}}
    page.write(form.find_element(By.CSS_SELECTOR, ".editor"), json.dumps(body))
    line, answer = page.send("CreateUser")
    assert line.startswith("201") and answer["user"]["username"] == name
    page.open("CreateArticle")
    line, answer = page.send("CreateArticle")
    assert line.startswith("401") and answer["status"] == 401


def test_token_stays_in_the_tab(page, new_account):
    account = new_account()
    page.write(page.one("#token"), account["token"])
    page.open("GetCurrentUser")
    line, answer = page.send("GetCurrentUser")
    assert line.startswith("200") and answer["user"]["username"] == account["username"]
    command = page.one("#GetCurrentUser .command").text
    assert "Bearer $TOKEN" in command and account["token"] not in command
    page.driver.refresh()
    page.wait("#content details.operation")
    assert page.one("#token").get_attribute("value") == account["token"]
    assert account["token"] not in page.driver.execute_script("return JSON.stringify(localStorage)")


def test_parameters(page, new_account, call_http):
    token = new_account()["token"]
    article = {"title": "In a browser", "description": "d", "body": "b", "tagList": ["x y/ü"]}
    slug = call_http("POST", "/api/articles", {"article": article}, token).json["article"]["slug"]
    form = page.open("GetArticle")
    page.write(form.find_element(By.NAME, "slug"), slug)
    line, answer = page.send("GetArticle")
    assert line.startswith("200") and answer["article"]["slug"] == slug
    form = page.open("ListArticles")
    page.write(form.find_element(By.NAME, "tag"), "x y/ü")
    line, answer = page.send("ListArticles")
    assert [each["slug"] for each in answer["articles"]] == [slug]
    page.write(form.find_element(By.NAME, "limit"), "-1")
    page.one("#ListArticles .primary").send_keys(Keys.ENTER)
    page.until(lambda: page.one("#ListArticles .status").text.startswith("422"))


def test_editor_says_what_is_no_json(page):
    form = page.open("Login")
    editor = form.find_element(By.CSS_SELECTOR, ".editor")
    page.write(editor, '{"user": ')
    assert "Not JSON" in form.find_element(By.CSS_SELECTOR, ".fault").text
    assert editor.get_attribute("aria-invalid") == "true"
    page.write(editor, "{}")
    assert form.find_element(By.CSS_SELECTOR, ".fault").text == ""


def test_filter_and_links(page):
    page.one("#filter").send_keys("messages post")
    shown = {e.get_attribute("id") for e in page.all("details.operation") if e.is_displayed() and not e.get_attribute("id").startswith("schema-")}
    assert shown == {"SendMessage"}
    page.one('nav a[href="#SendMessage"]').send_keys(Keys.ENTER)
    page.wait("#SendMessage form.try")


def test_themes(page):
    colours = set()
    for theme in ("light", "dark"):
        Select(page.one("#theme")).select_by_value(theme)
        colours.add(page.one("body").value_of_css_property("background-color"))
    assert len(colours) == 2
    page.driver.refresh()
    page.wait("#content details.operation")
    assert page.driver.execute_script("return document.documentElement.dataset.theme") == "dark"
