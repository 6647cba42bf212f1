"""The command `serve`: a model over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from labelwise.cli import options


def serve(
    run: Annotated[str, typer.Argument(help="folder of a run or an export", metavar="RUN_OR_EXPORT")],
    host: Annotated[str, typer.Option(help="address to listen on; 0.0.0.0 for all")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free port", min=0, max=65535)] = 8000,
    grpc_port: Annotated[
        int | None,
        typer.Option(help="also answer KServe v2 over gRPC; 0 takes a free port", min=0, max=65535),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="require this bearer token", envvar="LABELWISE_TOKEN")
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(
            help="also review the list of `labelwise audit`; with --data and --collection it may be new",
            metavar="AUDIT.csv",
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="the data that were audited", metavar="SOURCE")] = None,
    collection: Annotated[
        Path | None, typer.Option(help="also search this collection of the run", metavar="COLLECTION")
    ] = None,
    cache_mb: Annotated[
        float, typer.Option(help="disk space in MiB for thumbnails of the collection", min=0)
    ] = 1024.0,
    device: options.Device = None,
    batch_size: Annotated[int, typer.Option(help="most images per batch", min=1)] = 16,
    wait_ms: Annotated[float, typer.Option(help="longest wait to fill a batch", min=0)] = 5.0,
    queue: Annotated[int, typer.Option(help="most waiting images; more get status 429", min=1)] = 256,
    max_files: Annotated[int, typer.Option(help="most images per request", min=1)] = 32,
    max_mb: Annotated[float, typer.Option(help="largest image file in MiB")] = 20.0,
    max_megapixels: Annotated[float, typer.Option(help="largest image in megapixels")] = 50.0,
    timeout: Annotated[float, typer.Option(help="seconds per request; then status 504")] = 30.0,
    answer_within: Annotated[
        float | None,
        typer.Option(help="seconds; images that would probably wait longer get status 429 at once"),
    ] = None,
    allow_url: Annotated[
        list[str] | None,
        typer.Option(help="host that images may be fetched from; may be repeated", metavar="HOST"),
    ] = None,
) -> None:
    """Serve predictions over HTTP, with a page that accepts dropped images.

    Example: labelwise serve runs/mine --port 8000
    """
    from labelwise.errors import LabelwiseError

    if data is not None and review is None:
        raise LabelwiseError("--data without --review", "an audit to review", "add --review AUDIT.csv")
    try:
        from labelwise.serving.app import create_app
        from labelwise.serving.listen import listen
    except ModuleNotFoundError as error:
        raise LabelwiseError(
            f"no package {error.name}", "what serving needs", "run: pip install 'labelwise[serve]'"
        ) from None
    from labelwise.data import read
    from labelwise.data.review import Review, begin_audit
    from labelwise.inference import load
    from labelwise.inference.screen import note
    from labelwise.memory import share_freed_memory
    from labelwise.serving.limits import MIB, Limits

    share_freed_memory()
    limits = Limits(
        file_bytes=int(max_mb * MIB),
        request_bytes=int(max(64.0, 2 * max_mb) * MIB),
        pixels=int(max_megapixels * 1e6),
        files=max_files,
        waiting=queue,
        batch=batch_size,
        wait_ms=wait_ms,
        seconds=timeout,
        within=timeout if answer_within is None else answer_within,
        url_hosts=tuple(allow_url or ()),
    )
    if review and data and collection and not review.exists():
        begin_audit(review)
    review_queue = Review(review, None if data is None else read(data)) if review else None
    searches = None
    if collection is not None:
        from labelwise.data.cache import cache_folder
        from labelwise.serving.kept_pictures import KeptPictures
        from labelwise.serving.searching import Searches

        pictures = KeptPictures(cache_folder() / "pictures-1" / "pictures.sqlite", int(cache_mb * MIB))
        searches = Searches(collection, run, pictures, limits.pixels)
    title = Path(run).resolve().name
    grpc = None if grpc_port is None else grpc_listener(host, grpc_port, token)
    predictor = load(run, device and device.value)
    predictor.prepare(sys.maxsize, *([note] if device else []))
    app = create_app(
        predictor, limits, title=title, token=token, review=review_queue, searches=searches, grpc=grpc
    )
    listen(app, host, port, title, guarded=token is not None, limits=limits)


def grpc_listener(host: str, port: int, token: str | None) -> Any:
    """A second address of the server, for gRPC.

    Raises:
        LabelwiseError: grpcio is not installed, or the port is in use.
    """
    from labelwise.errors import LabelwiseError

    try:
        from labelwise.serving.kserve_grpc import Grpc
    except ModuleNotFoundError as error:
        raise LabelwiseError(
            f"--grpc-port without the package {error.name}",
            "grpcio and protobuf",
            "run: pip install 'labelwise[grpc]'",
        ) from None
    return Grpc(host, port, token)
