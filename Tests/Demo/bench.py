"""What a daemon with an attached interface costs while nothing happens, and the time from the HTTP request that applies a
rule to the first packet decided by it: bench.py BIN [ROUNDS [RULES [RATE [ELEMENTS]]]].

Packets flow all the while. Each round adds a capture rule and applies it; the kernel program's own timestamp of the first
packet that the rule caught, in the capture file, is the end of the measurement. RATE packets a second, evenly: the time
between two of them is the resolution, and part of what is measured; above some thousands the generator watches the clock
instead of sleeping and takes a CPU for itself. RULES are in the rule set all the time, before the one that comes and goes. ELEMENTS:
of a set that one of them names; without, there is none.
"""
import http.client
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

BIN = os.path.realpath(sys.argv[1])
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 100
RULES = int(sys.argv[3]) if len(sys.argv) > 3 else 1
RATE = int(sys.argv[4]) if len(sys.argv) > 4 else 2_000
ELEMENTS = int(sys.argv[5]) if len(sys.argv) > 5 else 0
NAME = f"sluice-bench-{os.getpid()}"
PASSWORD = "bench-password-of-this-run"


def run(command):
    return subprocess.run(["bash", "-ec", command], check=True, capture_output=True, text=True).stdout


class API:
    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=30)
        self.token = None

    def call(self, method, path, body=None, expect=(200, 201), text=None):
        headers = {"Content-Type": "application/json" if text is None else "text/plain"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        content = text if text is not None else json.dumps(body or {}) if method != "GET" else None
        self.connection.request(method, f"/api/v1{path}", content, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in expect:
            raise SystemExit(f"bench: {method} {path}: {answer.status} {text.decode()}")
        return json.loads(text)["data"]


def inside(folder):
    """Everything that runs in the namespace: called by main() through `ip netns exec`."""
    run("ip link set lo up; ip link add lan0 type veth peer name lan1; "
        "sysctl -qw net.ipv6.conf.lan0.disable_ipv6=1 net.ipv6.conf.lan1.disable_ipv6=1; "
        "ip link set lan0 up; ip link set lan1 up")
    socket = f"{folder}/sluiced.sock"
    programs = []

    def start(arguments, environment=None):
        log = open(f"{folder}/{len(programs)}.log", "w")
        programs.append(subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, **(environment or {})}))

    try:
        start([f"{BIN}/sluiced", "--set", f"daemon.state_directory={folder}/state", "--set",
               f"daemon.capture_directory={folder}/captures", "--set", f"daemon.bpffs={folder}/bpf", "--set",
               f"control.socket={socket}"])
        start([f"{BIN}/sluice-api"], {"SLUICE_SOCKET": socket, "DB_PATH": f"{folder}/api/sluice.db",
                                      "SLUICE_TOKEN_KEYS": f"{folder}/api/keys"})
        deadline = time.monotonic() + 15
        while subprocess.run(["curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:8080/readyz"]).returncode != 0 \
                or not os.path.exists(socket):
            if time.monotonic() > deadline:
                raise SystemExit("bench: the programs did not start: " + run(f"cat {folder}/*.log"))
            time.sleep(0.05)
        measure(API(), folder, start, programs)
    finally:
        for program in reversed(programs):
            program.send_signal(signal.SIGTERM)
            program.wait()


def cpu_seconds(process):
    """CPU time of all threads so far, ended ones too: the process's own clock (clock_getcpuclockid(3))."""
    return time.clock_gettime(~process.pid << 3 | 2)


def idle_share(process):
    """Of one core, over ten seconds."""
    time.sleep(1)
    before, start = cpu_seconds(process), time.monotonic()
    time.sleep(10)
    return (cpu_seconds(process) - before) / (time.monotonic() - start)


def other_rule(index):
    """One of many, of which none takes the measured packets."""
    chance = random.Random(index)
    prefix = f"10.{chance.randrange(256)}.{chance.randrange(256)}.0/{chance.choice((24, 26, 28))}"
    return {"name": f"other-{index}", "match": {"sources": [prefix], "protocols": ["tcp"],
                                                "destination_ports": [str(chance.randrange(65536))]}, "action": "drop"}


def add_set(api):
    """Of hosts, none of which sends the measured packets, and a rule that drops what the others send."""
    chance = random.Random(0)
    hosts = "".join(f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}\n" for _ in range(ELEMENTS))
    api.call("POST", "/rule-sets/bench/sets", {"name": "blocked", "type": "ipv4_addr"})
    api.call("PUT", "/rule-sets/bench/sets/blocked/elements", text=hosts)
    api.call("POST", "/rule-sets/bench/rules", {"name": "blocked", "match": {"sources": ["@blocked"]}, "action": "drop"})


