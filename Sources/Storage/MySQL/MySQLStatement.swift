import CMariaDB

/// One prepared statement of a connection, used by the connection's thread and gone before the connection.
final class MySQLStatement {
  private let handle: UnsafeMutablePointer<MYSQL_STMT>
  /// Which argument each `?` is.
  private let order: [Int]

  /// Prepares at the server. `sql` names its parameters `$1`, `$2`, …
  init(_ sql: String, _ connection: UnsafeMutablePointer<MYSQL>) throws(MySQLFailure) {
    guard let handle = mysql_stmt_init(connection) else {
      throw MySQLFailure(code: mysql_errno(connection), state: "HY001", message: "no memory for a statement")
    }
    self.handle = handle
    var (text, order) = Self.translate(sql)
    self.order = order
    let code = text.withUTF8 { utf8 in
      mysql_stmt_prepare(
        handle, utf8.baseAddress.map { UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self) }, UInt(utf8.count))
    }
    guard code == 0 else { throw failure() }
    var always: my_bool = 1
    mysql_stmt_attr_set(handle, STMT_ATTR_UPDATE_MAX_LENGTH, &always)
  }

  deinit { mysql_stmt_close(handle) }

  /// `$2` → `?`, and which argument that is; what is quoted stays.
  static func translate(_ sql: String) -> (text: String, order: [Int]) {
    var text: [UInt8] = []
    var order: [Int] = []
    var quote: UInt8?
    var rest = Array(sql.utf8)[...]
    while let byte = rest.popFirst() {
      if let open = quote {
        if byte == open { quote = nil }
      } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
        quote = byte
      } else if byte == UInt8(ascii: "$"), let digit = rest.first, (0x30...0x39).contains(digit) {
        let digits = rest.prefix { (0x30...0x39).contains($0) }
        rest = rest.dropFirst(digits.count)
        order.append(digits.reduce(0) { $0 * 10 + Int($1 - 0x30) } - 1)
        text.append(UInt8(ascii: "?"))
        continue
      }
      text.append(byte)
    }
    return (String(decoding: text, as: UTF8.self), order)
  }

  /// The arguments as the library wants them. Owns its memory; the library reads it in ``execute(_:)``.
  final class Packet {
    fileprivate let binds: UnsafeMutableBufferPointer<MYSQL_BIND>
    private let memory: UnsafeMutableRawBufferPointer
    let byteCount: Int

    fileprivate init(_ values: [SQLValue]) {
      let sizes = values.map { value in
        switch value {
        case .null: 0
        case .integer: 8
        case .text(let text): text.utf8.count
        }
      }
      byteCount = sizes.reduce(0, +)
      memory = .allocate(byteCount: max(sizes.reduce(0) { $0 + ($1 + 7) & ~7 }, 8), alignment: 8)
      binds = .allocate(capacity: values.count)
      var offset = 0
      for (index, value) in values.enumerated() {
        var bind = MYSQL_BIND()
        // Inside `memory`, whose size is the sum of the same sizes.
        let place = UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + sizes[index]])
        bind.buffer = memory.baseAddress.map { $0 + offset }
        switch value {
        case .null: bind.buffer_type = MYSQL_TYPE_NULL
        case .integer(let integer):
          bind.buffer_type = MYSQL_TYPE_LONGLONG
          place.storeBytes(of: integer, as: Int64.self)
        case .text(let text):
          bind.buffer_type = MYSQL_TYPE_STRING
          place.copyBytes(from: text.utf8)
          bind.buffer_length = UInt(sizes[index])
        }
        binds.initializeElement(at: index, to: bind)
        offset += (sizes[index] + 7) & ~7
      }
    }

    deinit {
      memory.deallocate()
      binds.deallocate()
    }
  }

  func bind(_ arguments: [SQLValue]) throws(MySQLFailure) -> Packet {
    guard order.allSatisfy(arguments.indices.contains) else {
      preconditionFailure("a statement has an argument for each parameter")
    }
    return Packet(order.map { arguments[$0] })
  }

  func execute(_ packet: Packet) throws(MySQLFailure) {
    // The packet must outlive both calls: the first one only notes where it is.
    try withExtendedLifetime(packet) { () throws(MySQLFailure) in
      guard packet.binds.isEmpty || mysql_stmt_bind_param(handle, packet.binds.baseAddress) == 0,
        mysql_stmt_execute(handle) == 0
      else { throw failure() }
    }
  }

  /// Rows that the execution changed, or found where it changed nothing in them.
  func changedCount() throws(MySQLFailure) -> Int {
    if mysql_stmt_field_count(handle) > 0 { return try rows().count }
    return Int(clamping: mysql_stmt_affected_rows(handle))
  }

  func rows() throws(MySQLFailure) -> [[SQLValue]] {
    let columnCount = Int(mysql_stmt_field_count(handle))
    guard columnCount > 0 else { return [] }
    guard mysql_stmt_store_result(handle) == 0 else { throw failure() }
    guard let fields = mariadb_stmt_fetch_fields(handle) else { throw failure() }
    let row = ResultRow(UnsafeBufferPointer(start: fields, count: columnCount))
    guard mysql_stmt_bind_result(handle, row.binds.baseAddress) == 0 else { throw failure() }
    var rows: [[SQLValue]] = []
    rows.reserveCapacity(Int(clamping: mysql_stmt_num_rows(handle)))
    while true {
      switch mysql_stmt_fetch(handle) {
      case 0: rows.append(row.values)
      case MYSQL_NO_DATA: return rows
      default: throw failure()
      }
    }
  }

  /// The result is no longer needed.
  func finish() { mysql_stmt_free_result(handle) }

  private func failure() -> MySQLFailure {
    MySQLFailure(
      code: mysql_stmt_errno(handle), state: String(cString: mysql_stmt_sqlstate(handle)),
      message: String(cString: mysql_stmt_error(handle)))
  }
}

