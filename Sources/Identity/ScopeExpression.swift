/// A permission as roles and clients hold it, which may stand for several scopes: `rules:write`, `rules:admin`,
/// `*:read`.
///
/// Verbs are levels: `admin` holds everything of its area, `write` holds `read`. `*` is every area. What a later
/// version adds to an area is held by whoever held the area's level.
public struct ScopeExpression: Hashable, Sendable, Comparable, CustomStringConvertible {
  /// Expressions of one role or client.
  public static let countMax = 64

  public let text: String
  /// What it stands for now, with what those imply; never empty.
  public let scopes: Set<Scope>

  public init(_ text: String) throws(ScopeExpressionError) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, text.utf8.count <= 64 else { throw .malformed(text) }
    let (area, verb) = (parts[0], parts[1])
    let areas = Scope.allCases.filter { area == "*" || $0.area == area }
    guard !areas.isEmpty else { throw .unknownArea(area) }
    let direct: [Scope]
    switch verb {
    case "admin": direct = areas
    case "write":
      direct = areas.contains { $0.verb == "write" } ? areas.filter { ["read", "write"].contains($0.verb) } : []
    // `*:apply` would be one scope under a name that promises more.
    case "read": direct = areas.filter { $0.verb == "read" }
    default: direct = area == "*" ? [] : areas.filter { $0.verb == verb }
    }
    guard !direct.isEmpty else { throw .unknownVerb(verb, area: area) }
    self.text = text
    scopes = direct.reduce(into: []) { $0.formUnion($1.implied.union([$1])) }
  }

  public init(_ scope: Scope) {
    text = scope.rawValue
    scopes = scope.implied.union([scope])
  }

  public var description: String { text }

  public static func < (a: ScopeExpression, b: ScopeExpression) -> Bool { a.text < b.text }
  public static func == (a: ScopeExpression, b: ScopeExpression) -> Bool { a.text == b.text }
  public func hash(into hasher: inout Hasher) { hasher.combine(text) }
}

/// Why a text is no permission.
public enum ScopeExpressionError: Error, Hashable, Sendable, CustomStringConvertible {
  case malformed(String)
  case unknownArea(String)
  case unknownVerb(String, area: String)

  public var description: String {
    switch self {
    case .malformed: "is no scope: write area:verb, such as rules:write or *:read"
    case .unknownArea: "has no such area; there are *, \(Scope.areas.joined(separator: ", "))"
    case .unknownVerb(_, let area):
      "has no such verb; \(area) has \(Scope.verbs(of: area).joined(separator: ", "))"
    }
  }
}

extension Scope {
  /// `rules` of `rules:write`.
  public var area: String { String(rawValue.prefix { $0 != ":" }) }
  /// `write` of `rules:write`.
  public var verb: String { String(rawValue.drop { $0 != ":" }.dropFirst()) }

  static let areas = Set(allCases.map(\.area)).sorted()

  static func verbs(of area: String) -> [String] {
    guard area != "*" else { return ["admin", "read", "write"] }
    return Set(allCases.filter { $0.area == area }.map(\.verb) + ["admin"]).sorted()
  }
}

extension Sequence<ScopeExpression> {
  /// Everything that they stand for.
  public var scopes: Set<Scope> { reduce(into: []) { $0.formUnion($1.scopes) } }
}

extension ScopeExpression: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    do throws(ScopeExpressionError) { try self.init(text) } catch {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "\(text) \(error)")
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }
}