def received():
    with open("/sys/class/net/lan0/statistics/rx_packets") as file:
        return int(file.read())


def percentiles(times):
    times = sorted(times)
    return {"median": round(statistics.median(times), 2), "p99": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
            "minimum": round(times[0], 2)}


def measure(api, folder, start, programs):
    api.token = api.call("POST", "/auth/login", {"email": "admin@localhost.local", "password": "admin123"})["access_token"]
    api.token = api.call("POST", "/auth/change-password",
                         {"current_password": "admin123", "new_password": PASSWORD})["access_token"]
    base = {"name": "base", "match": {"protocols": ["udp"], "destination_ports": ["1"]}, "action": "capture"}
    api.call("POST", "/rule-sets", {"name": "bench", "rules": [base] + [other_rule(index) for index in range(1, RULES)]})
    if ELEMENTS:
        add_set(api)
    api.call("POST", "/attachments", {"interface": "lan0", "rule_set": "bench"})
    idle = {"sluiced": round(idle_share(programs[0]), 5), "sluice_api": round(idle_share(programs[1]), 5)}
    capture = api.call("POST", "/captures", {"interface": "lan0", "path": "bench.pcapng", "snap_length": 64})
    start([f"{BIN}/sluice", "generate", "--interface", "lan1", "--rate", str(RATE), "--duration", "3600", "--json",
           "--flow", "protocol=udp,source=192.0.2.1,destination=198.51.100.7,destination-port=9"])
    deadline = time.monotonic() + 15
    while received() < RATE // 10:
        if time.monotonic() > deadline:
            raise SystemExit("bench: no packets came: " + run(f"cat {folder}/*.log"))
        time.sleep(0.05)
    requested, edits = {}, []
    for number in range(ROUNDS):
        name = f"round-{number}"
        begin = time.monotonic()
        api.call("POST", "/rule-sets/bench/rules",
                 {"name": name, "match": {"protocols": ["udp"], "destination_ports": ["9"]}, "action": "capture"})
        edits.append((time.monotonic() - begin) * 1e3)
        requested[name] = time.clock_gettime_ns(time.CLOCK_REALTIME)
        api.call("POST", "/rule-sets/bench/apply")
        time.sleep(0.15)  # the sender may be without a CPU for a while
        api.call("DELETE", f"/rule-sets/bench/rules/{name}")
        api.call("POST", "/rule-sets/bench/apply")
    programs.pop().send_signal(signal.SIGINT)
    api.call("POST", f"/captures/{capture['id']}/stop")
    first = {}
    for line in run(f"tshark -r {folder}/captures/bench.pcapng -T fields -e frame.comment -e frame.time_epoch 2>/dev/null"
                    ).splitlines():
        comment, seconds = line.split("\t")
        whole, fraction = seconds.split(".")
        first.setdefault(comment.removeprefix("rule="), int(whole) * 10**9 + int(fraction.ljust(9, "0")[:9]))
    times = [(first[name] - asked) / 1e6 for name, asked in requested.items() if name in first]
    if len(times) < ROUNDS:
        raise SystemExit(f"bench: {ROUNDS - len(times)} rules caught no packet")
    print(json.dumps({"idle_cpu_share_of_a_core": idle, "rounds": ROUNDS, "rules": RULES, "packets_per_second": RATE,
                      "elements": ELEMENTS, "edit_ms": percentiles(edits), "request_to_first_packet_ms": percentiles(times)}, indent=2))


def main():
    folder = tempfile.mkdtemp(prefix=f"{NAME}-", dir="/run")
    os.mkdir(f"{folder}/bpf")
    try:
        run(f"mount -t bpf bpf {folder}/bpf; ip netns add {NAME}")
        status = subprocess.run(["ip", "netns", "exec", NAME, sys.executable, __file__, BIN, str(ROUNDS), str(RULES),
                                 str(RATE), str(ELEMENTS), folder]).returncode
    finally:
        subprocess.run(["bash", "-c", f"ip netns pids {NAME} | xargs -r kill -9; ip netns del {NAME}; umount -l {folder}/bpf"])
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)


if len(sys.argv) > 6:
    inside(sys.argv[6])
else:
    main()
