"""The page at / in Chromium: `make test-page`. Not a part of `make test`, which needs no browser."""
import itertools
import time

import pytest
import requests
from browser_fixture import Window, start_chromium
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from stoa_suite_fixture import wait_until

PASSWORD = "correct horse battery"
HOSTILE = "<img src=x onerror=\"window.broken=1\"><script>window.broken=1</script> [a](javascript:window.broken=1) \u202e"
numbers = itertools.count(1)


def unique(stem):
    return f"{stem}{next(numbers)}x{time.time_ns() % 10**8:x}"


class Person(Window):
    """Somebody with a browser."""

    def __init__(self, driver, base):
        super().__init__(driver)
        self.base = base
        self.name = None

    def go(self, path):
        self.driver.get(self.base + path)
        return self.wait("main h1, main h2")

    def path(self):
        return self.driver.current_url.removeprefix(self.base)

    def fill(self, **fields):
        for name, text in fields.items():
            control = self.wait(f"main [name={name}], dialog [name={name}]")
            control.clear()
            control.send_keys(text)

    def press(self, text, within="main"):
        """Presses the button, or follows the link, with this text or name."""
        def found():
            for each in self.all(f"{within} button, {within} a, {within} summary"):
                if each.is_displayed() and text in (each.text.strip(), each.get_attribute("aria-label")):
                    return each
            return None

        button = self.until(found)
        self.script("arguments[0].scrollIntoView({block: 'center'})", button)
        self.until(lambda: button.is_enabled())
        button.click()

    def sign_up(self, stem, back="/"):
        self.name = unique(stem)
        self.go(f"/sign-up?return={back}")
        self.fill(username=self.name, email=f"{self.name}@example.com", password=PASSWORD)
        self.press("Sign up")
        self.wait("#account .menu")
        self.until(lambda: self.path() == back)

    def sign_out(self):
        self.wait("#account summary").click()
        self.wait("#sign-out").click()
        self.until(lambda: self.texts("#account > a") == ["Sign in", "Sign up"])

    def texts(self, selector):
        """All at once, so that nothing is replaced meanwhile."""
        return self.script("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())", selector)

    def lose_answer(self, ending):
        """The next answer to a POST at an address with this ending does not come, though the server has given it."""
        self.script(
            "const real = window.fetch; window.fetch = async (path, options) => { const answer = await real(path, options);"
            "if (options.method === 'POST' && path.endsWith(arguments_)) { window.fetch = real; throw new TypeError('lost'); } return answer; }"
            .replace("arguments_", repr(ending))
        )

    def refuse(self, ending, times):
        """So many POSTs at an address with this ending are refused for want of time."""
        self.script(
            "const [ending, times] = arguments, real = window.fetch; let left = times;"
            "window.fetch = async (path, options) => options.method === 'POST' && path.endsWith(ending) && left-- > 0"
            " ? Response.json({reason: 'OVERLOADED'}, {status: 429, headers: {'Retry-After': '1'}}) : real(path, options);",
            ending, times)

    def says(self, text):
        self.until(lambda: any(text in each for each in self.texts(".toast")))

    def write_article(self, **fields):
        self.go("/write")
        self.fill(**fields)
        self.press("Publish")
        self.wait("article .prose")
        return self.path()

    # ---- chat ----

    def connected(self):
        self.until(lambda: self.texts(".connection [role=status]") == ["Connected"])

    def new_room(self, name, kind="ROOM_KIND_PUBLIC"):
        self.go("/chat")
        self.press("Room")
        self.fill(name=name, description="A porch")
        self.one(f"dialog [value={kind}]").click()
        self.press("Create", "dialog")
        self.wait(".composer textarea")
        return self.path()

    def join(self, room):
        self.driver.get(self.base + room)
        self.wait(".invitation button").click()
        self.wait(".composer textarea")

    def say(self, text):
        self.wait(".composer textarea").send_keys(text, Keys.ENTER)

    def messages(self):
        """What is shown as said: acknowledged, in order."""
        return self.texts("li[data-seq] .message-text")

    def hears(self, text):
        self.until(lambda: text in self.messages())

    def row(self, text):
        return self.until(lambda: next((each for each in self.all("li[data-seq]") if text in each.text), None))

    def point_at(self, text):
        """Puts the focus on a message, so that what can be done with it appears."""
        self.script("arguments[0].focus()", self.row(text))
        return self.wait(".tools")


