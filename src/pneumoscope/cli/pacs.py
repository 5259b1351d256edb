"""`listen` and `pacs`: predictions beside a PACS."""

import re
import signal
import threading
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumoscope import RESEARCH_USE_ONLY
from pneumoscope.cli.options import ReaderOption
from pneumoscope.cli.output import SOME_FAILED
from pneumoscope.errors import PneumoscopeError

if TYPE_CHECKING:
    from pneumoscope.pacs.delivery import Send
    from pneumoscope.pacs.dicomweb import Round
    from pneumoscope.pacs.tls import TlsFiles

COMMANDS = typer.Typer()
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}

InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Allow other addresses than loopback without encryption.")
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", dir_okay=False, exists=True, help="File with a bearer token, or with 'Basic ' and credentials."
    ),
]
CertOption = Annotated[
    Path | None,
    typer.Option("--client-cert", dir_okay=False, exists=True, help="PEM file: client certificate and private key."),
]


@COMMANDS.command(
    epilog="Example: pneumoscope listen --spool spool --from ORTHANC@127.0.0.1 --to ORTHANC@127.0.0.1:4242"
)
def listen(
    spool: Annotated[Path, typer.Option(file_okay=False, help="Folder of the queue, which holds data of patients.")],
    callers: Annotated[
        list[str], typer.Option("--from", metavar="AET[@IP]", help="Who may send images; can be repeated.")
    ],
    to: Annotated[str | None, typer.Option(metavar="AET@HOST:PORT", help="Send results with C-STORE.")] = None,
    stow: Annotated[str | None, typer.Option(metavar="URL", help="Send results with STOW-RS.")] = None,
    ae: Annotated[str, typer.Option(metavar="AET", help="AE title of this program.")] = "PNEUMOSCOPE",
    bind: Annotated[str, typer.Option(metavar="IP", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 is any free port.")] = 11112,
    tls_cert: Annotated[Path | None, typer.Option(dir_okay=False, help="PEM file: certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(dir_okay=False, help="PEM file: private key.")] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(dir_okay=False, help="PEM file: authorities of the other side's certificates.")
    ] = None,
    insecure: InsecureOption = False,
    keep: Annotated[str, typer.Option(help="How long to keep records and unreadable images, as 12h or 7d.")] = "7d",
    send_rejected: Annotated[
        bool, typer.Option("--send-rejected", help="Also send results of rejected images.")
    ] = False,
    token_file: TokenOption = None,
    client_cert: CertOption = None,
    model: ReaderOption = None,
) -> None:
    """Take images from a PACS with C-STORE and send back structured report and secondary capture.

    Images, results and records wait in --spool, so that none is lost if the program or the destination stops. The
    files of --tls-cert, --tls-key and --tls-ca encrypt the listener, and --to unless it is on this machine.
    """
    from pneumoscope.inference.reader import Reader
    from pneumoscope.pacs import listener
    from pneumoscope.pacs.delivery import check_ae_title
    from pneumoscope.pacs.spool import Spool
    from pneumoscope.pacs.tls import TlsFiles
    from pneumoscope.progress import console

    tls = TlsFiles.parse(tls_cert, tls_key, tls_ca)
    _check_address(f"--bind {bind}", bind, tls, insecure)
    settings = listener.ListenSettings(
        tuple(map(listener.Caller.parse, callers)),
        ae_title=check_ae_title(ae),
        address=bind,
        port=port,
        tls=tls.make_server_context() if tls else None,
        keep_seconds=parse_duration(keep).total_seconds(),
        send_rejected=send_rejected,
    )
    if (to is None) == (stow is None):
        raise PneumoscopeError("expected one destination: --to AET@HOST:PORT or --stow URL")
    if to:
        send = _choose_peer(to, settings.ae_title, tls, insecure)
    else:
        send = _choose_server(str(stow), token_file, client_cert, insecure)
    stop = _stop_on_signals()
    status = console.status("starting") if console.is_terminal else None
    with status or nullcontext():
        reader = Reader.open(model, num_threads=1)  # leaves the other cores to the PACS
        listener.listen(Spool(spool), reader, send, settings, stop=stop, show=status.update if status else None)
    typer.echo(f"stopped; images that wait are in {spool}. {RESEARCH_USE_ONLY}", err=True)


@COMMANDS.command(epilog="Example: pneumoscope pacs http://127.0.0.1:8042/dicom-web --since 1d --dry-run")
def pacs(
    url: Annotated[str, typer.Argument(metavar="URL", help="Root of the DICOMweb services.")],
    since: Annotated[str, typer.Option(help="Age of the oldest study, as 12h or 7d; whole days are searched.")],
    modality: Annotated[str, typer.Option(help="Modalities of the series.")] = "CR,DX",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the images, and read none.")] = False,
    every: Annotated[int | None, typer.Option(min=1, metavar="SECONDS", help="Repeat until stopped.")] = None,
    token_file: TokenOption = None,
    client_cert: CertOption = None,
    insecure: InsecureOption = False,
    model: ReaderOption = None,
) -> None:
    """Find images with DICOMweb, predict, and store structured report and secondary capture beside them.

    A result that is in the PACS already is not sent again. Rejected images get no results. Exits with 1 if an image
    or its results failed.
    """
    from pneumoscope.inference.reader import Reader
    from pneumoscope.pacs.dicomweb import Round, Server
    from pneumoscope.progress import log

    server, age = Server(url, token_file, client_cert), parse_duration(since)
    server.check(insecure=insecure)
    round_ = Round(server, Reader.open(model, num_threads=1), modality.upper().split(","), dry_run=dry_run)
    if every is None:
        if _run_round(round_, age):
            raise typer.Exit(SOME_FAILED)
        return
    stop = _stop_on_signals()
    while not stop.is_set():
        try:
            _run_round(round_, age, stop)
        except PneumoscopeError as error:
            log.warning("%s; next attempt in %d s", error, every)
        stop.wait(every)


def _run_round(round_: "Round", age: timedelta, stop: threading.Event | None = None) -> bool:
    """Print what became of each image, and return whether one failed."""
    from pneumoscope.pacs.dicomweb import FAILED, STORED, count_outcomes

    outcomes = []
    for uid, outcome in round_.run((datetime.now() - age).date()):
        if outcome != STORED or stop is None:  # repeated rounds name what changed, and count the others
            typer.echo(f"{uid}: {outcome}")
        outcomes.append(outcome)
        if stop and stop.is_set():
            break
    typer.echo(f"{count_outcomes(outcomes)}. {RESEARCH_USE_ONLY}", err=True)
    return any(outcome.startswith(FAILED) for outcome in outcomes)


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text names.

    Raises:
        PneumoscopeError: if the text is of another form.

    Example:
        >>> parse_duration("7d"), parse_duration("12h")
        (datetime.timedelta(days=7), datetime.timedelta(seconds=43200))
    """
    if not (match := re.fullmatch(r"(\d{1,5})([mhd])", text, re.ASCII)):
        raise PneumoscopeError(f"{text}: expected a number and m, h or d, such as 12h or 7d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _check_address(option: str, host: str, tls: "TlsFiles | None", insecure: bool) -> None:
    from pneumoscope.pacs.tls import is_loopback

    if not (is_loopback(host) or tls or insecure):
        raise PneumoscopeError(
            f"{option} is not loopback; expected --tls-cert, --tls-key and --tls-ca, or --insecure on a network that "
            "you trust"
        )


def _choose_peer(to: str, ae_title: str, tls: "TlsFiles | None", insecure: bool) -> "Send":
    from pneumoscope.pacs.delivery import Peer, send_by_dimse
    from pneumoscope.pacs.tls import is_loopback

    peer = Peer.parse(to)
    _check_address(f"--to {to}", peer.host, tls, insecure)
    context = tls.make_client_context() if tls and not is_loopback(peer.host) else None
    return partial(send_by_dimse, peer=peer, ae_title=ae_title, tls=context)


def _choose_server(url: str, token_file: Path | None, client_cert: Path | None, insecure: bool) -> "Send":
    from pneumoscope.pacs.dicomweb import Server, stow

    server = Server(url, token_file, client_cert)
    server.check(insecure=insecure)
    return partial(stow, server=server)


def _stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
