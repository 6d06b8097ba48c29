import shutil

import pytest

from vivace import BIN, PROMETHEUS, Cluster, Prometheus, ROLES


def pytest_configure(config):
    config.addinivalue_line("markers", "full: takes long; runs with --full only")


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="also what takes long")


def pytest_collection_modifyitems(config, items):
    missing = [r for r in (*ROLES, "vivace-store", "vivace-cli") if not (BIN / r).exists()]
    if missing:
        pytest.exit(f"not built: {', '.join(str(BIN / r) for r in missing)} (make all)", 2)
    if not config.getoption("--full"):
        for item in items:
            if "full" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="runs with --full only"))


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, "rep_" + report.when, report)
    if report.failed:
        item.session.failed_modules = getattr(item.session, "failed_modules", set()) | {item.module.__name__}


class Makes:
    """Clusters and Prometheis of one test or module.  At the end all must stop cleanly; after a failure their logs are shown and the folder is kept."""

    def __init__(self, folder):
        self.folder, self.clusters, self.targets = folder, [], []

    def cluster(self, **options):
        made = Cluster(self.folder / f"cluster-{len(self.clusters)}", **{**options, "start": False})
        self.clusters.append(made)  # known before it starts, so that a start that fails leaves nothing running
        return made.start() if options.get("start", True) else made

    def prometheus(self):
        if PROMETHEUS is None:
            pytest.skip("no prometheus here (Debian package prometheus): the remote-write target is missing")
        self.targets.append(Prometheus(self.folder / f"prometheus-{len(self.targets)}"))
        return self.targets[-1].start()

    def end(self, failed):
        try:
            for c in self.clusters:
                if failed:
                    c.close()
                    for p in c.all():
                        print(f"--- {p.role}-{p.index}\n{p.log()[-4000:]}")
                else:
                    c.stop()
        finally:
            for c in self.clusters:
                c.close()
            for t in self.targets:
                t.stop()
        if not failed:
            shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def makes(tmp_path, request):
    made = Makes(tmp_path)
    yield made
    rep = [getattr(request.node, "rep_" + when, None) for when in ("setup", "call")]
    made.end(any(r is not None and r.failed for r in rep))


@pytest.fixture
def cluster(makes):
    """A factory: cluster(counts=..., config=...)."""
    return makes.cluster


@pytest.fixture(scope="module")
def module_makes(tmp_path_factory, request):
    """The same for all tests of a file."""
    made = Makes(tmp_path_factory.mktemp(request.module.__name__))
    yield made
    made.end(request.module.__name__ in getattr(request.session, "failed_modules", ()))
