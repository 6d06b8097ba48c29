"""GCS and Azure once more, spoken to by the emulators that others wrote: fake-gcs-server and Azurite, where they are installed."""
import base64
import hashlib
import hmac
import http.client
import json
import os
import shutil
import subprocess
from email.utils import formatdate

import pytest

from vivace import eventually, free_ports, request, span

FAKE_GCS = os.environ.get("VIVACE_FAKE_GCS") or shutil.which("fake-gcs-server")
AZURITE = os.environ.get("VIVACE_AZURITE") or shutil.which("azurite-blob")
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # every Azurite's


def ask(port, method, path, headers, body=None):
    there = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    there.request(method, path, body, headers)
    status = there.getresponse().status
    there.close()
    return status


def make_gcs(port):
    return ask(port, "POST", "/storage/v1/b?project=p", {"Content-Type": "application/json"}, json.dumps({"name": "traces"})) == 200


def make_azure(port):
    date = formatdate(usegmt=True)
    text = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:2020-10-02\n/{ACCOUNT}/{ACCOUNT}/traces\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    return ask(port, "PUT", f"/{ACCOUNT}/traces?restype=container",
               {"x-ms-date": date, "x-ms-version": "2020-10-02", "Authorization": f"SharedKey {ACCOUNT}:{signature}"}) == 201


@pytest.fixture(params=[pytest.param("gcs", marks=pytest.mark.skipif(not FAKE_GCS, reason="fake-gcs-server is not installed")),
                        pytest.param("azure", marks=pytest.mark.skipif(not AZURITE, reason="azurite-blob is not installed"))])
def emulator(request, tmp_path, monkeypatch):
    port = free_ports(1)[0]
    if request.param == "gcs":
        command = [FAKE_GCS, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
        make, config = make_gcs, {"bucket_name": "traces", "chunk_buffer_size": "256KiB", "object_metadata": {"team": "a"}}
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"127.0.0.1:{port}")
    else:
        command = [AZURITE, "--blobPort", str(port), "--location", str(tmp_path / "azurite"), "--silent"]
        make, config = make_azure, {"storage_account_name": ACCOUNT, "storage_account_key": KEY, "container_name": "traces",
                                    "endpoint_suffix": f"127.0.0.1:{port}", "buffer_size": "64KiB"}
    with open(tmp_path / "emulator.log", "wb") as log:
        popen = subprocess.Popen(command, stdout=log, stderr=log)
    eventually(lambda: make(port), 60)
    yield {"storage": {"trace": {"backend": request.param, request.param: {**config, "prefix": "some/where"}}}}
    popen.kill()
    popen.wait()


def test_large_and_small_blocks(cluster, emulator):
    c = cluster(counts={"generator": 0}, config=emulator)
    ids = [os.urandom(16).hex() for _ in range(40)]
    for some in (ids[:1], ids[1:]):  # one object by a single request, one in parts
        for t in some:
            assert c.push_json(request("real", *[span(t, os.urandom(8).hex(), noise=os.urandom(900).hex()) for _ in range(40)]))[0] == 200
        c.flush()
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)
    assert {t: len(c.trace(t)) for t in ids} == dict.fromkeys(ids, 40)
    assert "store_refused" not in c.ingester.log() + c.querier.log()
