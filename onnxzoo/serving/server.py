"""Starts a server, loads and warms its models, and stops it gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
import uvicorn

from ..errors import InputError
from ..loading import load
from ..served_names import name_and_model, served_name
from ..signals import TERMINATING
from .calls import Calls
from .connections import limited_protocol
from .grpc_service import GrpcService, server_options
from .http_app import HttpApp
from .limits import Places
from .logs import FIELDS
from .metrics import Metrics
from .pipeline import Pipeline, Pools
from .sdk import ModelRepository
from .served import ServedModel, ServedModels
from .settings import Settings

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 65
"""Idle connections are kept a little longer than proxies keep theirs (60 s), so that none sends into a closed one."""
LINGER_S = 1.0
"""How long idle connections are kept from SIGTERM on: clients that send a request just then get an answer, 503."""
ACCEPTING_STEPS = 5
"""Steps of the event loop in which an accepted connection gets its transport (two are needed)."""
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: `http`, a URL, and `grpc`, host and port."""

    http: str
    grpc: str


class Server:
    """One server; `run` it once."""

    def __init__(self, settings: Settings) -> None:
        """Raises InputError for settings that cannot be used."""
        settings.check()
        self._settings = settings
        self._calls = Calls(settings.limits, Metrics(), settings.token())
        self._repository = ModelRepository()
        self._models = ServedModels(self._repository, settings.limits)
        self._pools = Pools(settings.workers)
        self._places = Places(settings.limits.queue)
        self._calls.metrics.watch_queue(lambda: self._places.taken)

    async def run(self, stop: asyncio.Event, ready: Callable[[Address], None]) -> None:
        """Serve until `stop` is set, then end what is in progress, for `limits.request_s` at most.

        `ready` is called with the address once all models are warm. Raises what `load` raises, InputError for a port
        that is taken.
        """
        with contextlib.closing(self._listener()) as listener:
            http = _HttpServer(self._http_config())
            rpc, grpc_port = self._grpc_server()
            serving = asyncio.create_task(http.serve([listener]))
            try:
                await rpc.start()
                address = self._address(listener.getsockname()[1], grpc_port)
                logger.info("listening, not ready yet", extra={FIELDS: {"http": address.http, "grpc": address.grpc}})
                if await self._loaded(stop):
                    self._calls.ready = True
                    logger.info("ready", extra={FIELDS: {"models": list(self._repository.get_models())}})
                    ready(address)
                    await stop.wait()
            finally:
                self._calls.stopping = True
                grace = self._settings.limits.request_s
                logger.info(f"stopping: new requests are refused, those in progress have {grace:g} s")
                await asyncio.gather(rpc.stop(grace), http.end(), serving)
                self._pools.close()
                for name in list(self._repository.get_models()):
                    self._repository.unload(name)
                logger.info("stopped")

    async def _loaded(self, stop: asyncio.Event) -> bool:
        """Load and warm all models in a thread; False if the server was stopped before that was done."""
        loading = asyncio.create_task(asyncio.to_thread(self._load, stop))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await loading  # a load cannot be interrupted, only not followed by another one
        return not stop.is_set()

    def _load(self, stop: asyncio.Event) -> None:
        limits = self._settings.limits
        for one in self._settings.models:
            if stop.is_set():
                return
            name, named = name_and_model(one)
            if name is not None:
                served_name(name, one)  # before the time that loading takes
            model = load(named, max_pixels=limits.pixels, **self._settings.load)
            try:
                name = served_name(name or model.name, one)
                if self._repository.get_model(name) is not None:
                    raise InputError(
                        f"two of the models are called {name!r}, also {one!r}; give one another name, NAME={named}"
                    )
            except InputError:
                model.close()
                raise
            pipeline = Pipeline(
                model,
                self._pools,
                self._places,
                limits,
                batch=self._settings.batch,
                delay_s=self._settings.delay_ms / 1e3,
            )
            served = ServedModel(name, model, pipeline, self._pools, limits)
            served.load()
            self._repository.update(served)
            engine = model.engine
            described = {
                "model": name,
                "engine": engine.name,
                "device": engine.device,
                "precision": engine.precision,
            }
            logger.info("model loaded", extra={FIELDS: described})

    def _listener(self) -> socket.socket:
        """The socket for HTTP, opened here because uvicorn ends the program if it cannot."""
        host, port = self._settings.host, self._settings.http_port
        try:
            family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
        except OSError as error:
            raise InputError(
                f"cannot listen on {host}, port {port}: {error.strerror}; name another --http-port"
            ) from None
        return listener

    def _http_config(self) -> uvicorn.Config:
        limits = self._settings.limits
        certificate, key = self._settings.tls or (None, None)
        return uvicorn.Config(
            HttpApp(self._calls, self._models, self._pools),
            http=limited_protocol(limits, self._calls.metrics),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=round(limits.request_s),
            h11_max_incomplete_event_size=limits.header_bytes,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )

    def _grpc_server(self) -> tuple[grpc.aio.Server, int]:
        limits = self._settings.limits
        server = grpc.aio.server(options=server_options(limits), maximum_concurrent_rpcs=limits.connections)
        server.add_generic_rpc_handlers((GrpcService(self._calls, self._models, self._pools).handlers(),))
        host = self._settings.host
        where = f"{f'[{host}]' if ':' in host else host}:{self._settings.grpc_port}"
        try:
            if self._settings.tls is None:
                return server, server.add_insecure_port(where)
            certificate, key = (file.read_bytes() for file in self._settings.tls)
            return server, server.add_secure_port(where, grpc.ssl_server_credentials([(key, certificate)]))
        except RuntimeError:
            raise InputError(
                f"cannot listen on {where}, for example because it is in use; name another --grpc-port"
            ) from None

    def _address(self, http_port: int, grpc_port: int) -> Address:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return Address(f"http{'s' if self._settings.tls else ''}://{host}:{http_port}", f"{host}:{grpc_port}")


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: signals are handled for both protocols together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def end(self) -> None:
        """Take no new connections, and end those that are open by the answer to their next request.

        uvicorn alone closes idle ones at once, also those on which a request is just arriving. A connection that was
        accepted but not yet read from when asyncio's server is closed would hang until the process ends, because the
        server refuses its transport.
        """
        if self.started:
            for listener in self.servers:
                for listening in listener.sockets:
                    with contextlib.suppress(NotImplementedError):  # Windows
                        asyncio.get_running_loop().remove_reader(listening.fileno())
            for _ in range(ACCEPTING_STEPS):  # no longer: those that wait to be accepted are reset
                await asyncio.sleep(0)
            for listener in self.servers:
                listener.close()
            end = time.monotonic() + LINGER_S
            while self.server_state.connections and time.monotonic() < end:
                await asyncio.sleep(0.02)
        self.should_exit = True


