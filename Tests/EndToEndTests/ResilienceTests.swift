import DatabaseSupport
import Foundation
import LinuxSystem
import NetworkSupport
import Testing
import XSK

@Suite("What is killed and what goes on", .serialized)
struct ResilienceTests {
  private let dropNine = """
    {"name":"edge","rules":[{"name":"drop-nine","match":{"protocols":["udp"],"destination_ports":["9"]},"action":"drop"}]}
    """

  @Test("Killing sluice-api changes nothing for packets")
  func survivesWithoutAPI() throws {
    let stack = try Stack.signedIn()
    _ = try stack.post("/rule-sets", dropNine)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    stack.stopAPI(SIGKILL)
    try stack.send(1000, ports: [9, 10])
    #expect(try stack.metric("sluice_interface_packets_total", #"action="drop""#) == 500)
    #expect(try stack.metric("sluice_interface_packets_total", #"action="pass""#) == 500)
  }

  @Test("Killing the database: 503 and not ready, packets as before; it comes back and so does the API")
  func survivesWithoutDatabase() throws {
    let server = try PostgresServer()
    defer { server.remove() }
    let stack = try Stack()
    defer { stack.stopAPI() }
    try stack.startDaemon()
    try stack.startAPI([
      "DB_TYPE": "postgresql", "DB_HOST": server.socketDirectory, "DB_PORT": "\(server.port)", "DB_NAME": "postgres",
      "DB_USER": PostgresServer.user, "DB_PASS": PostgresServer.password,
    ])
    try stack.signIn()
    _ = try stack.post("/rule-sets", dropNine)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    try server.kill()
    try stack.send(1000, ports: [9, 10])
    #expect(try stack.metric("sluice_interface_packets_total", #"action="drop""#) == 500)
    let refused = try stack.get("/rule-sets")
    #expect(refused.status == 503, "\(refused.text)\n\(stack.log("sluice-api.log"))")
    #expect(refused.body["error"]["code"].string == "database_unavailable", "\(refused.text)")
    #expect(try stack.get("/readyz", base: "").status == 503)
    #expect(try stack.get("/healthz", base: "").status == 200)
    try server.start()
    try stack.wait("the API finds its database again") { try stack.get("/rule-sets").status == 200 }
    #expect(try stack.get("/rule-sets/edge").body["data"]["rules"][0]["name"].string == "drop-nine")
  }

  @Test("A daemon that is killed during a call: whether it did what it was asked for is told as unknown, and not tried again")
  func killedDuringCall() throws {
    let stack = try Stack.signedIn()
    #expect(try stack.get("/nodes/local").status == 200)
    let daemon = try #require(stack.daemonIdentifier)
    kill(daemon, SIGSTOP)
    let killer = try stack.start(["sh", "-c", "sleep 1; kill -KILL \(daemon)"], log: "killer.log")
    defer { killer.waitUntilExit() }
    func attach() throws -> Stack.Answer {
      try stack.request("POST", "/attachments", body: #"{"interface":"lan0"}"#, extra: "-H 'Idempotency-Key: killed-during-a-call'")
    }
    let answer = try attach()
    #expect(answer.status == 502 && answer.body["error"]["details"]["reason"].string == "outcome_unknown", "\(answer.text)")
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    // Released, the key would let the same request do it a second time.
    let again = try attach()
    #expect(again.status == 409 && again.body["error"]["details"]["reason"].string == "idempotency_key_in_use", "\(again.text)")
  }

  @Test("A restart while captures can't have their sockets: the interface is attached, and its rules can be changed")
  func restoresWithoutSockets() throws {
    let stack = try Stack()
    try stack.startDaemon()
    let rules = "\(stack.folder)/edge.rules"
    func apply(_ port: Int) throws {
      try "ruleset edge\ndefault pass\nrule see: udp dport \(port) capture\n".write(toFile: rules, atomically: true, encoding: .utf8)
      _ = try stack.sluice("apply --file \(rules) --interface lan0 --socket \(stack.socket)")
    }
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    try apply(9)
    stack.stopDaemon(SIGKILL)
    try stack.namespace.perform {
      // Another program has the queue.
      let memory = try UMEM(geometry: .init(frameCount: 64), wantsHugePages: false)
      var pool = memory.makePool()
      let socket = try XDPSocket(memory: memory, pool: &pool, interface: .named("lan0"), queue: 0)
      try stack.startDaemon()
      _ = consume socket
    }
    #expect(JSON(try stack.sluice("status --json --socket \(stack.socket)"))["attachments"][0]["rule_set"].string == "edge")
    #expect(stack.log("sluiced.log").contains("no sockets for captures"))
    try apply(10)
    let capture = JSON(try stack.sluice("capture start lan0 --packets 3 --json --socket \(stack.socket)"))
    try stack.send(6, ports: [9, 10])
    try stack.wait("it has its packets") {
      JSON(try stack.sluice("capture list --json --socket \(stack.socket)"))[0]["state"].string == "finished"
    }
    #expect(capture["id"].string?.isEmpty == false)
  }

  @Test("An interface that is moved to another namespace is told of, and one that is made under its name is filtered")
  func interfaceLeaves() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try stack.namespace.makePair("one", "two")
    _ = try stack.sluice("attach one --socket \(stack.socket)")
    func attached() throws -> Bool {
      JSON(try stack.sluice("status --json --socket \(stack.socket)"))["attachments"].array.contains { $0["interface"].string == "one" }
    }
    #expect(try attached())
    try stack.namespace.run(
      """
      unshare -n sleep 30 >/dev/null 2>&1 & echo $! >\(stack.folder)/elsewhere
      until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
      ip link set one netns $!
      """)
    try stack.wait("it is noticed") { try !attached() }
    #expect(try stack.sluice("events --type attach_lost --socket \(stack.socket)").contains("left this network namespace"))
    try stack.namespace.makePair("one", "three")
    try stack.wait("the new one is attached") { try attached() }
    try stack.namespace.run("kill $(cat \(stack.folder)/elsewhere)")
  }