@pytest.fixture(scope="module")
def browsers(tmp_path_factory):
    drivers = [start_chromium(tmp_path_factory.mktemp("chromium")) for _ in range(2)]
    yield drivers
    for driver in drivers:
        driver.quit()


@pytest.fixture
def people(browsers, suite):
    """Two of them, signed out, in windows of their own."""
    both = [Person(driver, suite.http) for driver in browsers]
    for person in both:
        for handle in person.driver.window_handles[1:]:
            person.driver.switch_to.window(handle)
            person.driver.close()
        person.driver.switch_to.window(person.driver.window_handles[0])
        person.size(1280, 900)
        person.driver.get(suite.http + "/openapi.json")
        person.script("sessionStorage.clear(); localStorage.clear(); indexedDB.deleteDatabase('stoa')")
        person.driver.get_log("browser")
    yield both
    for person in both:
        assert person.faults() == []
        assert person.script("return window.broken") is None


def test_articles_of_two(people):
    ada, zeno = people
    ada.sign_up("ada")
    zeno.sign_up("zeno")
    word = unique("colonnade")
    slug = ada.write_article(title=f"About a {word}", description="A porch", body="It *is* a porch.\n\n- one\n- two", tagList=f"{word}, porch")
    assert ada.texts("article em") == ["is"] and ada.texts("article li a") == sorted([word, "porch"])

    zeno.go(f"/tags/{word}")
    assert zeno.texts(".article-card h2") == [f"About a {word}"]
    zeno.press(f"About a {word}")
    zeno.wait("article .prose")
    assert zeno.path() == slug
    zeno.one(".article-buttons .favorite").click()
    zeno.until(lambda: zeno.texts(".article-buttons .favorite") == ["1"])
    zeno.press(f"Follow {ada.name}")
    zeno.until(lambda: f"Following {ada.name}" in zeno.texts(".follow"))
    zeno.fill(body="I could **not** agree more.")
    zeno.press("Comment")
    zeno.until(lambda: zeno.texts(".comment strong") == ["not"])

    ada.go(slug)
    assert ada.texts(".comment .person") == [zeno.name] and ada.texts(".article-buttons .favorite") == ["1"]
    zeno.go("/feed")
    assert zeno.texts(".article-card h2") == [f"About a {word}"]
    # What was written is found some moments later, with the words marked.
    zeno.until(lambda: zeno.go(f"/search?q={word}") and zeno.texts(".article-card mark"))
    assert set(zeno.texts(".article-card mark")) == {word}
    # Back comes to the list as it was.
    zeno.press(f"About a {word}")
    zeno.wait("article .prose")
    zeno.driver.back()
    zeno.until(lambda: zeno.texts(".article-card mark"))
    assert zeno.path() == f"/search?q={word}"

    ada.press("Delete")
    ada.press("Delete", "dialog")
    ada.says("deleted")
    zeno.go(slug)
    assert zeno.texts("h1") == ["This is not here (any more)"]


def test_drafts_and_unsaved_text(people):
    ada, _ = people
    ada.sign_up("ada")
    ada.go("/write")
    ada.fill(title="Half", body="Not yet.")
    # A reload loses nothing.
    ada.go("/write")
    ada.until(lambda: "What you had written here and not saved is back." in " ".join(ada.texts(".note")))
    assert ada.one("main [name=title]").get_attribute("value") == "Half"
    # Nor does an answer that is lost: the same again is the same draft, and the same article.
    ada.lose_answer("/api/drafts")
    ada.press("Save as draft")
    ada.until(lambda: any("cannot be reached" in each for each in ada.texts("form > .fault")))
    ada.press("Save as draft")
    ada.says("Saved as a draft.")
    ada.until(lambda: ada.path().startswith("/drafts/"))
    ada.press("Publish")
    ada.until(lambda: any("be blank" in each or "match" in each or "must" in each for each in ada.texts(".field .fault")))
    ada.fill(description="A summary")
    ada.lose_answer(":publish")
    ada.press("Publish")
    ada.until(lambda: any("cannot be reached" in each for each in ada.texts("form > .fault")))
    ada.press("Publish")
    ada.wait("article .prose")
    ada.go("/drafts")
    assert ada.texts(".article-card") == []
    ada.go("/write")
    ada.fill(title="Once", description="Only", body="One.")
    ada.lose_answer("/api/articles")
    ada.press("Publish")
    ada.until(lambda: any("cannot be reached" in each for each in ada.texts("form > .fault")))
    ada.press("Publish")
    ada.wait("article .prose")
    ada.go(f"/people/{ada.name}")
    assert ada.texts(".article-card h2") == ["Once", "Half"]


