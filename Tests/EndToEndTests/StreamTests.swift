import Foundation
import NetworkSupport
import Testing

@Suite("Captures, to their reader while they run, to a disk that is stuck, and over changes of rules", .serialized)
struct StreamTests {
  /// - Parameter prefix: As of ``Stack/startDaemon(prefix:)``.
  private func start(prefix: (Stack) throws -> [String] = { _ in [] }) throws -> Stack {
    let stack = try Stack()
    try stack.startDaemon(prefix: try prefix(stack))
    let rules = "\(stack.folder)/edge.rules"
    try "ruleset edge\nrule look-nine: udp dport 9 capture\n".write(toFile: rules, atomically: true, encoding: .utf8)
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    _ = try stack.sluice("apply --file \(rules) --interface lan0 --socket \(stack.socket)")
    return stack
  }

  private func running(_ stack: Stack) throws -> Int { try stack.metric("sluice_captures_running") }

  /// Starts a shell command inside that goes on by itself; its end leaves a file.
  private func background(_ stack: Stack, _ command: String) throws {
    let script = "\(stack.folder)/background.sh"
    let set = "HOME=\(stack.folder)/home XDG_CONFIG_HOME=\(stack.folder)/home PATH=\(stack.binaries):$PATH"
    try "set -o pipefail; export \(set)\n\(command)\necho $? > \(stack.folder)/ended\n".write(
      toFile: script, atomically: true, encoding: .utf8)
    try Data().write(to: URL(fileURLWithPath: "\(stack.folder)/background.log"))
    let log = try #require(FileHandle(forWritingAtPath: "\(stack.folder)/background.log"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["ip", "netns", "exec", stack.namespace.name, "bash", script]
    (process.standardOutput, process.standardError, process.standardInput) = (log, log, FileHandle.nullDevice)
    try process.run()
  }

