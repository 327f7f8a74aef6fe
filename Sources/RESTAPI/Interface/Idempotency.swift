import ControlProtocol
import Crypto
import Foundation
import HTTPTypes
import Storage

/// POST made safe to send again: with the same `Idempotency-Key` within a day, the same caller gets the first answer
/// again, and nothing is done twice; also from another replica, or after a restart.
///
/// Only good answers are kept: what was refused changed nothing and may be tried again. An answer can hold what is
/// shown once, so it is kept encrypted with the caller's key, of which the database has a digest alone.
struct Idempotency: Sendable {
  static let header = HTTPField.Name("Idempotency-Key")!
  static let replayed = HTTPField.Name("Idempotent-Replayed")!
  static let keyBytes = 16...128
  static let keyPattern = "^[!-~]{16,128}$"
  /// An answer that is larger is not kept; sending again then is a conflict.
  static let answerBytesMax = 4 << 20

  let store: any Store

  /// Runs `work`, or gives what it gave before.
  func once(_ call: Call, _ route: Route, _ work: () async throws -> Reply) async throws -> Reply {
    guard route.takesIdempotencyKey, let text = call.headers[Self.header], let principal = call.principal else {
      return try await work()
    }
    guard Self.keyBytes.contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
      throw APIError(
        .invalidRequest, "Idempotency-Key has \(Self.keyBytes.lowerBound) to \(Self.keyBytes.upperBound) printable "
          + "characters without spaces; a random UUID is a good one")
    }
    let key = Key(text, owner: principal.id)
    let request = Self.digest([route.method.rawValue, call.target, call.body.text])
    switch try await store.claimIdempotencyKey(owner: principal.id, digest: key.digest, request: request) {
    case .claimed: break
    case .finished(let sealed):
      guard let sealed else {
        throw APIError(.conflict, "this was done with that Idempotency-Key; its answer was too large to be kept")
      }
      return try key.open(sealed)
    case .otherRequest:
      throw APIError(
        .idempotencyKeyReused, "that Idempotency-Key was used for another request: use a new key for each request")
    case .running:
      throw APIError(
        .conflict, "a request with that Idempotency-Key is being answered, or was cut off: look what became of it, and "
          + "use another key to do it again", details: ["reason": "idempotency_key_in_use"])
    }
    do {
      let reply = try await work()
      try await store.finishIdempotencyKey(owner: principal.id, digest: key.digest, answer: try key.seal(reply))
      return reply
    } catch {
      // Where it is not known whether something was done, it stays claimed.
      if !Self.leavesOpen(error) {
        try? await store.releaseIdempotencyKey(owner: principal.id, digest: key.digest)
      }
      throw error
    }
  }

  private static func leavesOpen(_ error: any Error) -> Bool {
    switch error {
    case is StorageError: ErrorMapping.apiError(for: error)?.code == .databaseUnavailable
    case let error as NodeCallError: error.isOutcomeUnknown
    // Some nodes did it, and of another one it is not known.
    case let error as APIError: error.details?["cause"]?["reason"] == "outcome_unknown"
    default: false
    }
  }

  static func digest(_ parts: [String]) -> String {
    var hash = SHA256()
    for part in parts {
      // Length first: no two lists of parts run together to one text.
      hash.update(data: Array("\(part.utf8.count) ".utf8))
      hash.update(data: Array(part.utf8))
    }
    return Data(hash.finalize()).base64EncodedString()
  }
}

extension Idempotency {
  /// What one caller's key opens.
  struct Key {
    let digest: String
    private let secret: SymmetricKey

    init(_ text: String, owner: String) {
      digest = Idempotency.digest(["key", owner, text])
      secret = HKDF<SHA256>.deriveKey(
        inputKeyMaterial: SymmetricKey(data: Array(text.utf8)), salt: Array(owner.utf8),
        info: Array("sluice idempotent answer".utf8), outputByteCount: 32)
    }

    /// Nil where the answer is no JSON or too large.
    func seal(_ reply: Reply) throws -> String? {
      guard case .data(let data) = reply.content else { return nil }
      let answer: JSONValue = [
        "data": data, "status": .count(reply.status.code), "warnings": .strings(reply.warnings),
        "revision": reply.revision.map { .count($0) } ?? .null,
        "headers": .array(reply.headers.map { [.string($0.name.rawName), .string($0.value)] }),
      ]
      let bytes = answer.bytes()
      guard bytes.count <= Idempotency.answerBytesMax else { return nil }
      return try ChaChaPoly.seal(Gzip.compressed(bytes) ?? bytes, using: secret).combined.base64EncodedString()
    }

    func open(_ sealed: String) throws -> Reply {
      guard let data = Data(base64Encoded: sealed) else { throw Fault("a kept answer is no base64") }
      let plain = Array(try ChaChaPoly.open(ChaChaPoly.SealedBox(combined: data), using: secret))
      let answer = try JSONValue(parsing: Gzip.expanded(plain, byteCountMax: Idempotency.answerBytesMax) ?? plain)
      guard let data = answer["data"], let status = answer["status"]?.integer else {
        throw Fault("a kept answer is torn")
      }
      var reply = Reply(.data(data), status: .init(code: Int(status)), warnings: answer.texts("warnings"))
      reply.revision = answer["revision"]?.integer.map { UInt64($0) }
      for header in answer["headers"]?.array ?? [] {
        guard let pair = header.array?.compactMap(\.string), pair.count == 2, let name = HTTPField.Name(pair[0]) else {
          continue
        }
        reply.headers[name] = pair[1]
      }
      reply.headers[Idempotency.replayed] = "true"
      return reply
    }
  }
}
