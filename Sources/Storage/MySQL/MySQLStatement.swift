import CMariaDB

/// One statement as text with its arguments in it, and what it answers.
///
/// No prepared statements: as a node of a Galera cluster MariaDB 10.11 answers some of them with success, and others not
/// at all, where another node's write-set ends their transaction. Statements sent as text are answered with the failure.
enum MySQLStatement {
  /// `sql` with the arguments in place of `$1`, `$2`, …; what is quoted in it stays.
  ///
  /// - Parameter quote: appends a text between quotes.
  static func text(_ sql: String, _ arguments: [SQLValue], quote: (String, inout [UInt8]) -> Void) -> [UInt8] {
    var text: [UInt8] = []
    var open: UInt8?
    var rest = Array(sql.utf8)[...]
    while let byte = rest.popFirst() {
      if let quoted = open {
        if byte == quoted { open = nil }
      } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
        open = byte
      } else if byte == UInt8(ascii: "$"), let digit = rest.first, isDigit(digit) {
        let digits = rest.prefix(while: isDigit)
        rest = rest.dropFirst(digits.count)
        let number = digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
        precondition(arguments.indices.contains(number - 1), "a statement has an argument for each parameter")
        switch arguments[number - 1] {
        case .null: text += "NULL".utf8
        case .integer(let integer): text += "\(integer)".utf8
        case .text(let argument): quote(argument, &text)
        }
        continue
      }
      text.append(byte)
    }
    return text
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

  /// Appends the text as the connection's sql_mode wants it.
  static func quote(_ argument: String, to text: inout [UInt8], _ connection: UnsafeMutablePointer<MYSQL>) {
    var argument = argument
    text.append(UInt8(ascii: "'"))
    argument.withUTF8 { utf8 in
      // Room for two bytes for each, and for the NUL that the library writes behind them.
      text += [UInt8](unsafeUninitializedCapacity: utf8.count * 2 + 1) { buffer, count in
        count = Int(mysql_real_escape_string(connection, buffer.baseAddress, utf8.baseAddress, UInt(utf8.count)))
      }
    }
    text.append(UInt8(ascii: "'"))
  }

  /// All rows of the statement that ran last; nil: it answers none.
  ///
  /// The failure of a transaction that another one ended may stand behind the rows.
  static func rows(_ connection: UnsafeMutablePointer<MYSQL>) throws(MySQLFailure) -> [[SQLValue]]? {
    guard let result = mysql_store_result(connection) else {
      guard mysql_errno(connection) == 0 else { throw MySQLFailure(of: connection) }
      return nil
    }
    defer { mysql_free_result(result) }
    let fields = UnsafeBufferPointer(start: mysql_fetch_fields(result), count: Int(mysql_num_fields(result)))
    let areIntegers = fields.map { integerTypes.contains($0.type) }
    var rows: [[SQLValue]] = []
    rows.reserveCapacity(Int(clamping: mysql_num_rows(result)))
    while let row = mysql_fetch_row(result), let lengths = mysql_fetch_lengths(result) {
      rows.append(
        areIntegers.indices.map { index in
          guard let start = row[index] else { return .null }
          let bytes = UnsafeRawBufferPointer(start: start, count: Int(lengths[index]))
          let text = String(decoding: bytes, as: UTF8.self)
          return areIntegers[index] ? Int64(text).map(SQLValue.integer) ?? .text(text) : .text(text)
        })
    }
    return rows
  }

  private static let integerTypes = [
    MYSQL_TYPE_TINY, MYSQL_TYPE_SHORT, MYSQL_TYPE_INT24, MYSQL_TYPE_LONG, MYSQL_TYPE_LONGLONG,
  ]
}

extension MySQLFailure {
  /// Of the call that failed last.
  init(of connection: UnsafeMutablePointer<MYSQL>) {
    self.init(
      code: mysql_errno(connection), state: String(cString: mysql_sqlstate(connection)),
      message: String(cString: mysql_error(connection)))
  }
}
