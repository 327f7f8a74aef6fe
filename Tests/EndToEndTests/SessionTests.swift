import Foundation
import LinuxSystem
import NetworkSupport
import Testing

/// The README's session and what hangs on it, with curl and the built programs over a veth pair.
@Suite("A session from the first password to the last packet", .serialized)
struct SessionTests {
  @Test("curl alone: sign in, attach, rules, traffic, counters, capture; every count agrees to the packet")
  func curlSession() throws {
    let stack = try Stack.signedIn()

    let set = try stack.post(
      "/rule-sets",
      """
      {"name":"edge","default_action":"pass","malformed":"drop","rules":[
        {"name":"drop-nine","match":{"protocols":["udp"],"destination_ports":["9"]},"action":"drop"},
        {"name":"look-ten","match":{"protocols":["udp"],"destination_ports":["10"]},"action":"capture"},
        {"name":"tally","match":{"sources":["192.0.2.0/24"]},"action":"count"}]}
      """)
    #expect(set.status == 201, "\(set.text)")
    let attachment = try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#)
    #expect(attachment.status == 201, "\(attachment.text)")
    #expect(attachment.body["data"]["observed"]["mode"].string == "native")

    let capture = try stack.post("/captures", #"{"interface":"lan0","path":"ten.pcapng"}"#)
    #expect(capture.status == 201, "\(capture.text)")
    try stack.send(40_000, ports: [9, 10, 11, 12])
    let identifier = try #require(capture.body["data"]["id"].string)
    let stopped = try stack.post("/captures/\(identifier)/stop")
    #expect(stopped.status == 200, "\(stopped.text)")
    let written = try #require(stopped.body["data"]["packets_written"].int)
    let dropped = try #require(stopped.body["data"]["packets_dropped"].int)
    let lost = try stack.metric("sluice_xsk_rx_dropped_total") + stack.metric("sluice_xsk_rx_ring_full_total")
    #expect(written + dropped + lost == 10_000)

    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 10_000)
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="look-ten""#) == 10_000)
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="tally""#) == 20_000)
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="default""#) == 20_000)
    #expect(try stack.metric("sluice_interface_packets_total") == 40_000)
    let counters = try stack.get("/nodes/local/counters")
    let rules = counters.body["data"][0]["rules"].array
    #expect(rules.map { $0["packets"].int } == [10_000, 10_000, 20_000, 20_000], "\(counters.text)")

    let comments = try Shell.run(
      "tshark -r \(stack.captures)/ten.pcapng -T fields -e frame.comment -e udp.dstport 2>/dev/null | sort | uniq -c")
    #expect(comments.split(whereSeparator: \.isWhitespace).joined(separator: " ") == "\(written) rule=look-ten 10")
    try stack.metrics().write(toFile: "\(stack.folder)/metrics.prom", atomically: true, encoding: .utf8)
    try Shell.run("promtool check metrics < \(stack.folder)/metrics.prom")
  }

