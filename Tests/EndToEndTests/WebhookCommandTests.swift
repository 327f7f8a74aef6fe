import Foundation
import NetworkSupport
import Testing

/// `sluice webhook`, with events of a real daemon and a receiver that has none of our code.
@Suite("Webhooks end to end", .serialized)
struct WebhookCommandTests {
  /// The programs, with names of hosts of their own; `body` gets what starts a receiver.
  private func withStack(_ body: (Stack) throws -> Void) throws {
    let stack = try Stack()
    try stack.startDaemon()
    try makeCertificates(stack.folder)
    // One name with one address, one whose certificate is another's, and one of whose addresses one is not allowed.
    let hosts = "127.0.0.1 localhost one.test other.test two.test\n10.9.9.9 two.test\n"
    try hosts.write(toFile: "\(stack.folder)/hosts", atomically: true, encoding: .utf8)
    try stack.startAPI(
      ["SLUICE_WEBHOOK_PRIVATE_TARGETS": "127.0.0.0/8", "SLUICE_WEBHOOK_CA": "\(stack.folder)/ca.pem"],
      prefix: ["unshare", "-m", "sh", "-c", "mount --bind \(stack.folder)/hosts /etc/hosts && exec \"$@\"", "sh"])
    try stack.signIn()
    try stack.logIn()
    try body(stack)
  }

  private func makeCertificates(_ folder: String) throws {
    try Shell.run(
      """
      cd \(folder)
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca \
        -keyout ca.key -out ca.pem 2>/dev/null
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=one.test -keyout one.key -out one.csr 2>/dev/null
      echo 'subjectAltName=DNS:one.test,DNS:two.test' >one.ext
      openssl x509 -req -in one.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile one.ext -out one.crt 2>/dev/null
      cat one.crt one.key >one.pem
      """)
  }

  private func receive(_ stack: Stack, port: Int, _ more: String...) throws -> Process {
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "python/webhook_receiver.py")
    let receiver = try stack.start(
      ["python3", script.path, "\(port)", "\(stack.folder)/secrets", "\(stack.folder)/told"] + more, log: "receiver.log")
    try stack.wait("the receiver listens") {
      (try? stack.namespace.run("ss -Hltn sport = :\(port) | grep -q LISTEN")) != nil
    }
    return receiver
  }

  private func stop(_ receiver: Process) {
    // Not asked to end: it may have inherited that it does not listen.
    kill(receiver.processIdentifier, SIGKILL)
    receiver.waitUntilExit()
  }

  private func told(_ stack: Stack) -> [JSON] {
    stack.log("told").split(separator: "\n").map { JSON(String($0)) }
  }

  private func keep(_ secret: String, _ stack: Stack) throws {
    try "\(secret)\n".write(toFile: "\(stack.folder)/secrets", atomically: true, encoding: .utf8)
  }

  @Test("Added, tested, told of a daemon's events, down and up again, changed and removed; all of it signed")
  func life() throws {
    try withStack { stack in
      var receiver = try receive(stack, port: 9000)
      let added = JSON(try stack.sluice("webhook add pager http://127.0.0.1:9000/hook --type applied,attached --json"))
      let secret = try #require(added["secret"].string)
      try keep(secret, stack)
      #expect(try stack.sluice("webhook test pager").contains("pager answered 204"))
      _ = try stack.sluice("rule-set create edge")
      _ = try stack.sluice("attach lan0 --rule-set edge")
      try stack.wait("two events") { told(stack).count >= 3 }
      #expect(told(stack).map { $0["event"]["type"].string } == ["ping", "attached", "applied"])
      #expect(told(stack).allSatisfy { $0["good"].bool == true && $0["host"].string == "127.0.0.1:9000" })
      // Away, while something happens.
      stop(receiver)
      _ = try stack.sluice("rule add edge one --action count")
      _ = try stack.sluice("apply edge")
      try stack.wait("an attempt that fails") {
        try stack.sluice("webhook deliveries pager").contains("connection refused")
      }
      let away = try stack.sluice("webhook test pager 2>&1 || echo status=$?")
      #expect(away.contains("connection refused") && away.contains("status=1"), "\(away)")
      #expect(try stack.sluice("webhook list").contains("closed, "))
      receiver = try receive(stack, port: 9000)
      #expect(try stack.sluice("webhook test pager --json").contains("delivered"))
      // After four attempts that failed the fifth is some 8 s away.
      try stack.wait("the event that waited", atMost: 40) { told(stack).last?["event"]["type"].string == "applied" }
      #expect(told(stack).count == 5)
      let deliveries = JSON(try stack.sluice("webhook deliveries pager --limit 200 --json")).array
      #expect(deliveries.count { $0["result"].string == "delivered" && $0["event_id"].int != 0 } == 3)
      // A new secret signs from now on; the old one does no more.
      let edited = JSON(try stack.sluice("webhook edit pager --new-secret --type all --json"))
      let old = try stack.sluice("webhook test pager 2>&1 || echo status=$?")
      #expect(old.contains("it answered 401"), "\(old)")
      try keep(try #require(edited["secret"].string), stack)
      #expect(try stack.sluice("webhook test pager").contains("answered 204"))
      #expect(try stack.sluice("webhook edit pager --inactive").contains("inactive"))
      #expect(try stack.sluice("webhook show pager").contains("given up        0"))
      #expect(try stack.sluice("webhook remove pager").contains("removed webhook pager"))
      #expect(try stack.sluice("webhook show pager 2>&1 || echo status=$?").contains("status=5"))
      let logs = stack.log("sluice-api.log")
      #expect(!logs.contains(secret) && !logs.contains("/hook"))
      stop(receiver)
    }
  }

  @Test("By TLS to the host that the URL names, and to checked addresses alone")
  func targets() throws {
    try withStack { stack in
      let receiver = try receive(stack, port: 9443, "\(stack.folder)/one.pem")
      func test(_ name: String) throws -> String {
        let url = "https://\(name).test:9443/"
        let secret = try #require(JSON(try stack.sluice("webhook add \(name) \(url) --json"))["secret"].string)
        try keep(secret, stack)
        return try stack.sluice("webhook test \(name) 2>&1 || echo status=$?")
      }
      let one = try test("one")
      #expect(one.contains("one answered 204"), "\(one)")
      #expect(told(stack).map { $0["host"].string } == ["one.test:9443"])
      let other = try test("other")
      #expect(other.contains("status=1") && other.lowercased().contains("certificate"), "another's certificate: \(other)")
      let two = try test("two")
      #expect(two.contains("status=1") && two.contains("10.9.9.9 is no public address"), "\(two)")
      #expect(told(stack).count == 1)
      for url in ["http://10.1.2.3/", "https://169.254.169.254/", "https://[::1]/", "ftp://127.0.0.1/"] {
        let refused = try stack.sluice("webhook add bad '\(url)' 2>&1 || echo status=$?")
        #expect(refused.contains("status=2") && refused.contains("url"), "\(refused)")
      }
      stop(receiver)
    }
  }
}
