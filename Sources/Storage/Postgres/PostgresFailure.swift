/// A failure as PostgreSQL reports it, and what it is in the words of ``StorageError``; the only place that knows
/// SQLSTATEs.
struct PostgresFailure {
  /// SQLSTATE, empty if the server could not say.
  var state: String
  /// Name of the violated constraint or index.
  var constraint: String
  var message: String
  var isConnected: Bool

  /// Deadlock or failed serialisation.
  var canRepeat: Bool { state == "40001" || state == "40P01" }

  static let reachRemedy = "check that PostgreSQL runs at DB_HOST and DB_PORT"

  var storageError: StorageError {
    switch state {
    case "23505": return .conflict(field: field)
    case "23503": return .inUse(kind: "row", by: "other rows")
    case "22021", "22P05": return .invalid(field: "text", reason: "is not valid UTF-8 or has a NUL character")
    case "40001", "40P01": return .unavailable(reason: "transactions are in each other's way", remedy: "retry")
    case "55P03", "57014": return .unavailable(reason: "PostgreSQL took too long (\(message))", remedy: "retry")
    case "25006": return .unavailable(reason: "the server is read-only", remedy: "point DB_HOST to the primary")
    case "42501":
      return .misconfigured(reason: message, remedy: "grant DB_USER the rights on DB_NAME and its schema")
    case "XX001", "XX002": return .corrupt("PostgreSQL: \(message); restore it from a backup")
    default: break
    }
    // Without a SQLSTATE it isn't the server that speaks: libpq lost it, sometimes before it says so of the connection.
    if state.isEmpty || state.hasPrefix("08") || state.hasPrefix("57P") || !isConnected {
      return .unavailable(
        reason: message.isEmpty ? "the connection to PostgreSQL was lost" : message, remedy: Self.reachRemedy)
    }
    if state.hasPrefix("53") {
      return .unavailable(reason: message, remedy: "lower DB_POOL_SIZE or give PostgreSQL more resources")
    }
    return .failed(code: state, message: message)
  }

  /// `attachments__interface` → `interface`.
  private var field: String {
    guard let range = constraint.ranges(of: "__").last else { return "id" }
    return String(constraint[range.upperBound...])
  }

  /// libpq gives no SQLSTATE for a refused connection, only the server's English message; in another language a
  /// refusal counts as passing and is retried.
  static func connecting(message: String) -> StorageError {
    let reason = message.split(whereSeparator: \.isNewline).joined(separator: "; ")
    let refusals: [(sign: String, remedy: String)] = [
      ("authentication failed", "check DB_USER and DB_PASS"), ("no password supplied", "set DB_PASS"),
      ("no pg_hba.conf entry", "allow this host and user in pg_hba.conf"),
      ("role \"", "create the role that DB_USER names"), ("database \"", "create the database that DB_NAME names"),
    ]
    for refusal in refusals where reason.contains(refusal.sign) {
      return .misconfigured(reason: reason, remedy: refusal.remedy)
    }
    return .unavailable(reason: reason, remedy: reachRemedy)
  }
}
