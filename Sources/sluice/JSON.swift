import ControlProtocol
import Foundation

/// What the API says and what `--json` prints.
typealias JSON = JSONValue

extension JSONValue {
  /// The member of an object; null where there is none.
  subscript(key: String) -> JSONValue { object?[key] ?? .null }

  var elements: [JSON] { array ?? [] }
  var members: [String: JSON] { object ?? [:] }

  /// In a cell of a table: text as it is, nothing for null.
  var cell: String {
    switch self {
    case .null: ""
    case .bool(let value): value ? "yes" : "no"
    case .integer(let value): String(value)
    case .number(let value): String(value)
    case .string(let value): value
    case .array(let value): value.map(\.cell).joined(separator: ",")
    case .object: text(pretty: false)
    }
  }

  /// Keys sorted, so that equal values have equal texts.
  func text(pretty: Bool = true) -> String {
    guard pretty else { return text }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    guard let data = try? encoder.encode(self) else { return "null" }
    return String(decoding: data, as: UTF8.self)
  }

  /// Nil: not JSON.
  static func parse(_ bytes: some Collection<UInt8>) -> JSON? { try? JSONValue(parsing: Array(bytes)) }

  /// This value as a type of its own.
  func decoded<Value: Decodable>(as type: Value.Type = Value.self) throws -> Value {
    try JSONDecoder().decode(type, from: Data(bytes()))
  }

  static func encoding(_ value: some Encodable) throws -> JSON {
    try JSONValue(parsing: Array(JSONEncoder().encode(value)))
  }
}
