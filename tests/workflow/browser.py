"""A headless browser that reaches nothing but this machine's files."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"
_HARMLESS = "cdn.tailwindcss.com should not be used in production"
"""Said by Snakemake's report, which carries that script within."""


def why_not() -> str:
    """What the machine lacks; empty if a browser can be started."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not installed" if missing else ""


class Page:
    """A page in the browser.

    Args:
        driver: Selenium's.
    """

    def __init__(self, driver: webdriver.Chrome):
        self.driver = driver

    def all(self, selector: str) -> list[WebElement]:
        """The elements that are seen."""
        return [found for found in self.driver.find_elements(By.CSS_SELECTOR, selector) if found.is_displayed()]

    def text(self) -> str:
        """What a reader sees."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def click(self, text: str) -> None:
        """Click what says this."""
        self.until(lambda: self._saying(text))[0].click()

    def picture_sizes(self) -> list[int]:
        """The own width of each PNG, figures all of them; 0 for one that did not load."""
        self.until(lambda: self.driver.execute_script("return [...document.images].every(image => image.complete)"))
        pictures = "[...document.images].filter(image => image.src.startsWith('data:image/png'))"
        return self.driver.execute_script(f"return {pictures}.map(image => image.naturalWidth)")

    def until(self, holds: Callable[[], object], seconds: float = 20.0) -> object:
        """Wait until something is there, and return it.

        Raises:
            TimeoutError: It does not come.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := holds():
                return found
            time.sleep(0.05)
        raise TimeoutError(f"not seen within {seconds} s on a page that says: {self.text()[:2000]}")

    def complaints(self) -> list[str]:
        """What the console says since the last call; a file that is asked for and missing is said there too."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        return [message for message in said if _HARMLESS not in message]

    def _saying(self, text: str) -> list[WebElement]:
        found = self.driver.find_elements(By.XPATH, f"//*[normalize-space(text())={text!r}]")
        return [element for element in found if element.is_displayed()]


@contextmanager
def opened(path: Path) -> Iterator[Page]:
    """Open a file."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000", OFFLINE):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(path.as_uri())
        yield Page(driver)
    finally:
        driver.quit()
