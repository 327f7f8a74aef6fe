/// A collector as RFC 7011 wants it, that trusts nothing and knows no template by heart.
struct IPFIXDecoder {
  /// Of a record, by information element.
  typealias Values = [UInt16: [UInt8]]

  struct Fault: Error { let reason: String }

  private var templates: [UInt16: [(element: UInt16, byteCount: Int)]] = [:]
  private var options: Set<UInt16> = []
  private var sequence: UInt32 = 0
  private(set) var records: [Values] = []
  /// samplingPacketSpace of every report.
  private(set) var samplingSpaces: [[UInt8]] = []

  mutating func read(_ message: [UInt8]) throws {
    var input = Input(message[...])
    guard try input.number(2) == 10 else { throw Fault(reason: "version") }
    guard try input.number(2) == message.count else { throw Fault(reason: "length") }
    _ = try input.number(4)
    let announced = UInt32(try input.number(4))
    guard announced == sequence else { throw Fault(reason: "sequence \(announced), not \(sequence)") }
    _ = try input.number(4)
    while !input.rest.isEmpty {
      let id = UInt16(try input.number(2))
      let byteCount = try input.number(2)
      guard byteCount >= 4 else { throw Fault(reason: "set of \(byteCount) bytes") }
      var set = Input(try input.take(byteCount - 4))
      switch id {
      case 2, 3: while set.rest.count >= 4 { try template(&set, isOptions: id == 3) }
      case 256...: try data(&set, id)
      default: throw Fault(reason: "set \(id)")
      }
    }
  }

  private mutating func template(_ set: inout Input, isOptions: Bool) throws {
    let id = UInt16(try set.number(2))
    let count = try set.number(2)
    if isOptions {
      let scopes = try set.number(2)
      guard scopes > 0, scopes <= count else { throw Fault(reason: "scopes") }
      options.insert(id)
    }
    templates[id] = try (0..<count).map { _ in (UInt16(try set.number(2)), try set.number(2)) }
  }

  private mutating func data(_ set: inout Input, _ id: UInt16) throws {
    guard let fields = templates[id] else { throw Fault(reason: "no template \(id)") }
    let byteCount = fields.reduce(0) { $0 + $1.byteCount }
    guard !set.rest.isEmpty, set.rest.count % byteCount == 0 else { throw Fault(reason: "set of \(set.rest.count)") }
    while !set.rest.isEmpty {
      var values: Values = [:]
      for field in fields { values[field.element] = Array(try set.take(field.byteCount)) }
      sequence &+= 1
      if options.contains(id) { samplingSpaces.append(values[306] ?? []) } else { records.append(values) }
    }
  }

  private struct Input {
    var rest: ArraySlice<UInt8>
    init(_ rest: ArraySlice<UInt8>) { self.rest = rest }

    mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
      guard rest.count >= count else { throw Fault(reason: "too short") }
      defer { rest = rest.dropFirst(count) }
      return rest.prefix(count)
    }

    mutating func number(_ byteCount: Int) throws -> Int { try take(byteCount).reduce(0) { $0 << 8 | Int($1) } }
  }
}
