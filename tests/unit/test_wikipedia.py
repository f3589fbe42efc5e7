"""Documents from Wikipedia, here a server on this machine: each article once, failures counted, no network named."""

import json
import logging
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import pytest

from smf.data import wikipedia
from smf.data.documents import read_simpleqa_documents
from smf.errors import DataError

ARTICLES = {
    "Frank Award": "The award is given yearly.\nIn 2010 it went to Michio Sugeno.\n\nHistory\nIt began in 2006.",
    "Café (song)": "A song by Ann.",
}


@pytest.fixture
def server(monkeypatch):
    """A MediaWiki API that has the articles, and counts what it was asked for."""
    monkeypatch.setattr(wikipedia, "SECONDS_BETWEEN_REQUESTS", 0.0)
    asked = Counter()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            assert (query["prop"], query["explaintext"]) == ("extracts", "1")
            asked[query["titles"]] += 1
            page = {"title": query["titles"], "missing": True}
            if query["titles"] in ARTICLES:
                page = {"title": query["titles"], "extract": ARTICLES[query["titles"]]}
            self.send_response(500 if query["titles"] == "Broken" else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"query": {"pages": [page]}}).encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api.php", asked
    server.shutdown()
    server.server_close()


def row(question, answer, *urls):
    return {"question": question, "answer": answer, "urls": list(urls)}


AWARD = "https://en.wikipedia.org/wiki/Frank_Award"
SONG = "https://en.m.wikipedia.org/wiki/Caf%C3%A9_(song)#Text"
ROWS = [
    row("Who won in 2010?", "Michio Sugeno", AWARD, "https://example.org/wiki/Frank_Award", AWARD),
    row("Who sang it?", "Ann", SONG, AWARD),
    row("Who sang it not?", "Bob", SONG),
    row("Who is broken?", "Ann", "https://en.wikipedia.org/wiki/Broken"),
    row("Who is missing?", "Ann", "https://en.wikipedia.org/wiki/Nobody"),
    row("Who is elsewhere?", "Ann", "https://fr.wikipedia.org/wiki/Ann"),
    row("Who won in 2010?", "Somebody", AWARD),
]


def read(folder, endpoint):
    (folder / "simpleqa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    source = {"hub": None, "file": "simpleqa.jsonl", "passage_words": 200, "endpoint": endpoint}
    return read_simpleqa_documents(str(folder), {**source, "pages_folder": folder / "pages"}, set())


def test_cited_articles_become_documents_and_what_cannot_be_had_is_counted(tmp_path, server, caplog):
    with caplog.at_level(logging.INFO, logger="smf"):
        facts = read(tmp_path, server[0])
    first = [fact for fact in facts if fact.subject == "simpleqa-00001"]
    assert [fact.train_texts[0] for fact in first] == [
        "The award is given yearly.",
        "In 2010 it went to Michio Sugeno.",
        "History It began in 2006.",
    ]
    assert [fact.question for fact in first] == ["", "", "Who won in 2010"]
    assert first[-1].answers == ("Michio Sugeno",)
    assert {fact.subject for fact in facts} == {"simpleqa-00001", "simpleqa-00002"}
    assert "2 of 7 rows are usable; dropped: 1 asked before, or without a question or an answer, 2 whose" in caplog.text
    assert "2 whose articles could not be fetched, 1 whose articles do not hold the answer, 1 without" in caplog.text


def test_an_article_is_fetched_once_and_a_failure_again(tmp_path, server):
    facts = read(tmp_path, server[0])
    assert read(tmp_path, server[0]) == facts
    assert server[1] == {"Frank Award": 1, "Café (song)": 1, "Nobody": 1, "Broken": 2}


def test_without_network_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(wikipedia, "SECONDS_BETWEEN_REQUESTS", 0.0)
    with pytest.raises(DataError, match=r"127.0.0.1:9/api.php cannot be reached .*give the documents as a file"):
        read(tmp_path, "http://127.0.0.1:9/api.php")  # nobody listens there
