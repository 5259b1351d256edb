"""Slow, many, and large requests; the server must answer afterwards."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

import httpx
import numpy as np
import pytest

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.app.limits import Limits

pytestmark = pytest.mark.usefixtures("server_recovers")

PARALLEL = 200
NARROW = Limits(max_file_bytes=50_000, max_request_bytes=120_000, max_held_bytes=150_000)


def write_request(*files):
    """Return the head and the body of a request that sends files."""
    request = httpx.Request("POST", "http://127.0.0.1", files=[("files", ("image.jpeg", file)) for file in files])
    body = request.read()
    head = f"POST /api/read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: {request.headers['content-type']}\r\n\r\n".encode(), body


def post(client, *files):
    return client.post("/api/read", files=[("files", ("image.jpeg", file)) for file in files])


@pytest.mark.integration
def test_a_stopped_or_slow_body_gets_408(serve_app, connect, send_bytes, radiographs):
    head, content = write_request(radiographs["normal"])
    with serve_app(limits=Limits(receive_seconds=1.5)) as address, httpx.Client(base_url=address) as client:
        started = time.monotonic()
        stopped = send_bytes(address, head + content[:100])
        assert time.monotonic() - started < 10
        assert stopped.startswith(b"HTTP/1.1 408")
        assert b"in time" in stopped

        with connect(address) as slow:
            slow.sendall(head)
            started = time.monotonic()
            for byte in content:
                try:
                    slow.sendall(bytes([byte]))
                except ConnectionError:
                    break
                assert client.get("/api/health").status_code == 200
                time.sleep(0.1)
                assert time.monotonic() - started < 20


def test_connections_over_the_limit_get_503(serve_app, connect):
    with serve_app(limits=Limits(max_connections=5)) as address:
        with ExitStack() as idle:
            for _ in range(5):
                idle.enter_context(connect(address))
            rejected = httpx.get(f"{address}/api/health")
        time.sleep(0.2)
        served = httpx.get(f"{address}/api/health")

    assert (rejected.status_code, served.status_code) == (503, 200)


@pytest.mark.integration
def test_a_full_queue_gets_503(serve_app, reader, radiographs, monkeypatch):
    monkeypatch.setattr(reader, "predict_decoded", slow_down(reader.predict_decoded, 1.5))
    narrow = Limits(num_readers=1, wait_seconds=0.3)
    with serve_app(limits=narrow) as address, httpx.Client(base_url=address, timeout=60) as client:
        answers = asyncio.run(post_at_once(address, [("image.jpeg", radiographs["normal"])] * 3))
        later = post(client, radiographs["normal"])

    assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
    assert later.status_code == 200


@pytest.mark.integration
def test_work_over_its_time_gets_503_and_holds_its_thread(serve_app, reader, radiographs, monkeypatch):
    monkeypatch.setattr(reader, "predict_decoded", slow_down(reader.predict_decoded, 4))
    narrow = Limits(num_readers=1, wait_seconds=0.5, read_seconds=0.5)
    with serve_app(limits=narrow) as address, httpx.Client(base_url=address, timeout=60) as client:
        late = post(client, radiographs["normal"])
        assert client.get("/api/health").status_code == 200
        meanwhile = client.get("/api/references")
        time.sleep(3)
        later = client.get("/api/references")

    assert (late.status_code, meanwhile.status_code, later.status_code) == (503, 503, 200)


def slow_down(work, seconds):
    def slow(*arguments, **keywords):
        time.sleep(seconds)
        return work(*arguments, **keywords)

    return slow


async def post_at_once(address, files, detail="row"):
    """Send each file, a name and its bytes, in a request of its own, and return the responses."""
    limits = httpx.Limits(max_connections=len(files))
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as client:
        requests = [client.post("/api/read", params={"detail": detail}, files={"files": file}) for file in files]
        return await asyncio.gather(*requests)


@pytest.mark.integration
def test_a_body_over_its_limit_gets_413(serve_app, send_bytes, radiographs):
    head, many = write_request(*[bytes(40_000)] * 4)
    endless = re.sub(rb"Content-Length: \d+", b"Expect: 100-continue\r\nContent-Length: 99999999999", head)
    with serve_app(limits=NARROW) as address, httpx.Client(base_url=address, timeout=60) as client:
        announced = post(client, *[bytes(40_000)] * 4)
        kind = re.search(rb"multipart.*", head)[0].strip()
        unannounced = client.post(
            "/api/read", content=iter([many[:100_000], many[100_000:]]), headers={"content-type": kind}
        )
        file = post(client, radiographs["normal"], bytes(60_000))
        expecting = send_bytes(address, endless)
        # Held bytes are given back: together these requests are far over the limit.
        accepted = [post(client, radiographs["normal"]).status_code for _ in range(30)]

    assert (announced.status_code, unannounced.status_code, file.status_code) == (413, 413, 413)
    assert expecting.startswith(b"HTTP/1.1 413")
    assert "several requests" in announced.json()["error"]
    assert "file 2 is larger" in file.json()["error"]
    assert b"100 Continue" not in expecting
    assert accepted == [200] * 30


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 99999999999"])
def test_an_endless_body_is_rejected_without_being_read(serve_app, connect, framing):
    piece = bytes(1 << 16)
    head = b"POST /api/read HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    num_bytes = 0
    with serve_app(limits=NARROW) as address, connect(address) as connection:
        connection.sendall(head + framing + b"\r\n\r\n")
        with suppress(ConnectionError):
            for content in chain([part], repeat(piece)):
                connection.sendall(b"%x\r\n%s\r\n" % (len(content), content))
                num_bytes += len(content)
                assert num_bytes < 64 << 20
        answer = connection.recv(1 << 16)

    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_uploads_over_the_memory_limit_get_503(serve_app, connect):
    files = [bytes(40_000)] * 2
    head, content = write_request(*files)
    with serve_app(limits=NARROW) as address, httpx.Client(base_url=address, timeout=60) as client:
        with connect(address) as waiting:
            waiting.sendall(head + content[:100])  # the announced size counts
            time.sleep(0.5)
            rejected = post(client, *files)
        time.sleep(0.5)
        served = post(client, *files)

    assert (rejected.status_code, rejected.headers["retry-after"]) == (503, "2")
    assert served.status_code == 200


# The command line, with time for a slow machine; if the last word is "busy", a request never ends.
COMMAND = """
import sys, time
from functools import partial
from pneumoscope.app import server
from pneumoscope.cli.main import main
from pneumoscope.inference.reader import Reader

