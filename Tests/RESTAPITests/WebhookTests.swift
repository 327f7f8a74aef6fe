import ControlProtocol
import Crypto
import DatabaseSupport
import Foundation
import HTTPTypes
import Identity
import Storage
import Synchronization
import Telemetry
import Testing

@testable import RESTAPI

@Suite("Webhooks")
struct WebhookTests {
  @Test(
    "A receiver that fails first is told again, signed, in order, and only of what it asked for",
    arguments: TestBackend.allCases)
  func retries(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, webhooks: .loopback) { api in
      let receiver = Receiver()
      try await receiver.serve { url in
        let token = try await api.token()
        try await api.happen(1...2)
        let made = try await api.post(
          "/webhooks", token, ["name": "pager", "url": .string(url), "types": ["applied", "rule_expired"]])
        #expect(made.status == 201, "\(made.text)")
        let secret = try #require(made.data["secret"]?.string)
        let path = "/webhooks/\(try #require(made.data["id"]?.string))"
        let read = try await api.get(path, token)
        #expect(read.data["secret"] == nil && read.data["circuit"] == "closed" && !read.text.contains(secret))
        receiver.willAnswer([.internalServerError, .found])
        try await api.happen(3...3)
        try await api.happen(4...4, kind: "refused")
        try await api.happen(5...5, kind: "rule_expired")
        try await api.sending {
          try await eventually("both events") { receiver.told.count == 4 }
          try await eventually("it is well again") { try await api.get(path, token).data["failures"] == 0 }
        }
        let told = receiver.told
        #expect(told.map(\.sequence) == [3, 3, 3, 5])
        for request in told { #expect(request.isSigned(by: secret)) }
        let names = told.map { $0.headers[HTTPField.Name("Sluice-Delivery")!] ?? "" }
        #expect(Set(names[..<3]).count == 1 && names[3] != names[0], "attempts of one event have one name")
        let log = try await api.get(path + "/deliveries", token)
        #expect(log.items.map { $0["result"] } == ["delivered", "delivered", "failed", "failed"], "\(log.text)")
        #expect(log.items.map { $0["status"]?.integer } == [204, 204, 302, 500])
        #expect(log.items.map { $0["attempt"]?.integer } == [1, 3, 2, 1])
        let after = try await api.get(path, token).data
        #expect(after["delivered"] == 2 && after["abandoned"] == 0 && after["last_delivered_at"]?.string != nil)
        #expect(try await !api.get("/audit-log?limit=200", token).text.contains(secret))
        #expect(!api.logs.lines.contains { $0.contains(secret) })
      }
    }
  }

