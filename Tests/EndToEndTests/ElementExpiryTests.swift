import Foundation
import Testing

/// Elements of sets that end, on a real interface.
@Suite("Elements that end", .serialized)
struct ElementExpiryTests {
  private static let elements = "/rule-sets/edge/sets/bad/elements"

  /// With a set of so many elements, and a rule that drops what comes from them; packets come from 192.0.2.1.
  private func start(_ elementCount: Int) throws -> Stack {
    let stack = try Stack.signedIn()
    #expect(try stack.post("/rule-sets", #"{"name":"edge"}"#).status == 201)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let hosts = (0..<elementCount).map { "\"198.51.\($0 / 250).\($0 % 250)\"" }.joined(separator: ",")
    let set = #"{"name":"bad","type":"ipv4_addr","elements":[\#(hosts)]}"#
    #expect(try stack.post("/rule-sets/edge/sets", set).status == 201)
    let rule = #"{"name":"blocked","action":"drop","match":{"sources":["@bad"]}}"#
    #expect(try stack.post("/rule-sets/edge/rules", rule).status == 201)
    #expect(try stack.post("/rule-sets/edge/apply").status == 200)
    return stack
  }

  private func dropped(_ stack: Stack) throws -> Int {
    try stack.metric("sluice_rule_packets_total", "rule=\"blocked\"")
  }

  private func ended(_ stack: Stack) throws -> Int { try stack.metric("sluice_set_elements_expired_total") }

  @Test("The daemon alone takes an element out on time, of a large set in the live tables", arguments: [300, 3])
  func onTime(_ elementCount: Int) throws {
    let stack = try start(elementCount)
    let isLarge = elementCount > 256
    let added = try stack.post("\(Self.elements)?apply=true", #"{"elements":["192.0.2.1"],"ttl_seconds":3}"#)
    #expect(added.status == 200 && added.body["data"]["applied"][0]["in_place"].bool == isLarge, "\(added.text)")
    let generation = try stack.get("/attachments").body["data"][0]["observed"]["generation"].int ?? 0
    let summary = try stack.get("/rule-sets/edge/sets/bad").body["data"]
    #expect(summary["element_count"].int == elementCount + 1 && summary["expiring_count"].int == 1)
    let moment = try #require(summary["next_expiry"].string)
    #expect(try stack.metric("sluice_attachment_expiring_elements") == 1)
    stack.stopAPI(SIGKILL)
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100)

    try stack.wait("the element ended") { try ended(stack) == 1 }
    let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    let late = Date().timeIntervalSince(try Date(moment, strategy: style))
    #expect((0..<1.5).contains(late), "\(late) seconds after its moment")
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100, "it is out, and the rule's counter goes on")
    #expect(try stack.metric("sluice_attachment_expiring_elements") == 0)
    let events = try stack.sluice("events --json --socket \(stack.socket) --type element_expired")
    #expect(JSON(events)["fields"]["sets"].string == "bad" && JSON(events)["fields"]["element_count"].string == "1", "\(events)")

    // The API doesn't count it, the next daemon doesn't have it, and an apply doesn't bring it back.
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    try stack.startAPI()
    let attachment = try stack.get("/attachments").body["data"][0]
    #expect(attachment["in_sync"].bool == true)
    #expect(attachment["observed"]["generation"].int == (isLarge ? generation : generation + 1))
    #expect(try stack.get("/rule-sets/edge/sets/bad").body["data"]["element_count"].int == elementCount)
    let again = try stack.post("/rule-sets/edge/apply")
    #expect(again.body["data"]["warnings"].array.contains { $0.string?.contains("1 elements of its sets had ended") == true }, "\(again.text)")
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100)
  }

  @Test("Adding it once more renews it, and without an end it stays; both are kept for the next daemon")
  func renewed() throws {
    let stack = try start(300)
    func add(_ element: String) throws {
      let answer = try stack.post("\(Self.elements)?apply=true", #"{"elements":["\#(element)"]}"#)
      #expect(answer.status == 200 && answer.body["data"]["changed"].int == 1, "\(answer.text)")
    }
    try add("192.0.2.1 timeout 2s")
    try add("192.0.2.1 timeout 1h")
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    let end = Date(timeIntervalSinceNow: 2.2)
    while Date() < end { usleep(50_000) }
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100 && ended(stack) == 0)
    try add("192.0.2.1 timeout 2s")
    try add("192.0.2.1")
    #expect(try stack.metric("sluice_attachment_expiring_elements") == 0)
  }

  @Test("A daemon that was dead when the moment came has the element no more, and says so once")
  func whileDead() throws {
    let stack = try start(300)
    let added = try stack.post("\(Self.elements)?apply=true", #"{"elements":["192.0.2.1 timeout 2s"]}"#)
    #expect(added.status == 200, "\(added.text)")
    stack.stopDaemon(SIGKILL)
    try stack.send(20, ports: [9])
    let end = Date(timeIntervalSinceNow: 2.2)
    while Date() < end { usleep(50_000) }
    try stack.startDaemon()
    #expect(try ended(stack) == 1 && dropped(stack) == 20)
    try stack.send(20, ports: [9])
    #expect(try dropped(stack) == 20)
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    #expect(try ended(stack) == 0)
  }

  @Test("A damaged journal: the daemon starts with everything that was whole, and says loudly what wasn't")
  func damagedJournal() throws {
    let stack = try start(300)
    for host in ["192.0.2.1", "203.0.113.1", "203.0.113.2"] {
      #expect(try stack.post("\(Self.elements)?apply=true", #"{"elements":["\#(host)"]}"#).status == 200)
    }
    stack.stopDaemon(SIGKILL)
    let path = "\(stack.folder)/state/sets.journal"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try text.replacing("203.0.113.1", with: "203.0.113.9").write(toFile: path, atomically: true, encoding: .utf8)
    try stack.startDaemon()
    #expect(stack.log("sluiced.log").contains("1 of 3 lines are damaged, the first is line 2"), "\(stack.log("sluiced.log"))")
    #expect(try String(contentsOfFile: path + ".damaged", encoding: .utf8).contains("203.0.113.9"))
    #expect(try String(contentsOfFile: path, encoding: .utf8).isEmpty)
    try stack.send(100, ports: [9])
    #expect(try dropped(stack) == 100)
    let attachment = try stack.get("/attachments").body["data"][0]
    #expect(attachment["in_sync"].bool == false, "what was lost can be seen")
    #expect(try stack.post("/rule-sets/edge/apply").status == 200)
    #expect(try stack.get("/attachments").body["data"][0]["in_sync"].bool == true)
    let state = try String(contentsOfFile: "\(stack.folder)/state/state.json", encoding: .utf8)
    #expect(state.contains("203.0.113.1") && state.contains("203.0.113.2") && !state.contains("203.0.113.9"))
  }
}
