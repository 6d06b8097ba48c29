"""Where tokens for GCS and Azure come from when no key is configured: each way is asked as its reference says, and what it gives opens the store."""
import json
import os
from urllib.parse import parse_qs, urlsplit

import pytest

import clouds
from vivace import request, span

TOKEN = "a.token.of.tests"


class AzureByToken(clouds.Azure):
    """Azure AD's and the metadata service's answers, and a container that takes their token."""

    def signature(self, request):
        return f"Bearer {TOKEN}"

    def answer(self, request, body):
        at = urlsplit(request.path)
        if at.path == "/metadata/identity/oauth2/token" and request.headers["Metadata"] == "true":
            return self.give(parse_qs(at.query))
        if at.path == "/tenant-1/oauth2/v2.0/token":
            return self.give(parse_qs(body.decode()))
        return super().answer(request, body)

    def give(self, asked):
        self.asked = asked
        return 200, {}, json.dumps({"access_token": TOKEN, "expires_in": "3599"}).encode()


class GcsByToken(clouds.Gcs):
    def answer(self, request, body):
        is_user = request.path == "/token"
        if is_user or (request.path == "/computeMetadata/v1/instance/service-accounts/default/token" and request.headers["Metadata-Flavor"] == "Google"):
            self.asked = parse_qs(body.decode())
            return 200, {}, json.dumps({"access_token": self.token, "expires_in": 3599}).encode()
        return super().answer(request, body)


def managed(server, config, folder, url):
    del config["azure"]["storage_account_key"]
    config["azure"]["user_assigned_id"] = "my id"
    return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": url}, {"api-version": ["2018-02-01"], "resource": ["https://storage.azure.com/"], "client_id": ["my id"]}


def federated(server, config, folder, url):
    config["azure"]["use_federated_token"] = True
    (folder / "token").write_text("jwt.of.kubernetes\n")
    return {"AZURE_TENANT_ID": "tenant-1", "AZURE_CLIENT_ID": "client-1", "AZURE_FEDERATED_TOKEN_FILE": str(folder / "token"), "AZURE_AUTHORITY_HOST": url}, {
        "client_assertion": ["jwt.of.kubernetes"], "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
        "client_id": ["client-1"], "grant_type": ["client_credentials"], "scope": ["https://storage.azure.com/.default"]}


def metadata(server, config, folder, url):
    return {"GCE_METADATA_HOST": f"127.0.0.1:{server.port}", "HOME": str(folder)}, {}


def user(server, config, folder, url):
    (folder / "user.json").write_text(json.dumps({"type": "authorized_user", "client_id": "i&d", "client_secret": "s", "refresh_token": "r/1",
                                                  "token_uri": f"{url}/token"}))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(folder / "user.json")}, {
        "grant_type": ["refresh_token"], "client_id": ["i&d"], "client_secret": ["s"], "refresh_token": ["r/1"]}


@pytest.mark.parametrize("kind, way", [(AzureByToken, managed), (AzureByToken, federated), (GcsByToken, metadata), (GcsByToken, user)],
                         ids=["azure-managed", "azure-federated", "gcs-metadata", "gcs-user"])
def test_a_token_opens_the_store(cluster, tmp_path, monkeypatch, kind, way):
    server = kind(tmp_path / "store").start()
    config = server.config(server.port)
    env, asked = way(server, config, tmp_path, f"http://127.0.0.1:{server.port}")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    c = cluster(counts={"generator": 0}, config={"storage": {"trace": config}})
    t = os.urandom(16).hex()
    assert c.push_json(request("token", span(t, os.urandom(8).hex())))[0] == 200
    c.flush()
    c.querier.stop()
    c.querier.start()
    c.settle(c.querier)
    assert len(c.trace(t)) == 1
    assert server.asked == asked
    assert all(secret not in p.log() for p in c.all() for secret in (TOKEN, server.secrets[-1]))
    server.stop()