  @Test("sluice attach makes again what the daemon has lost, with its rules; apply --node stays on that node")
  func attachesAgain() throws {
    let stack = try Stack.signedIn()
    try stack.logIn()
    _ = try stack.sluice("rule-set create edge")
    _ = try stack.sluice("rule add edge no-telnet --protocol tcp --destination-port 23 --action drop")
    #expect(try stack.sluice("attach lan0 --rule-set edge").contains("attached to lan0"))
    _ = try stack.sluice("detach lan0 --socket \(stack.socket)")
    #expect(JSON(try stack.sluice("status --json --socket \(stack.socket)"))["attachments"].array.isEmpty)
    let again = try stack.sluice("attach lan0")
    #expect(again.contains("attached to lan0") && again.contains("rule set edge revision"), "\(again)")
    #expect(try stack.sluice("apply edge --node local").contains("decides on lan0"))
    let dry = try stack.sluice("apply edge --node local --dry-run")
    #expect(dry.contains("would be published on lan0"), "\(dry)")
    let other = try stack.sluice("apply edge --node edge2 2>&1 || echo status=$?")
    #expect(other.contains("status=5") && other.contains("edge2"), "\(other)")
    _ = try stack.sluice("rule add edge no-telnet-again --protocol tcp --destination-port 23 --action pass")
    #expect(try stack.sluice("apply edge --dry-run").contains("shadowed: "))
  }