  @Test("Copies of the API on one database tell each event once, in order", arguments: TestBackend.allCases)
  func copies(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, webhooks: .loopback) { api in
      let receiver = Receiver()
      try await receiver.serve { url in
        let token = try await api.token()
        #expect(try await api.post("/webhooks", token, ["name": "a", "url": .string(url)]).status == 201)
        try await api.happen(1...25)
        try await api.sending(copies: 3) {
          try await eventually("all events") { receiver.told.count >= 25 }
          try await api.happen(26...50)
          try await eventually("the others") { receiver.told.count >= 50 }
          try await eventually("nothing is left to do") { try await api.store.leaseWebhook(for: 0) == nil }
        }
        #expect(receiver.told.map(\.sequence) == Array(1...50))
      }
    }
  }

  @Test("After failures in a row the circuit opens, one event tries it later, and it closes where that arrives")
  func circuit() async throws {
    try await TestAPI.with(webhooks: .loopback) { api in
      let receiver = Receiver()
      try await receiver.serve { url in
        let token = try await api.token()
        let made = try await api.post("/webhooks", token, ["name": "a", "url": .string(url)])
        let id = try #require(made.data["id"]?.string.flatMap { UUID(uuidString: $0) })
        let path = "/webhooks/\(id.uuidString.lowercased())"
        func circuit() async throws -> JSONValue? { try await api.get(path, token).data["circuit"] }
        receiver.willAnswer([.serviceUnavailable, .serviceUnavailable])
        try await api.happen(1...3)
        // As if it had failed four times before.
        try await api.fail(webhook: id, times: Webhook.circuitFailures - 1, nextAttempt: .distantPast)
        #expect(try await circuit() == "closed")
        try await api.sending {
          try await eventually("the circuit opens") { try await circuit() == "open" }
          #expect(receiver.told.count == 1)
          let open = try await api.get(path, token).data
          #expect(open["failures"] == 5 && open["next_attempt_at"]?.string != nil)
          try await eventually("metrics know it") {
            let metrics = try await api.get("/metrics").text
            return metrics.contains("sluice_api_webhooks{circuit=\"open\"} 1")
              && metrics.contains("sluice_api_webhook_backlog_events 3")
          }
        }
        #expect(api.logs.lines.contains { $0.contains("circuit opens") && $0.contains("webhook=a") })
        #expect(!api.logs.lines.contains { $0.contains("/hook") }, "a path may be as good as a password")
        #expect(try await api.get("/metrics").text.contains("sluice_api_webhook_circuits_opened_total 1"))
        // Its time comes, and the try fails: open again, for longer.
        try await api.fail(webhook: id, times: 5, nextAttempt: .distantPast)
        #expect(try await circuit() == "half_open")
        try await api.sending {
          try await eventually("the try") { receiver.told.count == 2 }
          try await eventually("it is open again") { try await circuit() == "open" }
        }
        // And arrives: everything goes.
        try await api.fail(webhook: id, times: 6, nextAttempt: .distantPast)
        try await api.sending {
          try await eventually("all events") { receiver.told.count == 5 }
          try await eventually("the circuit closes") { try await circuit() == "closed" }
        }
        #expect(receiver.told.map(\.sequence) == [1, 1, 1, 2, 3])
        #expect(api.logs.lines.contains { $0.contains("circuit closes") })
      }
    }
  }

  @Test("Waits double, with jitter; once the circuit is open they are longer, up to an hour")
  func delays() {
    let whole: [Double] = [1, 2, 4, 8, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    for (index, seconds) in whole.enumerated() {
      for _ in 0..<20 { #expect((seconds / 2...seconds).contains(WebhookSender.delay(after: index + 1))) }
    }
    #expect(WebhookSender.delay(after: Int.max) <= 3600)
    #expect(Set((0..<20).map { _ in WebhookSender.delay(after: 9) }).count > 1)
  }

  @Test("What failed for a day is given up, visibly, and the next event has its turn")
  func abandoned() async throws {
    try await TestAPI.with(webhooks: .loopback) { api in
      let receiver = Receiver()
      try await receiver.serve { url in
        let token = try await api.token()
        let made = try await api.post("/webhooks", token, ["name": "a", "url": .string(url)])
        let path = "/webhooks/\(try #require(made.data["id"]?.string))"
        receiver.willAnswer([.internalServerError])
        try await api.happen(1...1, at: Date(timeIntervalSinceNow: -90_000))
        // It has failed before.
        let leased = try #require(try await api.store.leaseWebhook(for: 10))
        _ = try await api.store.recordProgress(
          WebhookProgress(
            lastEvent: leased.webhook.lastEvent, failures: Webhook.circuitFailures - 1, nextAttemptAt: Date(), delivery: nil,
            leaseSeconds: nil), of: leased)
        try await api.sending {
          try await eventually("it is given up") { try await api.get(path, token).data["abandoned"] == 1 }
          // Not to wait for the circuit.
          for isActive in [false, true] { _ = try await api.send(.patch, path, token, ["is_active": .bool(isActive)]) }
          try await api.happen(2...2)
          try await eventually("the second event") { receiver.told.count == 2 }
        }
        #expect(receiver.told.map(\.sequence) == [1, 2])
        let deliveries = try await api.get(path + "/deliveries", token).items
        #expect(deliveries.map { $0["result"] } == ["delivered", "abandoned"])
        let state = try await api.get(path, token).data
        #expect(state["abandoned"] == 1 && state["delivered"] == 1 && state["failures"] == 0)
        // Old, because we were away, and never tried: one failure is not the end.
        receiver.willAnswer([.internalServerError])
        try await api.happen(3...3, at: Date(timeIntervalSinceNow: -90_000))
        try await api.sending { try await eventually("its second try") { receiver.told.count == 4 } }
        #expect(receiver.told.map(\.sequence) == [1, 2, 3, 3])
        #expect(api.logs.lines.contains { $0.contains("given up") })
      }
    }
  }

  @Test("Where nobody listens, attempts come ever later; off and on again begins anew")
  func nobody() async throws {
    try await TestAPI.with(webhooks: .loopback) { api in
      let token = try await api.token()
      let made = try await api.post("/webhooks", token, ["name": "a", "url": "http://127.0.0.1:1/hook"])
      let path = "/webhooks/\(try #require(made.data["id"]?.string))"
      try await api.happen(1...2)
      try await api.sending {
        try await eventually("two failures") { (try await api.get(path, token).data["failures"]?.integer ?? 0) >= 2 }
      }
      #expect(try await api.get(path, token).data["next_attempt_at"]?.string != nil)
      let deliveries = try await api.get(path + "/deliveries", token).items
      #expect(deliveries.allSatisfy { $0["event_type"] == "applied" && $0["status"] == .null })
      #expect(deliveries.allSatisfy { $0["error"] == "connection refused" }, "\(deliveries)")
      #expect(Set(deliveries.map { $0["event_id"] }).count == 1, "one event is what it is tried with")
      _ = try await api.send(.patch, path, token, ["is_active": false])
      let on = try await api.send(.patch, path, token, ["is_active": true])
      #expect(on.data["failures"] == 0 && on.data["circuit"] == "closed")
      #expect(try await api.store.leaseWebhook(for: 10) == nil)
    }
  }

  @Test("A test is sent at once whatever the circuit says, shows in the log, and wakes what waits", arguments: TestBackend.allCases)
  func test(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend, webhooks: .loopback) { api in
      let receiver = Receiver()
      try await receiver.serve { url in
        let token = try await api.token()
        let secret = "a secret of my own"
        let made = try await api.post("/webhooks", token, ["name": "a", "url": .string(url), "secret": .string(secret)])
        let id = try #require(made.data["id"]?.string.flatMap { UUID(uuidString: $0) })
        let path = "/webhooks/\(id.uuidString.lowercased())"
        try await api.happen(1...1)
        try await api.fail(webhook: id, times: 7, nextAttempt: Date(timeIntervalSinceNow: 3600))
        receiver.willAnswer([.internalServerError])
        let failed = try await api.post(path + "/test", token, .null)
        #expect(failed.data["result"] == "failed" && failed.data["status"] == 500 && failed.data["event_type"] == "ping")
        #expect(try await api.get(path, token).data["circuit"] == "open", "a test that fails changes nothing")
        let good = try await api.post(path + "/test", token, .null)
        #expect(good.data["result"] == "delivered" && good.data["status"] == 204, "\(good.text)")
        let ping = try #require(receiver.told.last)
        #expect(ping.json["type"] == "ping" && ping.json["id"] == 0 && ping.isSigned(by: secret))
        #expect(try await api.get(path + "/deliveries", token).items.map { $0["event_id"] } == [0, 0, 1, 0])
        try await api.sending { try await eventually("the event that waited") { receiver.told.last?.sequence == 1 } }
        let records = try await api.get("/audit-log?limit=100", token).items.filter { $0["operation"] == "testWebhook" }
        #expect(records.count == 2)
      }
    }
  }

  @Test("An answer that is long, slow or endless holds nobody up; what it says is kept nowhere")
  func answers() async throws {
    try await TestAPI.with(webhooks: .loopback) { api in
      let receiver = Receiver()
      try await receiver.serve { url in
        let token = try await api.token()
        for kind in ["endless", "drip"] {
          let made = try await api.post(
            "/webhooks", token, ["name": .string(kind), "url": .string(url.replacing("hook", with: kind))])
          let start = ContinuousClock.now
          let tried = try await api.post("/webhooks/\(made.data["id"]?.string ?? "")/test", token, .null)
          #expect(tried.data["result"] == "delivered", "\(tried.text)")
          #expect(start.duration(to: .now) < .seconds(8), "\(kind)")
          #expect(!tried.text.contains("xxxx"))
        }
      }
    }
  }
}

