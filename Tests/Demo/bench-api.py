"""How many authorised requests the API answers a second, on SQLite, PostgreSQL and MariaDB: bench-api.py BIN [options].

The load is wrk's, on the same machine and the same cores. A read is a GET with a bearer token that asks the database; a
write is a PUT of a rule: a new revision and its record in the audit log, both durable (fsync) before the answer. The
limits of requests by number are off. After the writes the count of revisions, of records of the audit log and of good
answers must agree.
"""
import argparse
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

PASSWORD = "bench-password-of-this-run"
RULE_SETS = 64
MARKER = "bench-api"
# Requests a second and the 95th percentile in milliseconds, for those that are the first choice.
WANTED = {"read": (10_000, 10.0), "write": (1_000, 50.0)}
WANTED_OF = {"SQLite", "PostgreSQL"}

# wrk counts what is not 2xx or 3xx as an error of status; sockets have their own.
SCRIPT = """
local turn = 0
function request()
  turn = turn + 1
  %s
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('JSON {"requests":%%d,"microseconds":%%d,"errors":%%d,"p50":%%d,"p95":%%d,"p99":%%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
"""
HEADERS = '{["Authorization"] = "Bearer %s", ["Content-Type"] = "application/json"}'
LOADS = {
    "read": ("GET /rule-sets/{name}/rules/{rule}",
             'return wrk.format("GET", string.format("/api/v1/rule-sets/bench-%%d/rules/r%%d", turn %% %d, turn %% 8), H)'),
    "read-node": ("GET /nodes/{name}", 'return wrk.format("GET", "/api/v1/nodes/local", H)'),
    "write": ("PUT /rule-sets/{name}/rules/{rule}",
              'return wrk.format("PUT", string.format("/api/v1/rule-sets/bench-%%d/rules/r%%d", turn %% %d, turn %% 8), H,'
              ' string.format(\'{"match":{"protocols":["tcp"],"destination_ports":["%%d"]},"action":"drop"}\','
              ' 1 + turn %% 65535))'),
}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class API:
    def __init__(self, port):
        self.port, self.token = port, None

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 300:
            raise SystemExit(f"bench-api: {method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)


class SQLite:
    def __init__(self, folder):
        self.environment = {"DB_TYPE": "sqlite", "DB_PATH": f"{folder}/db/sluice.db"}

    def stop(self):
        pass


class PostgreSQL:
    """A cluster of this run's own, with fsync as it is installed."""

    def __init__(self, folder):
        versions = sorted(os.listdir("/usr/lib/postgresql"), key=int)
        self.programs = f"/usr/lib/postgresql/{versions[-1]}/bin"
        self.folder, self.port = f"{folder}/pg", free_port()
        os.mkdir(self.folder)
        entry = pwd.getpwnam("postgres")
        os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self.run("initdb", "-D", f"{self.folder}/data", "-U", "sluice", "-A", "trust", "--encoding=UTF8", "--locale=C")
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w", "-o",
                 f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self.folder}", "start")
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "sluice", "sluice")
        self.environment = {"DB_TYPE": "postgresql", "DB_HOST": "127.0.0.1", "DB_PORT": str(self.port)}

    def run(self, program, *arguments):
        command = ["runuser", "-u", "postgres", "--", f"{self.programs}/{program}", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def stop(self):
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-m", "immediate", "-w", "stop")


class MariaDB:
    """A server of this run's own, with the options it is installed with: durable at each commit."""

    def __init__(self, folder):
        self.folder, port = f"{folder}/my", free_port()
        os.mkdir(self.folder)
        entry = pwd.getpwnam("mysql")
        os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        subprocess.run(
            ["runuser", "-u", "mysql", "--", "mariadb-install-db", "--no-defaults", f"--datadir={self.folder}/data",
             "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.server = subprocess.Popen(
            ["/usr/sbin/mariadbd", "--no-defaults", f"--datadir={self.folder}/data", f"--socket={self.folder}/mysqld.sock",
             f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={self.folder}/pid",
             f"--log-error={self.folder}/log", "--skip-name-resolve", "--user=mysql"], cwd="/", stderr=subprocess.DEVNULL)
        try:
            self.prepare()
        except BaseException:
            self.stop()
            raise
        self.environment = {"DB_TYPE": "mysql", "DB_HOST": "127.0.0.1", "DB_PORT": str(port), "DB_PASS": PASSWORD}

    def prepare(self):
        client = ["mariadb", "--no-defaults", f"--socket={self.folder}/mysqld.sock", "--user=root", "-e"]
        deadline = time.monotonic() + 60
        while subprocess.run(client + ["SELECT 1"], capture_output=True).returncode:
            if self.server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("bench-api: mariadbd did not start: " + open(f"{self.folder}/log").read()[-2000:])
            time.sleep(0.1)
        for statement in ["CREATE DATABASE sluice", f"CREATE USER sluice@127.0.0.1 IDENTIFIED BY '{PASSWORD}'",
                          "GRANT ALL ON sluice.* TO sluice@127.0.0.1"]:
            subprocess.run(client + [statement], check=True)

    def stop(self):
        self.server.kill()
        self.server.wait()


DATABASES = {"SQLite": SQLite, "PostgreSQL": PostgreSQL, "MariaDB": MariaDB}


def start_api(program, folder, environment):
    log = open(f"{folder}/api.log", "w")
    process = subprocess.Popen(
        [program], stderr=log, stdout=log,
        env={**os.environ, "SLUICE_CONFIG": "/dev/null", "HTTP_PORT": "0", "SLUICE_TOKEN_KEYS": f"{folder}/keys", "SLUICE_LOG": "console",
             "HTTP_RATE_PER_ADDRESS": "0", "HTTP_RATE_PER_TOKEN": "0", "HTTP_RATE_OF_COSTLY_ROUTES": "false",
             **environment})
    deadline = time.monotonic() + 30
    while True:
        text = open(f"{folder}/api.log").read()
        found = re.search(r" ready .*address=[^ ]*:(\d+)", text)
        if found:
            return process, API(int(found.group(1)))
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("bench-api: sluice-api did not start: " + text)
        time.sleep(0.02)


def fill(api):
    data = api.call("POST", "/auth/login", {"email": "admin@localhost.local", "password": "admin123"})["data"]
    api.token = data["access_token"]
    data = api.call("POST", "/auth/change-password", {"current_password": "admin123", "new_password": PASSWORD})["data"]
    api.token = data["access_token"]
    rules = [{"name": f"r{n}", "match": {"protocols": ["tcp"], "destination_ports": [str(65535 - n)]}, "action": "drop"}
             for n in range(8)]
    for number in range(RULE_SETS):
        api.call("POST", "/rule-sets", {"name": f"bench-{number}", "rules": rules})


def load(api, folder, kind, seconds, connections):
    request = LOADS[kind][1]
    request = request % RULE_SETS if "%%" in request else request
    script = f"{folder}/{kind}.lua"
    with open(script, "w") as file:
        file.write(f"local H = {HEADERS % api.token}\n" + SCRIPT % request)
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", script, f"http://127.0.0.1:{api.port}"],
        check=True, capture_output=True, text=True).stdout
    raw = json.loads(re.search(r"^JSON (.*)$", output, re.M).group(1))
    return {"per_second": raw["requests"] / raw["microseconds"] * 1e6, "errors": raw["errors"], "requests": raw["requests"],
            **{name: raw[name] / 1000 for name in ("p50", "p95", "p99")}}


def counts(api):
    """Records of writes and revisions by them, once the last request that wrk left alone has been answered."""
    before = None
    while True:
        records = api.call("GET", "/audit-log?limit=1&operation=replaceRule")["meta"]["total"]
        sets = api.call("GET", "/rule-sets?limit=1000")["data"]
        now = records, sum(entry["revision"] - 1 for entry in sets)
        if now == before:
            return now
        before = now
        time.sleep(0.2)


def measure(api, folder, options):
    results = {}
    for kind in options.loads:
        load(api, folder, kind, 1, options.connections)
    for _ in range(options.rounds):
        for kind in options.loads:
            results.setdefault(kind, []).append(load(api, folder, kind, options.seconds, options.connections))
    records, revisions = counts(api)
    answered = sum(round["requests"] for round in results.get("write", []))
    if records != revisions or revisions < answered:
        raise SystemExit(f"bench-api: {answered} answers, {revisions} revisions, {records} records of the audit log")
    return {
        kind: {"errors": sum(round["errors"] for round in rounds),
               **{name: statistics.median(round[name] for round in rounds) for name in ("per_second", "p50", "p95", "p99")}}
        for kind, rounds in results.items()}


def table(results, options):
    lines = ["| database | request | per second | p50 | p95 | p99 | errors | wanted |", "|---|---|---|---|---|---|---|---|"]
    for database, loads in results.items():
        for kind, row in loads.items():
            rate, latency = WANTED[kind.split("-")[0]]
            wanted = f"≥ {rate:,}/s, p95 ≤ {latency:.0f} ms" if database in WANTED_OF else ""
            lines.append(
                f"| {database} | `{LOADS[kind][0]}` | {row['per_second']:,.0f} | {row['p50']:.1f} ms | {row['p95']:.1f} ms "
                f"| {row['p99']:.1f} ms | {row['errors']} | {wanted} |")
    lines += ["", f"{os.cpu_count()} CPUs for the API, the database and wrk together; {options.connections} connections, "
              f"medians of {options.rounds} rounds of {options.seconds} s."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(prog="bench-api", description=__doc__)
    parser.add_argument("bin", help="folder of the built programs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--databases", nargs="+", default=list(DATABASES), choices=list(DATABASES))
    parser.add_argument("--loads", nargs="+", default=list(LOADS), choices=list(LOADS))
    parser.add_argument("--json", metavar="FILE", help="write the numbers there")
    parser.add_argument("--markdown", metavar="FILE", help=f"write the table between the marks `{MARKER}` of that file")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="sluice-bench-api-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    results, started = {}, []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for database in options.databases:
            server = DATABASES[database](folder)
            started.append(server.stop)
            process, api = start_api(f"{os.path.realpath(options.bin)}/sluice-api", folder, server.environment)
            started.append(process.kill)
            fill(api)
            results[database] = measure(api, folder, options)
            started.pop()
            process.terminate()
            process.wait()
            started.pop()()
    finally:
        for stop in reversed(started):
            stop()
        shutil.rmtree(folder, ignore_errors=True)
    text = table(results, options)
    print(text)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=2)
    if options.markdown:
        begin, end = f"<!-- {MARKER}: written by `make bench-api` -->", f"<!-- {MARKER}: end -->"
        with open(options.markdown) as file:
            before, rest = file.read().split(begin)
        with open(options.markdown, "w") as file:
            file.write(before + begin + "\n" + text + "\n" + end + rest.split(end)[1])
    misses = [f"{database} {kind}" for database, loads in results.items() for kind, row in loads.items()
              if row["errors"] or database in WANTED_OF and (
                  row["per_second"] < WANTED[kind.split("-")[0]][0] or row["p95"] > WANTED[kind.split("-")[0]][1])]
    if misses:
        print("bench-api: short of what is wanted: " + ", ".join(misses), file=sys.stderr)


main()
