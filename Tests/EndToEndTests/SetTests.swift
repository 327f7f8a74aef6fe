import Foundation
import Testing

/// Large sets on a real interface.
@Suite("Sets that are changed where they are live", .serialized)
struct SetTests {
  private func dropped(_ stack: Stack) throws -> Int {
    try stack.metric("sluice_rule_packets_total", "rule=\"blocked\"")
  }

  @Test("An element reaches the live tables without a new generation, and the next daemon has it")
  func inPlace() throws {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge"}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let hosts = (0..<300).map { "\"198.51.\($0 / 250).\($0 % 250)\"" }.joined(separator: ",")
    let set = #"{"name":"bad","type":"ipv4_addr","elements":[\#(hosts)]}"#
    #expect(try stack.post("/rule-sets/edge/sets", set).status == 201)
    let rule = #"{"name":"blocked","action":"drop","match":{"sources":["@bad"]}}"#
    #expect(try stack.post("/rule-sets/edge/rules", rule).status == 201)
    let elements = "/rule-sets/edge/sets/bad/elements"
    let source = #"{"elements":["192.0.2.1"]}"#
    let early = try stack.post("\(elements)?apply=true", source)
    #expect(early.status != 200, "nothing is applied yet: \(early.text)")
    #expect(try stack.post("\(elements)/remove", source).status == 200)
    #expect(try stack.post("/rule-sets/edge/apply").status == 200)
    let generation = try stack.get("/attachments").body["data"][0]["observed"]["generation"].int
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 0)

    let added = try stack.post("\(elements)?apply=true", source)
    #expect(added.status == 200, "\(added.text)")
    #expect(added.body["data"]["applied"][0]["in_place"].bool == true && added.body["data"]["changed"].int == 1)
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100)
    let attachment = try stack.get("/attachments").body["data"][0]
    #expect(attachment["observed"]["generation"].int == generation && attachment["in_sync"].bool == true, "\(attachment)")

    // What was put in is kept beside the state file.
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 200)

    let removed = try stack.post("\(elements)/remove?apply=true", source)
    #expect(removed.body["data"]["applied"][0]["in_place"].bool == true, "\(removed.text)")
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 200)
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 200)
  }

  @Test("Where one of two interfaces can't have a change, the other hasn't either, and both can be changed again")
  func allOrNone() throws {
    let stack = try Stack.signedIn()
    try stack.namespace.makePair("away", "gone")
    let hosts = (0..<300).map { "198.51.\($0 / 250).\($0 % 250)" }
    let set = #"{"name":"bad","type":"ipv4_addr","elements":[\#(hosts.map { "\"\($0)\"" }.joined(separator: ","))]}"#
    let rule = #"{"name":"blocked","action":"drop","match":{"sources":["@bad"]}}"#
    #expect(try stack.post("/rule-sets", #"{"name":"edge","sets":[\#(set)],"rules":[\#(rule)]}"#).status == 201)
    for name in ["lan0", "lan1"] {
      #expect(try stack.post("/attachments", #"{"interface":"\#(name)","rule_set":"edge"}"#).status == 201)
    }
    // The same revision, but with a set that is small, and with a rule that can't be compiled anew soon.
    let file = "\(stack.folder)/edge.rules"
    try """
    ruleset edge
    revision 1
    set bad {
      type ipv4_addr
      elements 198.51.0.1
    }
    rule blocked: ip saddr @bad drop
    rule out: udp dport 9 redirect away
    """.write(toFile: file, atomically: true, encoding: .utf8)
    _ = try stack.sluice("apply --file \(file) --interface lan1 --socket \(stack.socket)")
    try stack.namespace.run("ip link del away")
    let generation = try stack.metric("sluice_attachment_generation", "lan0")
    let elements = "/rule-sets/edge/sets/bad/elements?apply=true"
    let refused = try stack.post(elements, #"{"elements":["192.0.2.1"]}"#)
    #expect(refused.status >= 400 && refused.text.contains("away"), "\(refused.text)")
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 0)
    for name in ["lan0", "lan1"] { #expect(try stack.metric("sluice_attachment_revision", name) == 1) }
    #expect(try stack.metric("sluice_attachment_generation", "lan0") == generation, "also back without a new one")
    try stack.namespace.makePair("away", "gone")
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    #expect(try stack.metric("sluice_attachment_revision", "lan0") == 1)

    try stack.wait("the API is connected again") { try stack.post("/rule-sets/edge/apply").status == 200 }
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100)
    let both = try stack.post(elements, #"{"elements":["192.0.2.2"]}"#).body["data"]["applied"]
    #expect(both.array.count == 2 && both.array.allSatisfy { $0["in_place"].bool == true }, "\(both)")
  }

  @Test("Where the journal is full and the state file can't be written, a change is made all the same, and the next empties it")
  func fullJournal() throws {
    let stack = try Stack.signedIn()
    let hosts = (0..<300).map { "\"198.51.\($0 / 250).\($0 % 250)\"" }.joined(separator: ",")
    let set = #"{"name":"bad","type":"ipv4_addr","elements":[\#(hosts)]}"#
    let rule = #"{"name":"blocked","action":"drop","match":{"sources":["@bad"]}}"#
    #expect(try stack.post("/rule-sets", #"{"name":"edge","sets":[\#(set)],"rules":[\#(rule)]}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    // Changes of another generation, and a folder where the state file should be.
    let (state, journal) = ("\(stack.folder)/state/state.json", "\(stack.folder)/state/sets.journal")
    let text = String(repeating: "x", count: 17 << 20)
    let entry = #"{"generation":0,"inserted":["\#(text)"],"interface":"lan0","removed":[],"revision":2,"ruleSet":"edge","set":"bad"}"#
    try (entry + "\n").write(toFile: journal, atomically: false, encoding: .utf8)
    try stack.namespace.run("mv \(state) \(state).away; mkdir \(state)")
    func insert(_ element: String) throws -> Stack.Answer {
      try stack.post("/rule-sets/edge/sets/bad/elements?apply=true", #"{"elements":["\#(element)"]}"#)
    }
    let first = try insert("192.0.2.1")
    #expect(first.status == 200 && first.body["data"]["applied"][0]["in_place"].bool == true, "\(first.text)")
    #expect(stack.log("sluiced.log").contains("the state file stays as it was for now"))
    try stack.namespace.run("rmdir \(state); mv \(state).away \(state)")
    #expect(try insert("192.0.2.2").status == 200)
    #expect(try Data(contentsOf: URL(fileURLWithPath: journal)).count < 1000)
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100)
    #expect(try stack.metric("sluice_attachment_revision", "lan0") == 3)
  }

  @Test("A file of lines becomes the set and is live in one step, in the live tables or compiled anew; and is given back")
  func imported() throws {
    let stack = try Stack.signedIn()
    try stack.logIn()
    let set = #"{"name":"bad","type":"ipv4_addr","elements":["198.51.100.0/24"]}"#
    let rule = #"{"name":"blocked","action":"drop","match":{"sources":["@bad"]}}"#
    #expect(try stack.post("/rule-sets", #"{"name":"edge","sets":[\#(set)],"rules":[\#(rule)]}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let file = "\(stack.folder)/list.txt"
    func write(_ more: [String]) throws {
      let hosts = (0..<12_000).map { "198.18.\($0 / 250).\($0 % 250)" } + more
      try hosts.joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
    }
    func bring() throws -> JSON {
      JSON(try stack.sluice("set import edge bad \(file) --apply --json"))
    }
    try write([])
    let first = try bring()
    #expect(first["changed"].int == 12_001 && first["applied"][0]["in_place"].bool == false, "the set was small")
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 0)
    try write(["192.0.2.1"])
    let second = try bring()
    #expect(second["changed"].int == 1 && second["applied"][0]["in_place"].bool == true)
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100)
    #expect(try stack.get("/attachments").body["data"][0]["in_sync"].bool == true)
    let exported = try stack.sluice("set export edge bad")
    #expect(exported.hasPrefix("192.0.2.1\n198.18.0.0\n") && exported.split(separator: "\n").count == 12_001)
    let said = try stack.sluice("set import edge bad - --apply 2>&1 < \(file)")
    #expect(said.contains("changed 0; @bad has 12001"), "\(said)")
    let wrong = try stack.sluice("set import edge bad - 2>&1 <<<'192.0.2.1 x' || echo status=$?")
    #expect(wrong.contains("line 1") && wrong.contains("status=2"), "\(wrong)")
    #expect(try dropped(stack) == 100)
  }

  @Test("New ends for more elements than the journal takes: compiled anew, and not refused")
  func manyNewEnds() throws {
    let stack = try Stack.signedIn()
    try stack.logIn()
    _ = try stack.sluice("rule-set create edge")
    _ = try stack.sluice("set create edge bad --type ipv4_addr")
    _ = try stack.sluice("rule add edge blocked --source @bad --action drop")
    _ = try stack.sluice("attach lan0 --rule-set edge")
    let file = "\(stack.folder)/list.txt"
    for (hours, isFirst) in [(24, true), (48, false)] {
      let hosts = (0...100_000).map { "198.\($0 >> 16).\($0 >> 8 & 255).\($0 & 255) timeout \(hours)h" }
      try hosts.joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
      let answer = JSON(try stack.sluice("set import edge bad \(file) --apply --json"))
      #expect(answer["applied"][0]["element_count"].int == 100_001 && answer["applied"][0]["in_place"].bool == false)
      #expect(isFirst || answer["changed"].int == 100_001)
    }
    #expect(try stack.get("/attachments").body["data"][0]["in_sync"].bool == true)
  }
}
