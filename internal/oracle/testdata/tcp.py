"""A server as the standard library makes it: without SO_REUSEADDR."""
import socketserver
import sys


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"server\n")


with socketserver.TCPServer(("", int(sys.argv[1])), Handler) as server:
    server.serve_forever()
