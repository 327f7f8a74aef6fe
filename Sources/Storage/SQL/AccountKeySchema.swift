/// What refers to an account follows its id where that changes: the address is what names an account, the id may become
/// another one by an import.
enum AccountKeySchema {
  /// Nothing refers to these tables in turn.
  private static let tables = [
    "user_roles", "refresh_tokens", "sign_ins", "user_custom_roles", "sessions", "second_factors", "recovery_codes",
    "password_resets", "team_members", "resource_grants",
  ]
  private static let reference = "REFERENCES users (id) ON DELETE"

  /// - Parameter before: The migrations that have made the tables.
  static func migration(number: Int, after before: [Migration]) -> Migration {
    let statements = before.flatMap(\.statements)
    return Migration(
      number: number, name: "ids of accounts", statements: [],
      sqlite: tables.flatMap { rebuilt($0, statements) },
      postgres: tables.map { table in
        let name = "\(table)_user_id_fkey"
        return "ALTER TABLE \(table) DROP CONSTRAINT \(name), ADD CONSTRAINT \(name) \(key(of: table, statements))"
      },
      mysql: tables.flatMap { table in
        // A key is dropped by the name that MariaDB gave it: so many-th of the table's. The new one has its own, and both
        // statements can be run again.
        let name = "\(table)__user"
        let definition = definition(of: table, statements)
        let keys = definition.split(separator: "\n").filter { $0.contains(" REFERENCES ") }
        let place = (keys.firstIndex { $0.contains(reference) } ?? 0) + 1
        return [
          "ALTER TABLE \(table) DROP FOREIGN KEY IF EXISTS \(table)_ibfk_\(place)",
          "ALTER TABLE \(table) DROP FOREIGN KEY IF EXISTS \(name)",
          "ALTER TABLE \(table) ADD CONSTRAINT \(name) \(key(of: table, statements))",
        ]
      })
  }

  private static func key(of table: String, _ statements: [String]) -> String {
    let end = definition(of: table, statements).contains("\(reference) SET NULL") ? "SET NULL" : "CASCADE"
    return "FOREIGN KEY (user_id) REFERENCES users (id) ON UPDATE CASCADE ON DELETE \(end)"
  }

  private static func definition(of table: String, _ statements: [String]) -> String {
    guard let found = statements.first(where: { $0.hasPrefix("CREATE TABLE \(table) (") }) else {
      preconditionFailure("a migration before makes \(table)")
    }
    return found
  }

  /// SQLite changes no key of a table that is there: a new one takes its rows, its name and its indexes.
  private static func rebuilt(_ table: String, _ statements: [String]) -> [String] {
    let definition = definition(of: table, statements)
      .replacing("CREATE TABLE \(table) (", with: "CREATE TABLE \(table)_next (")
      .replacing(reference, with: "REFERENCES users (id) ON UPDATE CASCADE ON DELETE")
    return [
      definition, "INSERT INTO \(table)_next SELECT * FROM \(table)", "DROP TABLE \(table)",
      "ALTER TABLE \(table)_next RENAME TO \(table)",
    ] + statements.filter { $0.contains("INDEX ") && $0.contains(" ON \(table) (") }
  }
}
