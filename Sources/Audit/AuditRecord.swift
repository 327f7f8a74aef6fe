import JSONValues

/// Who did something.
public struct AuditActor: Hashable, Sendable {
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    case user, client, anonymous, system
  }

  public var kind: Kind
  /// Of the account then; it may be gone since.
  public var id: String?
  /// Address of the account or name of the client; empty for anonymous.
  public var name: String

  public init(kind: Kind, id: String? = nil, name: String = "") {
    self.kind = kind
    self.id = id
    self.name = name
  }

  /// Nobody who has proved who he is.
  public static let anonymous = AuditActor(kind: .anonymous)
  /// What the program does by itself.
  public static let system = AuditActor(kind: .system, name: "system")
}

/// How it ended.
public enum AuditOutcome: String, Hashable, Sendable, CaseIterable {
  case succeeded
  /// The caller may not, or did not prove who he is.
  case refused
  /// He may, and it did not work: a conflict, a daemon that said no.
  case failed
}

/// What a record is about.
public struct AuditSubject: Hashable, Sendable {
  /// The noun of the API: `user`, `rule_set`.
  public var kind: String
  public var id: String

  public init(kind: String, id: String) {
    self.kind = kind
    self.id = id
  }
}

/// One record before it has its place in the chain. Holds no secret: whoever makes one leaves them out.
public struct AuditRecord: Hashable, Sendable {
  /// `before` and `after` with more bytes of JSON than this are kept as their digest.
  public static let stateByteCountMax = 32 << 10
  static let textByteCountMax = 512

  /// RFC 3339, UTC, milliseconds: as the clock said. The order is that of the sequence.
  public var at: String
  public var actor: AuditActor
  /// Where the request came from, without the port; empty for the program's own doings.
  public var address: String
  public var requestID: String
  /// The `operationId` of the route.
  public var operation: String
  public var outcome: AuditOutcome
  /// The error's code where it did not succeed.
  public var code: String?
  public var subject: AuditSubject?
  /// The subject before; null where it came into being.
  public var before: JSONValue
  /// The subject afterwards; null where it is gone.
  public var after: JSONValue

  public init(
    at: String, actor: AuditActor, address: String, requestID: String, operation: String,
    outcome: AuditOutcome = .succeeded, code: String? = nil, subject: AuditSubject? = nil, before: JSONValue = .null,
    after: JSONValue = .null
  ) {
    self.at = at
    self.actor = actor
    self.address = address
    self.requestID = requestID
    self.operation = operation
    self.outcome = outcome
    self.code = code
    self.subject = subject
    self.before = before
    self.after = after
  }

  /// With its place in the chain, without its own hash.
  func json(sequence: UInt64, previousHash: String) -> JSONValue {
    [
      "sequence": .count(sequence), "previous_hash": .string(previousHash), "at": .string(at),
      "actor": [
        "kind": .string(actor.kind.rawValue), "id": .optional(actor.id), "name": .string(Self.bounded(actor.name)),
      ],
      "address": .string(Self.bounded(address)), "request_id": .string(Self.bounded(requestID)),
      "operation": .string(Self.bounded(operation)), "outcome": .string(outcome.rawValue), "code": .optional(code),
      "subject": subject.map { ["kind": .string($0.kind), "id": .string(Self.bounded($0.id))] } ?? .null,
      "before": Self.bounded(before), "after": Self.bounded(after),
    ]
  }

  /// No character that a database cannot hold or a terminal would obey, and no end of them.
  private static func bounded(_ text: String) -> String {
    let isPlain = text.utf8.count <= textByteCountMax && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
    if isPlain { return text }
    let scalars = text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7f ? "?" : $0 }
    var kept = String(String.UnicodeScalarView(scalars))
    while kept.utf8.count > textByteCountMax { kept.removeLast() }
    return kept
  }

  private static func bounded(_ state: JSONValue) -> JSONValue {
    let bytes = state.bytes()
    guard bytes.count > stateByteCountMax else { return state }
    return ["omitted_bytes": .count(bytes.count), "sha256": .string(AuditChain.digest(bytes))]
  }
}
