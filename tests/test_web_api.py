"""The JSON API, and what stands before it: who may ask, how much may be sent, what nonsense is answered."""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

import tiny
import whybert
from whybert import Classifier, explain
from whybert.explanation import Explanation
from whybert.methods import METHODS
from whybert.web.api import web_application
from whybert.web.service import Limits, Service

# Gradio makes event loops when a page is built, and never closes them.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

TEXT = "a charming film with a good cast"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    tokenizer = tiny.wordpiece()
    return Classifier(tiny.bert(tokenizer, max_position_embeddings=512), tokenizer, name="tiny")


@contextmanager
def served(classifier: Classifier, **limits: Any) -> Iterator[TestClient]:
    service = Service({"tiny": classifier}, Limits(**limits))
    application = web_application(service, ["why.example.org"])
    with TestClient(application, "http://localhost:7860", raise_server_exceptions=False) as client:
        yield client
    service.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # of Gradio's loops, so that no other test sees them


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[TestClient]:
    with served(classifier, characters=2_000, texts=4, file_bytes=100_000) as found:
        yield found


def refused(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"type", "message"}
    assert "Traceback" not in response.text
    assert "\n" not in error["message"]
    message: str = error["message"]
    return message


def test_health(client: TestClient) -> None:
    for path in ("/api/health", "/api/v1/health"):
        said = client.get(path).json()
        assert said == {"status": "ok", "version": whybert.__version__, "models": ["tiny"]}


def test_models_and_methods(client: TestClient, classifier: Classifier) -> None:
    [model] = client.get("/api/v1/models").json()["models"]
    assert model == {
        "name": "tiny",
        "labels": list(classifier.labels),
        "max_length": classifier.max_length,
        "problem_type": None,
    }
    found = client.get("/api/v1/methods").json()
    methods = {each["name"]: each for each in found["methods"]}
    assert set(methods) == {name for name, kind in METHODS.items() if not kind.given}
    assert methods["occlusion"]["passes"] == "1 + n forward for n words"
    [reduction] = [each for each in methods["gi"]["options"] if each["name"] == "reduction"]
    assert "sum" in reduction["choices"]
    assert "model" not in [each["name"] for each in methods["occlusion"]["options"]]
    assert "probability" in found["quantities"]


def test_predictions_are_those_of_predict(client: TestClient, classifier: Classifier) -> None:
    asked = {"texts": [TEXT, ["a dull plot", "a bad film"]]}
    found = client.post("/api/v1/predict", json=asked).json()["predictions"]
    assert found == [classifier.predict(each)[0].to_dict() for each in (TEXT, ("a dull plot", "a bad film"))]
    assert client.post("/api/v1/predict", json={"text": TEXT}).json()["predictions"] == found[:1]


def test_explanations_are_those_of_explain(client: TestClient, classifier: Classifier) -> None:
    asked = {"text": TEXT, "methods": ["gi", "lat"], "target": "LABEL_1", "contrast": "LABEL_0"}
    found = client.post("/api/v1/explain", json=asked).json()["explanations"]
    rows = explain(classifier, [TEXT], ["gi", "lat"], ("LABEL_1", "LABEL_0"))
    assert [Explanation.from_dict(each) for each in found] == [rows["gi"][0], rows["lat"][0]]


