import Foundation
import Identity

/// A change of what an account or an API client proves with who it is. The raw value is the event's field `change`.
public enum CredentialChange: String, Hashable, Sendable, CaseIterable {
  case passwordChanged = "password_changed"
  case passwordResetMade = "password_reset_made"
  case addressChanged = "address_changed"
  case secondFactorEnabled = "second_factor_enabled"
  case secondFactorRemoved = "second_factor_removed"
  case recoveryCodeUsed = "recovery_code_used"
  case recoveryCodesReplaced = "recovery_codes_replaced"
  case keyMade = "key_made"
  case keyRotated = "key_rotated"
  case keyRevoked = "key_revoked"

  var words: String {
    switch self {
    case .passwordChanged: "the password was changed"
    case .passwordResetMade: "a token was made that sets the password"
    case .addressChanged: "the address was changed"
    case .secondFactorEnabled: "a second factor was enabled"
    case .secondFactorRemoved: "the second factor was removed"
    case .recoveryCodeUsed: "a recovery code was used"
    case .recoveryCodesReplaced: "the recovery codes were replaced"
    case .keyMade: "a key was made"
    case .keyRotated: "a key was made that takes the place of the others"
    case .keyRevoked: "a key was revoked"
    }
  }
}

/// An event that no daemon tells: about an account's or an API client's credentials, never with one of them.
struct CredentialEvent: Sendable {
  /// Which events somebody reads by which right.
  enum Subject: String, Sendable {
    case account, client
  }

  static let accountKind = "account_credentials_changed"
  static let clientKind = "client_credentials_changed"
  static let keyExpiresKind = "client_key_expires"

  let subject: Subject
  /// The account's; nil for a client.
  let accountID: UUID?
  let kind: String
  let message: String
  let fields: [String: String]

  /// - Parameters:
  ///   - by: Who did it; empty: the account itself, in the middle of its sign-in.
  ///   - address: From where; empty: the program itself.
  init(_ change: CredentialChange, of user: User, formerly old: Email? = nil, by name: String, from address: String) {
    let own = user.email.value
    let by = name.isEmpty ? own : name
    subject = .account
    accountID = user.id
    kind = Self.accountKind
    message = "\(own): \(change.words), by \(by)" + (address.isEmpty ? "" : " from \(address)")
    var fields = ["account": own, "change": change.rawValue, "by": by, "from": address]
    if let old { fields["former_account"] = old.value }
    self.fields = fields
  }

  /// - Parameter key: its visible part.
  init(_ change: CredentialChange, of client: APIClientRecord, key: String, by name: String, from address: String) {
    subject = .client
    accountID = nil
    kind = Self.clientKind
    message = "\(client.name): \(change.words) (\(key)), by \(name)" + (address.isEmpty ? "" : " from \(address)")
    fields = ["client": client.name, "change": change.rawValue, "key": key, "by": name, "from": address]
  }

  /// A key that goes on for less than so many days.
  init(key: String, ofClient name: String, endingAt end: Date, within days: Int) {
    subject = .client
    accountID = nil
    kind = Self.keyExpiresKind
    message = "\(name): the key \(key) ends at \(end.rfc3339): make another, `sluice client key create \(name)`"
    fields = ["client": name, "key": key, "expires_at": end.rfc3339, "within_days": "\(days)"]
  }
}

/// The types of events that no daemon tells, by the right that reading them takes.
public enum CredentialEventKinds {
  public static let ofAccounts: Set<String> = [CredentialEvent.accountKind]
  public static let ofClients: Set<String> = [CredentialEvent.clientKind, CredentialEvent.keyExpiresKind]
}
