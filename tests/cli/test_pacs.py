"""`listen` and `pacs`: options that cannot be used, before any model is opened, and what rounds print."""

import socket
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest

from pneumoscope.cli.main import app
from pneumoscope.cli.pacs import _run_round
from pneumoscope.errors import PneumoscopeError

LISTEN = ["listen", "--spool", "spool", "--from", "ORTHANC"]
TO = ["--to", "ORTHANC@127.0.0.1:4242"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*LISTEN], "expected one destination"),
        ([*LISTEN, *TO, "--stow", "http://127.0.0.1"], "expected one destination"),
        ([*LISTEN, *TO, "--bind", "0.0.0.0"], "--bind 0.0.0.0 is not loopback"),
        ([*LISTEN, "--to", "ORTHANC@10.0.0.7:104"], "--to ORTHANC@10.0.0.7:104 is not loopback"),
        ([*LISTEN, "--to", "ORTHANC@10.0.0.7"], "expected AET@HOST:PORT"),
        ([*LISTEN, "--stow", "http://10.0.0.7/dicom-web"], "not encrypted; use https"),
        ([*LISTEN, *TO, "--from", "ORTHANC@host"], "expected AET or AET@IP"),
        ([*LISTEN, *TO, "--from", "A_TITLE_THAT_IS_TOO_LONG"], "is no AE title"),
        ([*LISTEN, *TO, "--ae", "A\\B"], "is no AE title"),
        ([*LISTEN, *TO, "--keep", "7"], "expected a number and m, h or d"),
        ([*LISTEN, *TO, "--tls-cert", "cert.pem"], "expected --tls-cert, --tls-key and --tls-ca"),
        (["pacs", "10.0.0.7/dicom-web", "--since", "1d"], "expected a URL"),
        (["pacs", "http://10.0.0.7/dicom-web", "--since", "1d"], "not encrypted; use https"),
        (["pacs", "https://me:secret@pacs.example.org", "--since", "1d"], "use --token-file"),
        (["pacs", "http://127.0.0.1/dicom-web", "--since", "yesterday"], "expected a number and m, h or d"),
    ],
)
def test_an_unusable_option_is_an_error(words: list[str], message: str) -> None:
    with pytest.raises(PneumoscopeError, match=message):
        app(words, standalone_mode=False)


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_pacs_that_is_down_is_an_error(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Models:
        id = "model"

    class Reader:
        models = Models()

    monkeypatch.setattr("pneumoscope.inference.reader.Reader.open", lambda model, **options: Reader())
    with pytest.raises(PneumoscopeError, match=r"/dicom-web: cannot be reached$"):
        app(["pacs", f"http://127.0.0.1:{closed_port}/dicom-web", "--since", "1d"], standalone_mode=False)


def test_repeated_rounds_name_only_what_changed(capsys):
    outcomes = [("1", "stored already"), ("2", "sent")]
    round_ = SimpleNamespace(run=lambda since: iter(outcomes))
    assert not _run_round(round_, timedelta(days=1), threading.Event())
    assert not _run_round(round_, timedelta(days=1))
    output = capsys.readouterr()
    assert output.out.splitlines() == ["2: sent", "1: stored already", "2: sent"]
    assert output.err.count("2 images: 1 stored already, 1 sent") == 2