  @Test("A rule added by the API under traffic: none lost, none decided by a mixture")
  func changesRulesUnderTraffic() throws {
    let stack = try Stack.signedIn()
    // Each generation counts in `before` and `after`: a packet decided by a mixture would be in one of them alone.
    _ = try stack.post(
      "/rule-sets",
      #"""
      {"name":"edge","rules":[{"name":"before","match":{},"action":"count"},{"name":"after","match":{},"action":"count"}]}
      """#)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)

    let stop = "\(stack.folder)/stop"
    let namespace = stack.namespace
    let sent = Box<UInt32>(0)
    let traffic = Thread {
      try? namespace.perform {
        let generator = try Stack.generator(ports: [9, 10])
        while access(stop, F_OK) != 0 {
          try generator.send(2048)
          sent.value += 2048
        }
      }
      sent.isDone = true
    }
    traffic.start()
    var appliedAt: Set<Int> = []
    for round in 0..<8 {
      // One rule goes into the live tables, two make a new generation.
      let isOne = round % 2 == 0
      let rule = #"{"name":"nine-\#(round)","match":{"protocols":["udp"],"destination_ports":["9"]},"action":"drop","after":"before"}"#
      #expect(try stack.post("/rule-sets/edge/rules", rule).status == 201)
      let other = #"{"name":"other","match":{"protocols":["tcp"]},"action":"drop"}"#
      if !isOne { #expect(try stack.post("/rule-sets/edge/rules", other).status == 201) }
      let apply = try stack.post("/rule-sets/edge/apply")
      #expect(apply.status == 200, "\(apply.text)")
      let result = apply.body["data"]["results"][0]
      #expect(result["in_place"].bool == isOne, "\(apply.text)")
      appliedAt.insert(try #require(result["generation"].int))
      if !isOne { #expect(try stack.request("DELETE", "/rule-sets/edge/rules/other").status == 200) }
      #expect(try stack.request("DELETE", "/rule-sets/edge/rules/nine-\(round)").status == 200)
      #expect(try stack.post("/rule-sets/edge/apply").status == 200)
    }
    try Data().write(to: URL(fileURLWithPath: stop))
    try stack.wait("the traffic ends") { sent.isDone }

    // Where sender and receiver run on two CPUs the receiver's ring can be full: refused by the sending device, and counted.
    let refused = try namespace.perform { try NetworkInterface.named("lan1").statistics.txDropped }
    let total = Int(sent.value) - Int(refused)
    #expect(total > 10_000)
    let counted = try stack.metric("sluice_interface_packets_total")
    #expect(counted == total)
    let before = try stack.metric("sluice_rule_packets_total", #"rule="before""#)
    #expect(before == total)
    let dropped = try stack.metric("sluice_interface_packets_total", #"action="drop""#)
    #expect(dropped > 0 && dropped < total)
    let after = try stack.metric("sluice_rule_packets_total", #"rule="after""#)
    #expect(after == total - dropped)
    #expect(appliedAt.count == 8, "each odd round makes two, each even one none: \(appliedAt)")
  }

  @Test("The command: sign in, attach, add rules, apply, watch counters, in text and JSON")
  func commandSession() throws {
    let stack = try Stack.signedIn()
    try stack.logIn()
    _ = try stack.sluice("rule-set create edge --default pass")
    _ = try stack.sluice("rule add edge drop-nine --protocol udp --destination-port 9 --action drop")
    _ = try stack.sluice("attach lan0 --rule-set edge")
    try stack.send(1000, ports: [9, 10])
    let text = try stack.sluice("counters --json")
    #expect(JSON(text)[0]["rules"][0]["packets"].int == 500, "\(text)")
    #expect(try stack.sluice("counters").contains("drop-nine"))
    _ = try stack.sluice("rule add edge drop-ten --protocol udp --destination-port 10 --action drop --at 0")
    let rules = JSON(try stack.sluice("rule list edge --json"))
    #expect(rules.array.map { $0["name"].string } == ["drop-ten", "drop-nine"])
    _ = try stack.sluice("rule move edge drop-ten --after drop-nine")
    _ = try stack.sluice("apply edge")
    try stack.send(1000, ports: [10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-ten""#) == 1000)
    #expect(try stack.sluice("interfaces").contains("lan0"))
    #expect(try stack.sluice("status --socket \(stack.socket)").contains("lan0"))
    _ = try stack.sluice("detach lan0")
    #expect(try stack.metric("sluice_interface_packets_total") == 0)
    try accessSession(stack)
    try auditSession(stack)
  }

  /// A role, a client with a key, a rotation; the key instead of a session.
  private func accessSession(_ stack: Stack) throws {
    let role = try stack.sluice(
      "role create customer-a --scope rules:write --destinations 198.51.100.0/24 --actions drop pass")
    #expect(role.contains("rules:read,rules:write"))
    #expect(try stack.sluice("role list").contains("to 198.51.100.0/24 drop,pass"))
    _ = try stack.sluice("client create watch --scope '*:read' --from 127.0.0.0/8")
    func makeKey(_ options: String) throws -> String {
      try stack.sluice("client key create watch \(options) 2>/dev/null").trimmingCharacters(in: .newlines)
    }
    let first = try makeKey("--expires 90d")
    let key = try makeKey("--expires 90d --overlap 0s")
    #expect(key.hasPrefix("slk_") && key != first)
    func asClient(_ key: String, _ command: String) throws -> String {
      try stack.namespace.run(
        "SLUICE_API_KEY=\(key) HOME=\(stack.folder)/nobody \(stack.binaries)/sluice \(command) 2>&1 || echo status=$?")
    }
    #expect(try asClient(key, "rule-set list").contains("edge"))
    #expect(try asClient(key, "rule-set create mine").contains("status=4"))
    #expect(try asClient(first, "rule-set list").contains("status=3"), "the other one has ended")
    #expect(try stack.sluice("client list").contains("127.0.0.1"), "last used from")
    _ = try stack.sluice("client key revoke watch \(key.prefix(16))")
    #expect(try asClient(key, "rule-set list").contains("status=3"))
  }

  /// What the session before has left, proved by the command and, independently, with jq and sha256sum.
  private func auditSession(_ stack: Stack) throws {
    #expect(try stack.sluice("audit list --operation addRule").contains("rule_set edge"))
    #expect(try stack.sluice("audit verify").contains("the log is whole"))
    let file = "\(stack.folder)/audit.jsonl"
    _ = try stack.sluice("audit export --output \(file)")
    #expect(try stack.sluice("audit verify --file \(file)").contains("the log is whole"))
    let record = #"jq -c 'select(.operation == "moveRule")' \#(file)"#
    let own = try Shell.run("\(record) | jq -cS 'del(.hash)' | tr -d '\\n' | sha256sum | cut -d' ' -f1")
    let stored = try Shell.run("\(record) | jq -r .hash")
    #expect(own == stored)
    try Shell.run("sed -i 's/drop-nine/drop-neun/' \(file)")
    let broken = try stack.sluice("audit verify --file \(file) 2>&1 || echo status=$?")
    #expect(broken.contains("was changed") && broken.contains("status=1"), "\(broken)")
  }

  @Test("A Python client made from the proto files attaches, applies and reads counters; health and reflection answer")
  func pythonClient() throws {
    let stack = try Stack()
    try stack.startDaemon()
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("python/client.sh")
    let output = try Shell.run("bash \(script.path) \(stack.socket) \(stack.namespace.name)")
    #expect(output.contains("python client: ok"), "\(output)")
  }
}

/// A number that one thread writes and another reads when the first is done.
final class Box<Value>: @unchecked Sendable {
  private let lock = NSLock()
  private var stored: Value
  private var done = false

  init(_ value: Value) { stored = value }

  var value: Value {
    get { lock.withLock { stored } }
    set { lock.withLock { stored = newValue } }
  }
  var isDone: Bool {
    get { lock.withLock { done } }
    set { lock.withLock { done = newValue } }
  }
}
