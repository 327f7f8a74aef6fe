"""Receives webhooks and checks their signatures, without any of Sluice's code: webhook_receiver.py PORT SECRETS LOG [CERTIFICATE].

SECRETS is a file with one secret in a line, any of which may have signed. Each request becomes a line of JSON in LOG.
"""

import hashlib
import hmac
import http.server
import json
import ssl
import sys
import time

port, secrets, log = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def is_signed(header, body):
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    if abs(time.time() - int(parts.get("t", "0"))) > 300:
        return False
    signed = parts["t"].encode() + b"." + body
    with open(secrets) as file:
        codes = [hmac.new(line.strip().encode(), signed, hashlib.sha256).hexdigest() for line in file if line.strip()]
    return any(hmac.compare_digest(code, parts.get("v1", "")) for code in codes)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        event = json.loads(body)
        good = is_signed(self.headers["Sluice-Signature"], body) and self.headers["Sluice-Event"] == event["type"]
        line = {"good": good, "event": event, "host": self.headers["Host"], "delivery": self.headers["Sluice-Delivery"]}
        with open(log, "a") as file:
            file.write(json.dumps(line) + "\n")
        self.send_response(204 if good else 401)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
if len(sys.argv) > 4:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[4])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