def test_what_is_answered_can_be_loaded(client: TestClient, tmp_path: Path) -> None:
    asked = {"texts": [TEXT, "a dull plot"], "layers": True, "heads": True, "quantity": "probability"}
    found = client.post("/api/v1/explain", json=asked).json()["explanations"]
    path = tmp_path / "found.jsonl"
    path.write_text("".join(f"{json.dumps(each)}\n" for each in found), encoding="utf-8")
    loaded = whybert.load(path)
    assert [each.text for each in loaded] == asked["texts"]
    assert loaded[0].layers
    assert loaded[0].heads
    assert loaded[0].quantity == "probability"


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({}, 422, "text"),
        ({"text": TEXT, "texts": [TEXT]}, 422, "one of them"),
        ({"texts": []}, 422, "texts"),
        ({"texts": [[]]}, 422, "text and its pair"),
        ({"texts": [["a", "b", "c"]]}, 422, "text and its pair"),
        ({"text": ""}, 422, "text"),
        ({"text": 7}, 422, "text"),
        ({"text": None}, 422, "text"),
        ({"text": TEXT, "methods": "gi"}, 422, "methods"),
        ({"text": TEXT, "methods": []}, 422, "at least one method"),
        ({"text": TEXT, "methods": ["gi", "gi"]}, 422, "once"),
        ({"text": TEXT, "methods": ["nonsense"]}, 422, "unknown method"),
        ({"text": TEXT, "methods": ["gi:reduction=7"]}, 422, "reduction"),
        ({"text": TEXT, "methods": ["smoothgrad:samples=" + "9" * 400]}, 422, "200 characters"),
        ({"text": TEXT, "methods": ["lime:samples=999999999999"]}, 422, "times"),
        ({"text": TEXT, "methods": ["occlusion:model=/etc/passwd"]}, 422, "option model"),
        ({"text": TEXT, "target": "nobody"}, 422, "unknown label"),
        ({"text": TEXT, "quantity": "nonsense"}, 422, "quantity"),
        ({"text": TEXT, "contrast": "LABEL_1"}, 422, "explained class"),
        ({"text": TEXT, "layers": "yes"}, 422, "layers"),
        ({"text": TEXT, "methods": ["lat"], "layers": True}, 422, "layers"),
        ({"text": TEXT, "nonsense": 1}, 422, "nonsense"),
        ({"text": TEXT, "model": "other"}, 404, "unknown model"),
        ({"text": TEXT, "model": "../../etc"}, 404, "unknown model"),
        ({"text": "a" * 2_001}, 413, "at most 2,000 characters"),
        ({"texts": [TEXT] * 5}, 413, "at most 4 texts"),
    ],
)
def test_what_has_no_answer_says_why(
    asked: dict[str, Any], status: int, said: str, client: TestClient
) -> None:
    assert said in refused(client.post("/api/v1/explain", json=asked), status)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"nonsense", 400),
        (b'{"text": ', 400),
        (b"[" * 30_000, 400),
        (b'{"a":' * 15_000 + b"1" + b"}" * 15_000, 400),
        (b'{"text": "a\xff"}', 400),
        (b"[1, 2]", 422),
        (b"null", 422),
        (b'{"text": 1e999}', 422),
        (b'{"text": NaN}', 422),
        (b'{"text": "\\ud800"}', 422),
        (b'{"text": "a good film", "target": "\\ud800"}', 422),
    ],
)
def test_nonsense_is_refused(body: bytes, status: int, client: TestClient) -> None:
    answer = client.post("/api/v1/explain", content=body, headers={"Content-Type": "application/json"})
    refused(answer, status)


@pytest.mark.parametrize("text", ["a\x00b film", "‮film", "🎬 film", "<script>alert(1)</script>", "a\u2028b"])
def test_odd_texts_are_texts(text: str, client: TestClient) -> None:
    [found] = client.post("/api/v1/explain", json={"text": text}).json()["explanations"]
    assert Explanation.from_dict(found).text == text


def test_one_text_of_several_is_wrong(client: TestClient) -> None:
    for path in ("explain", "predict"):
        message = refused(client.post(f"/api/v1/{path}", json={"texts": [TEXT, TEXT, "", " "]}), 422)
        assert message.startswith("text 2 is empty")
    assert client.post("/api/v1/explain", json={"texts": [TEXT]}).status_code == 200


@pytest.mark.parametrize("verb", ["GET", "PUT", "PATCH", "DELETE"])
def test_verbs_of_nothing_are_refused_as_everything_is(verb: str, client: TestClient) -> None:
    refused(client.request(verb, "/api/v1/explain"), 404)


