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
  static let element = Schema.string(StringShape(bytes: 1...128, format: "ip-prefix or port-range, and its end"))

  static let set = Schema.named(
    "NewSet",
    .strictObject([
      .required("name", Shapes.name), .required("type", .words(kinds)),
      .optional("comment", .text(max: Limits.commentByteCountMax), default: ""),
      .optional("counters", .boolean, default: false, "Count packets and bytes for each element; of sets of addresses"),
      .optional("elements", .array(element, max: Limits.setElementsMax), default: [],
        "Prefixes or ports; behind one may stand when it ends: 192.0.2.1 timeout 12h, or expires and a moment"),
    ] + endFields))

  static let setPatch = Schema.named(
    "SetPatch",
    .strictObject([
      .optional("comment", .text(max: Limits.commentByteCountMax)),
      .optional("counters", .boolean, "Count packets and bytes for each element; of sets of addresses"),
    ]))

  private static let setFields: [Field] = [
    .required("name", .string()), .required("type", .words(kinds)), .required("comment", .string()),
    .required("counters", .boolean, "Packets and bytes are counted for each element"),
  ]

  /// When the elements of a body end, beside them.
  static let endFields: [Field] = [
    .optional("expires_at", .nullable(expiresAt), "When those end that don't say it themselves"),
    .optional(
      "ttl_seconds", .nullable(.integer(1...Int64(Limits.ttlSecondsMax))),
      "Instead of expires_at: so long from when they are accepted"),
  ]

  /// A set in an answer.
  static let wholeSet = Schema.named(
    "Set", .object(setFields + [.required("elements", .array(.string(), max: Int.max))]))
  static let setSummary = Schema.named(
    "SetSummary",
    .object(
      setFields + [
        .required("element_count", .count, "Without those that have ended"),
        .required("expiring_count", .count, "Elements that will end"),
        .required("next_expiry", .nullable(.timestamp), "When the next of them does"),
      ]))
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
    hasCounters = value["counters"]?.bool ?? false
    insert(try members(checked: value, path: path))
  }

  /// The elements of a body, of this set's kind, that end when they say or else when the body does.
  func members(checked value: JSONValue, path: String) throws -> [SetMember] {
    var problems: [Problem] = []
    var elements: [SetMember] = []
    let end: Expiry?
    do throws(ValueTextError) {
      end = try Expiry(
        expiresAt: value.present("expires_at")?.string, ttlSeconds: value.present("ttl_seconds")?.integer)
    } catch {
      throw APIError.validation(path.isEmpty ? "ttl_seconds" : "\(path).ttl_seconds", "contradiction", error.description)
    }
    for (index, text) in value.texts("elements").enumerated() where problems.count < Limits.issuesMax {
      do throws(ValueTextError) {
        var member = try SetMember(parsing: text, for: kind)
        member.expiry = member.expiry ?? end
        elements.append(member)
      } catch {
        let place = path.isEmpty ? "elements[\(index)]" : "\(path).elements[\(index)]"
        problems.append(Problem(path: place, code: "invalid", message: error.description))
      }
    }
    guard problems.isEmpty else { throw APIError.validation(problems) }
    return elements
  }

  private var fields: [String: JSONValue] {
    ["name": .string(name), "type": .string(kind.rawValue), "comment": .string(comment), "counters": .bool(hasCounters)]
  }

  /// What has ended is not counted: the daemons have it no more.
  var summary: JSONValue {
    var left = self
    left.removeEnded(atUnixMilliseconds: .now)
    let next = left.nextEnd
    return .object(
      fields.merging([
        "element_count": .count(left.count), "expiring_count": .count(next?.count ?? 0),
        "next_expiry": next.map { .string(RFC3339.text(unixMilliseconds: $0.unixMilliseconds)) } ?? .null,
      ]) { _, new in new })
  }
  var json: JSONValue { .object(fields.merging(["elements": .strings(texts)]) { _, new in new }) }
}
