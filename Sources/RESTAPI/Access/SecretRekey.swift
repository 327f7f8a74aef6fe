import Audit
import ControlProtocol
import Foundation
import Identity
import Storage

/// Seals every secret in the database anew with the newest key, while copies of the API go on.
public enum SecretRekey {
  static let batch = 100

  public struct Report: Hashable, Sendable {
    /// Sealed anew.
    public var changed = 0
    /// By the id of the key that they are sealed with, afterwards.
    public var counts: [String: Int] = [:]
    /// Whose secrets no key of the ring opens: they are left as they are.
    public var unreadable: [UUID] = []
  }

  /// Each secret by itself, only if nobody has changed it meanwhile: whenever this ends, every secret is sealed with the
  /// one key or the other. May be run again.
  ///
  /// - Parameter progress: after each batch, how many were sealed anew so far.
  public static func run(
    _ store: any Store, _ sealer: SecretSealer, to keyID: String, progress: (Int) -> Void = { _ in }
  ) async throws -> Report {
    var report = Report()
    var last: UUID?
    while true {
      let rows = try await store.sealedSecrets(after: last, limit: batch)
      for (userID, sealed) in rows where SecretSealer.keyID(of: sealed) != keyID {
        do throws(SecretSealer.Failure) {
          let purpose = SecondFactors.purpose(userID)
          let secret = try sealer.open(sealed, for: purpose)
          guard let anew = try? sealer.seal(secret, for: purpose) else { throw .damaged }
          // Who was faster has sealed with the newest key himself.
          if (try? await store.replaceSealedSecret(userID: userID, sealed, with: anew)) == true { report.changed += 1 }
        } catch { report.unreadable.append(userID) }
      }
      progress(report.changed)
      guard rows.count == batch, let final = rows.last else { break }
      last = final.userID
    }
    report.counts = try await counts(store)
    if report.changed > 0 {
      try await store.recordAudit(
        AuditEvent(
          operation: "rekey", subject: AuditSubject(kind: "data_key", id: keyID),
          after: ["secrets": .count(report.changed)]))
    }
    return report
  }

  /// Secrets by the id of their key; no sealed text counts under `?`.
  public static func counts(_ store: any Store) async throws -> [String: Int] {
    var counts: [String: Int] = [:]
    var last: UUID?
    while true {
      let rows = try await store.sealedSecrets(after: last, limit: batch)
      for row in rows { counts[SecretSealer.keyID(of: row.sealed) ?? "?", default: 0] += 1 }
      guard rows.count == batch, let final = rows.last else { return counts }
      last = final.userID
    }
  }
}