def test_a_change_from_elsewhere_loses_no_text(people):
    ada, _ = people
    ada.sign_up("ada")
    slug = ada.write_article(title=unique("Two editors "), description="one", body="first", tagList="")
    ada.go(slug + "/edit")
    first = ada.driver.current_window_handle
    ada.driver.switch_to.new_window("tab")
    ada.go(slug + "/edit")
    ada.fill(body="theirs")
    ada.press("Save")
    ada.wait("article .prose")
    ada.driver.switch_to.window(first)
    ada.fill(body="mine")
    ada.press("Save")
    ada.wait(".conflict")
    assert ada.texts(".conflict dd") == ["theirs"] and ada.one("main [name=body]").get_attribute("value") == "mine"
    ada.press("Save mine over it")
    ada.wait("article .prose")
    assert ada.texts("article .prose") == ["mine"]


def test_signing_in_while_the_server_is_busy(people):
    ada, _ = people
    ada.sign_up("ada")
    ada.go("/settings")
    ada.wait("#account .menu")
    ada.sign_out()
    ada.go("/sign-in")
    ada.fill(email=f"{ada.name}@example.com", password=PASSWORD)
    ada.refuse("/users/login", 2)
    ada.press("Sign in")
    ada.until(lambda: ada.texts("form [role=status]") == ["The server is busy. Trying again …"])
    ada.wait("#account .menu")
    assert ada.path() == "/"


def test_tabs_share_a_session(people, suite):
    ada, zeno = people
    ada.sign_up("ada")
    first = ada.driver.current_window_handle
    ada.driver.switch_to.new_window("tab")
    ada.go("/settings/sessions")
    assert len(ada.texts(".session")) == 1
    # Many starts, some at once, each of which exchanges or asks for a token.
    for _ in range(3):
        for handle in ada.driver.window_handles:
            ada.driver.switch_to.window(handle)
            ada.script("location.reload()")
        for handle in ada.driver.window_handles:
            ada.driver.switch_to.window(handle)
            ada.wait("#account .menu")
    # The same account in another browser, which ends the other sessions.
    zeno.go("/sign-in")
    zeno.fill(email=f"{ada.name}@example.com", password=PASSWORD)
    zeno.press("Sign in")
    zeno.wait("#account .menu")
    zeno.go("/settings/sessions")
    assert len(zeno.texts(".session")) == 2
    zeno.press("End all others")
    zeno.press("End them", "dialog")
    zeno.until(lambda: len(zeno.texts(".session")) == 1)
    ada.until(lambda: ada.go("/drafts") and ada.path().startswith("/sign-in"))
    ada.fill(email=f"{ada.name}@example.com", password=PASSWORD)
    ada.press("Sign in")
    ada.until(lambda: ada.path() == "/drafts")
    # Signing out in one tab signs the other one out.
    ada.driver.switch_to.window(first)
    ada.wait("#account .menu")
    ada.sign_out()
    ada.driver.switch_to.window(next(handle for handle in ada.driver.window_handles if handle != first))
    ada.until(lambda: ada.texts("#account > a") == ["Sign in", "Sign up"])


