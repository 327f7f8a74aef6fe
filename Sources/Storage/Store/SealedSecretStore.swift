import Foundation

/// A secret as the database keeps it: encrypted by `SecretSealer`, with a key outside the database.
public struct SealedSecret: Hashable, Sendable {
  /// What has such secrets.
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    case secondFactor = "second_factor"
    case webhook

    /// Where they stand, and the column that says whose they are.
    fileprivate var place: (table: String, owner: String) {
      switch self {
      case .secondFactor: ("second_factors", "user_id")
      case .webhook: ("webhooks", "id")
      }
    }
  }

  public var kind: Kind
  /// The account, or the webhook.
  public var ownerID: UUID
  public var text: String
}

/// The part of a ``Store`` about all secrets that are sealed, for whoever gives them another key.
public protocol SealedSecretStore: Sendable {
  /// Those behind this owner (nil: from the first), in a fixed order.
  func sealedSecrets(_ kind: SealedSecret.Kind, after ownerID: UUID?, limit: Int) async throws -> [SealedSecret]
  /// The same secret, sealed anew. False where it is no longer as it was: nothing is written.
  func replace(_ old: SealedSecret, with new: String) async throws -> Bool
}

extension SQLStore {
  func sealedSecrets(_ kind: SealedSecret.Kind, after ownerID: UUID?, limit: Int) async throws -> [SealedSecret] {
    let (table, owner) = kind.place
    return try await database.read { session in
      try session.all(
        "SELECT \(owner), secret FROM \(table) WHERE \(owner) > $1 ORDER BY \(owner) LIMIT $2",
        [.text(ownerID.map { SQLValue($0).plainText } ?? ""), SQLValue(limit)]
      ) { row throws(StorageError) in SealedSecret(kind: kind, ownerID: try row.uuid(), text: try row.text()) }
    }
  }

  func replace(_ old: SealedSecret, with new: String) async throws -> Bool {
    let (table, owner) = old.kind.place
    return try await bookkeep("the secret is as before; that all were sealed anew is recorded") { session in
      try session.execute(
        "UPDATE \(table) SET secret = $3 WHERE \(owner) = $1 AND secret = $2",
        [SQLValue(old.ownerID), .text(old.text), .text(new)]) > 0
    }
  }
}
