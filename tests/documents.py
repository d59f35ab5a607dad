"""Chromium and LaTeX for the tests that look at documents; on Debian, where root runs the tests, they are installed if missing."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = ("chromium",)
LATEX = ("texlive-latex-base", "texlive-latex-recommended", "poppler-utils")


def installed(programs: tuple[str, ...], packages: tuple[str, ...]) -> str:
    """The path of the first program, once all are there.

    Fails the test where they are missing and cannot be installed: what needs them was asked for by its marker.
    """
    if not all(map(shutil.which, programs)):
        if os.geteuid() or not shutil.which("apt-get"):
            pytest.fail(f"{', '.join(programs)} must be on the PATH: apt install {' '.join(packages)}")
        for command in (["update", "-q"], ["install", "-qy", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", *command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, text=True
            )
            if done.returncode:
                pytest.fail(f"apt-get {' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
    path = shutil.which(programs[0])
    assert path, f"{programs[0]} is not on the PATH after apt-get install {' '.join(packages)}"
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """A headless Chromium, driven by Playwright."""
    path = installed(("chromium",), CHROMIUM)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def latex() -> str:
    """The path of pdflatex; pdftotext and pdftoppm are on the PATH too."""
    return installed(("pdflatex", "pdftotext", "pdftoppm"), LATEX)