@Suite("Who may have webhooks, and which")
struct WebhookRouteTests {
  @Test("Hostile webhooks are refused with their place; a change needs the ETag that was read")
  func hostile() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      let urls = [
        "", "x", "http://example.org/", "ftp://example.org/", "https://", "https:///x", "https://u:p@example.org/",
        "https://127.0.0.1/", "https://example.org/#x", "https://example.org:0/", "https://example.org:99999/",
        "https://exa mple.org/", "file:///etc/passwd", "https://[::1]/", "https://example.org/\u{0}",
        "https://" + String(repeating: "a", count: 300) + "/", "https://localhost/", "https://a.LOCALHOST/",
        "https://example.org/" + String(repeating: "a", count: 3000), "javascript:alert(1)", "https://%6c%6fcalhost/",
        "https://example..org/", "https://example.org./", "https://[fe80::1%25eth0]/", "https://[::ffff:10.0.0.1]/",
      ]
      for url in urls {
        let answer = try await api.post("/webhooks", token, ["name": "a", "url": .string(url)])
        #expect(answer.code == "validation_failed" && answer.problemPaths == ["url"], "\(url): \(answer.text)")
      }
      let bodies: [(String, JSONValue)] = [
        ("secret", ["name": "a", "url": "https://example.org/", "secret": "short"]),
        ("types[0]", ["name": "a", "url": "https://example.org/", "types": ["A"]]),
        ("types", ["name": "a", "url": "https://example.org/", "types": .array(Array(repeating: "a", count: 33))]),
        ("name", ["name": "A b", "url": "https://example.org/"]),
      ]
      for (path, body) in bodies { #expect(try await api.post("/webhooks", token, body).problemPaths == [path]) }
      let own: JSONValue = ["name": "a", "url": "https://example.org/x?y=z", "secret": "a secret of my own"]
      let made = try await api.post("/webhooks", token, own)
      #expect(made.data["secret"] == "a secret of my own")
      #expect(try await api.post("/webhooks", token, own).code == "conflict")
      let path = "/webhooks/\(try #require(made.data["id"]?.string))"
      let tag = try #require(try await api.get(path, token).headers[.eTag])
      #expect(try await api.send(.patch, path, token, ["types": ["applied"]], ifMatch: tag).status == 200)
      #expect(try await api.send(.patch, path, token, ["types": []], ifMatch: tag).code == "precondition_failed")
      #expect(try await api.send(.patch, path, token, ["url": "https://10.0.0.1/"]).problemPaths == ["url"])
      let replaced = try await api.post(path + "/secret", token, .object([:]))
      #expect(replaced.data["secret"]?.string?.hasPrefix("whsec_") == true)
      let log = try await api.get("/audit-log?limit=100", token).text
      #expect(log.contains("\"host\":\"example.org\"") && log.contains("secret_changed") && !log.contains("y=z"))
      #expect(!log.contains("a secret of my own") && !log.contains("whsec_"))
      #expect(try await api.send(.delete, path, token, ifMatch: tag).code == "precondition_failed")
      #expect(try await api.send(.delete, path, token).status == 200)
      for index in 0..<Webhook.countMax {
        let body: JSONValue = ["name": .string("h\(index)"), "url": "https://example.org/"]
        #expect(try await api.post("/webhooks", token, body).status == 201)
      }
      let more = try await api.post("/webhooks", token, ["name": "more", "url": "https://example.org/"])
      #expect(more.code == "validation_failed")
    }
  }

  @Test("Nobody has a webhook told of events that he may not read himself")
  func reach() async throws {
    try await TestAPI.with { api in
      _ = try await api.store.createRole(
        NewCustomRole(name: "hooks", scopes: [ScopeExpression(.webhooksWrite)]))
      let user = try await api.store.createUser(
        NewUser(
          email: Email("hooks@example.org"), name: "", passwordHash: "$none", roles: [], customRoles: ["hooks"]))
      let token = try await api.token(of: user)
      let body: JSONValue = ["name": "a", "url": "https://example.org/"]
      #expect(try await api.post("/webhooks", token, body).code == "missing_scope")
      let made = try await api.post("/webhooks", try await api.token(), body)
      let path = "/webhooks/\(try #require(made.data["id"]?.string))"
      #expect(try await api.send(.patch, path, token, ["url": "https://example.net/"]).code == "missing_scope")
      #expect(try await api.send(.patch, path, token, ["types": []]).code == "missing_scope")
      #expect(try await api.send(.patch, path, token, ["is_active": false]).status == 200)
    }
  }
}
