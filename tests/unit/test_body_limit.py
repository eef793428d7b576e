import asyncio
import json
from typing import Any

import pytest

from services.body_limit import BodyLimit


def exchange(chunks: list[bytes], *, declared: int | None = None) -> tuple[int, bytes, list[bytes]]:
    """Status, body and what reached the application behind a limit of 10 bytes."""
    reached: list[bytes] = []
    sent: list[Any] = []
    queue = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        reached.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> Any:
        return queue.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if declared is None else [(b"content-length", str(declared).encode())]
    asyncio.run(BodyLimit(application, 10)({"type": "http", "headers": headers}, receive, send))
    return sent[0]["status"], sent[1]["body"], reached


def test_a_body_within_the_limit_passes_whole() -> None:
    assert exchange([b"12345", b"67890"]) == (200, b"ok", [b"1234567890"])


@pytest.mark.parametrize(("chunks", "declared"), [([b"x"], 11), ([b"123456", b"789012"], None)])
def test_a_body_over_the_limit_never_reaches_the_application(chunks: list[bytes], declared: int | None) -> None:
    status, body, reached = exchange(chunks, declared=declared)
    assert (status, reached) == (413, [])
    assert "limit of 10" in json.loads(body)["error"]
