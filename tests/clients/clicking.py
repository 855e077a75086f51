"""Runs a program whose person clicks the link that it prints: each authorization URL on its output is
opened once in the desk's browser, and the output goes on.

    clicking.py PROGRAM [ARGUMENT...]
"""

import os
import re
import subprocess
import sys

LINK = re.compile(r"https?://[^\s\x1b\"'<>]+/authorize\?[^\s\x1b\"'<>]+")

# A terminal so wide that no link is broken.
program = subprocess.Popen(
    sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "COLUMNS": "5000"}
)
clicked = set()
for line in program.stdout:
    sys.stdout.write(line)
    sys.stdout.flush()
    for link in LINK.findall(line):
        if link not in clicked:
            clicked.add(link)
            subprocess.run([os.environ["BROWSER"], link], check=True)
sys.exit(program.wait())