def test_more_than_may_be_sent_is_refused(client: TestClient) -> None:
    most = Limits(characters=2_000).body_bytes
    assert "bytes" in refused(client.post("/api/v1/explain", content=b"a" * (most + 1)), 413)
    chunks = (b"a" * 1_000 for _ in range(most // 1_000 + 2))
    assert "bytes" in refused(client.post("/api/v1/explain", content=chunks), 413)
    refused(client.get("/api/v1/health", headers={"Content-Length": "nonsense"}), 400)
    large = {"files": ("a.jsonl", b"a" * 200_000)}
    refused(client.post("/gradio_api/upload", files=large), 413)


def test_a_busy_service_says_when_to_ask_again(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whybert.web.service import BusyError

    def busy(*_: object, **__: object) -> None:
        raise BusyError("too many wait")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    with served(classifier) as client:
        monkeypatch.setattr(Service, "explain", busy)
        answer = client.post("/api/v1/explain", json={"text": TEXT})
        assert refused(answer, 503) == "too many wait"
        assert int(answer.headers["Retry-After"]) > 0
        monkeypatch.setattr(Service, "explain", broken)
        assert "secret" not in refused(client.post("/api/v1/explain", json={"text": TEXT}), 500)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:7860", "[::1]:7860", "192.0.2.7", "why.example.org"]
)
def test_names_of_this_server(host: str, client: TestClient) -> None:
    assert client.get("/api/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:7860", "", "[", "a b"]
)
@pytest.mark.parametrize("path", ["/", "/api/health", "/gradio_api/startup-events"])
def test_other_names_are_refused(host: str, path: str, client: TestClient) -> None:
    refused(client.get(path, headers={"Host": host}), 403)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:8000", "nonsense", "http://["]
)
def test_pages_of_other_sites_may_not_ask(origin: str, client: TestClient) -> None:
    asked: dict[str, Any] = {"json": {"text": TEXT}, "headers": {"Origin": origin}}
    for path in ("/api/v1/explain", "/gradio_api/run/predict", "/download/json", "/gradio_api/upload"):
        refused(client.post(path, **asked), 403)
    own = {"Origin": "http://localhost:7860"}
    assert client.post("/api/v1/explain", json={"text": TEXT}, headers=own).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/health", "/api/nonsense", "/gradio_api/nonsense"])
def test_headers_of_each_answer(path: str, client: TestClient) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in policy
    assert "http" not in policy
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file=file:///etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:1/",
        "/file=/etc/passwd",
        "/assets/../../../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/svelte/..%2f..%2f..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_file_of_the_machine_is_read(path: str, client: TestClient) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 403, 404), answer.status_code
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/config",
        "/openapi.json",
        "/monitoring",
        "/monitoring/summary",
        "/logout",
        "/gradio_api/info",
        "/gradio_api/deep_link",
        "/gradio_api/component_server",
        "/gradio_api/dev/reload",
        "/api/v2/explain",
        "/docs",
    ],
)
def test_what_is_not_used_is_closed(path: str, client: TestClient) -> None:
    assert client.get(path).status_code == 404


def test_the_api_describes_itself(client: TestClient) -> None:
    found = client.get("/api/openapi.json").json()
    assert set(found["paths"]) == {
        "/api/health",
        "/api/v1/health",
        "/api/v1/models",
        "/api/v1/methods",
        "/api/v1/predict",
        "/api/v1/explain",
    }
    assert {"400", "404", "413", "422", "503"} <= set(found["paths"]["/api/v1/explain"]["post"]["responses"])


def test_files_that_visitors_opened_go_when_the_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "of somebody else's")
    given = [Classifier.of(lambda texts: [[0.4, 0.6]] * len(texts), labels=["no", "yes"])]
    kept: list[Path] = []

    def opened(address: str, _: bool) -> None:
        stored = httpx.post(f"{address}/gradio_api/upload", files={"files": ("why.jsonl", b"{}")})
        kept.extend(map(Path, stored.json()))
        assert kept[0].read_bytes() == b"{}"
        os.kill(os.getpid(), signal.SIGINT)

    def later(address: str, is_own: bool) -> None:
        threading.Thread(target=opened, args=(address, is_own)).start()

    whybert.serve(given, port=0, ready=later)
    assert len(kept) == 1
    assert not kept[0].exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "of somebody else's"


@pytest.mark.slow
def test_twenty_visitors_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No error, and memory that stays; how long they wait is measured by benchmarks/serving.py."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    measure = importlib.import_module("serving")
    with measure.server() as (address, process):
        measure.asked(address, measure.by_api, 20, 5, 0, 1)
        before = measure.memory(process)
        for seed, body in ((10_000, measure.by_api), (20_000, measure.by_page(address))):
            waits, errors = measure.asked(address, body, 20, 10, 0, seed)
            assert not errors
            assert len(waits) >= 20
        assert measure.memory(process) < 1.2 * before + 100
