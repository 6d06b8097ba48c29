import shutil

import pytest

from vivace import BIN, Cluster, ROLES


def pytest_configure(config):
    config.addinivalue_line("markers", "full: takes long; runs with --full only")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also what takes long")


def pytest_collection_modifyitems(config, items):
    missing = [r for r in ROLES if not (BIN / r).exists()]
    if missing:
        pytest.exit(f"not built: {', '.join(str(BIN / r) for r in missing)} (make all)", 2)
    if not config.getoption("--full"):
        for item in items:
            if "full" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="runs with --full only"))


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, "rep_" + outcome.get_result().when, outcome.get_result())


@pytest.fixture
def cluster(tmp_path, request):
    """A factory: cluster(counts=..., config=...). On failure the processes' logs are shown and the folder is kept."""
    made = []

    def make(**options):
        made.append(Cluster(tmp_path / f"cluster-{len(made)}", **options))
        return made[-1]

    yield make
    failed = getattr(request.node, "rep_call", None) is not None and request.node.rep_call.failed
    try:
        for c in made:
            if failed:
                c.close()
                for p in c.all():
                    print(f"--- {p.role}-{p.index}\n{p.log()[-4000:]}")
            else:
                c.stop()
    finally:
        for c in made:
            c.close()
        if not failed:
            shutil.rmtree(tmp_path, ignore_errors=True)
