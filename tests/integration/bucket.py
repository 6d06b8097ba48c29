"""A real S3 server, and a proxy before it that checks every signature with Amazon's own code, counts, and makes faults.

The server is versitygw where it is installed (VIVACE_VERSITYGW or on the PATH), else moto; both know the whole protocol that is used here."""
import collections
import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from vivace import eventually, free_ports

ACCESS, SECRET, BUCKET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "traces"
VERSITYGW = os.environ.get("VIVACE_VERSITYGW") or shutil.which("versitygw")


class Server:
    def __init__(self, folder):
        self.folder, self.port = folder, free_ports(1)[0]
        self.log_path = folder / "s3.log"
        folder.mkdir(parents=True, exist_ok=True)

    def start(self):
        env = {**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET}
        if VERSITYGW:
            (self.folder / "objects").mkdir()
            command = [VERSITYGW, "--port", f"127.0.0.1:{self.port}", "posix", str(self.folder / "objects")]
        else:
            command = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(self.port)]
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        self.client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.port}", aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
                                   region_name="us-east-1", config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}))

        def ready():
            assert self.popen.poll() is None, self.log_path.read_text()
            try:
                self.client.create_bucket(Bucket=BUCKET)
            except Exception as error:  # botocore's own kinds
                raise OSError(repr(error)) from error
            return True
        eventually(ready, 60)
        return self

    def stop(self):
        self.popen.kill()
        self.popen.wait()

    def keys(self, prefix=""):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [o["Key"] for page in pages for o in page.get("Contents", [])]

    def read(self, key):
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key, data):
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def metadata(self, key):
        return self.client.head_object(Bucket=BUCKET, Key=key)["Metadata"]

    def what(self, request, body):
        """(method, key, query) of a request; key "": the bucket itself."""
        at = urlsplit(request.path)
        return request.command, unquote(at.path).removeprefix(f"/{BUCKET}").removeprefix("/"), dict(parse_qsl(at.query, keep_blank_values=True))

    def config(self, port, **more):
        return {"backend": "s3", "s3": {
            "bucket": BUCKET, "endpoint": f"127.0.0.1:{port}", "region": "us-east-1", "access_key": ACCESS, "secret_key": SECRET,
            "insecure": True, "forcepathstyle": True, "retry_backoff_initial": "10ms", "retry_backoff_max": "50ms", **more}}

    def with_metadata(self, pairs):
        return {"metadata": pairs, "storage_class": "STANDARD"}

    secrets = (SECRET,)

    def check_signature(self, request, body):
        """The Authorization header is what botocore makes of the same request."""
        given = request.headers.get("Authorization", "")
        found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/s3/aws4_request,SignedHeaders=([^,]+),Signature=([0-9a-f]{64})", given)
        if not found:
            return f"no signature: {given!r}"
        _, date, region, names, _ = found.groups()
        signed = {n: request.headers[n] for n in names.split(";")}
        at = urlsplit(request.path)
        made = AWSRequest(method=request.command, url=f"http://{signed['host']}{at.path}" + (f"?{at.query}" if at.query else ""), data=body, headers=signed)
        made.context["timestamp"] = signed["x-amz-date"]
        auth = S3SigV4Auth(Credentials(ACCESS, SECRET), "s3", region)
        text = auth.string_to_sign(made, auth.canonical_request(made))
        want = auth.signature(text, made)
        import hashlib
        if hashlib.sha256(body).hexdigest() != signed["x-amz-content-sha256"]:
            return "the body's hash is wrong"
        return None if want == found.group(5) else f"wrong signature of {request.command} {request.path}\n{auth.canonical_request(made)}"


Seen = collections.namedtuple("Seen", "method key query range status at done")


class Proxy:
    """`rules`: functions (method, key, query) -> None or the name of a fault, asked for each request:
    "503" SlowDown; "500"; "403" AccessDenied; "drop" connection closed; "late" done, but the answer is lost; "cut" half of the body; "short" a range that is too short,
    called complete; "old" the first answer to this listing, again; a number: seconds of waiting before."""

    def __init__(self, server):
        self.server, self.rules, self.seen, self.bad = server, [], [], []
        self.old, self.faults, self.lock = {}, collections.Counter(), threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def handle_any(self):
                proxy.handle(self)
            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()

    def stop(self):
        self.httpd.shutdown()
        self.httpd.server_close()

    def handle(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        at = urlsplit(request.path)
        method, key, query = self.server.what(request, body)
        begun = time.monotonic()
        wrong = self.server.check_signature(request, body)
        if wrong:
            self.bad.append(wrong)
        fault = next((f for f in (rule(method, key, query) for rule in list(self.rules)) if f), None)
        if fault is not None:
            with self.lock:
                self.faults[str(fault)] += 1
        if isinstance(fault, (int, float)):
            time.sleep(fault)
        status = self.answer(request, body, fault, (method, key, at.query))
        with self.lock:
            self.seen.append(Seen(method, key, query, request.headers.get("Range"), status, begun, time.monotonic()))

    def answer(self, request, body, fault, name):
        if fault == "drop":
            request.close_connection = True
            return 0
        if fault in ("503", "500", "403"):
            code = {"503": "SlowDown", "500": "InternalError", "403": "AccessDenied"}[fault]
            return self.reply(request, int(fault), {}, f"<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>".encode())
        there = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        there.request(request.command, request.path, body or None, dict(request.headers.items()))
        answer = there.getresponse()
        data, headers, status = answer.read(), dict(answer.getheaders()), answer.status
        there.close()
        if fault == "late":
            request.close_connection = True
            return 0
        if request.command == "GET" and name[1] == "" and status == 200:
            with self.lock:
                data = self.old.setdefault(name, data) if fault == "old" else self.old.setdefault(name, data) and data
        if fault == "short" and status == 206:
            data = data[:-1]
        if request.command == "HEAD":
            return self.reply(request, status, headers, b"", length=headers.get("Content-Length", "0"))
        return self.reply(request, status, headers, data, is_cut=fault == "cut")

    def reply(self, request, status, headers, data, is_cut=False, length=None):
        try:
            request.send_response(status)
            for k, v in headers.items():
                if k.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    request.send_header(k, v)
            request.send_header("Content-Length", length if length is not None else str(len(data)))
            request.end_headers()
            request.wfile.write(data[:len(data) // 2] if is_cut else data)
            if is_cut:
                request.close_connection = True
        except OSError:  # the client went away
            request.close_connection = True
        return status

    def gets(self, since=0):
        return [s for s in self.seen[since:] if s.method == "GET" and s.key.endswith(".vvb")]


def config(proxy, **more):
    return {"storage": {"trace": proxy.server.config(proxy.port, **more)}}