if sys.argv.pop() == "busy":
    Reader.predict_decoded = lambda *_: (print("busy", flush=True), time.sleep(600))
server.Limits = partial(server.Limits, receive_seconds=200, read_seconds=200)
main()
"""


@contextmanager
def run_app(state="idle"):
    """Run the app as a program, and yield its process and address; it is killed if it still runs."""
    words = [sys.executable, "-c", COMMAND, "app", "--no-browser", "--port", "0", state]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process, process.stdout.readline().split()[-1].rstrip("/")
        finally:
            process.kill()


@pytest.mark.integration
@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize("state", ["idle", "receiving", "busy"])
def test_one_ctrl_c_ends_the_app(connect, radiographs, state):
    head, content = write_request(radiographs["normal"])
    with ExitStack() as stack:
        process, address = stack.enter_context(run_app(state))
        if state != "idle":
            request = stack.enter_context(connect(address))
            request.sendall(head + (content if state == "busy" else content[:-100]))
        httpx.get(f"{address}/api/health", timeout=60)
        while state == "busy" and process.stdout.readline() != "busy\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        rest = process.communicate(timeout=60)[0]

    assert process.returncode in ([130] if state == "busy" else [0, 130])  # the models may still be warming up
    assert "Traceback" not in rest
    assert time.monotonic() - started < 10


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read as on Linux")
def test_the_largest_uploads_together_stay_under_a_gigabyte(encode, make_dicom):
    rng = np.random.default_rng(0)
    image = encode(rng.integers(0, 1 << 16, (5790, 5790), dtype=np.uint16), "TIFF")
    radiograph = make_dicom(rng.integers(0, 1 << 16, (4999, 5000), dtype=np.uint16))
    with run_app() as (process, address):
        answers = [
            asyncio.run(post_at_once(address, [("noise", file)] * 2, detail="full")) for file in (image, radiograph)
        ]
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())

    assert 63 << 20 < len(image) < 64 << 20
    assert [answer.status_code for together in answers for answer in together] == [200] * 4
    assert [answer.json()["readings"][0]["error"] for together in answers for answer in together] == [None] * 4
    assert 1024 * int(peak[1]) < 1e9


@pytest.mark.integration
@pytest.mark.skipif(os.name != "posix", reason="limits on files are set as POSIX has them")
def test_two_hundred_parallel_uploads_are_answered_and_nothing_is_written_or_logged(radiographs, encode, tmp_path):
    code = (
        "import os, resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
        "from pneumoscope.app.server import serve; "
        "serve(os.environ.get('PNEUMOSCOPE_MODELS'), port=0, open_browser=False)"
    )
    noise = encode(np.random.default_rng(0).integers(0, 256, (1050, 1050), dtype=np.uint8))
    kinds = [radiographs["normal"], radiographs["viral"], b"no image", noise, radiographs["bacterial"][:400]]
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    with process:
        lines = [process.stdout.readline() for _ in range(3)]
        assert lines[1].strip() == RESEARCH_USE_ONLY
        address = lines[0].split()[-1]
        files = [(f"Doe_Jane_{number}.jpeg", kinds[number % len(kinds)]) for number in range(PARALLEL)]
        answers = asyncio.run(post_at_once(address, files))
        health = httpx.get(f"{address}api/health", timeout=20)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]

    for number, answer in enumerate(answers):
        assert answer.status_code == 200
        (reading,) = answer.json()["readings"]
        assert reading["path"] == f"Doe_Jane_{number}.jpeg"
        assert (reading["error"] is None) is (number % len(kinds) in (0, 1, 3))
    assert health.json()["status"] == "ok"
    assert (process.returncode, rest) == (0, "")
    assert list(tmp_path.iterdir()) == []
