"""HTTP/2 on jh2: RFC 9113, each stream one exchange of the gateway.

jh2 is a fork of h2 (hyper) with the same interface, whose header tables are compiled: it takes half of h2's CPU time for
a request, and hypercorn is made of h2. The SDKs for Java and JavaScript ask for HTTP/2 unless told not to.
"""

from __future__ import annotations

import math
from typing import Any

from jh2 import events
from jh2.config import H2Configuration
from jh2.connection import ConnectionInputs, H2Connection, H2ConnectionStateMachine
from jh2.errors import ErrorCodes
from jh2.exceptions import ProtocolError
from jh2.settings import SettingCodes, Settings

from tenet.serving.http.connection import HEADER_BYTES, HEADER_SECONDS, LINGER_BYTES, LINGER_SECONDS, Connection
from tenet.serving.http.exchange import Exchange, Headers
from tenet.serving.http.scope import fields_of, scope_of

#: Of one connection at once.
STREAMS = 128
#: Bytes of bodies that a client may send before they are read, of a stream and of a connection.
STREAM_WINDOW, CONNECTION_WINDOW = 262_144, 1_048_576
#: Streams that a client may cancel, or break, in a row, and that are forgiven in a second (CVE-2023-44487, -2025-8671).
RESETS, RESETS_SECOND = 200, 20.0
#: Bytes that wait to be sent to a client that asks (PING, SETTINGS) and does not read.
UNREAD_BYTES = 1_048_576


class _State(H2ConnectionStateMachine):
    """The machine of jh2, but GOAWAY ends nothing that has begun (RFC 9113 6.8)."""

    def process_input(self, input_: ConnectionInputs) -> Any:
        if input_ in (ConnectionInputs.RECV_GOAWAY, ConnectionInputs.SEND_GOAWAY):
            return []
        return super().process_input(input_)


class Exchange2(Exchange):
    """One stream."""

    def __init__(self, connection: Http2, number: int, scope: dict[str, Any]) -> None:
        super().__init__(scope, connection.loop)
        self._connection, self.number = connection, number
        self.thrown_away = 0

    def wanted(self) -> None:
        pass

    def taken(self, size: int) -> None:
        self._connection.credit(self, size)

    async def write(self, head: tuple[int, Headers] | None, body: bytes, more: bool) -> None:
        connection, wire, number, ended = self._connection, self._connection.wire, self.number, False
        if self.scope["method"] == "HEAD":
            body = b""
        if head is not None and not self.gone:
            status, headers = head
            lines = [(b":status", b"%d" % status), *connection.server_state.default_headers, *headers]
            ended = not body and not more
            wire.send_headers(number, lines, end_stream=ended)
        at, size = 0, len(body)
        while at < size:
            room = 0 if self.gone or connection.write_paused else wire.local_flow_control_window(number)
            if room <= 0:
                if not await self.ready(self._blocked):
                    return
                continue
            end = min(size, at + min(room, wire.max_outbound_frame_size))
            ended = end == size and not more
            wire.send_data(number, body[at:end], end_stream=ended)
            at = end
            if at < size:
                connection.flush()
        if self.gone:
            return
        if not more and not ended:
            wire.end_stream(number)
        connection.flush()
        if not more:
            self.complete = True
            connection.answered(self)

    def _blocked(self) -> bool:
        return self._connection.write_paused or self._connection.wire.local_flow_control_window(self.number) <= 0

    def abandon(self) -> None:
        self.complete = True
        if not self.gone:
            self._connection.cut(self, ErrorCodes.INTERNAL_ERROR)


