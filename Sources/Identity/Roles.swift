/// One permission of the API, `area:verb`. Every route names the scope that it needs.
public enum Scope: String, Hashable, Sendable, Codable, CaseIterable, Comparable {
  case usersRead = "users:read"
  case usersWrite = "users:write"
  case nodesRead = "nodes:read"
  case nodesWrite = "nodes:write"
  case interfacesRead = "interfaces:read"
  case attachmentsRead = "attachments:read"
  case attachmentsWrite = "attachments:write"
  case rulesRead = "rules:read"
  case rulesWrite = "rules:write"
  case rulesApply = "rules:apply"
  case rulesApprove = "rules:approve"
  case countersRead = "counters:read"
  case capturesRead = "captures:read"
  case capturesWrite = "captures:write"
  case eventsRead = "events:read"
  case auditRead = "audit:read"
  case rolesRead = "roles:read"
  case rolesWrite = "roles:write"
  case clientsRead = "clients:read"
  case clientsWrite = "clients:write"
  case teamsRead = "teams:read"
  case teamsWrite = "teams:write"
  case grantsRead = "grants:read"
  case grantsWrite = "grants:write"
  case webhooksRead = "webhooks:read"
  case webhooksWrite = "webhooks:write"

  /// What holding this scope grants besides itself: who may write may read.
  public var implied: Set<Scope> {
    switch self {
    case .usersWrite: [.usersRead]
    case .nodesWrite: [.nodesRead]
    case .attachmentsWrite: [.attachmentsRead]
    case .rulesWrite, .rulesApply, .rulesApprove: [.rulesRead]
    case .capturesWrite: [.capturesRead]
    case .rolesWrite: [.rolesRead]
    case .clientsWrite: [.clientsRead]
    case .teamsWrite: [.teamsRead]
    case .grantsWrite: [.grantsRead]
    case .webhooksWrite: [.webhooksRead]
    case .usersRead, .nodesRead, .interfacesRead, .attachmentsRead, .rulesRead, .countersRead, .capturesRead,
      .eventsRead, .auditRead, .rolesRead, .clientsRead, .teamsRead, .grantsRead, .webhooksRead:
      []
    }
  }

  public static func < (a: Scope, b: Scope) -> Bool { a.rawValue < b.rawValue }
}

extension Set<Scope> {
  /// Whether these scopes, with what they imply, grant `scope`.
  public func grants(_ scope: Scope) -> Bool {
    contains(scope) || contains { $0.implied.contains(scope) }
  }
}

/// What a user is. Roles are sets of scopes; a user with several has the union.
public enum Role: String, Hashable, Sendable, Codable, CaseIterable, Comparable {
  case admin = "Admin"
  case maintainer = "Maintainer"
  case viewer = "Viewer"

  public var scopes: Set<Scope> {
    switch self {
    case .viewer:
      [.nodesRead, .interfacesRead, .attachmentsRead, .rulesRead, .countersRead, .capturesRead, .eventsRead]
    case .maintainer:
      Role.viewer.scopes.union([.nodesWrite, .attachmentsWrite, .rulesWrite, .rulesApply, .capturesWrite])
    case .admin: Set(Scope.allCases)
    }
  }

  public static func < (a: Role, b: Role) -> Bool { a.rawValue < b.rawValue }
}

extension Set<Role> {
  /// The union of the roles' scopes.
  public var scopes: Set<Scope> { reduce(into: []) { $0.formUnion($1.scopes) } }
}