  /// Of the one capture.
  private func identifier(_ stack: Stack) throws -> String {
    try stack.sluice("capture list --json --socket \(stack.socket) | jq -r .[0].id").trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private func ended(_ stack: Stack) -> String? { try? String(contentsOfFile: "\(stack.folder)/ended", encoding: .utf8) }

  @Test("Piped to tshark: every packet that was captured, and the statistics at the end")
  func pipe() throws {
    let stack = try start()
    try background(
      stack,
      "sluice capture lan0 -w - --packets 1000 --socket \(stack.socket) | tee \(stack.folder)/copy.pcapng | tshark -r - > \(stack.folder)/packets")
    try stack.wait("the capture runs") { try running(stack) == 1 }
    try stack.send(2000, ports: [9, 10])
    try stack.wait("the capture ends by its limit") { ended(stack) != nil }
    #expect(ended(stack) == "0\n", "\(stack.log("background.log"))")
    let count = try Shell.run("wc -l < \(stack.folder)/packets").trimmingCharacters(in: .whitespacesAndNewlines)
    #expect(count == "1000", "\(stack.log("background.log"))")
    let info = try Shell.run("capinfos -M \(stack.folder)/copy.pcapng 2>&1")
    #expect(info.contains("1000"), "\(info)")
    #expect(try running(stack) == 0)
  }

  @Test("A reader that goes ends the capture; a signal completes it")
  func readerGone() throws {
    let stack = try start()
    try background(stack, "sluice capture lan0 -w - --socket \(stack.socket) | head -c 100 > /dev/null")
    try stack.wait("the capture runs") { try stack.metric("sluice_capture_packets_total") >= 0 && (try running(stack)) == 1 }
    try stack.send(100, ports: [9])
    try stack.wait("the capture ends with its reader") { try running(stack) == 0 }
    try FileManager.default.removeItem(atPath: "\(stack.folder)/ended")

    try background(stack, "exec 3>&1; sluice capture lan0 -w \(stack.folder)/own.pcapng --socket \(stack.socket) & echo $! > \(stack.folder)/pid; wait $!")
    try stack.wait("the capture runs") { try running(stack) == 1 }
    try stack.send(100, ports: [9])
    try Shell.run("kill -INT $(cat \(stack.folder)/pid)")
    try stack.wait("it ends") { ended(stack) != nil }
    let count = try Shell.run("tshark -r \(stack.folder)/own.pcapng 2>/dev/null | wc -l")
    #expect(count.trimmingCharacters(in: .whitespacesAndNewlines) == "100", "\(stack.log("background.log"))")
    #expect(try running(stack) == 0)
  }

  @Test("A daemon that stops completes what it streams: every packet, and the last report")
  func daemonStops() throws {
    let stack = try start()
    try background(stack, "sluice capture lan0 -w \(stack.folder)/own.pcapng --socket \(stack.socket)")
    try stack.wait("the capture runs") { try running(stack) == 1 }
    try stack.send(1000, ports: [9])
    stack.stopDaemon()
    try stack.wait("it ends") { ended(stack) != nil }
    let count = try Shell.run("tshark -r \(stack.folder)/own.pcapng 2>/dev/null | wc -l")
    #expect(count.trimmingCharacters(in: .whitespacesAndNewlines) == "1000", "\(stack.log("background.log"))")
    #expect(stack.log("background.log").contains("finished\n1000 packets received: 1000 written"), "\(stack.log("background.log"))")
    #expect(ended(stack) == "0\n")
  }

  @Test("A disk that is stuck holds up nobody but who waits for the file, which is complete when the disk goes on")
  func stuckDisk() throws {
    let stack = try start { stack in
      try Shell.run("mkdir \(stack.captures) && truncate -s 16M \(stack.folder)/disk && mkfs.ext4 -q \(stack.folder)/disk")
      return ["sh", "-c", "mount -o loop \(stack.folder)/disk \(stack.captures) && exec \"$0\" \"$@\""]
    }
    let daemon = try #require(stack.daemonIdentifier)
    let inside = "nsenter -t \(daemon) -m"
    _ = try stack.sluice("capture start lan0 --path look.pcapng --socket \(stack.socket)")
    // It goes on by itself, whatever becomes of this test.
    let script = "fsfreeze -f \(stack.captures) && touch \(stack.folder)/frozen; sleep 5; fsfreeze -u \(stack.captures)"
    let freezer = try stack.start(["nsenter", "-t", "\(daemon)", "-m", "sh", "-c", script], log: "freeze.log")
    defer { freezer.waitUntilExit() }
    try stack.wait("the disk is stuck") { FileManager.default.fileExists(atPath: "\(stack.folder)/frozen") }
    try stack.send(100, ports: [9])
    let second = try stack.follow("capture start lan0 --path second.pcapng --socket \(stack.socket)", into: "second.log")
    try background(stack, "sluice capture stop \(try identifier(stack)) --socket \(stack.socket)")
    usleep(300_000)
    let start = Date()
    #expect(try stack.sluice("status --socket \(stack.socket)").contains("lan0"))
    _ = try stack.sluice("apply --file \(stack.folder)/edge.rules --interface lan0 --socket \(stack.socket)")
    _ = try stack.sluice("detach lan0 --socket \(stack.socket)")
    _ = try stack.sluice("attach lan0 --socket \(stack.socket)")
    _ = try stack.sluice("apply --file \(stack.folder)/edge.rules --interface lan0 --socket \(stack.socket)")
    #expect(Date().timeIntervalSince(start) < 4, "status, apply, detach, and sockets for the next attachment")
    #expect(ended(stack) == nil, "the file is not complete yet")
    try stack.wait("the disk goes on") { ended(stack) != nil }
    #expect(ended(stack) == "0\n", "\(stack.log("background.log"))")
    #expect(stack.log("background.log").contains("100 packets received: 100 written"), "\(stack.log("background.log"))")
    second.waitUntilExit()
    #expect(second.terminationStatus == 0, "\(stack.log("second.log"))")
    let count = try Shell.run("\(inside) tshark -r \(stack.captures)/look.pcapng 2>/dev/null | wc -l")
    #expect(count.trimmingCharacters(in: .whitespacesAndNewlines) == "100")
    #expect(try Shell.run("\(inside) stat -c %a \(stack.captures)/look.pcapng") == "640\n")
  }

  @Test("A capture of a rule follows the rule, which goes and comes again")
  func ruleComesAgain() throws {
    let stack = try start()
    let target = "--interface lan0 --socket \(stack.socket)"
    let other = "\(stack.folder)/other.rules"
    try "ruleset edge\nrule other: udp dport 10 capture\n".write(toFile: other, atomically: true, encoding: .utf8)
    _ = try stack.sluice("capture start lan0 --rule look-nine --path look.pcapng --socket \(stack.socket)")
    try stack.send(10, ports: [9])
    _ = try stack.sluice("apply --file \(other) \(target)")
    try stack.send(20, ports: [9, 10])
    _ = try stack.sluice("apply --file \(stack.folder)/edge.rules \(target)")
    try stack.send(30, ports: [9])
    let ended = try stack.sluice("capture stop \(try identifier(stack)) --socket \(stack.socket)")
    #expect(ended.contains("40 written"), "\(ended)")
  }

  @Test("Through the API, in chunks; refused before the first byte with a status")
  func api() throws {
    let stack = try start()
    try stack.startAPI()
    try stack.signIn()
    let refused = try stack.post("/captures/stream", #"{"interface":"nope"}"#)
    #expect(refused.status == 404, "\(refused.text)")
    try background(
      stack,
      """
      curl -sf http://127.0.0.1:8080/api/v1/captures/stream -H 'Authorization: Bearer \(stack.token ?? "")' \
        -H 'Content-Type: application/json' -d '{"interface":"lan0","packet_limit":500}' | tshark -r - > \(stack.folder)/packets
      """)
    try stack.wait("the capture runs") { try running(stack) == 1 }
    try stack.send(1000, ports: [9])
    try stack.wait("the answer ends with the capture") { ended(stack) != nil }
    let count = try Shell.run("wc -l < \(stack.folder)/packets").trimmingCharacters(in: .whitespacesAndNewlines)
    #expect(count == "500", "\(stack.log("background.log"))")
  }
}
