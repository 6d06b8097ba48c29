"""Stores that speak as GCS and Azure Blob Storage do, written from their references: strict with credentials, checksums and the order of an upload.

What is wrong with a request is an answer of 400, 401 or 403, as it would be there; and it is kept in `bad`, which the tests look at."""
import base64
import hashlib
import hmac
import json
import re
import threading
import time
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

BUCKET = "traces"
PAGE = 5  # entries, so that there are many pages


def crc32c(data, table=[]):
    if not table:
        for n in range(256):
            for _ in range(8):
                n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
            table.append(n)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Cloud:
    """What both are made of: objects by key, and HTTP."""
    secrets = ()

    def __init__(self, folder):
        self.folder, self.objects, self.bad, self.lock = folder, {}, [], threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)
        self.versions, self.uploads, self.counts, self.notes = 0, {}, {}, {}

    def start(self):
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with cloud.lock:
                    status, headers, data = cloud.answer(self, body)
                self.send_response(status)
                for k, v in headers.items():
                    self.send_header(k, v)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)
            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.port = self.httpd.server_address[1]
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()
        self.begin()
        return self

    def begin(self):
        pass

    def stop(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        assert self.bad == []

    def wrong(self, status, text):
        self.bad.append(text)
        return status, {}, text.encode()

    def keep(self, key, data, metadata=None):
        self.versions += 1
        self.objects[key] = (data, self.versions, metadata or {})

    def put(self, key, data):
        with self.lock:
            self.keep(key, data)

    def keys(self, prefix=""):
        with self.lock:
            return sorted(k for k in self.objects if k.startswith(prefix))

    def read(self, key):
        with self.lock:
            return self.objects[key][0]

    def metadata(self, key):
        return self.objects[key][2]

    def check_signature(self, request, body):
        return None  # done by the store itself

    def page(self, prefix, delimiter, after):
        """(keys, prefixes, where the next page begins)"""
        names = []
        for key in self.keys(prefix):
            at = key.find(delimiter, len(prefix)) if delimiter else -1
            name = key if at < 0 else key[:at + 1]
            if name > after and (not names or names[-1] != name):
                names.append(name)
        names, more = names[:PAGE], len(names) > PAGE
        return [n for n in names if n in self.objects], [n for n in names if n not in self.objects], names[-1] if more else ""

    @staticmethod
    def ranged(request, data, headers):
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if not found:
            return 200, headers, data
        first, last = int(found.group(1)), int(found.group(2))
        if first >= len(data):
            return 416, {}, b""
        last = min(last, len(data) - 1)
        return 206, {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"}, data[first:last + 1]


class Gcs(Cloud):
    """The JSON API, and the token service that a service account's JWT is traded at."""
    small_parts = {"chunk_buffer_size": "256KiB"}
    email = "vivace@example.iam.gserviceaccount.com"

    def begin(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        self.token_uri = f"http://127.0.0.1:{self.port}/token"
        file = self.folder / "account.json"
        file.write_text(json.dumps({"type": "service_account", "client_email": self.email, "private_key": pem, "private_key_id": "key-1",
                                    "token_uri": self.token_uri}))
        self.env = {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
        self.token, self.secrets = "ya29.a-token-of-tests", (pem.splitlines()[1], "ya29.a-token-of-tests")

    def config(self, port, **more):
        return {"backend": "gcs", "gcs": {"bucket_name": BUCKET, "endpoint": f"http://127.0.0.1:{port}/storage/v1/", "max_retries": 9, **more}}

    def with_metadata(self, pairs):
        return {"object_metadata": pairs, "object_cache_control": "no-store"}

    def what(self, request, body):
        at = urlsplit(request.path)
        query = dict(parse_qsl(at.query, keep_blank_values=True))
        if at.path.startswith("/upload/"):
            found = re.search(rb'"name":"([^"]+)"', body[:4096]) if "upload_id" not in query else None
            return "PUT", self.uploads[query["upload_id"]]["name"] if "upload_id" in query else found.group(1).decode(), query
        return request.command, unquote(at.path.partition("/o/")[2]), query

    def give_token(self, body):
        form = parse_qs(body.decode())
        if form.get("grant_type") != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]:
            return self.wrong(400, f"not a JWT grant: {sorted(form)}")
        text, _, signature = form["assertion"][0].rpartition(".")

        def bytes_of(part):
            return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        self.key.public_key().verify(bytes_of(signature), text.encode(), padding.PKCS1v15(), hashes.SHA256())
        header, claims = (json.loads(bytes_of(p)) for p in text.split("."))
        now = time.time()
        if header != {"alg": "RS256", "typ": "JWT", "kid": "key-1"} or claims["iss"] != self.email or claims["aud"] != self.token_uri or \
                claims["scope"] != "https://www.googleapis.com/auth/devstorage.read_write" or not claims["iat"] - 60 < now < claims["exp"] <= claims["iat"] + 3600:
            return self.wrong(400, f"not such claims: {header} {claims}")
        return 200, {"Content-Type": "application/json"}, json.dumps({"access_token": self.token, "expires_in": 3599, "token_type": "Bearer"}).encode()

    def described(self, key):
        data, version, metadata = self.objects[key]
        return {"name": key, "size": str(len(data)), "generation": str(version), "metadata": metadata}

    def answer(self, request, body):
        at = urlsplit(request.path)
        query = dict(parse_qsl(at.query, keep_blank_values=True))
        if at.path == "/token":
            return self.give_token(body)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return self.wrong(401, f"no token: {request.command} {request.path}")
        if at.path == f"/upload/storage/v1/b/{BUCKET}/o":
            return self.upload(request, query, body)
        if at.path == f"/storage/v1/b/{BUCKET}/o" and request.command == "GET":
            keys, prefixes, token = self.page(query["prefix"], query.get("delimiter", ""), query.get("pageToken", ""))
            listing = {"items": [self.described(k) for k in keys], "prefixes": prefixes, "nextPageToken": token}
            return 200, {}, json.dumps({k: v for k, v in listing.items() if v}).encode()
        base, _, key = at.path.partition("/o/")
        if base != f"/storage/v1/b/{BUCKET}" or "/" in key:
            return self.wrong(400, f"what is {request.path}")
        key = unquote(key)
        if key not in self.objects:
            return 404, {}, json.dumps({"error": {"code": 404, "errors": [{"reason": "notFound"}]}}).encode()
        if request.command == "DELETE":
            del self.objects[key]
            return 204, {}, b""
        if query.get("alt") == "media":
            return self.ranged(request, self.objects[key][0], {})
        return 200, {}, json.dumps(self.described(key)).encode()

    def upload(self, request, query, body):
        if query["uploadType"] == "multipart":
            mark = re.fullmatch(r"multipart/related; boundary=(\S+)", request.headers["Content-Type"]).group(1).encode()
            first, described, data, last = body.split(b"--" + mark)
            about, data = json.loads(described.split(b"\r\n\r\n", 1)[1]), data.split(b"\r\n\r\n", 1)[1][:-2]
            if first != b"" or last != b"--\r\n" or base64.b64decode(about["crc32c"]) != crc32c(data).to_bytes(4, "big"):
                return self.wrong(400, f"not what was sent: {about}")
            self.keep(about["name"], data, about.get("metadata"))
            return 200, {}, json.dumps(self.described(about["name"])).encode()
        if "upload_id" not in query:
            number = str(len(self.uploads))
            self.uploads[number] = {**json.loads(body), "data": b"", "done": False}
            return 200, {"Location": f"http://127.0.0.1:{self.port}{request.path}&upload_id={number}"}, b""
        upload = self.uploads[query["upload_id"]]
        if request.command == "DELETE":
            return 499, {}, b""
        first, last, total = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", request.headers["Content-Range"]).groups())
        have = len(upload["data"])
        if len(body) != last - first + 1 or (last + 1 < total and len(body) % (256 << 10)) or first > have:
            return self.wrong(400, f"a wrong part: {first}-{last}/{total}, {len(body)} bytes, {have} there")
        upload["data"] += body[have - first:]  # what is there already is not looked at
        if len(upload["data"]) < total:
            return 308, {"Range": f"bytes=0-{len(upload['data']) - 1}"}, b""
        if not upload["done"]:
            self.keep(upload["name"], upload["data"], upload.get("metadata"))
            upload["done"] = True
        return 200, {}, json.dumps(self.described(upload["name"])).encode()


class Azure(Cloud):
    """A container behind SharedKey, at an emulator's address: the account comes first in the path."""
    small_parts = {"buffer_size": "64KiB"}
    account, key = "devstoreaccount1", base64.b64encode(hashlib.sha512(b"a key of tests").digest()).decode()
    secrets = (key,)

    def config(self, port, **more):
        return {"backend": "azure", "azure": {"storage_account_name": self.account, "storage_account_key": self.key, "container_name": BUCKET,
                                              "endpoint_suffix": f"127.0.0.1:{port}", **more}}

    def with_metadata(self, pairs):
        return {}

    def metadata(self, key):
        return None  # Tempo has no key for it

    def what(self, request, body):
        at = urlsplit(request.path)
        return request.command, unquote(at.path).removeprefix(f"/{self.account}/{BUCKET}").removeprefix("/"), dict(parse_qsl(at.query, keep_blank_values=True))

    def signature(self, request):
        """From the reference, "Authorize with Shared Key"."""
        h, at = request.headers, urlsplit(request.path)
        length = h.get("Content-Length", "")
        standard = ["Content-Encoding", "Content-Language", None, "Content-MD5", "Content-Type", "Date", "If-Modified-Since", "If-Match", "If-None-Match",
                    "If-Unmodified-Since", "Range"]
        lines = [request.command] + [("" if length == "0" else length) if n is None else h.get(n, "") for n in standard]
        lines += sorted(f"{n.lower()}:{v.strip()}" for n, v in h.items() if n.lower().startswith("x-ms-"))
        resource = f"/{self.account}{at.path}"
        for name, value in sorted((n.lower(), v) for n, v in parse_qsl(at.query, keep_blank_values=True)):
            resource += f"\n{name}:{value}"
        made = hmac.new(base64.b64decode(self.key), "\n".join([*lines, resource]).encode(), hashlib.sha256).digest()
        return f"SharedKey {self.account}:{base64.b64encode(made).decode()}"

    def answer(self, request, body):
        at = urlsplit(request.path)
        query = dict(parse_qsl(at.query, keep_blank_values=True))
        if request.headers.get("Authorization") != self.signature(request):
            return self.wrong(403, f"wrong signature: {request.command} {request.path}")
        if abs(parsedate_to_datetime(request.headers["x-ms-date"]).timestamp() - time.time()) > 900:
            return self.wrong(403, "an old request")
        if body and base64.b64decode(request.headers["Content-MD5"]) != hashlib.md5(body).digest():
            return self.wrong(400, "not what was sent")
        path = unquote(at.path)
        base = f"/{self.account}/{BUCKET}"
        if path == base and query.get("comp") == "list" and query.get("restype") == "container":
            return self.listing(query)
        if not path.startswith(base + "/"):
            return self.wrong(400, f"what is {request.path}")
        key = path[len(base) + 1:]
        if request.command == "PUT":
            return self.write(request, key, query, body)
        if key not in self.objects:
            return 404, {"x-ms-error-code": "BlobNotFound"}, b""
        if request.command == "DELETE":
            del self.objects[key]
            return 202, {}, b""
        data, version, _ = self.objects[key]
        if request.command == "HEAD":
            return 200, {"Content-Length": str(len(data)), "ETag": f'"0x{version:X}"'}, b""
        return self.ranged(request, data, {"ETag": f'"0x{version:X}"'})

    def write(self, request, key, query, body):
        if query.get("comp") == "block":
            self.uploads.setdefault(key, {})[query["blockid"]] = body
        elif query.get("comp") == "blocklist":
            ids = re.findall(r"<Latest>([^<]+)</Latest>", body.decode())
            blocks = self.uploads.get(key, {})
            if not ids or any(i not in blocks for i in ids) or len({len(i) for i in ids}) != 1:
                return 400, {"x-ms-error-code": "InvalidBlockList"}, b""  # so too when the list came before, and its answer was lost
            self.keep(key, b"".join(blocks[i] for i in ids))
            del self.uploads[key]
        elif request.headers.get("x-ms-blob-type") == "BlockBlob":
            self.keep(key, body)
        else:
            return self.wrong(400, f"no kind of blob: {request.path}")
        return 201, {}, b""

    def listing(self, query):
        keys, prefixes, marker = self.page(query["prefix"], query.get("delimiter", ""), query.get("marker", ""))
        blobs = "".join(f"<Blob><Name>{escape(k)}</Name><Properties><Etag>0x{self.objects[k][1]:X}</Etag>"
                        f"<Content-Length>{len(self.objects[k][0])}</Content-Length></Properties></Blob>" for k in keys)
        blobs += "".join(f"<BlobPrefix><Name>{escape(p)}</Name></BlobPrefix>" for p in prefixes)
        return 200, {"Content-Type": "application/xml"}, (f"\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{blobs}</Blobs>"
                                                          f"<NextMarker>{escape(marker)}</NextMarker></EnumerationResults>").encode()