class Http2(Connection):
    """One connection."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.wire = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                # Ours are right, and of a client's `fields_of` looks at every line anyway; jh2's own checks cost 0.06 ms more.
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self.wire.state_machine = _State()
        bounds = {
            SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_BYTES,
        }
        self.wire.local_settings = Settings(client=False, initial_values=bounds)
        self.wire.decoder.max_header_list_size = HEADER_BYTES
        self._streams: dict[int, Exchange2] = {}
        self._running = 0
        self._read = 0  # bytes of ended bodies that were not credited yet
        self._silent = 0  # bytes that made no whole frame, or no whole header block
        self._resets, self._forgiven = 0.0, self.loop.time()
        self._begun = self._head_timed = False

    # --- what comes --------------------------------------------------------------------------------------------------

    def understand(self, data: bytes) -> None:
        """Frames."""
        if not self._begun:
            self._begun = True
            self.wire.initiate_connection()
            self.wire.increment_flow_control_window(CONNECTION_WINDOW - 65_535)
            self.expect(HEADER_SECONDS)
        try:
            came = self.wire.receive_data(data)
            for event in came:
                handle = _HANDLERS.get(event.__class__)
                if handle is not None and not self.deaf:
                    handle(self, event)
        except ProtocolError as error:
            self._broken(error)
            return
        if self.deaf:
            return
        self._unfinished(0 if came else len(data))
        if self._silent > HEADER_BYTES:
            self._calm("a header block or a frame without end")
        elif self.transport.get_write_buffer_size() > UNREAD_BYTES:
            self.tell("HTTP/2: asks and does not read")
            self.transport.abort()
        self.flush()

    def _unfinished(self, size: int) -> None:
        """Bytes that made no event belong to a frame or a header block that has to end soon; 0: it has."""
        if size:
            self._silent += size
            if self.idle_since < math.inf:
                self.unexpect()
                self.expect(HEADER_SECONDS)
                self._head_timed = True
            return
        if self._head_timed and not self._streams:
            self.idle()
        self._silent, self._head_timed = 0, False

    def _request(self, event: events.RequestReceived) -> None:
        number = event.stream_id
        if self.ending:  # it may be asked again elsewhere
            self.wire.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        if self._running >= 2 * STREAMS:  # cancelled ones that have not ended yet count too
            self._calm("more streams than can be answered")
            return
        fields = fields_of(event.headers)
        if fields is None:
            self.wire.reset_stream(number, ErrorCodes.PROTOCOL_ERROR)
            return
        known, headers = fields
        scope = scope_of(self, "2", known[b":method"].decode("latin-1"), known[b":path"], headers)
        exchange = self._streams[number] = Exchange2(self, number, scope)
        self.unexpect()
        self._running += 1
        task = self.loop.create_task(exchange.run(self.app))
        self.server_state.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: Any) -> None:
        self._running -= 1
        self.server_state.tasks.discard(task)

    def _data(self, event: events.DataReceived) -> None:
        exchange, size = self._streams.get(event.stream_id), event.flow_controlled_length
        if exchange is None:
            self.wire.acknowledge_received_data(size, event.stream_id)
        elif exchange.complete:  # the answer was given before: read and thrown away, within bounds
            exchange.thrown_away += size
            self.wire.acknowledge_received_data(size, event.stream_id)
            if exchange.thrown_away > LINGER_BYTES:
                self.cut(exchange, ErrorCodes.NO_ERROR)
        else:
            exchange.arrived(event.data)
            if size > len(event.data):
                self.wire.acknowledge_received_data(size - len(event.data), event.stream_id)

    def _end(self, event: events.StreamEnded) -> None:
        exchange = self._streams.get(event.stream_id)
        if exchange is not None:
            exchange.ended()
            if exchange.complete:
                self._forget(exchange)

    def _reset(self, event: events.StreamReset) -> None:
        exchange = self._streams.get(event.stream_id)
        if exchange is not None:
            exchange.leave()
            self._forget(exchange)
        if event.remote_reset and (exchange is None or exchange.complete):
            return  # it was answered
        now = self.loop.time()
        self._resets = max(0.0, self._resets - RESETS_SECOND * (now - self._forgiven)) + 1
        self._forgiven = now
        if self._resets > RESETS:
            self._calm("streams cancelled one after another")

    def _window(self, event: events.WindowUpdated) -> None:
        if event.stream_id:
            exchange = self._streams.get(event.stream_id)
            if exchange is not None:
                exchange.wake()
        else:
            self._wake()

    def _wake(self, event: Any = None) -> None:
        for exchange in list(self._streams.values()):
            exchange.wake()

    def _goaway(self, event: events.ConnectionTerminated) -> None:
        """The client opens no more streams; what it has asked is answered."""
        self.ending = True
        if not self._streams:
            self.close()

    # --- what goes ---------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what jh2 has made."""
        data = self.wire.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def credit(self, exchange: Exchange2, size: int) -> None:
        """A body was read so far: as much may follow, of it or of others."""
        if not exchange.whole:
            self.wire.acknowledge_received_data(size, exchange.number)
            self.flush()
            return
        self._read += size
        if self._read > CONNECTION_WINDOW // 4:
            self.wire.increment_flow_control_window(self._read)
            self._read = 0
            self.flush()

    def answered(self, exchange: Exchange2) -> None:
        """The last byte of an answer was written."""
        self.server_state.total_requests += 1
        if exchange.whole:
            self._forget(exchange)
            return
        # The rest of its body is read and thrown away; the client may have to send it before it reads.
        self.wire.acknowledge_received_data(exchange.ahead, exchange.number)
        exchange.forget_body()
        self.flush()
        self.loop.call_later(LINGER_SECONDS, self._cut_off, exchange)

    def _cut_off(self, exchange: Exchange2) -> None:
        if self._streams.get(exchange.number) is exchange and not exchange.whole:
            self.cut(exchange, ErrorCodes.NO_ERROR)

    def cut(self, exchange: Exchange2, code: ErrorCodes) -> None:
        """End a stream."""
        if self._streams.get(exchange.number) is exchange and not self.deaf:
            self.wire.reset_stream(exchange.number, code)
            self._forget(exchange)
            self.flush()

    def _forget(self, exchange: Exchange2) -> None:
        self._streams.pop(exchange.number, None)
        if exchange.ahead:  # what nobody will read
            self._read += exchange.ahead
        if not self._streams and not self.deaf:
            if self.ending:
                self.close()
            else:
                self.idle()

    # --- the end -----------------------------------------------------------------------------------------------------

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, and whoever waits for it learns of it."""
        super().connection_lost(exc)
        self._leave()

    def _leave(self) -> None:
        streams, self._streams = list(self._streams.values()), {}
        for exchange in streams:
            exchange.leave()

    def shutdown(self) -> None:
        """The server ends: no more streams, but those that are open are answered."""
        self._farewell()
        self.ending = True
        if not self._streams:
            super().shutdown()

    def close(self) -> None:
        """Say so, and close."""
        if not self.deaf:
            self._farewell()
        super().close()

    def _farewell(self, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        if self._begun and not self.ending:
            self.wire.close_connection(code)
            self.flush()

    def _calm(self, what: str) -> None:
        """Too much of it: the connection ends (ENHANCE_YOUR_CALM)."""
        self.tell(f"HTTP/2: {what}")
        self._farewell(ErrorCodes.ENHANCE_YOUR_CALM)
        self.linger()
        self._leave()

    def _broken(self, error: ProtocolError) -> None:
        """jh2 has said what is wrong to the client; its words for us may hold what the client sent."""
        self.tell(f"HTTP/2: {type(error).__name__}")
        self.flush()
        self.linger()
        self._leave()


_HANDLERS: dict[type, Any] = {
    events.RequestReceived: Http2._request,
    events.DataReceived: Http2._data,
    events.StreamEnded: Http2._end,
    events.StreamReset: Http2._reset,
    events.WindowUpdated: Http2._window,
    events.RemoteSettingsChanged: Http2._wake,
    events.ConnectionTerminated: Http2._goaway,
}
