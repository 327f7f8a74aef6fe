import Foundation
import Testing

/// Sets whose elements count, on a real interface.
@Suite("Elements that count", .serialized)
struct ElementCounterTests {
  private func count(_ element: String, _ stack: Stack) throws -> Int? {
    try stack.get("/rule-sets/edge/sets/bad/counters?limit=1000").body["data"].array
      .first { $0["element"].string == element }?["packets"].int
  }

  @Test("An element keeps its counts while others change, over generations, restarts and larger maps; they go with it")
  func life() throws {
    let stack = try Stack.signedIn()
    try stack.logIn()
    _ = try stack.sluice("rule-set create edge")
    _ = try stack.sluice("set create edge bad --type ipv4_addr --counters 192.0.2.0/24 198.51.100.0/24")
    _ = try stack.sluice("rule add edge blocked --source @bad --action drop")
    #expect(try count("192.0.2.0/24", stack) == nil, "live nowhere")
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    #expect(try count("192.0.2.0/24", stack) == 0)
    try stack.send(100, ports: [9])
    #expect(try count("192.0.2.0/24", stack) == 100)
    #expect(try count("198.51.100.0/24", stack) == 0)

    // In the live tables, though the set is small.
    let added = JSON(try stack.sluice("set add edge bad 192.0.2.1 --apply --json"))
    #expect(added["applied"][0]["in_place"].bool == true, "\(added)")
    try stack.send(50, ports: [9])
    #expect(try count("192.0.2.1", stack) == 50)
    #expect(try count("192.0.2.0/24", stack) == 100)

    _ = try stack.sluice("rule add edge seen --source @bad --action count --at 0")
    _ = try stack.sluice("apply edge")
    try stack.send(5, ports: [9])
    #expect(try count("192.0.2.1", stack) == 60, "each rule that counts the packet does")
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    #expect(try count("192.0.2.1", stack) == 60)

    // More than there was room for.
    let file = "\(stack.folder)/list.txt"
    let hosts = (0..<3000).map { "198.18.\($0 / 250).\($0 % 250)" } + ["192.0.2.1", "192.0.2.0/24"]
    try hosts.joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
    #expect(JSON(try stack.sluice("set import edge bad \(file) --apply --json"))["element_count"].int == 3002)
    try stack.send(10, ports: [9])
    #expect(try count("192.0.2.1", stack) == 80)
    let top = JSON(try stack.sluice("set top edge bad --limit 1 --json"))
    #expect(top["elements"][0]["element"].string == "192.0.2.0/24" && top["elements"][0]["packets"].int == 100, "\(top)")
    #expect(top["packets"].int == 180 && top["counting"].int == 2 && top["interfaces"][0]["interface"].string == "lan0")
    #expect(try stack.sluice("set show edge bad --counters").contains("192.0.2.1"))

    _ = try stack.sluice("set remove edge bad 192.0.2.1 --apply")
    try stack.send(10, ports: [9])
    #expect(try count("192.0.2.0/24", stack) == 120)
    _ = try stack.sluice("set add edge bad 192.0.2.1 --apply")
    #expect(try count("192.0.2.1", stack) == 0)

    _ = try stack.sluice("set update edge bad --no-counters")
    _ = try stack.sluice("apply edge")
    let none = try stack.get("/rule-sets/edge/sets/bad/top")
    #expect(none.status == 409 && none.text.contains("counters"), "\(none.text)")
    try stack.send(10, ports: [9])
    #expect(try stack.metric("sluice_rule_packets_total", "rule=\"blocked\"") == 185)
  }

  @Test("A trial with more elements than have room beside those before it can be gone back from")
  func trial() throws {
    let stack = try Stack()
    try stack.startDaemon()
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    func apply(_ revision: Int, _ count: Int, _ options: String = "") throws {
      let hosts = (0..<count).map { "198.\(revision).\($0 / 250).\($0 % 250)" }.joined(separator: ", ")
      let text = "ruleset edge\nrevision \(revision)\nset bad { type ipv4_addr; counters; elements \(hosts) }\nrule r: saddr @bad drop\n"
      try text.write(toFile: "\(stack.folder)/edge.rules", atomically: true, encoding: .utf8)
      _ = try stack.sluice("apply --file \(stack.folder)/edge.rules --interface lan0 --socket \(stack.socket) \(options)")
    }
    func revision() throws -> Int { try stack.metric("sluice_attachment_revision", "lan0") }
    try apply(1, 3000)
    // The map grows to some six thousand.
    try apply(2, 4500, "--confirm-within 600")
    #expect(try revision() == 2)
    _ = try stack.sluice("withdraw --socket \(stack.socket)")
    #expect(try revision() == 1)
    try apply(3, 4500)
    #expect(try revision() == 3)
  }
}