def test_chat_of_two(people):
    ada, zeno = people
    ada.sign_up("ada")
    zeno.sign_up("zeno")
    room = ada.new_room(unique("Poikile "))
    ada.connected()
    zeno.join(room)
    zeno.connected()
    ada.say("Good *morning*!")
    zeno.hears("Good morning!")
    zeno.say("Good evening!")
    ada.hears("Good evening!")
    assert ada.messages() == zeno.messages() == ["Good morning!", "Good evening!"]
    assert ada.texts(".pending") == []
    ada.until(lambda: ada.texts(".seen") == [f"Seen by {zeno.name}"])

    # A reaction, an answer, another text, a deletion: seen in both.
    zeno.point_at("Good morning!")
    zeno.press("React with 👍", ".tools")
    ada.until(lambda: ada.script("return document.querySelector('.reaction')?.getAttribute('aria-pressed')") == "false")
    zeno.until(lambda: zeno.script("return document.querySelector('.reaction')?.getAttribute('aria-pressed')") == "true")
    zeno.one(".reaction").click()
    ada.until(lambda: ada.all(".reaction") == [])
    ada.point_at("Good evening!")
    ada.press("Reply", ".tools")
    ada.say("It is noon.")
    zeno.until(lambda: [each for each in zeno.texts(".quote") if "Good evening!" in each])
    ada.wait(".composer textarea").send_keys(Keys.ARROW_UP)
    ada.until(lambda: ada.one(".composer textarea").get_attribute("value") == "It is noon.")
    ada.one(".composer textarea").send_keys(" Nearly.", Keys.ENTER)
    zeno.hears("It is noon. Nearly.")
    assert zeno.texts(".edited") == ["(edited)"]
    zeno.point_at("Good evening!")
    zeno.press("Delete", ".tools")
    zeno.press("Delete", "dialog")
    ada.until(lambda: ada.texts(".message-gone") == ["Message deleted"])

    # What is unread while one is elsewhere.
    ada.driver.get(ada.base + "/chat/rooms")
    ada.connected()
    zeno.say("Are you there?")
    ada.until(lambda: ada.texts(".room-list .unread") == ["1"])
    assert ada.texts("#sections .unread") == ["1"]
    ada.until(lambda: ada.driver.title.startswith("(1) "))
    ada.driver.get(ada.base + room)
    ada.hears("Are you there?")
    assert ada.texts(".day.new") == ["New"]
    ada.until(lambda: ada.texts(".room-list .unread") == [])
    # The mark is stored, not only shown.
    ada.until(lambda: ada.go("/chat") and ada.texts(".room-list li") and not ada.texts(".room-list .unread"))


def test_who_is_there_and_who_types(people):
    ada, zeno = people
    ada.sign_up("ada")
    zeno.sign_up("zeno", "/chat")
    zeno.go(f"/people/{ada.name}")
    zeno.press("Message")
    zeno.wait(".composer textarea")
    zeno.say("Are you there?")
    room = zeno.path()
    assert zeno.texts(".room-head .room-under") == [""]
    ada.go(room)
    # Each sees the other one, whoever came first.
    for person in (ada, zeno):
        person.until(lambda p=person: p.texts(".room-head .room-under") == ["online"])
        person.until(lambda p=person: p.all(".room-list .picture.online"))
    ada.wait(".composer textarea").send_keys("I am, and I w")
    zeno.until(lambda: zeno.texts(".typing") == [f"{ada.name} is writing …"])
    ada.say("rite.")
    zeno.hears("I am, and I write.")
    zeno.until(lambda: zeno.texts(".typing") == [""])
    # Who types and stops types no more.
    ada.wait(".composer textarea").send_keys("On second thoughts")
    zeno.until(lambda: zeno.texts(".typing") == [f"{ada.name} is writing …"])
    zeno.until(lambda: zeno.texts(".typing") == [""])
    ada.driver.get(ada.base + "/openapi.json")
    zeno.until(lambda: zeno.texts(".room-head .room-under") == [""])


