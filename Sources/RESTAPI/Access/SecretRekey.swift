import Audit
import ControlProtocol
import Foundation
import Identity
import Storage

/// Seals every secret in the database anew with the newest key, while copies of the API go on.
public enum SecretRekey {
  static let batch = 100
  /// The setting that holds the key that all secrets were last sealed with.
  private static let lastKeySetting = "sealing_key"

  public struct Report: Hashable, Sendable {
    /// Sealed anew.
    public var changed = 0
    /// By the id of the key that they are sealed with, afterwards.
    public var counts: [String: Int] = [:]
    /// That no key of the ring opens: they are left as they are.
    public var unreadable: [SealedSecret] = []
  }

  /// What each was sealed for.
  private static func purpose(of secret: SealedSecret) -> String {
    switch secret.kind {
    case .secondFactor: SecondFactors.purpose(secret.ownerID)
    case .webhook: Webhook.sealingPurpose(of: secret.ownerID)
    }
  }

  /// All of them, batch by batch.
  private static func walk(_ store: any Store, _ body: ([SealedSecret]) async throws -> Void) async throws {
    for kind in SealedSecret.Kind.allCases {
      var last: UUID?
      while true {
        let secrets = try await store.sealedSecrets(kind, after: last, limit: batch)
        try await body(secrets)
        guard secrets.count == batch, let final = secrets.last else { break }
        last = final.ownerID
      }
    }
  }

  /// Each secret by itself, only if nobody has changed it meanwhile: whenever this ends, every secret is sealed with the
  /// one key or the other. May be run again.
  ///
  /// - Parameter progress: after each batch, how many were sealed anew so far.
  public static func run(
    _ store: any Store, _ sealer: SecretSealer, to keyID: String, progress: (Int) -> Void = { _ in }
  ) async throws -> Report {
    var report = Report()
    try await walk(store) { secrets in
      for secret in secrets where SecretSealer.keyID(of: secret.text) != keyID {
        let anew: String
        do throws(SecretSealer.Failure) {
          let purpose = purpose(of: secret)
          let plain = try sealer.open(secret.text, for: purpose)
          guard let sealed = try? sealer.seal(plain, for: purpose) else { throw .damaged }
          anew = sealed
        } catch {
          report.unreadable.append(secret)
          continue
        }
        // Who was faster has sealed with the newest key himself.
        if try await store.replace(secret, with: anew) { report.changed += 1 }
      }
      if !secrets.isEmpty { progress(report.changed) }
    }
    report.counts = try await counts(store)
    if report.changed > 0 {
      try await store.recordAudit(
        AuditEvent(
          operation: "rekey", subject: AuditSubject(kind: "data_key", id: keyID),
          after: ["secrets": .count(report.changed)]))
    }
    try await store.setSetting(lastKeySetting, to: keyID)
    return report
  }

  /// The key that ``run(_:_:to:progress:)`` last sealed this database's secrets with; nil where it never ran.
  public static func lastKeyID(_ store: any Store) async throws -> String? { try await store.setting(lastKeySetting) }

  /// Secrets by the id of their key; no sealed text counts under `?`.
  public static func counts(_ store: any Store) async throws -> [String: Int] {
    var counts: [String: Int] = [:]
    try await walk(store) { secrets in
      for secret in secrets { counts[SecretSealer.keyID(of: secret.text) ?? "?", default: 0] += 1 }
    }
    return counts
  }
}
