"""A headless Chromium, driven over its debugging pipe: pages with real clicks and keys, and everything that went wrong in them."""

import base64
import fcntl
import json
import os
import pathlib
import queue
import shutil
import subprocess
import tempfile
import threading

from waiting import wait_until

KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "ArrowLeft": (37, ""), "ArrowRight": (39, ""),
        "Home": (36, ""), "End": (35, ""), " ": (32, " ")}


def high_copy(descriptor):
    """The same pipe under a number of two digits."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(descriptor)
    return copy


class Browser:
    """One process for all pages of a test file. Messages are JSON that ends with a zero byte, on descriptors 3 and 4."""

    def __init__(self):
        found = shutil.which("chromium") or shutil.which("google-chrome")
        assert found, "scripts/setup installs chromium"
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # Above 9, so that the shell's move to 3 and 4 overwrites neither.
        theirs_in, theirs_out = (high_copy(one) for one in (theirs_in, theirs_out))
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--disable-background-networking", "--no-first-run", "--no-default-browser-check", "--hide-scrollbars", "--force-color-profile=srgb", f"--user-data-dir={self.folder.name}", "--remote-debugging-pipe"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.input, self.output = ours_in, ours_out
        self.number, self.answers, self.pages, self.idle, self.lock = 0, {}, {}, [], threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        while True:
            some = os.read(self.input, 1 << 20)
            if not some:
                for answer in self.answers.values():
                    answer.put({"error": {"message": "the browser has ended"}})
                return
            *messages, rest = (rest + some).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    answer = self.answers.pop(message["id"], None)
                    if answer:
                        answer.put(message)
                elif message.get("sessionId") in self.pages:
                    self.pages[message["sessionId"]].heard(message["method"], message["params"])

    def send(self, method, session=None, timeout=30, **params):
        answer = queue.Queue()
        with self.lock:
            self.number += 1
            self.answers[self.number] = answer
            message = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
            data = json.dumps(message).encode() + b"\0"
            while data:
                data = data[os.write(self.output, data):]
        result = answer.get(timeout=timeout)
        assert "error" not in result, f"{method}: {result['error']}"
        return result["result"]

    def page(self, url=None, width=1280, height=900, scheme="light", scale=1, before=None):
        """A tab as if it were new: those that were closed are used again, since making one costs more than most tests. `before` is a
        script that runs before those of each document."""
        page = self.idle.pop() if self.idle else Page(self)
        page.begin(url, width, height, scheme, scale, before)
        return page

    def close(self):
        try:
            self.send("Browser.close", timeout=10)
            self.process.wait(10)
        except (AssertionError, OSError, queue.Empty, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.output)
        self.folder.cleanup()


class Page:
    """A tab of its own profile: nothing is shared with other pages that are open. `complaints` has console errors, exceptions, and blocked loads; `asked` every URL."""

    def __init__(self, browser):
        self.browser = browser
        self.complaints, self.asked, self.scripts = [], [], []
        self.context = browser.send("Target.createBrowserContext")["browserContextId"]
        self.target = browser.send("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send("Page.addScriptToEvaluateOnNewDocument", source="window.violations = []; document.addEventListener('securitypolicyviolation', "
                  "event => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));")

    def begin(self, url, width, height, scheme, scale, before):
        self.complaints, self.asked = [], []
        if before:
            self.scripts.append(self.send("Page.addScriptToEvaluateOnNewDocument", source=before)["identifier"])
        self.size(width, height, scale)
        self.scheme(scheme)
        if url:
            self.open(url)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def send(self, method, **params):
        return self.browser.send(method, self.session, **params)

    def heard(self, method, params):
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(one.get("value", one.get("description"))) for one in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def close(self):
        """Forgets what it stored, goes to no page, and waits to be used again."""
        try:
            self.js("(() => { try { sessionStorage.clear(); localStorage.clear(); } catch { /* a page without storage */ } })()")
            for script in self.scripts:
                self.send("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
            self.scripts = []
            self.send("Page.navigate", url="about:blank")
            self.wait("location.href === 'about:blank'")
            self.send("Page.resetNavigationHistory")
            self.browser.idle.append(self)
        except AssertionError:
            self.browser.pages.pop(self.session, None)
            self.browser.send("Target.disposeBrowserContext", browserContextId=self.context)

    # How it is looked at

    def size(self, width, height, scale=1):
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False)

    def scheme(self, scheme):
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}])

    def open(self, url):
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'", f"{url} to load")

    def js(self, expression):
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, f"{expression[:200]}: {result['exceptionDetails'].get('exception', {}).get('description')}"
        return result["result"].get("value")

    def wait(self, expression, what=None, timeout=15.0):
        # The page looks by itself for half a second before it answers: many questions would cost more than what they wait for. Its elements
        # may be there only in part, and it may become another page meanwhile. An element is a yes.
        script = ("(async () => { for (const end = performance.now() + 500;;) { let found; "
                  f"try {{ found = await ({expression}); }} catch (error) {{ if (!(error instanceof TypeError)) throw error; }} "
                  "if (found || performance.now() > end) return found instanceof Node ? true : found ?? null; "
                  "await new Promise(next => setTimeout(next, 10)); } })()")

        def look():
            try:
                return self.js(script)
            except AssertionError as error:
                if "context" in str(error) or "navigated" in str(error):
                    return None
                raise
        return wait_until(look, what or expression, timeout)

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)})?.textContent ?? null")

    def texts(self, selector):
        return self.js(f"[...document.querySelectorAll({json.dumps(selector)})].map(one => one.textContent)")

    def has(self, text, selector="body", timeout=15.0):
        """Waits until the text is to be read there."""
        return self.wait(f"(document.querySelector({json.dumps(selector)})?.innerText ?? '').includes({json.dumps(text)})", f"'{text}' in {selector}", timeout)

    # What is done

    def spot(self, selector):
        find = (f"(() => {{ const one = [...document.querySelectorAll({json.dumps(selector)})].find(each => each.checkVisibility()); if (!one) return null; "
                "one.scrollIntoView({block: 'center', inline: 'center'}); const box = one.getBoundingClientRect(); "
                "const x = box.left + box.width / 2, y = box.top + box.height / 2; const top = document.elementFromPoint(x, y); "
                "return top && (one.contains(top) || top.contains(one)) ? [x, y] : null; })()")
        return self.wait(find, f"{selector} to be where one can click")

    def click(self, selector):
        x, y = self.spot(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="none" if kind == "mouseMoved" else "left", clickCount=0 if kind == "mouseMoved" else 1)

    def hover(self, x, y):
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, *keys):
        for key in keys:
            shift = key.startswith("Shift+")
            name = key.removeprefix("Shift+")
            code, text = KEYS.get(name, (ord(name[0].upper()), name))
            common = {"key": name, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
            self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
            self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.send("Input.insertText", text=text)

    def picture(self, path=None):
        data = base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])
        if path:
            pathlib.Path(path).write_bytes(data)
        return data
