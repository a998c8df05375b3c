"""HTTP/2 on a connection of a scripted backend: every request gets the same response."""

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.settings import SettingCodes

from harness.scripted import Peer, Serve


def answers(body: bytes, streams: int = 100) -> Serve:
    """Allows so many streams at once."""

    def serve(peer: Peer) -> None:
        http = H2Connection(H2Configuration(client_side=False))
        http.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = streams
        http.local_settings.acknowledge()
        http.initiate_connection()
        peer.connection.sendall(http.data_to_send())
        while data := peer.connection.recv(65536):
            for event in http.receive_data(data):
                match event:
                    case DataReceived(stream_id=stream, data=received):
                        http.acknowledge_received_data(len(received), stream)
                    case StreamEnded(stream_id=stream):
                        http.send_headers(stream, [(":status", "200")])
                        http.send_data(stream, body, end_stream=True)
                    case RequestReceived():
                        pass
            peer.connection.sendall(http.data_to_send())

    return serve
