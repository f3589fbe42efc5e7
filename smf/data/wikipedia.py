"""Fetch articles of the English Wikipedia as plain text through the MediaWiki API, one at a time, each only once."""

import hashlib
import http.client
import json
import logging
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import Request, urlopen

from smf.errors import DataError
from smf.files.artifacts import read_json, write_json

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_REQUESTS = 1.0
SECONDS_TO_ANSWER = 20.0
_HOSTS = ("en.wikipedia.org", "en.m.wikipedia.org")
_HEADERS = {"User-Agent": "smf/0.1 (research on continual learning; reads cited articles once)"}


def is_article(url: str) -> bool:
    """Whether a URL points to an article of the English Wikipedia."""
    parts = urlsplit(url)
    return parts.netloc in _HOSTS and len(parts.path) > len("/wiki/") and parts.path.startswith("/wiki/")


class Wikipedia:
    """Fetches articles and keeps them, so that an interrupted run fetches none twice.

    Args:
        endpoint: Address of the MediaWiki API.
        folder: Where articles are kept.
    """

    def __init__(self, endpoint: str, folder: Path):
        self._endpoint = endpoint
        self._folder = folder
        self._last_request = float("-inf")

    def text(self, url: str) -> str | None:
        """The text of an article, its headings and paragraphs separated by empty lines; None if it cannot be fetched.

        Raises:
            DataError: The API cannot be reached at all.
        """
        title = unquote(urlsplit(url).path.removeprefix("/wiki/")).replace("_", " ")
        path = self._folder / f"{hashlib.sha256(title.encode()).hexdigest()[:16]}.json"
        if not path.exists():
            try:
                text = self._fetch(title)
            except (HTTPError, http.client.HTTPException, ValueError, LookupError) as error:
                logger.warning("the article %r could not be fetched: %s", title, error)
                return None  # not kept: the next run tries again
            except (URLError, OSError) as error:
                raise DataError(
                    f"{self._endpoint} cannot be reached ({error}); check the network, or give the documents as a file "
                    "with format documents"
                ) from error
            write_json(path, {"title": title, "url": url, "text": text})
        return read_json(path)["text"] or None

    def _fetch(self, title: str) -> str:
        time.sleep(max(0.0, self._last_request + SECONDS_BETWEEN_REQUESTS - time.monotonic()))
        query = {
            "action": "query",
            "prop": "extracts",
            "explaintext": 1,
            "exsectionformat": "plain",
            "redirects": 1,
            "format": "json",
            "formatversion": 2,
            "titles": title,
        }
        request = Request(f"{self._endpoint}?{urlencode(query)}", headers=_HEADERS)
        try:
            with urlopen(request, timeout=SECONDS_TO_ANSWER) as answer:
                pages = json.load(answer)["query"]["pages"]
        finally:
            self._last_request = time.monotonic()
        return "\n\n".join(filter(None, map(str.strip, pages[0].get("extract", "").split("\n"))))
