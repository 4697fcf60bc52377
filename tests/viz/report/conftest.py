"""A browser to look at pages with: headless Chromium, spoken to by the DevTools protocol through a pair of pipes."""

import json
import os
import shutil
import subprocess
import tempfile
import time

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_S = 60.0


def executable():
    """The path of a browser, or None."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Browser:
    """One page of a browser.  ``messages`` holds what the page logged or threw, ``requests`` what it asked for."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # the protocol has its places at 3 and 4; a shell puts them there
        start = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        flags = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--no-first-run",
            "--disable-dev-shm-usage",
            f"--user-data-dir={self.folder.name}",
            "about:blank",
        )
        self.process = subprocess.Popen(
            ["bash", "-c", start, executable(), *flags],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.ours_in, self.ours_out = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        os.set_blocking(ours_in, False)
        self.rest, self.number, self.session = b"", 0, None
        self.messages, self.requests, self.loaded = [], [], 0
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **params):
        """Send a command and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        self.ours_out.write(json.dumps(message).encode() + b"\0")
        self.ours_out.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, path, width=1280, height=900, dark=False, media=""):
        """Load a file in a window of this size."""
        self.messages.clear()
        self.requests.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media=media, features=[scheme])
        before = self.loaded
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while self.loaded == before:
            self._next()

    def value(self, script):
        """What a JavaScript expression gives."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def move(self, x, y):
        """Move the mouse to a place in the window."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key):
        """Press and let go of a key."""
        self.ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key)
        self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def close(self):
        """End the browser and remove what it wrote."""
        try:
            self.session = None
            self.ask("Browser.close")
        finally:
            self.ours_in.close()
            self.ours_out.close()
            try:
                self.process.wait(timeout=_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.folder.cleanup()

    def _next(self):
        """The next message; events are noted on the way."""
        deadline = time.monotonic() + _PATIENCE_S
        while b"\0" not in self.rest:
            came = self.ours_in.read(1 << 16)
            if came:
                self.rest += came
            else:
                assert time.monotonic() < deadline, "the browser does not answer"
                assert self.process.poll() is None, "the browser has ended"
                time.sleep(0.005)
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method, params):
        if method == "Page.loadEventFired":
            self.loaded += 1
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.messages.append(params)


@pytest.fixture(scope="session")
def browser():
    if executable() is None:
        pytest.skip(f"there is no browser on this machine; install one of {', '.join(NAMES)}")
    page = Browser()
    yield page
    page.close()
