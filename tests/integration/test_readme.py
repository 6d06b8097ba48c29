"""README's commands as they are written, in a copy of the tree; deploy/up besides: its ports, its refusals, a second run, a binary that dies."""
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from vivace import BIN, ROOT, eventually, http

PORTS = (3200, 3201, 3202, 3203, 3300, 3301, 4317, 4318)
BLOCK = re.compile(r"^```(\S*)(?: +([^\n]*))?\n(.*?)^```$", re.M | re.S)


def taken():
    """Ports of deploy/up that somebody uses."""
    used = []
    for port in PORTS:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                used.append(port)
    return used


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The files of the tree with their times, so that what is built already need not be built again."""
    if taken():
        pytest.skip(f"ports {taken()} are in use; deploy/up needs them as README has them")
    folder = tmp_path_factory.mktemp("readme") / "vivace"
    folder.mkdir()
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True)
    names = [n for n in listed.stdout.decode().split("\0") if n] if listed.returncode == 0 else []
    if names:
        for name in names:
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    else:
        shutil.copytree(ROOT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", "data", ".git"))
    yield folder
    subprocess.run([folder / "deploy" / "up", "down"], capture_output=True, timeout=150)
    assert eventually(lambda: not taken(), 20)


def run(tree, command, timeout=600, **env):
    return subprocess.run(["bash", "-c", command], cwd=tree, capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, "B": str(BIN.parent.parent), **env})


def blocks():
    text = (ROOT / "README.md").read_text()
    return [m[3] for m in BLOCK.finditer(text) if m[1] == "sh" and "no-test" not in (m[2] or "")]


def test_readme_has_commands_that_are_run():
    found = "\n".join(blocks())
    for command in ("./deploy/up --detach", "./deploy/up status", "./deploy/walkthrough", "./deploy/up down"):
        assert command in found


def test_commands_of_readme(tree):
    """In their order, each must succeed; at the end nothing runs."""
    try:
        for block in blocks():
            done = run(tree, f"set -e\n{block}")
            assert done.returncode == 0, (block, done.stdout[-3000:], done.stderr[-3000:])
    finally:
        run(tree, "./deploy/up down")
    assert not taken()
    assert (tree / "data").is_dir()


def test_paths_that_readme_names_exist():
    text = (ROOT / "README.md").read_text()
    for name in set(re.findall(r"`((?:deploy|tests|common|proto)/[\w./-]+|[A-Z]+\.md)`", text)):
        assert (ROOT / name).exists(), name


@pytest.fixture
def up(tree, tmp_path):
    """deploy/up on a data folder of its own; stopped at the end."""
    made = []

    def start(*arguments, data=tmp_path / "data"):
        made.append(data)
        return run(tree, " ".join(["./deploy/up", "--detach", f"-data={data}", *map(str, arguments)]))
    yield start
    for data in made:
        run(tree, f"./deploy/up down -data={data}")
    assert not taken()


def pid(data, role):
    return int((data / "run" / f"{role}.pid").read_text())


def test_curl_lines_that_it_prints_work(tree, up, tmp_path):
    started = up()
    assert started.returncode == 0, started.stdout + started.stderr
    lines = [line.strip() for line in started.stdout.splitlines() if line.strip().startswith("curl ")]
    assert len(lines) == 2, started.stdout
    pushed = run(tree, lines[0])
    assert pushed.returncode == 0 and "partialSuccess" in pushed.stdout, pushed
    read = run(tree, lines[1])
    assert read.returncode == 0 and "GET /hello" in read.stdout, read
    (shown,) = [line.strip() for line in started.stdout.splitlines() if "vivace-cli " in line]
    read = run(tree, shown)
    assert read.returncode == 0 and "GET /hello" in read.stdout, read
    walked = run(tree, "./deploy/walkthrough")
    assert walked.returncode == 0 and "all answers are as they should be" in walked.stdout, walked.stdout + walked.stderr
    metrics = http("http://127.0.0.1:3200/metrics")[2].decode()
    for name in ("tempo_distributor_spans_received_total", "tempo_ingester_traces_created_total"):
        assert f"{name}{{" in metrics
    assert "tempo_metrics_generator_spans_total" in metrics
    # What was stored is there after a stop and a second start.
    assert run(tree, f"./deploy/up down -data={tmp_path}/data").returncode == 0
    assert not taken()
    again = up()
    assert again.returncode == 0, again.stdout + again.stderr
    read = run(tree, lines[1])
    assert read.returncode == 0 and "GET /hello" in read.stdout, read


def test_status_and_second_start(tree, up, tmp_path):
    data = tmp_path / "data"
    stopped = run(tree, f"./deploy/up status -data={data}")
    assert stopped.returncode != 0 and stopped.stdout.count("not running") == 4
    assert up().returncode == 0
    status = run(tree, f"./deploy/up status -data={data}")
    assert status.returncode == 0 and len(re.findall(r"^\w+ +ready +pid \d+", status.stdout, re.M)) == 4, status.stdout
    twice = up()
    assert twice.returncode == 1 and "already running" in twice.stderr
    other = up(data=tmp_path / "other")  # the ports are the first one's
    assert other.returncode == 1
    lines = [line for line in other.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and re.search(r"\b(3200|3202|3203|4317|4318|9\d{3})\b", lines[0]), other.stderr
    assert run(tree, f"./deploy/up status -data={data}").returncode == 0  # and the first one lives


def test_a_binary_that_dies_is_started_again(tree, up, tmp_path):
    data = tmp_path / "data"
    assert up().returncode == 0
    for role in ("ingester", "querier"):
        before = pid(data, role)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: pid(data, role) != before and run(tree, f"./deploy/up status -data={data}").returncode == 0, 30, every=0.2)
        assert re.search(rf"{role} was killed by signal 9; it is started again", (data / "log" / "up.log").read_text())


def test_own_configuration_is_taken_as_it_is(tree, up, tmp_path):
    own = tmp_path / "own.yml"
    own.write_text(f"storage:\n  trace:\n    backend: local\n    local: {{path: {tmp_path}/elsewhere/blocks}}\n    wal: {{path: {tmp_path}/elsewhere/wal}}\n"
                   "distributor:\n  receivers:\n    otlp:\n      protocols:\n        http: {endpoint: '127.0.0.1:4318'}\n")
    started = up("-config.file", own)
    assert started.returncode == 0, started.stdout + started.stderr
    assert (tmp_path / "elsewhere" / "wal").is_dir() and str(own) in started.stdout
    assert 4317 not in taken() and 4318 in taken()


@pytest.mark.parametrize("text, words", [("storage:\n  trac: {}\n", ["own.yml:2", "trac"]), ("{", ["own.yml"])])
def test_bad_configuration_is_one_clear_line(tree, up, tmp_path, text, words):
    own = tmp_path / "own.yml"
    own.write_text(text)
    failed = up("-config.file", own)
    assert failed.returncode == 1
    lines = [line for line in failed.stderr.splitlines() if line.strip()]
    assert len(lines) == 1 and all(w in lines[0] for w in words), failed.stderr
    assert not taken()


def test_foreground_ends_with_ctrl_c(tree, tmp_path):
    data = tmp_path / "fore"
    process = subprocess.Popen(["./deploy/up", f"-data={data}"], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "B": str(BIN.parent.parent)}, start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # a run in the background ignores it
    try:
        eventually(lambda: (data / "run" / "ready").exists(), 120)
        assert http("http://127.0.0.1:3200/ready")[0] == 200
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and out.rstrip().endswith("stopped"), out
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
    assert not taken()
