import ControlProtocol
import Crypto
import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import Packets
import Storage
import Synchronization
import Telemetry
import Testing

@testable import RESTAPI

/// Listens on loopback and remembers what it was told.
final class Receiver: Sendable {
  struct Told: Sendable {
    let headers: HTTPFields
    let body: String

    var json: JSONValue { (try? JSONValue(parsing: Array(body.utf8))) ?? .null }
    /// The daemon's number of the event.
    var sequence: Int64? { json["sequence"]?.integer }

    /// Whether the signature is the body's, by this secret and from about now.
    func isSigned(by secret: String) -> Bool {
      let signature = headers[HTTPField.Name("Sluice-Signature")!] ?? ""
      let parts = signature.split(separator: ",").map { $0.split(separator: "=", maxSplits: 1) }
      guard parts.count == 2, parts[0].count == 2, parts[1].count == 2, parts[0][0] == "t", parts[1][0] == "v1",
        abs((Int64(parts[0][1]) ?? 0) - Int64(Date().timeIntervalSince1970)) < 120
      else { return false }
      let code = HMAC<SHA256>.authenticationCode(
        for: Data("\(parts[0][1]).\(body)".utf8), using: SymmetricKey(data: Data(secret.utf8)))
      return parts[1][1] == code.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
  }
  private struct State {
    var told: [Told] = []
    /// Answers of the next requests; then 204.
    var answers: [HTTPResponse.Status] = []
  }
  private let state = Mutex(State())

  var told: [Told] { state.withLock { $0.told } }
  func willAnswer(_ answers: [HTTPResponse.Status]) { state.withLock { $0.answers = answers } }

  /// Serves while `body` runs, which gets the URL.
  func serve(_ body: @escaping @Sendable (String) async throws -> Void) async throws {
    let router = Router()
    router.post("hook") { [self] request, _ in
      let text = String(buffer: try await request.body.collect(upTo: 1 << 20))
      let status = state.withLock { state in
        state.told.append(Told(headers: request.headers, body: text))
        return state.answers.isEmpty ? HTTPResponse.Status.noContent : state.answers.removeFirst()
      }
      return Response(status: status, headers: status.kind == .redirection ? [.location: "/elsewhere"] : [:])
    }
    let piece = ByteBuffer(string: String(repeating: "x", count: 16_384))
    router.post("endless") { _, _ in
      Response(status: .ok, body: .init { writer in while true { try await writer.write(piece) } })
    }
    router.post("drip") { _, _ in
      Response(
        status: .ok,
        body: .init { writer in
          while true {
            try await writer.write(ByteBuffer(string: "x"))
            try await Task.sleep(for: .milliseconds(100))
          }
        })
    }
    let (ports, continuation) = AsyncStream<Int>.makeStream()
    let application = Application(
      router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
      onServerRunning: { channel in continuation.yield(channel.localAddress?.port ?? 0) })
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await application.run() }
      var iterator = ports.makeAsyncIterator()
      let port = await iterator.next() ?? 0
      defer { group.cancelAll() }
      try await body("http://127.0.0.1:\(port)/hook")
    }
  }
}

extension WebhookSender.Settings {
  /// For receivers of the tests.
  static let loopback = WebhookSender.Settings(
    networks: WebhookNetworks(allowed: [IPPrefix("127.0.0.0/8")].compactMap { $0 }))
}

func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
  let deadline = ContinuousClock.now + .seconds(30)
  while ContinuousClock.now < deadline {
    if try await condition() { return }
    try await Task.sleep(for: .milliseconds(20))
  }
  Issue.record("in vain: \(what)")
}

extension TestAPI {
  /// Stores such events of the node's daemon.
  func happen(_ sequences: ClosedRange<UInt64>, kind: String = "applied", at time: Date = Date()) async throws {
    let id = try await store.node(named: "local").id
    try await store.recordEvents(
      sequences.map {
        NewNodeEvent(
          position: EventPosition(epoch: 7, sequence: $0), kind: kind, interface: "eth0", message: "number \($0)",
          fields: ["rule_set": "edge"], happenedAt: time)
      }, ofNode: id)
  }

  /// As many senders as there are copies of the API run while `body` does.
  func sending(copies: Int = 1, _ body: () async throws -> Void) async throws {
    let others = (1..<copies).map { _ in
      WebhookSender(
        store: store, sealer: services.sealer, metrics: APIMetrics(registry: PrometheusRegistry()),
        logger: logs.logger(), settings: services.webhooks.settings)
    }
    let running = ([services.webhooks] + others).map { sender in Task { try await sender.run() } }
    let result: Result<Void, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    for task in running { task.cancel() }
    for task in running { _ = try? await task.value }
    try result.get()
  }

  /// As if so many attempts had failed.
  func fail(webhook id: UUID, times: Int, nextAttempt: Date) async throws {
    // A test that arrived ends whatever wait there is.
    let test = WebhookDelivery(
      eventID: 0, eventKind: WebhookMessage.testKind, attempt: 1, result: .delivered, status: 204, error: "",
      milliseconds: 0, at: Date())
    try await store.recordTest(test, ofWebhook: id)
    let leased = try #require(try await store.leaseWebhook(for: 10))
    #expect(leased.webhook.id == id)
    let delivery = WebhookDelivery(
      eventID: 1, eventKind: "applied", attempt: times, result: .failed, status: nil, error: "made up", milliseconds: 0,
      at: Date())
    let progress = WebhookProgress(
      lastEvent: leased.webhook.lastEvent, failures: times, nextAttemptAt: nextAttempt, delivery: delivery,
      leaseSeconds: nil)
    #expect(try await store.recordProgress(progress, of: leased))
  }
}