  @Test("A killed daemon: packets are decided all the same, and the next one takes over with the counters")
  func survivesKilledDaemon() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack)
    try stack.send(1000, ports: [9, 10])
    stack.stopDaemon(SIGKILL)
    try stack.send(1000, ports: [9, 10])
    try stack.startDaemon()
    try stack.send(1000, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 1500)
    #expect(try stack.metric("sluice_interface_packets_total") == 3000)
    #expect(try stack.metric("sluice_attachment_revision", #"rule_set="edge""#) == 0)
  }

  @Test("A daemon that fails leaves the filters in force, and the next one takes them over with the counters")
  func keepsFiltersWhenItFails() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack)
    stack.stopDaemon(SIGKILL)
    let squatter = try stack.start(["python3", "-m", "http.server", "9411", "--bind", "127.0.0.1"], log: "squatter.log")
    try stack.wait("the port is taken") { try stack.namespace.run("ss -Hltn").contains(":9411") }
    #expect(throws: (any Error).self) { try stack.startDaemon() }
    #expect(stack.log("sluiced.log").contains("left attached"), "\(stack.log("sluiced.log"))")
    stack.stopDaemon()
    kill(squatter.processIdentifier, SIGKILL)
    squatter.waitUntilExit()
    try stack.send(1000, ports: [9, 10])
    try stack.startDaemon()
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 500)
  }

  @Test("A stopped daemon takes its program off and comes back into its last state")
  func restartsIntoLastState() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack)
    stack.stopDaemon(SIGTERM)
    #expect(try !stack.namespace.run("ip -d link show lan0").contains("sluice_xdp"))
    try stack.startDaemon()
    try stack.send(1000, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 500)
  }

  @Test("SIGTERM completes a running capture: every packet that was captured is in the file")
  func completesCaptures() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack, rule: "rule look-nine: udp dport 9 capture")
    _ = try stack.sluice("capture start lan0 --path nine.pcapng --socket \(stack.socket)")
    try stack.send(2000, ports: [9, 10])
    let captured = try stack.metric("sluice_interface_packets_total", #"action="capture""#)
    stack.stopDaemon(SIGTERM)
    let count = try Shell.run("tshark -r \(stack.captures)/nine.pcapng 2>/dev/null | wc -l")
    #expect(captured == 1000)
    #expect(count.trimmingCharacters(in: .whitespacesAndNewlines) == "1000")
  }

  @Test("A daemon ends as it should although a client that follows its events stands still")
  func cutsOffStoppedClients() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack, rule: "rule look-nine: udp dport 9 capture")
    let following = try stack.follow("events --follow --socket \(stack.socket)", into: "events.log")
    _ = try stack.sluice("capture start lan0 --path nine.pcapng --socket \(stack.socket)")
    try stack.wait("it follows") { stack.log("events.log").contains("capture") }
    defer { kill(following.processIdentifier, SIGKILL) }
    kill(following.processIdentifier, SIGSTOP)
    kill(try #require(stack.daemonIdentifier), SIGTERM)
    try stack.wait("the daemon ends", atMost: 30) { stack.log("sluiced.log").contains(" stopped") }
    #expect(stack.log("sluiced.log").contains("callers that stand still are cut off"))
    #expect(try !stack.namespace.run("ip -d link show lan0").contains("sluice_xdp"))
  }

  @Test("What can't be restored whole stands in the state once, and is restored later")
  func restoresOnce() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack, rule: "rule look-nine: udp dport 9 capture")
    stack.stopDaemon(SIGTERM)
    // Without CAP_NET_RAW there are no AF_XDP sockets, which a rule that captures needs.
    try stack.startDaemon(prefix: ["setpriv", "--bounding-set", "-net_raw", "--inh-caps", "-net_raw"])
    _ = try stack.sluice("attach lan1 --socket \(stack.socket)")
    let state = JSON(try String(contentsOfFile: "\(stack.folder)/state/state.json", encoding: .utf8))
    #expect(state["attachments"].array.map { $0["interface"].string } == ["lan0", "lan1"])
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    #expect(try stack.metric("sluice_attachment_revision", #"interface="lan0""#, #"rule_set="edge""#) == 0)
    #expect(try stack.sluice("status --socket \(stack.socket)").contains("edge"))
  }

  @Test("keep_on_exit leaves the program deciding after SIGTERM")
  func keepsOnExit() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack, options: "--keep-on-exit")
    stack.stopDaemon(SIGTERM)
    #expect(try stack.namespace.run("ip -d link show lan0").contains("sluice_xdp"))
    try stack.send(1000, ports: [9])
    try stack.startDaemon()
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 1000)
  }

  @Test("Where the state is lost, what was left on an interface decides until it is attached, and no longer")
  func forgetsWhatNobodyKnows() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack)
    stack.stopDaemon(SIGKILL)
    _ = try stack.namespace.run("rm -rf \(stack.folder)/state/*")
    try stack.startDaemon()
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    try stack.send(1000, ports: [9])
    #expect(try stack.metric("sluice_interface_packets_total", #"interface="lan0""#, #"action="drop""#) == 0)
    #expect(try stack.metric("sluice_interface_packets_total", #"interface="lan0""#, #"action="pass""#) == 1000)
  }

  @Test("An interface that goes and comes back is attached again with its rules")
  func followsInterface() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack)
    try stack.namespace.run("ip link del lan0")
    try stack.wait("the loss is noticed") { try stack.metric("sluice_attachments_lost_total") == 1 }
    try stack.namespace.makePair("lan0", "lan1")
    try stack.wait("it is attached again") { try stack.metric("sluice_attachment_native", #"interface="lan0""#) == 1 }
    try stack.send(1000, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 500)
  }

  @Test("An interface that is renamed keeps its program, until another one has the name")
  func renamed() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack)
    func rename(_ name: String, _ other: String) throws {
      try stack.namespace.run("ip link set \(name) down")
      try stack.namespace.run("ip link set \(name) name \(other)")
      try stack.namespace.run("ip link set \(other) up")
    }
    func status() throws -> String { try stack.sluice("status --socket \(stack.socket)") }
    try rename("lan0", "wan0")
    try stack.wait("the new name is told") { try status().contains("called wan0 now") }
    #expect(try stack.namespace.run("ip link show wan0").contains("xdp"))
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    #expect(try status().contains("called wan0 now"), "also after a restart")
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 0)
    try rename("wan0", "lan0")
    try stack.wait("it has its name again") { try !status().contains("wan0") }
    try stack.send(1000, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 500)

    try rename("lan0", "wan0")
    try rename("lan1", "wan1")
    try stack.namespace.makePair("lan0", "lan1")
    try stack.wait("the program goes to the one that has the name") { try stack.metric("sluice_attachments_lost_total") == 1 }
    try stack.wait("it is attached there") { try stack.metric("sluice_attachment_native", #"interface="lan0""#) == 1 }
    try stack.send(1000, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 500)
    #expect(try !stack.namespace.run("ip link show wan0").contains("xdp"))
  }

  @Test("A program that somebody detaches is noticed and attached again, with its rules")
  func noticesForcedDetach() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try prepare(stack)
    try Shell.run("bpftool link detach pinned \(stack.bpffs)/sluice/v*/lan0/link")
    try stack.wait("the loss is noticed") { try stack.metric("sluice_attachments_lost_total") == 1 }
    try stack.wait("it is attached again") { try stack.metric("sluice_attachment_native", #"interface="lan0""#) == 1 }
    try stack.send(1000, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 500)
  }

  /// Attaches and applies by the command, straight to the daemon.
  private func prepare(
    _ stack: Stack, options: String = "", rule: String = "rule drop-nine: udp dport 9 drop"
  ) throws {
    let rules = "\(stack.folder)/edge.rules"
    try """
    ruleset edge
    default pass
    \(rule)
    """.write(toFile: rules, atomically: true, encoding: .utf8)
    _ = try stack.sluice("attach lan0 --socket \(stack.socket) \(options)")
    _ = try stack.sluice("apply --file \(rules) --interface lan0 --socket \(stack.socket)")
  }

  @Test("Redirects lead where their names do: over restarts, without the interface, and when it comes again")
  func redirects() throws {
    let stack = try Stack()
    try stack.startDaemon()
    try stack.namespace.makePair("away", "gone")
    let rules = "\(stack.folder)/edge.rules"
    try "ruleset edge\nrule nine: udp dport 9 drop\nrule out: udp dport 10 redirect away\n".write(
      toFile: rules, atomically: true, encoding: .utf8)
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    _ = try stack.sluice("apply --file \(rules) --interface lan0 --socket \(stack.socket)")
    func redirected() throws -> Int { try stack.metric("sluice_interface_packets_total", #"action="redirect""#) }
    func failed() throws -> Int { try stack.metric("sluice_event_packets_total", #"event="redirect_failed""#) }
    try stack.send(20, ports: [9, 10])
    #expect(try redirected() == 10 && failed() == 0)

    stack.stopDaemon()
    try stack.startDaemon()
    try stack.send(20, ports: [9, 10])
    #expect(try redirected() == 10 && failed() == 0, "of a program that was attached anew")

    stack.stopDaemon()
    try stack.namespace.run("ip link del away")
    try stack.startDaemon()
    try stack.send(20, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="nine""#) == 10, "the other rules decide")
    #expect(try redirected() == 0 && failed() == 10)
    #expect(stack.log("sluiced.log").contains("missing=away"))

    try stack.namespace.makePair("away", "gone")
    try stack.wait("the redirect follows") { stack.log("sluiced.log").contains("redirects follow their interfaces") }
    try stack.send(20, ports: [9, 10])
    #expect(try redirected() == 10 && failed() == 10)
  }
}
