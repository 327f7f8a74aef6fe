import AsyncHTTPClient
import ControlProtocol
import Crypto
import Foundation
import Identity
import NIOCore
import NIOSSL
import Packets
import Storage

/// What a webhook is told.
struct WebhookMessage: Sendable {
  /// The event's type; of a test ``testKind``.
  var kind: String
  /// The same for each attempt, and for no other message to this webhook.
  var delivery: String
  var body: [UInt8]

  static let testKind = "ping"

  /// Named by what the daemon calls the event: the database's own numbers begin anew where an old backup comes back.
  init(_ event: NodeEvent, to webhook: Webhook) {
    kind = event.event.kind
    let position = event.event.position
    delivery = "\(webhook.id.uuidString.lowercased())/\(event.node ?? "api")/\(position.epoch)/\(position.sequence)"
    body = EventRoutes.json(event).bytes()
  }

  /// An event like any other, but of nobody: nothing has happened.
  init(testOf webhook: Webhook) {
    kind = Self.testKind
    delivery = "\(webhook.id.uuidString.lowercased())/test/\(UUID().uuidString.lowercased())"
    let event = NewNodeEvent(
      position: EventPosition(epoch: 0, sequence: 0), kind: kind, interface: "",
      message: "a test of the webhook \(webhook.name)", fields: [:], happenedAt: Date())
    body = EventRoutes.json(event, id: 0, node: "").bytes()
  }
}

/// The way to one webhook's target for a few messages: connects to one checked address and to nothing else, follows no
/// redirect, waits no longer than ``answerSecondsMax`` for an answer and reads little of it. ``close()`` it.
struct WebhookLine: Sendable {
  struct Outcome: Sendable {
    /// Nil: no answer came.
    var status: Int?
    /// Empty: it was told.
    var error = ""
    var milliseconds = 0
    var isGood: Bool { error.isEmpty }
  }

  static let answerSecondsMax: Int64 = 10
  private static let connectSecondsMax: Int64 = 5
  /// Of an answer that is read, so that the connection can be used again; what it says is nobody's business.
  private static let answerBytesMax = 64 << 10
  private static let drainMax = Duration.seconds(2)
  static let errorCharactersMax = 256

  private let url: String
  private let secret: [UInt8]
  private let client: HTTPClient

  /// - Parameters:
  ///   - attempt: from 1; of several addresses each attempt takes the next.
  ///   - authorities: who may vouch for targets; nil: whom the system trusts.
  /// - Throws: ``WebhookTarget/Refusal``, `SecretSealer.Failure`.
  static func open(
    to webhook: Webhook, attempt: Int, in networks: WebhookNetworks, authorities: [NIOSSLCertificate]?,
    sealer: SecretSealer
  ) async throws -> WebhookLine {
    let target = try WebhookTarget(webhook.url)
    let addresses = try await target.addresses(in: networks)
    let secret = try sealer.open(webhook.sealedSecret, for: Webhook.sealingPurpose(of: webhook.id))
    return WebhookLine(target, addresses[(max(1, attempt) - 1) % addresses.count], secret, authorities)
  }

  private init(
    _ target: WebhookTarget, _ address: IPAddress, _ secret: [UInt8], _ authorities: [NIOSSLCertificate]?
  ) {
    var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
    // A literal address is connected to as it is; the name of the certificate stays the host's.
    if target.address == nil { configuration.dnsOverride = [target.host: address.description] }
    var tls = TLSConfiguration.makeClientConfiguration()
    tls.minimumTLSVersion = .tlsv12
    if let authorities { tls.trustRoots = .certificates(authorities) }
    configuration.tlsConfiguration = tls
    configuration.timeout.connect = .seconds(Self.connectSecondsMax)
    configuration.httpVersion = .http1Only
    // One attempt is one connection: trying again is this house's own affair.
    configuration.connectionPool.retryConnectionEstablishment = false
    client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    url = target.url
    self.secret = secret
  }

  func close() async { try? await client.shutdown() }

  /// One attempt.
  func tell(_ message: WebhookMessage) async -> Outcome {
    let start = ContinuousClock.now
    var outcome = await exchange(request(message))
    let passed = start.duration(to: .now).components
    outcome.milliseconds = Int(passed.seconds * 1000 + passed.attoseconds / 1_000_000_000_000_000)
    return outcome
  }

  private func request(_ message: WebhookMessage) -> HTTPClientRequest {
    var request = HTTPClientRequest(url: url)
    request.method = .POST
    request.headers.add(name: "Content-Type", value: "application/json")
    request.headers.add(name: "User-Agent", value: "sluice")
    request.headers.add(name: "Sluice-Event", value: message.kind)
    request.headers.add(name: "Sluice-Delivery", value: message.delivery)
    request.headers.add(
      name: "Sluice-Signature",
      value: Self.signature(of: message.body, secret: secret, unixSeconds: Int64(Date().timeIntervalSince1970)))
    request.body = .bytes(ByteBuffer(bytes: message.body))
    return request
  }

  private func exchange(_ request: HTTPClientRequest) async -> Outcome {
    let response: HTTPClientResponse
    do {
      response = try await client.execute(request, timeout: .seconds(Self.answerSecondsMax))
    } catch { return Outcome(error: Self.reason(error)) }
    await Self.drain(response)
    let status = Int(response.status.code)
    switch status {
    case 200..<300: return Outcome(status: status)
    case 300..<400: return Outcome(status: status, error: "it answered \(status): redirects are not followed")
    default: return Outcome(status: status, error: "it answered \(status)")
    }
  }

  /// The answer's head has decided; a body that is long or slow is broken off.
  private static func drain(_ response: HTTPClientResponse) async {
    await withTaskGroup(of: Void.self) { group in
      group.addTask {
        var rest = answerBytesMax
        do {
          for try await piece in response.body {
            rest -= piece.readableBytes
            if rest < 0 { return }
          }
        } catch { return }
      }
      group.addTask { try? await Task.sleep(for: drainMax) }
      await group.next()
      group.cancelAll()
    }
  }

  private static func reason(_ error: any Error) -> String {
    if let error = error as? HTTPClientError {
      if error == .connectTimeout { return "no connection within \(connectSecondsMax) s" }
      if error == .deadlineExceeded { return "no answer within \(answerSecondsMax) s" }
      if error == .remoteConnectionClosed { return "it closed the connection without an answer" }
    }
    let text = "\(error)"
    return text.contains("errno: 111") ? "connection refused" : String(text.prefix(errorCharactersMax))
  }

  /// `t=1795275527,v1=…`: HMAC-SHA256 of the time, a dot and the body, in lower-case hexadecimal. Who receives it refuses a
  /// time that is minutes away, so that nobody sends it again later.
  static func signature(of body: [UInt8], secret: [UInt8], unixSeconds: Int64) -> String {
    let code = HMAC<SHA256>.authenticationCode(
      for: Data("\(unixSeconds).".utf8) + Data(body), using: SymmetricKey(data: secret))
    return "t=\(unixSeconds),v1=\(code.hexadecimal)"
  }
}