/// Memory for one row of a stored result, with room for the longest value of each column.
private final class ResultRow {
  let binds: UnsafeMutableBufferPointer<MYSQL_BIND>
  private let memory: UnsafeMutableRawBufferPointer
  private let lengths: UnsafeMutableBufferPointer<UInt>
  private let nulls: UnsafeMutableBufferPointer<my_bool>
  private let offsets: [Int]
  private let areIntegers: [Bool]

  init(_ fields: UnsafeBufferPointer<MYSQL_FIELD>) {
    let integerTypes = [
      MYSQL_TYPE_TINY, MYSQL_TYPE_SHORT, MYSQL_TYPE_INT24, MYSQL_TYPE_LONG, MYSQL_TYPE_LONGLONG,
    ]
    areIntegers = fields.map { integerTypes.contains($0.type) }
    let sizes = zip(fields, areIntegers).map { field, isInteger in isInteger ? 8 : Int(field.max_length) }
    var offsets: [Int] = []
    var end = 0
    for size in sizes {
      offsets.append(end)
      end += (size + 7) & ~7
    }
    self.offsets = offsets
    memory = .allocate(byteCount: max(end, 8), alignment: 8)
    binds = .allocate(capacity: sizes.count)
    lengths = .allocate(capacity: sizes.count)
    nulls = .allocate(capacity: sizes.count)
    lengths.initialize(repeating: 0)
    nulls.initialize(repeating: 0)
    for index in sizes.indices {
      var bind = MYSQL_BIND()
      bind.buffer_type = areIntegers[index] ? MYSQL_TYPE_LONGLONG : MYSQL_TYPE_STRING
      bind.buffer = memory.baseAddress.map { $0 + offsets[index] }
      bind.buffer_length = UInt(sizes[index])
      bind.length = lengths.baseAddress.map { $0 + index }
      bind.is_null = nulls.baseAddress.map { $0 + index }
      binds.initializeElement(at: index, to: bind)
    }
  }

  deinit {
    memory.deallocate()
    binds.deallocate()
    lengths.deallocate()
    nulls.deallocate()
  }

  /// Of the row that was fetched last.
  var values: [SQLValue] {
    offsets.indices.map { index in
      if nulls[index] != 0 { return .null }
      if areIntegers[index] { return .integer(memory.load(fromByteOffset: offsets[index], as: Int64.self)) }
      // The library never says more than the longest value, for which there is room.
      let text = memory[offsets[index]..<offsets[index] + Int(lengths[index])]
      return .text(String(decoding: text, as: UTF8.self))
    }
  }
}
