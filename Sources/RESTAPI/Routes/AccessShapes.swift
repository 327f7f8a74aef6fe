import ControlProtocol
import Identity
import Packets
import Rules

/// Shapes that roles and clients share.
enum AccessShapes {
  static func scopes(min: Int) -> Schema {
    .array(
      .string(
        StringShape(bytes: 1...64, pattern: "^([a-z]+|\\*):[a-z]+$") { text in
          do throws(ScopeExpressionError) { _ = try ScopeExpression(text) } catch { return error.description }
          return nil
        }), max: ScopeExpression.countMax, min: min)
  }

  static let scopesNote = "area:verb; admin ⊃ write ⊃ read, * is every area: rules:admin, *:read"

  static func prefixes(min: Int) -> Schema {
    .array(
      .string(
        StringShape(bytes: 1...64, format: "ip-prefix") { text in
          do throws(ValueTextError) { _ = try IPPrefix(parsing: text) } catch { return error.description }
          return nil
        }), max: DelegationLimits.prefixesMax, min: min)
  }

  /// Strict: a misspelt limit would be none.
  static let limits = Schema.named(
    "DelegationLimits",
    .strictObject([
      .optional(
        "destinations", .nullable(prefixes(min: 1)), "Only rules whose destinations lie in these; null: any rule"),
      .optional(
        "actions", .nullable(.array(.words(Action.names), max: Action.names.count, min: 1)),
        "Only these actions; null: any"),
    ]))

  static func scopes(_ body: JSONValue) throws -> [ScopeExpression]? {
    guard body["scopes"] != nil else { return nil }
    return try Set(body.texts("scopes").map { try ScopeExpression($0) }).sorted()
  }

  static func prefixes(_ value: JSONValue?) throws -> [IPPrefix]? {
    try value?.array.map { elements in try elements.compactMap(\.string).map { try IPPrefix(parsing: $0) } }
  }

  /// `.some(nil)`: no limits; nil: the body doesn't say.
  static func limits(_ body: JSONValue) throws -> DelegationLimits?? {
    guard let value = body["limits"] else { return nil }
    guard value != .null else { return .some(nil) }
    return .some(
      DelegationLimits(
        destinations: try prefixes(value["destinations"]),
        actions: value["actions"]?.array.map { $0.compactMap(\.string) }))
  }

  static func json(_ limits: DelegationLimits?) -> JSONValue {
    guard let limits else { return .null }
    return [
      "destinations": limits.destinations.map { .strings($0.map(\.description)) } ?? .null,
      "actions": limits.actions.map { .strings($0) } ?? .null,
    ]
  }
}
