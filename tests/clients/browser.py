"""What a desktop client gets when it opens a web browser: the URL is written down, a person logs in
and presses Allow on the real pages, and the redirect back to the client is followed.

    browser.py LOG URL

Returns at once, as a browser's launcher does. Without OWNER_NAME nobody sits there: the URL is only
written down, so that a test sees who asked for a login that was not due.
"""

import os
import sys
import time
import urllib.error
import urllib.request

from person import owner

PATIENCE = 30


def note(log, event, text):
    with open(log, "a") as file:
        file.write(f"{event} {text}\n")


def deliver(url):
    """Go back to the client; FastMCP opens the browser before it listens."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                answer.read()
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def main(log, arguments):
    url = next(argument for argument in arguments if argument.startswith("http"))
    note(log, "opened", url)
    if "OWNER_NAME" not in os.environ or os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    try:
        landed = owner().approve(url)
        note(log, "landed", landed.split("?")[0])
        note(log, "delivered", deliver(landed))
    except Exception as error:
        note(log, "failed", repr(error))


main(sys.argv[1], sys.argv[2:])
