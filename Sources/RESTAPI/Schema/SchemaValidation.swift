import ControlProtocol

/// One thing that is wrong with a request, and where.
public struct Problem: Hashable, Sendable {
  /// `rules[3].match.sources[0]`; empty for the body itself.
  public let path: String
  /// `required`, `wrong_type`, `out_of_range`, `too_long`, `too_short`, `too_many`, `not_allowed`, `unknown_field`,
  /// `invalid`, or a
  /// code of the rule check.
  public let code: String
  public let message: String

  public init(path: String, code: String, message: String) {
    self.path = path
    self.code = code
    self.message = message
  }

  var json: JSONValue { ["path": .string(path), "code": .string(code), "message": .string(message)] }
}

/// A request's value after the check against its schema.
public struct CheckedValue: Sendable {
  /// Known members only, absent ones filled in from the schema.
  public var value: JSONValue
  public var problems: [Problem]
  /// One for every member that the schema doesn't know.
  public var warnings: [String]
}

extension Schema {
  /// Problems and warnings beyond this are not reported: the answer stays small whatever the request was.
  public static let reportsMax = 50

  /// Checks a value from outside. Everything wrong is reported at once, with its path.
  public func check(_ value: JSONValue) -> CheckedValue {
    var checker = SchemaChecker()
    let checked = checker.check(value, self, path: "")
    return CheckedValue(value: checked, problems: checker.problems, warnings: checker.warnings)
  }
}

private struct SchemaChecker {
  var problems: [Problem] = []
  var warnings: [String] = []

  mutating func report(_ path: String, _ code: String, _ message: String) {
    if problems.count < Schema.reportsMax { problems.append(Problem(path: path, code: code, message: message)) }
  }

  private mutating func wrongType(_ value: JSONValue, _ path: String, expected: String) -> JSONValue {
    report(path, "wrong_type", "expected \(expected), got \(value.typeName)")
    return .null
  }

  mutating func check(_ value: JSONValue, _ schema: Schema, path: String) -> JSONValue {
    switch schema {
    case .named(_, let inner): return check(value, inner, path: path)
    case .any: return value
    case .nullable(let inner): return value == .null ? .null : check(value, inner, path: path)
    case .boolean: return value.bool != nil ? value : wrongType(value, path, expected: "boolean")
    case .number:
      switch value {
      case .number, .integer: return value
      default: return wrongType(value, path, expected: "number")
      }
    case .integer(let range):
      guard let number = value.integer else { return wrongType(value, path, expected: "integer") }
      if !range.contains(number) {
        report(path, "out_of_range", "must be between \(range.lowerBound) and \(range.upperBound)")
      }
      return value
    case .string(let shape): return check(value, shape, path: path)
    case .array(let element, let max, let min):
      return check(value, element: element, max: max, min: min, path: path)
    case .negatableArray(let element, let max):
      let array = Schema.array(element, max: max)
      switch value {
      case .array: return check(value, array, path: path)
      case .object: return check(value, .strictObject([.required("not", array)]), path: path)
      default: return wrongType(value, path, expected: "array, or object with the array \"not\"")
      }
    case .object(let fields): return check(value, fields: fields, isStrict: false, path: path)
    case .strictObject(let fields): return check(value, fields: fields, isStrict: true, path: path)
    case .map(let element, let keys): return check(value, values: element, keys: keys, path: path)
    }
  }

  private mutating func check(_ value: JSONValue, _ shape: StringShape, path: String) -> JSONValue {
    guard let text = value.string else { return wrongType(value, path, expected: "string") }
    if let words = shape.words {
      if !words.contains(text) { report(path, "not_allowed", "must be one of: \(words.joined(separator: ", "))") }
      return value
    }
    if let bytes = shape.bytes {
      if text.utf8.count > bytes.upperBound {
        report(path, "too_long", "at most \(bytes.upperBound) bytes")
        return value
      }
      if text.utf8.count < bytes.lowerBound {
        report(path, "too_short", bytes.lowerBound == 1 ? "must not be empty" : "at least \(bytes.lowerBound) bytes")
        return value
      }
    }
    let breaks: Set<UInt8> = shape.allowsLines ? [0x09, 0x0a, 0x0d] : []
    if text.utf8.contains(where: { $0 < 0x20 && !breaks.contains($0) || $0 == 0x7f }) {
      report(path, "invalid", "must not contain control characters")
    } else if let complaint = shape.check?(text) {
      report(path, "invalid", complaint)
    }
    return value
  }

  private mutating func check(_ value: JSONValue, element: Schema, max: Int, min: Int, path: String) -> JSONValue {
    guard let elements = value.array else { return wrongType(value, path, expected: "array") }
    if elements.count > max {
      report(path, "too_many", "at most \(max) elements")
      return value
    }
    if elements.count < min { report(path, "too_few", min == 1 ? "must not be empty" : "at least \(min) elements") }
    var checked: [JSONValue] = []
    checked.reserveCapacity(elements.count)
    for (index, item) in elements.enumerated() {
      checked.append(check(item, element, path: "\(path)[\(index)]"))
    }
    return .array(checked)
  }

  private mutating func check(_ value: JSONValue, fields: [Field], isStrict: Bool, path: String) -> JSONValue {
    guard let members = value.object else { return wrongType(value, path, expected: "object") }
    var checked: [String: JSONValue] = [:]
    for field in fields {
      let memberPath = Self.join(path, field.name)
      if let member = members[field.name] {
        checked[field.name] = check(member, field.schema, path: memberPath)
      } else if field.isRequired {
        report(memberPath, "required", "is required")
      } else if let fallback = field.fallback {
        checked[field.name] = fallback
      }
    }
    if members.contains(where: { checked[$0.key] == nil }) {
      let known = Set(fields.map(\.name))
      for name in members.keys.sorted() where !known.contains(name) {
        let memberPath = Self.join(path, String(name.prefix(64)))
        if isStrict {
          report(
            memberPath, "unknown_field", "there is no such field; there are \(known.sorted().joined(separator: ", "))")
        } else if warnings.count < Schema.reportsMax {
          warnings.append("unknown field ignored: \(memberPath)")
        }
      }
    }
    return .object(checked)
  }

  private mutating func check(_ value: JSONValue, values: Schema, keys: [String]?, path: String) -> JSONValue {
    guard let members = value.object else { return wrongType(value, path, expected: "object") }
    var checked: [String: JSONValue] = [:]
    for (name, member) in members.sorted(by: { $0.key < $1.key }) {
      let memberPath = Self.join(path, String(name.prefix(64)))
      if let keys, !keys.contains(name) {
        report(memberPath, "not_allowed", "must be one of: \(keys.joined(separator: ", "))")
      } else if name.utf8.count > 64 {
        report(memberPath, "too_long", "a member name has at most 64 bytes")
      }
      checked[name] = check(member, values, path: memberPath)
    }
    return .object(checked)
  }

  private static func join(_ path: String, _ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
}
