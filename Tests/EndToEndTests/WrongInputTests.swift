import Foundation
import NetworkSupport
import Testing

@Suite("Wrong input gets a clear error with the right status, and what was live stays live", .serialized)
struct WrongInputTests {
  @Test("Through the API: interface, prefix, port, name, body, token, scope, capture path")
  func apiRefusals() throws {
    let stack = try Stack.signedIn()
    _ = try stack.post(
      "/rule-sets",
      #"{"name":"edge","rules":[{"name":"look","match":{"protocols":["udp"],"destination_ports":["9"]},"action":"capture"}]}"#)
    #expect(try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#).status == 201)
    let before = try stack.get("/rule-sets/edge").body["data"]["revision"].int

    func rule(_ name: String, _ match: String, _ action: String = #""drop""#) throws -> Stack.Answer {
      try stack.post("/rule-sets/edge/rules", #"{"name":"\#(name)","match":{\#(match)},"action":\#(action)}"#)
    }
    func expect(_ answer: Stack.Answer, _ status: Int, _ code: String, _ words: String...) {
      #expect(answer.status == status, "\(answer.text)")
      #expect(answer.body["error"]["code"].string == code, "\(answer.text)")
      for word in words { #expect(answer.text.contains(word), "\(answer.text)") }
      #expect(answer.body["meta"]["request_id"].string?.isEmpty == false)
    }
    expect(try stack.post("/attachments", #"{"interface":"nope"}"#), 404, "not_found", "lan0")
    expect(try rule("x", #""sources":["10.0.0.1/8"]"#), 422, "validation_failed", "10.0.0.0/8")
    expect(try rule("x", #""protocols":["tcp"],"destination_ports":["70000"]"#), 422, "validation_failed", "65535")
    expect(try rule("x", #""destination_ports":["80"]"#), 422, "validation_failed", "tcp")
    expect(try rule("look", #""protocols":["tcp"]"#), 409, "conflict", "look")
    expect(try stack.post("/rule-sets", #"{"name":"edge"}"#), 409, "conflict", "name")
    expect(try stack.post("/rule-sets/edge/rules", "this is not JSON"), 400, "invalid_json")
    expect(try stack.request("POST", "/rule-sets", body: "a=b", contentType: "text/plain"), 415, "unsupported_media_type")
    expect(
      try stack.post("/rule-sets/edge/rules", #"{"name":""# + String(repeating: "x", count: 10_000_000) + #""}"#), 413,
      "payload_too_large")
    expect(try stack.get("/rule-sets", token: "a.b.c"), 401, "unauthenticated")
    expect(try stack.get("/no/such/thing"), 404, "not_found")
    expect(try stack.request("DELETE", "/auth/login"), 405, "method_not_allowed")

    // Files that exist are not overwritten, and nothing is written elsewhere.
    try Shell.run("touch \(stack.captures)/there.pcapng")
    expect(try stack.post("/captures", #"{"interface":"lan0","path":"there.pcapng"}"#), 422, "node_refused", "EEXIST")
    expect(try stack.post("/captures", #"{"interface":"lan0","path":"/etc/x.pcapng"}"#), 422, "validation_failed", "path")
    expect(try stack.post("/captures", #"{"interface":"lan0","path":"../x.pcapng"}"#), 422, "validation_failed", "path")

    // A viewer may look and not touch.
    let user = try stack.post(
      "/users",
      #"{"email":"eve@example.org","name":"Eve","password":"correct horse battery","roles":["Viewer"]}"#)
    #expect(user.status == 201, "\(user.text)")
    let login = try stack.post(
      "/auth/login", #"{"email":"eve@example.org","password":"correct horse battery"}"#, token: "")
    let viewer = try #require(login.body["data"]["access_token"].string)
    #expect(try stack.get("/rule-sets", token: viewer).status == 200)
    let forbidden = try stack.post("/rule-sets", #"{"name":"mine"}"#, token: viewer)
    #expect(forbidden.status == 403 && forbidden.text.contains("rules:write"), "\(forbidden.text)")

    #expect(try stack.get("/rule-sets/edge").body["data"]["revision"].int == before)
    #expect(try stack.metric("sluice_attachment_generation", "lan0") == 2)
    let secrets = stack.log("sluice-api.log") + stack.log("sluiced.log")
    for secret in ["admin123", Stack.password, viewer, stack.token ?? "?", "correct horse battery"] {
      #expect(!secrets.contains(secret), "a secret is in the logs")
    }
  }

  @Test("A daemon that is down: 502 with the remedy, and the desired state is as it was")
  func nodeDown() throws {
    let stack = try Stack()
    try stack.startAPI()
    try stack.signIn()
    let answer = try stack.post("/attachments", #"{"interface":"lan0"}"#)
    #expect(answer.status == 502 && answer.body["error"]["code"].string == "node_unavailable", "\(answer.text)")
    #expect(answer.text.contains("sluiced"), "\(answer.text)")
    #expect(try stack.get("/attachments").body["data"].array.isEmpty)
  }

  @Test("A daemon without capabilities starts, and says which are missing when asked to attach")
  func withoutCapabilities() throws {
    let stack = try Stack()
    try stack.startDaemon(prefix: ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"])
    let error = try #require(throws: ShellError.self) { try stack.sluice("attach lan0 --socket \(stack.socket)") }
    #expect(error.output.contains("CAP_BPF") && error.output.contains("CAP_NET_ADMIN"), "\(error.output)")
    #expect(try stack.metric("sluice_interface_packets_total") == 0)
  }

  @Test("A second daemon on the same state is refused, and the first goes on")
  func secondDaemon() throws {
    let stack = try Stack()
    try stack.startDaemon()
    let error = try #require(throws: ShellError.self) {
      try stack.namespace.run(
        """
        timeout 10 \(stack.binaries)/sluiced --set daemon.state_directory=\(stack.folder)/state \
          --set control.socket=\(stack.folder)/other.sock --set metrics.port=9412 \
          --set daemon.capture_directory=\(stack.captures) --set daemon.bpffs=\(stack.bpffs)
        """)
    }
    #expect(error.status == 1 && error.output.contains("sluiced.lock"), "\(error)")
    #expect(try stack.sluice("status --socket \(stack.socket)").contains("lan0") == false)
  }

  @Test("A full disk: the apply is refused in words, and the previous rules stay live")
  func fullDisk() throws {
    let stack = try Stack()
    try Shell.run("mkdir -p \(stack.folder)/state && mount -t tmpfs -o size=64k tmpfs \(stack.folder)/state")
    try stack.startDaemon()
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    let rules = "\(stack.folder)/edge.rules"
    try "ruleset edge\nrule drop-nine: udp dport 9 drop\n".write(toFile: rules, atomically: true, encoding: .utf8)
    _ = try stack.sluice("apply --file \(rules) --interface lan0 --socket \(stack.socket)")
    _ = try? Shell.run("dd if=/dev/zero of=\(stack.folder)/state/filler bs=1k count=100")
    try "ruleset edge\nrule drop-ten: udp dport 10 drop\n".write(toFile: rules, atomically: true, encoding: .utf8)
    let error = try #require(throws: ShellError.self) {
      try stack.sluice("apply --file \(rules) --interface lan0 --socket \(stack.socket)")
    }
    #expect(error.output.contains("ENOSPC") && error.output.contains("nothing was changed"), "\(error.output)")
    try stack.send(100, ports: [9, 10])
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 50)
    stack.stopDaemon(SIGKILL)
    try stack.startDaemon()
    #expect(try stack.metric("sluice_rule_packets_total", #"rule="drop-nine""#) == 50)
  }

  @Test(
    "The daemon's own start: settings that cannot be, each named with its place",
    arguments: [
      ("--set metrics.port=70000", "metrics.port"), ("--set no.such=1", "no.such"), ("--config /nowhere.yaml", "/nowhere.yaml"),
      ("--set daemon.state_directory=relative", "daemon.state_directory"),
    ])
  func badSettings(_ flags: String, _ word: String) throws {
    let stack = try Stack()
    let error = try #require(throws: ShellError.self) { try stack.namespace.run("\(stack.binaries)/sluiced --check \(flags)") }
    #expect(error.status == 64 && error.output.contains(word), "\(error)")
  }
}
