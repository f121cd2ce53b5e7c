"""A provider that speaks HTTP/2 over TLS: each stream is answered by a function in a thread of its own."""

import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings


class Stream:
    """One request, and the way to answer it."""

    def __init__(self, connection, number, fields):
        self.connection, self.number = connection, number
        self.fields, self.body = dict(fields), b""
        self.reset = threading.Event()

    def head(self, status=200, fields=(), end=False):
        self.connection.do(lambda h2: h2.send_headers(self.number, [(":status", str(status)), *fields], end_stream=end))

    def data(self, content, end=False):
        """Sends as far as the peer's windows reach; waits for more of them."""
        while content or end:
            size = self.connection.room(self.number, len(content)) if content else 0
            part, content = content[:size], content[size:]
            last = end and not content
            self.connection.do(lambda h2: h2.send_data(self.number, part, end_stream=last))
            if last:
                return

    def write(self, content):
        """Bytes that no library would send."""
        with self.connection.lock:
            self.connection.flush()
            self.connection.raw.sendall(content)

    def answer(self, body, status=200, content_type="application/json"):
        self.head(status, [("content-type", content_type), ("content-length", str(len(body)))])
        self.data(body, end=True)


class H2Connection:
    def __init__(self, provider, raw, number):
        self.provider, self.raw, self.number = provider, raw, number
        self.sent = 0
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.lock = threading.Condition()
        self.streams = {}

    def do(self, work):
        """Runs `work` on the protocol's state and sends what came of it; silent where the stream or connection is gone."""
        with self.lock:
            try:
                work(self.h2)
            except h2.exceptions.ProtocolError:
                return
            self.flush()

    def flush(self):
        try:
            data = self.h2.data_to_send()
            self.raw.sendall(data)
            self.sent += len(data)
        except OSError:
            pass

    def room(self, number, wanted):
        with self.lock:
            while True:
                try:
                    window = min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size, wanted)
                except h2.exceptions.ProtocolError:
                    return wanted
                if window > 0 or self.streams[number].reset.is_set():
                    return max(1, window)
                self.lock.wait(5)

    def serve(self):
        with self.lock:
            # The first SETTINGS frame says what holds from the start; an update would come into force, unsaid, with its acknowledgement.
            self.h2.local_settings = h2.settings.Settings(
                client=False, initial_values={**self.h2.local_settings, **self.provider.settings(self.number)})
            self.h2.initiate_connection()
            self.flush()
        try:
            while data := self.raw.recv(65536):
                with self.lock:
                    for event in self.h2.receive_data(data):
                        self._take(event)
                    self.flush()
                    self.lock.notify_all()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            for stream in self.streams.values():
                stream.reset.set()
            with self.lock:
                self.lock.notify_all()
            self.raw.close()

    def _take(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.streams[event.stream_id] = Stream(self, event.stream_id, event.headers)
            if self.provider.early:
                threading.Thread(target=self.provider.early, args=(self.streams[event.stream_id],), daemon=True).start()
        elif isinstance(event, h2.events.DataReceived):
            self.streams[event.stream_id].body += event.data
            if not self.provider.early:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.streams[event.stream_id].reset.set()
        if isinstance(event, h2.events.StreamEnded):
            stream = self.streams[event.stream_id]
            self.provider.received.append(stream)
            threading.Thread(target=self.provider.answer, args=(stream,), daemon=True).start()


class H2Provider:
    """`answer(stream)` runs for each complete request, `early(stream)` for each head; with that, bodies are not read on. Offers `h2`
    alone, or whatever `protocols` says; `settings(number)` are those of the connection of that number, from 0."""

    def __init__(self, certificate, answer, protocols=("h2",), early=None, settings=lambda number: {}):
        self.answer, self.received, self.connections = answer, [], []
        self.early, self.settings = early, settings
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        context.set_alpn_protocols(list(protocols))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "https://127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(context,), daemon=True).start()

    def _accept(self, context):
        while True:
            try:
                accepted = self._listener.accept()[0]
            except OSError:
                return
            try:
                connection = H2Connection(self, context.wrap_socket(accepted, server_side=True), len(self.connections))
            except (OSError, ssl.SSLError):
                continue
            self.connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def close(self):
        # Closing alone would leave `accept` waiting in its thread.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            try:
                connection.raw.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
