/// A failure as MariaDB or its client library reports it, and what it is in the words of ``StorageError``; the only
/// place that knows its numbers.
struct MySQLFailure: Error {
  /// Of the server, or from 2000 to 2999 and from 5000 of the client library.
  var code: UInt32
  /// SQLSTATE.
  var state: String
  var message: String

  /// SQLSTATE of a statement about a table that is not there.
  static let noTable = "42S02"
  /// Another transaction came first, and the server has rolled this one back.
  static let overtaken = MySQLFailure(code: 1213, state: "40001", message: "")
  static let reachRemedy = "check that MariaDB runs at DB_HOST and DB_PORT"

  /// A deadlock, a lock waited for too long, or (at COMMIT) a row that another node of a Galera cluster changed first:
  /// the transaction, rolled back, can be repeated.
  var canRepeat: Bool { code == 1213 || code == 1205 || code == 1020 }

  /// Nothing more can be had from the connection.
  var isLost: Bool {
    switch code {
    case 2000...2999, 5000...5999: true
    case 1047, 1053, 1152...1161, 1184, 1927, 4031: true
    default: false
    }
  }

  var storageError: StorageError {
    switch code {
    case 1062, 1586: return .conflict(field: field)
    case 1217, 1451, 1216, 1452: return .inUse(kind: "row", by: "other rows")
    case 1406:
      return .invalid(field: "text", reason: "is longer than the \(MySQLDefinition.keyLengthMax) characters kept here")
    case 1300, 1366: return .invalid(field: "text", reason: "is not valid UTF-8 or has a NUL character")
    case 1205, 1213, 1020: return .unavailable(reason: "transactions are in each other's way", remedy: "retry")
    case 1969, 3024, 1317: return .unavailable(reason: "MariaDB took too long (\(message))", remedy: "retry")
    case 1290, 1792, 1836:
      return .unavailable(reason: "the server is read-only", remedy: "point DB_HOST to one that takes writes")
    case 1047:
      return .unavailable(
        reason: "this node is not ready (wsrep_ready)", remedy: "wait until the Galera cluster has a quorum")
    case 1040, 1203, 1226, 1461, 1041, 1037, 1038:
      return .unavailable(reason: message, remedy: "lower DB_POOL_SIZE or give MariaDB more resources")
    case 1021, 1114: return noSpace
    // The system's own number stands in the text: ENOSPC.
    case 3 where message.contains("28"), 1026 where message.contains("28"), 1030 where message.contains("28"):
      return noSpace
    case 1045, 1698, 1862, 1820: return .misconfigured(reason: message, remedy: "check DB_USER and DB_PASS")
    case 1049: return .misconfigured(reason: message, remedy: "create the database that DB_NAME names")
    case 1044, 1142, 1143, 1227, 1370:
      return .misconfigured(reason: message, remedy: "grant DB_USER all rights on DB_NAME, TRIGGER among them")
    case 1419:
      return .misconfigured(reason: message, remedy: "set log_bin_trust_function_creators=1 on the server")
    case 1153, 2020:
      return .misconfigured(reason: message, remedy: "raise max_allowed_packet on the server")
    case 1034, 1035, 1194, 1712, 1877:
      return .corrupt("MariaDB: \(message); restore it from a backup")
    case 2026:
      return .misconfigured(reason: message, remedy: "check DB_TLS, DB_TLS_CA, DB_TLS_CERTIFICATE and DB_TLS_KEY")
    default: break
    }
    if isLost {
      return .unavailable(
        reason: message.isEmpty ? "the connection to MariaDB was lost" : message, remedy: Self.reachRemedy)
    }
    return .failed(code: state, message: message)
  }

  private var noSpace: StorageError {
    .unavailable(reason: "no space left for the database (\(message))", remedy: "free disk space")
  }

  /// `… for key 'attachments__interface'` → `interface`. What stands before it is somebody's value.
  private var field: String {
    let key = message.split(separator: "'").last.map(String.init) ?? ""
    guard let range = key.ranges(of: "__").last else { return "id" }
    return String(key[range.upperBound...])
  }
}