def test_rooms_and_members(people):
    ada, zeno = people
    ada.sign_up("ada")
    zeno.sign_up("zeno", "/chat")
    room = ada.new_room(unique("Private "), "ROOM_KIND_PRIVATE")
    zeno.driver.get(zeno.base + room)
    zeno.until(lambda: "There is no such room for you." in zeno.texts(".room-pane .empty"))
    ada.press("Members and settings")
    ada.fill(username=zeno.name)
    ada.press("Invite", "dialog")
    ada.until(lambda: zeno.name in ada.texts("dialog .member .person"))
    zeno.driver.get(zeno.base + room)
    zeno.wait(".composer textarea")
    zeno.say("Thank you")
    ada.hears("Thank you")
    ada.press("Remove", "dialog")
    ada.press("Remove", "dialog:last-of-type")
    zeno.until(lambda: zeno.path() == "/chat" and zeno.texts(".room-list li") == [])
    ada.until(lambda: zeno.name not in ada.texts("dialog .member .person"))
    ada.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    ada.until(lambda: ada.all("dialog") == [])

    # Between two.
    zeno.go(f"/people/{ada.name}")
    zeno.press("Message")
    zeno.wait(".composer textarea")
    zeno.say("Just us")
    ada.go("/chat")
    ada.until(lambda: zeno.name in " ".join(ada.texts(".room-list li")))
    ada.until(lambda: ada.texts(".room-list .unread") == ["1"])


def history(suite, room, account, count):
    """Messages over the API, from an account of its own."""
    headers = {"Authorization": f"Bearer {account['token']}"}
    path = f"{suite.http}/api/chat/rooms/{room.rsplit('/', 1)[1]}"
    with requests.Session() as session:
        assert session.post(path + "/join", headers=headers, timeout=20).ok
        for n in range(count):
            assert session.post(path + "/messages", headers=headers, json={"message": {"text": f"line {n}"}}, timeout=20).ok


def test_history_and_search(people, suite, new_account):
    ada, _ = people
    ada.sign_up("ada")
    room = ada.new_room(unique("Long "))
    ada.wait(".composer textarea")
    history(suite, room, new_account("zeno"), 180)
    ada.driver.get(ada.base + room)
    ada.hears("line 179")
    assert len(ada.messages()) < 120
    # What is read stays at its place when older lines come above it.
    line, place = ada.script(
        "const s = document.querySelector('.message-box .scroll'); s.scrollTop = 200; window.stays = [...s.querySelectorAll('li[data-seq]')]"
        ".find((row) => row.getBoundingClientRect().top > s.getBoundingClientRect().top);"
        "return [window.stays.innerText, window.stays.getBoundingClientRect().top];"
    )
    ada.until(lambda: ada.messages()[0] not in line and len(ada.messages()) > 60)
    assert abs(ada.script("return window.stays.getBoundingClientRect().top") - place) < 1
    # Upwards to where the room begins; no line twice, none left out.
    ada.until(lambda: ada.script("document.querySelector('.message-box .scroll').scrollTop = 0") or "line 0" in ada.messages())
    assert ada.messages() == [f"line {n}" for n in range(180)]
    ada.wait(".jump").click()
    ada.until(lambda: ada.script("const s = document.querySelector('.message-box .scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight < 2"))
    ada.press("Search in this room")
    ada.wait(".find-form.line input").send_keys('"line 17"', Keys.ENTER)
    ada.until(lambda: any("line 17" in each for each in ada.texts(".hit-text")))
    hit = next(each for each in ada.all(".hit") if each.find_element(By.CSS_SELECTOR, ".hit-text").text == "line 17")
    hit.click()
    ada.until(lambda: ada.script("return document.activeElement.querySelector?.('.message-text')?.innerText") == "line 17")


def test_nothing_is_lost_when_chat_restarts(people, suite):
    ada, zeno = people
    ada.sign_up("ada")
    zeno.sign_up("zeno")
    room = ada.new_room(unique("Restart "))
    zeno.join(room)
    ada.connected()
    zeno.connected()
    expected = []
    for turn in range(3):
        expected.append([f"a{turn}-{n}" for n in range(6)])
        old = suite.pid("chat")
        for n, text in enumerate(expected[-1]):
            ada.say(text)
            if n == 2:
                suite.kill("chat")
            zeno.say(f"z{text}")
        suite.wait_restarted("chat", old)
        wait_until(lambda: requests.get(suite.http + "/readyz", timeout=20).ok, "ready again")
        ada.connected()
        zeno.connected()
    own = [text for turn in expected for text in turn]
    for person in (ada, zeno):
        person.until(lambda p=person: len(p.messages()) == 2 * len(own) and p.texts(".pending") == [])
    assert ada.messages() == zeno.messages()
    # Everybody's in the order in which they were written, and each once.
    assert [text for text in ada.messages() if not text.startswith("z")] == own
    assert [text for text in ada.messages() if text.startswith("z")] == [f"z{text}" for text in own]
    # The server has the same.
    ada.driver.refresh()
    ada.hears(own[-1])
    ada.until(lambda: ada.messages() == zeno.messages())
    # Of this the browser may complain: that nobody was there.
    for person in (ada, zeno):
        assert [fault for fault in person.faults() if "WebSocket" not in fault["message"] and "status of 50" not in fault["message"]] == []


