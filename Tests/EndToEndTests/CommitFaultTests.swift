import Foundation
import NetworkSupport
import Testing

@Suite("A daemon that vanishes in the middle of a commit", .serialized)
struct CommitFaultTests {
  @Test("It is one revision or the other, the caller is told, nothing is applied twice, and the log holds together")
  func vanishes() throws {
    let stack = try Stack.signedIn()
    // Large enough for a commit to take a while.
    let rules = (0..<2000).map { n in
      #"{"name":"r\#(n)","match":{"sources":["10.\#(n / 256).\#(n % 256).0/24"],"protocols":["udp"]},"action":"drop"}"#
    }
    let body = #"{"name":"edge","rules":[\#(rules.joined(separator: ","))]}"#
    #expect(try stack.post("/rule-sets", body).status == 201)
    let made = try stack.post("/attachments", #"{"interface":"lan0","rule_set":"edge"}"#)
    #expect(made.status == 201, "\(made.text)")
    let id: String = try #require(made.body["data"]["id"].string)
    func recorded() throws -> Int? { try stack.get("/attachments/\(id)").body["data"]["applied_revision"].int }
    func live() throws -> Int { try stack.metric("sluice_attachment_revision", #"interface="lan0""#) }
    var answers: Set<Int> = []
    for (round, milliseconds) in [0, 20, 60, 120, 250, 2000].enumerated() {
      let before = try #require(try recorded())
      #expect(try live() == before)
      let edit = try stack.request(
        "PUT", "/rule-sets/edge/rules/r0", body: #"{"action":"drop","comment":"round \#(round)"}"#)
      #expect(edit.status == 200)
      let (caller, file) = try apply(stack, round)
      usleep(UInt32(milliseconds) * 1000)
      stack.stopDaemon(SIGKILL)
      caller.waitUntilExit()
      let status = Int(stack.log(file)) ?? 0
      let answer = stack.log(file + ".json")
      answers.insert(status)
      try stack.startDaemon()
      // What the caller was told is what is so: done, or not recorded and to be asked for again.
      #expect(status == 200 || status == 502, "after \(milliseconds) ms: \(answer)")
      #expect(try [before, before + 1].contains(live()))
      if status == 200 { #expect(try live() == before + 1) }
      #expect(try recorded() == (status == 200 ? before + 1 : before))
      if status == 502 { #expect(answer.contains("node_unavailable")) }
      // Asked again until the API has noticed that the daemon is back.
      try stack.wait("the commit is done") { try stack.post("/rule-sets/edge/apply").status == 200 }
      #expect(try live() == before + 1)
      #expect(try recorded() == before + 1)
    }
    #expect(answers == [200, 502], "neither too early nor too late")
    try stack.logIn()
    #expect(try stack.sluice("audit verify").contains("the log is whole"))
  }

  /// Asks for the commit and does not wait: a running curl, and the file that will have the status.
  private func apply(_ stack: Stack, _ round: Int) throws -> (Process, file: String) {
    let file = "answer-\(round)"
    let path = "\(stack.folder)/\(file)"
    try Data().write(to: URL(fileURLWithPath: path))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "ip", "netns", "exec", stack.namespace.name, "curl", "-s", "-m", "60", "-o", path + ".json", "-w", "%{http_code}",
      "-X", "POST", "-H", "Content-Type: application/json", "-H", "Authorization: Bearer \(stack.token ?? "")", "-d",
      "{}", "http://127.0.0.1:8080/api/v1/rule-sets/edge/apply",
    ]
    let output: FileHandle = try #require(FileHandle(forWritingAtPath: path))
    process.standardOutput = output
    process.standardInput = FileHandle.nullDevice
    try process.run()
    return (process, file)
  }
}