def serve(settings: Settings, ready: Callable[[Address], None]) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; a second signal ends the process at once. Raises as `Server.run`."""

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        numbers = {signal.SIGINT, *TERMINATING}

        def stopping() -> None:
            stop.set()
            for number in numbers:
                loop.remove_signal_handler(number)  # the default action is back: it ends the process

        with contextlib.suppress(NotImplementedError):  # Windows, where Ctrl-C still ends the program
            for number in numbers:
                loop.add_signal_handler(number, stopping)
        await Server(settings).run(stop, ready)

    asyncio.run(run())


@contextlib.contextmanager
def background(settings: Settings) -> Iterator[Address]:
    """A server in a thread of this process, ready when the block begins and stopped gracefully when it ends.

    Raises as `Server.run`.
    """
    found: list[Address] = []
    failed: list[BaseException] = []
    ready = threading.Event()
    stopper: list[Callable[[], object]] = []

    async def run() -> None:
        stop = asyncio.Event()
        stopper.append(lambda: loop.call_soon_threadsafe(stop.set))
        loop = asyncio.get_running_loop()

        def is_ready(address: Address) -> None:
            found.append(address)
            ready.set()

        await Server(settings).run(stop, is_ready)

    def thread() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            failed.append(error)
        finally:
            ready.set()

    running = threading.Thread(target=thread, name="onnxzoo-server")
    running.start()
    try:
        ready.wait()
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        if stopper:
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                stopper[0]()
        running.join()