def test_without_websockets(people):
    """Behind a proxy that lets none through: the same, somewhat later."""
    ada, zeno = people
    ada.sign_up("ada")
    zeno.sign_up("zeno")
    room = ada.new_room(unique("Proxy "))
    broken = "window.WebSocket = class { constructor() { setTimeout(() => this.onclose({code: 1006})); } close() {} }"
    script = zeno.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": broken})
    try:
        zeno.join(room)
        zeno.until(lambda: zeno.texts(".connection [role=status]") == ["Connected, with some delay"])
        for n in range(3):
            ada.say(f"a{n}")
            zeno.say(f"z{n}")
        for person in (ada, zeno):
            person.until(lambda p=person: len(p.messages()) == 6 and p.texts(".pending") == [])
        assert ada.messages() == zeno.messages()
        assert [text for text in ada.messages() if text.startswith("z")] == ["z0", "z1", "z2"]
    finally:
        zeno.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_what_somebody_writes_is_text(people):
    ada, zeno = people
    ada.sign_up("ada")
    zeno.sign_up("zeno")
    slug = ada.write_article(title=HOSTILE.replace("\u202e", ""), description=HOSTILE, body=HOSTILE + "\n\n" + HOSTILE, tagList="<b>tag</b>")
    ada.fill(body=HOSTILE)
    ada.press("Comment")
    room = ada.new_room("<script>window.broken=1</script>" + unique(""))
    ada.say(HOSTILE)
    zeno.join(room)
    zeno.until(zeno.messages)
    for path in (slug, "/", "/chat", room, "/tags/%3Cb%3Etag%3C%2Fb%3E", "/search?q=%3Cscript%3E"):
        zeno.go(path)
        assert zeno.all("main img, main script, main b, [onerror], [href^='javascript']") == []
        assert zeno.script("return window.broken") is None


def test_on_a_phone(people):
    """360 px wide: nothing is wider than the window, and of chat one half is shown at a time."""
    ada, _ = people
    ada.size(360, 740, mobile=True)
    ada.sign_up("ada")
    slug = ada.write_article(title="W" * 80, description="d" * 100, body="x" * 200 + "\n\n```\n" + "code " * 60 + "\n```", tagList="t" * 60)
    room = ada.new_room("r" * 90)
    ada.say("m" * 300)
    ada.until(ada.messages)
    for path in ("/", slug, slug + "/edit", "/write", f"/people/{ada.name}", "/settings", "/settings/sessions", "/chat", "/chat/rooms", room, "/sign-in"):
        ada.go(path)
        assert ada.script("return document.documentElement.scrollWidth") <= 360, path
    ada.driver.get(ada.base + room)
    ada.wait(".composer textarea")
    assert not ada.one(".rooms").is_displayed()
    ada.press("All rooms")
    ada.until(lambda: ada.one(".rooms").is_displayed() and not ada.one(".room-pane").is_displayed())
    ada.wait(".room-list a").click()
    ada.until(lambda: ada.one(".composer textarea").is_displayed())
    # All that is pressed is large enough for a finger, by WCAG 2.2 AA (24 px).
    small = ada.script(
        "return [...document.querySelectorAll('button, input, select, textarea, .button, #sections a')].map((e) => [e, e.getBoundingClientRect()])"
        ".filter(([, r]) => r.width && (r.width < 24 || r.height < 24)).map(([e]) => e.outerHTML.slice(0, 120))"
    )
    assert small == []


