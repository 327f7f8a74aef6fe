import ControlProtocol
import Packets
import Rules

// Chains and sets in the JSON of the API: the same form as the Codable of Rules.

extension RuleShapes {
  static let chain = Schema.named(
    "Chain",
    .strictObject([
      .required("name", Shapes.name), .optional("comment", .text(max: Limits.commentByteCountMax), default: ""),
      .optional("rules", rules, default: [], "In order; their names are unique in the rule set"),
    ]))

  /// A chain in an answer.
  static let placedChain = Schema.named(
    "PlacedChain",
    .object([
      .required("name", .string()), .required("comment", .string()),
      .required("rules", .array(placedRule, max: Int.max)),
    ]))

  private static let kinds = NamedSet.Kind.allCases.map(\.rawValue)
  /// Checked with the set, whose type says what they must be.
  static let element = Schema.string(StringShape(bytes: 1...64, format: "ip-prefix or port-range"))

  static let set = Schema.named(
    "NewSet",
    .strictObject([
      .required("name", Shapes.name), .required("type", .words(kinds)),
      .optional("comment", .text(max: Limits.commentByteCountMax), default: ""),
      .optional("elements", .array(element, max: Limits.setElementsMax), default: [], "Prefixes or ports"),
    ]))

  private static let setFields: [Field] = [
    .required("name", .string()), .required("type", .words(kinds)), .required("comment", .string()),
  ]

  /// A set in an answer.
  static let wholeSet = Schema.named(
    "Set", .object(setFields + [.required("elements", .array(.string(), max: Int.max))]))
  static let setSummary = Schema.named("SetSummary", .object(setFields + [.required("element_count", .count)]))
}

extension Chain {
  /// From a value that was checked against ``RuleShapes/chain``.
  init(checked value: JSONValue, path: String) throws {
    self.init(
      name: try value.text("name"), comment: value["comment"]?.string ?? "",
      rules: try (value["rules"]?.array ?? []).enumerated().map {
        try Rule(checked: $1, path: path.isEmpty ? "rules[\($0)]" : "\(path).rules[\($0)]")
      })
  }

  var json: JSONValue {
    [
      "name": .string(name), "comment": .string(comment),
      "rules": .array(rules.enumerated().map { $1.json(position: $0) }),
    ]
  }
}

extension NamedSet {
  /// From a value that was checked against ``RuleShapes/set``.
  init(checked value: JSONValue, path: String) throws {
    guard let kind = Kind(rawValue: try value.text("type")) else { throw Fault("an unchecked type of set") }
    self.init(name: try value.text("name"), kind: kind, comment: value["comment"]?.string ?? "")
    insert(try elements(checked: value, path: path))
  }

  /// The elements of a body, of this set's kind.
  func elements(checked value: JSONValue, path: String) throws -> [SetElement] {
    var problems: [Problem] = []
    var elements: [SetElement] = []
    for (index, text) in value.texts("elements").enumerated() where problems.count < Limits.issuesMax {
      do throws(ValueTextError) {
        elements.append(try SetElement(parsing: text, for: kind))
      } catch {
        let place = path.isEmpty ? "elements[\(index)]" : "\(path).elements[\(index)]"
        problems.append(Problem(path: place, code: "invalid", message: error.description))
      }
    }
    guard problems.isEmpty else { throw APIError.validation(problems) }
    return elements
  }

  private var members: [String: JSONValue] {
    ["name": .string(name), "type": .string(kind.rawValue), "comment": .string(comment)]
  }

  var summary: JSONValue { .object(members.merging(["element_count": .count(count)]) { _, new in new }) }
  var json: JSONValue { .object(members.merging(["elements": .strings(texts)]) { _, new in new }) }
}
