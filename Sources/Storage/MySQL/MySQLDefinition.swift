/// The one list of migrations in MariaDB's words. There, a definition commits by itself and cannot be undone: each
/// statement is such that a program that was killed in the middle can run it again.
enum MySQLDefinition {
  /// Compares byte by byte, as the other databases do, trailing spaces included.
  static let options = "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin"
  /// Characters of a text that stands in a key: InnoDB's keys have 3072 bytes, and three of our texts stand in one.
  static let keyLengthMax = 255
  /// Locks across programs; see ``MySQLConnection/holding(_:in:_:)``.
  static let leases = "leases"
  /// There while a restore is under way.
  static let restorePending = "restore_pending"
  /// MariaDB's own, made by migrations.
  static let tables = ["audit_log_guard"]

  /// The statements of one migration. A text that its own tables or indexes have in a key becomes a VARCHAR.
  static func translate(_ statements: [String]) -> [String] {
    let indexes = statements.compactMap(Index.init)
    return statements.map { statement in
      if let table = Table(statement) {
        return table.definition(keys: Set(indexes.filter { $0.table == table.name }.flatMap(\.columns)))
      }
      if let index = Index(statement) { return index.definition }
      if let column = addedColumn(statement) { return column }
      return statement.hasPrefix("INSERT INTO ") ? "INSERT IGNORE INTO " + statement.dropFirst(12) : statement
    }
  }

  private static func quoted(_ columns: [String]) -> String { columns.map { "\"\($0)\"" }.joined(separator: ", ") }

  private static func names(_ list: Substring) -> [String] {
    list.split(separator: ",").map { String($0.drop(while: \.isWhitespace)) }
  }

  private static func type(_ type: some StringProtocol, isKey: Bool) -> String {
    type == "TEXT" ? isKey ? "VARCHAR(\(keyLengthMax))" : "LONGTEXT" : String(type)
  }

  private static func addedColumn(_ statement: String) -> String? {
    guard let match = statement.wholeMatch(of: /ALTER TABLE (\w+) ADD COLUMN (\w+) (\w+)(.*)/) else { return nil }
    let type = type(match.3, isKey: match.4.contains("REFERENCES"))
    return "ALTER TABLE \(match.1) ADD COLUMN IF NOT EXISTS \"\(match.2)\" \(type)\(match.4)"
  }

  private struct Index {
    let isUnique: Bool
    let name: String
    let table: String
    let columns: [String]

    init?(_ statement: String) {
      guard let match = statement.wholeMatch(of: /CREATE (UNIQUE )?INDEX (\w+) ON (\w+) \((.*)\)/) else { return nil }
      isUnique = match.1 != nil
      name = String(match.2)
      table = String(match.3)
      columns = names(match.4)
    }

    var definition: String {
      "CREATE \(isUnique ? "UNIQUE " : "")INDEX IF NOT EXISTS \(name) ON \(table) (\(quoted(columns)))"
    }
  }

  private struct Table {
    let name: String
    /// Columns and constraints.
    private let parts: [String]

    init?(_ statement: String) {
      let pattern = /CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*)\)/.dotMatchesNewlines()
      guard let match = statement.wholeMatch(of: pattern) else { return nil }
      name = String(match.1)
      var parts = [""]
      var depth = 0
      var isQuoted = false
      for character in match.2 {
        switch character {
        case "'": isQuoted.toggle()
        case "(" where !isQuoted: depth += 1
        case ")" where !isQuoted: depth -= 1
        default: break
        }
        let isEnd = character == "," && depth == 0 && !isQuoted
        if isEnd { parts.append("") } else { parts[parts.count - 1].append(character) }
      }
      self.parts = parts.map { part in part.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
    }

    func definition(keys indexed: Set<String>) -> String {
      var keys = indexed
      for part in parts {
        if let match = part.wholeMatch(of: /PRIMARY KEY \((.*)\)/) { keys.formUnion(names(match.1)) }
      }
      let lines = parts.map { part -> String in
        if let match = part.wholeMatch(of: /PRIMARY KEY \((.*)\)/) { return "PRIMARY KEY (\(quoted(names(match.1))))" }
        guard let match = part.wholeMatch(of: /(\w+) (TEXT|BIGINT)(.*)/) else { return part }
        let isKey = keys.contains(String(match.1)) || match.3.contains("PRIMARY KEY") || match.3.contains("REFERENCES")
        return "\"\(match.1)\" \(type(match.2, isKey: isKey))\(match.3)"
      }
      return "CREATE TABLE IF NOT EXISTS \(name) (\(lines.joined(separator: ", "))) \(options)"
    }
  }
}