class Keyboard:
    def __init__(self, person):
        self.person = person

    def press(self, *keys):
        ActionChains(self.person.driver).send_keys(*keys).perform()

    def back(self):
        ActionChains(self.person.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()

    def focused(self):
        return self.person.script("const e = document.activeElement; return e === document.body ? '' : (e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || '').trim()")

    def to(self, name, back=False, most=40):
        """Goes on until what begins so, or has such a line, has the focus; each stop shows that it has it."""
        stops = []
        for _ in range(most):
            self.back() if back else self.press(Keys.TAB)
            stops.append(self.focused())
            if self.person.script("const e = document.activeElement; return e !== document.body && !e.matches(':focus-visible')"):
                raise AssertionError(f"{self.focused()}: the focus is not shown")
            if stops[-1].startswith(name) or name in stops[-1].split("\n"):
                return
        raise AssertionError(f"{name} is not reached by keyboard: {stops}")


def test_by_keyboard_alone(people):
    ada, zeno = people
    keys = Keyboard(ada)
    ada.go("/")
    keys.to("Skip to the content")
    keys.press(Keys.ENTER)
    ada.until(lambda: ada.script("return document.activeElement.id") == "main")
    ada.go("/")
    keys.to("Sign up")
    keys.press(Keys.ENTER)
    ada.until(lambda: ada.path() == "/sign-up" and keys.focused() == "Username")
    ada.name = unique("ada")
    keys.press(ada.name, Keys.TAB, f"{ada.name}@example.com", Keys.TAB, PASSWORD, Keys.ENTER)
    ada.until(lambda: ada.path() == "/" and ada.all("#account .menu"))

    # The menu opens, and Escape closes it and gives the focus back.
    keys.to("Account", back=True)
    keys.press(Keys.ENTER)
    ada.wait(".menu-list")
    keys.press(Keys.ESCAPE)
    ada.until(lambda: not ada.one(".menu-list").is_displayed() and keys.focused().startswith("Account"))

    # An article.
    ada.go("/write")
    keys.press("By keys", Keys.TAB, "Summary", Keys.TAB, "The text", Keys.TAB, "keys", Keys.ENTER)
    assert ada.path() == "/write"
    keys.to("Publish")
    keys.press(Keys.ENTER)
    ada.until(lambda: ada.texts("article h1") == ["By keys"])
    assert ada.script("return document.activeElement.tagName") == "H1"

    # Chat.
    ada.go("/chat")
    keys.to("Room")
    keys.press(Keys.ENTER)
    ada.until(lambda: keys.focused() == "Name")
    name = unique("Keys ")
    keys.press(name, Keys.ENTER)
    ada.wait(".composer textarea")
    room = ada.path()
    keys.to("Message to")
    for text in ("one", "two", "three"):
        keys.press(text, Keys.ENTER)
        ada.hears(text)
    keys.to("three", back=True)
    keys.press(Keys.ARROW_UP)
    ada.until(lambda: "two" in keys.focused())
    keys.press("e")
    ada.until(lambda: ada.one(".composer textarea").get_attribute("value") == "two")
    keys.press(Keys.ESCAPE)
    ada.until(lambda: ada.one(".composer textarea").get_attribute("value") == "")
    keys.to("three", back=True)
    keys.press(Keys.HOME, "+")
    ada.wait("dialog")
    keys.press(Keys.ESCAPE)
    ada.until(lambda: ada.all("dialog") == [] and "one" in keys.focused())
    keys.press("r", "four", Keys.ENTER)
    ada.hears("four")
    assert ada.texts(".quote strong") == [ada.name]

    # What somebody else says is told to those who listen.
    zeno.sign_up("zeno")
    zeno.join(room)
    ada.script("window.said = []; new MutationObserver((all) => all.forEach((m) => m.addedNodes.forEach((n) => said.push(n.textContent)))).observe(document.getElementById('announcer'), {childList: true})")
    zeno.say("five")
    ada.until(lambda: f"{zeno.name}: five" in ada.script("return window.said"))

    # Everything has a name.
    for path in ("/", "/write", "/settings", "/settings/sessions", room):
        ada.driver.get(ada.base + path)
        ada.wait("main h1, main h2")
        unnamed = ada.script(
            "return [...document.querySelectorAll('a, button, input, select, textarea, summary')]"
            ".filter((e) => !(e.getAttribute('aria-label') || e.labels?.length || e.innerText?.trim() || e.textContent.trim())).map((e) => e.outerHTML)"
        )
        assert unnamed == []
        ids = ada.script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))
