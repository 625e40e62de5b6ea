"""A UDP server as the standard library makes it; "share" adds SO_REUSEPORT."""
import socket
import socketserver
import sys


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(b"server\n", self.client_address)


class Server(socketserver.UDPServer):
    def server_bind(self):
        if "share" in sys.argv:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


with Server(("", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
