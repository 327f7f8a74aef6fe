import Foundation
import Identity

/// An account. Times have millisecond precision everywhere in this module.
public struct User: Hashable, Sendable, Identifiable {
  public let id: UUID
  public var email: Email
  public var name: String
  /// A PHC string; treat as a secret.
  public var passwordHash: String
  public var roles: Set<Role>
  /// Beside those; by name.
  public var customRoles: [CustomRole] = []
  public var isActive: Bool
  public var mustChangePassword: Bool
  public var createdAt: Date
  public var updatedAt: Date
  public var lastSignInAt: Date?
  /// Password, second factor or recovery codes; nil: never since the account was made, or before that was noted.
  public var credentialsChangedAt: Date?
  /// Since the last sign-in; older ones than the history are not counted.
  public var failedSignInCount = 0
  /// A confirmed one, which every sign-in asks for.
  public var hasSecondFactor: Bool
  /// His teams, by name.
  public var memberships: [Membership] = []
  /// What is given to him by itself.
  public var resourceGrants: [ResourceGrant] = []
}

/// What a new account is made of.
public struct NewUser: Sendable {
  public var email: Email
  public var name: String
  public var passwordHash: String
  public var roles: Set<Role>
  /// Names.
  public var customRoles: [String]
  public var isActive: Bool
  public var mustChangePassword: Bool

  public init(
    email: Email, name: String, passwordHash: String, roles: Set<Role>, customRoles: [String] = [],
    isActive: Bool = true, mustChangePassword: Bool = false
  ) {
    self.email = email
    self.name = name
    self.passwordHash = passwordHash
    self.roles = roles
    self.customRoles = customRoles
    self.isActive = isActive
    self.mustChangePassword = mustChangePassword
  }
}

/// What changes of an account; nil stays as it is.
///
/// A new password hash, new roles or deactivation revokes the account's refresh tokens in the same transaction.
public struct UserChange: Sendable {
  public var email: Email?
  public var name: String?
  public var passwordHash: String?
  public var roles: Set<Role>?
  /// Names.
  public var customRoles: [String]?
  public var isActive: Bool?
  public var mustChangePassword: Bool?

  public init(
    email: Email? = nil, name: String? = nil, passwordHash: String? = nil, roles: Set<Role>? = nil,
    customRoles: [String]? = nil, isActive: Bool? = nil, mustChangePassword: Bool? = nil
  ) {
    self.email = email
    self.name = name
    self.passwordHash = passwordHash
    self.roles = roles
    self.customRoles = customRoles
    self.isActive = isActive
    self.mustChangePassword = mustChangePassword
  }
}

/// Which accounts; nil is any.
public struct UserFilter: Hashable, Sendable {
  /// A part of the address or name, in any case.
  public var search: String?
  public var role: Role?
  public var isActive: Bool?

  public init(search: String? = nil, role: Role? = nil, isActive: Bool? = nil) {
    self.search = search
    self.role = role
    self.isActive = isActive
  }
}

/// A refresh token as it is stored: its digest, not the token.
public struct RefreshTokenRecord: Hashable, Sendable {
  public let digest: String
  public let familyID: UUID
  public let userID: UUID
  public let createdAt: Date
  public var state: RefreshTokenState
}

/// What came of presenting a refresh token.
public enum RefreshTokenRotation: Hashable, Sendable {
  /// The successor is stored, of the same family; the account as it is now (active).
  case rotated(User)
  /// No such token.
  case unknown
  case expired
  case revoked
  /// It had been used before. Its family is revoked now; worth a line in the log with the account.
  case reused(userID: UUID)
  /// The account is deactivated.
  case inactive
}

/// A sign-in that goes on: a family of refresh tokens with one that still works.
public struct Session: Hashable, Sendable, Identifiable {
  /// Of the family.
  public let id: UUID
  /// Where it was used last; empty where that is not known.
  public var address: String
  public var userAgent: String
  public var startedAt: Date
  /// Signed in or renewed.
  public var lastUsedAt: Date
  /// Unless it is renewed before.
  public var expiresAt: Date
}

/// One attempt to sign in.
public struct SignIn: Hashable, Sendable, Identifiable {
  public let id: UUID
  /// As typed, but trimmed, lower-cased and cut to 254 characters: may belong to no account.
  public var email: String
  public var userID: UUID?
  public var succeeded: Bool
  /// The client's address, empty if unknown.
  public var address: String
  public var userAgent: String
  public var at: Date

  public init(
    id: UUID = UUID(), email: String, userID: UUID?, succeeded: Bool, address: String = "", userAgent: String = "",
    at: Date
  ) {
    self.id = id
    self.email = Self.stored(email: email)
    self.userID = userID
    self.succeeded = succeeded
    self.address = address
    self.userAgent = String(userAgent.prefix(256))
    self.at = at.wholeMilliseconds
  }

  static func stored(email: String) -> String {
    String(email.trimmingCharacters(in: .whitespacesAndNewlines).lowercased().prefix(Email.byteCountMax))
  }
}
