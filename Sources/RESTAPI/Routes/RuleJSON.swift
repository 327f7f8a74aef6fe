import ControlProtocol
import Packets
import Rules

// Rules in the JSON of the API: the same form as the Codable of Rules, which a test checks, but read with every fault
// reported at once and with its path.

/// The shapes of rules.
enum RuleShapes {
  /// A value that is written as text, with the reader's own complaint.
  private static func element<Value>(
    _ example: String, _ parse: @escaping @Sendable (String) throws(ValueTextError) -> Value
  ) -> Schema {
    .string(
      StringShape(bytes: 1...64, format: example) { text in
        do throws(ValueTextError) { _ = try parse(text) } catch { return error.description }
        return nil
      })
  }

  private static func list(_ element: Schema) -> Schema { .array(element, max: Limits.elementsPerFieldMax) }

  private static let prefix = element("ip-prefix") { text throws(ValueTextError) in try IPPrefix(parsing: text) }
  private static let transport = element("ip-protocol") { text throws(ValueTextError) in
    try IPProtocol(parsing: text)
  }
  private static let ports = element("port-range") { text throws(ValueTextError) in try PortRange(parsing: text) }

  /// Strict: a misspelt field would make the rule match more than its author meant.
  static let match = Schema.named(
    "Match",
    .strictObject([
      .optional("sources", list(prefix), default: [], "192.0.2.0/24, 2001:db8::/32; a bare address is a host"),
      .optional("destinations", list(prefix), default: []),
      .optional("protocols", list(transport), default: [], "tcp, udp, icmp, icmpv6, … or 0 to 255"),
      .optional("source_ports", list(ports), default: [], "443, 8000-8080; only with protocols tcp and udp"),
      .optional("destination_ports", list(ports), default: []),
    ]))

  static func ruleFields(nameIsRequired: Bool) -> [Field] {
    let name = nameIsRequired ? Field.required("name", Shapes.name) : .optional("name", Shapes.name)
    return [
      name, .optional("match", match), .required("action", .words(Action.names)),
      .optional("redirect_to", .nullable(Shapes.interface), "Only with the action redirect"),
      .optional("comment", .text(max: Limits.commentByteCountMax), default: ""),
      .optional("enabled", .boolean, default: true),
    ]
  }

  static let rule = Schema.named("Rule", .strictObject(ruleFields(nameIsRequired: true)))
  static let rules = Schema.array(rule, max: Limits.rulesMax)

  /// A rule in an answer: with its place in the list.
  static let placedRule = Schema.named(
    "PlacedRule",
    .object(
      ruleFields(nameIsRequired: true).map { field in
        var field = field
        field.isRequired = field.name != "redirect_to"
        field.fallback = nil
        return field
      } + [.required("position", .count, "From 0")]))

  static let exceptions = Schema.map(Shapes.fate, keys: MalformedReason.allCases.map(\.rawValue))
}

extension Rule {
  /// From a value that was checked against ``RuleShapes/rule``.
  ///
  /// - Parameter path: where the rule stands in the body.
  init(checked value: JSONValue, name: String? = nil, path: String = "") throws {
    let actionName = try value.text("action")
    let action: Action
    do throws(ValueTextError) {
      action = try Action(name: actionName, redirectTo: value.present("redirect_to")?.string)
    } catch {
      throw APIError.validation(path.isEmpty ? "action" : "\(path).action", "invalid", error.description)
    }
    self.init(
      name: try value["name"]?.string ?? name ?? value.text("name"),
      match: try value["match"].map(Match.init(checked:)) ?? Match(), action: action,
      comment: value["comment"]?.string ?? "", isEnabled: value["enabled"]?.bool ?? true)
  }

  func json(position: Int? = nil) -> JSONValue {
    var members: [String: JSONValue] = [
      "name": .string(name), "match": match.json, "action": .string(action.name), "comment": .string(comment),
      "enabled": .bool(isEnabled),
    ]
    if let target = action.redirectInterface { members["redirect_to"] = .string(target) }
    if let position { members["position"] = .count(position) }
    return .object(members)
  }
}

extension Match {
  fileprivate init(checked value: JSONValue) throws {
    self.init(
      sources: try value.texts("sources").map(IPPrefix.init(parsing:)),
      destinations: try value.texts("destinations").map(IPPrefix.init(parsing:)),
      protocols: try value.texts("protocols").map(IPProtocol.init(parsing:)),
      sourcePorts: try value.texts("source_ports").map(PortRange.init(parsing:)),
      destinationPorts: try value.texts("destination_ports").map(PortRange.init(parsing:)))
  }

  fileprivate var json: JSONValue {
    [
      "sources": .strings(sources.map(\.description)), "destinations": .strings(destinations.map(\.description)),
      "protocols": .strings(protocols.map(\.description)), "source_ports": .strings(sourcePorts.map(\.description)),
      "destination_ports": .strings(destinationPorts.map(\.description)),
    ]
  }
}

extension RuleSet {
  /// What a body says about the content, put over what is there; absent members stay.
  mutating func apply(checked value: JSONValue) throws {
    if let name = value["name"]?.string { self.name = name }
    if let fate = value["default_action"]?.string.flatMap(Fate.init) { defaultAction = fate }
    if let fate = value["malformed"]?.string.flatMap(Fate.init) { malformed.fate = fate }
    if let exceptions = value["malformed_exceptions"]?.object {
      malformed.exceptions = [:]
      for (name, fate) in exceptions {
        guard let reason = MalformedReason(rawValue: name), let fate = fate.string.flatMap(Fate.init) else {
          throw Fault("unchecked exception \(name)")
        }
        malformed.exceptions[reason] = fate
      }
    }
    if let rules = value["rules"]?.array {
      self.rules = try rules.enumerated().map { try Rule(checked: $1, path: "rules[\($0)]") }
    }
  }

  /// Throws what makes the set unusable, as `validation_failed`; returns what is doubtful.
  func checked() throws -> [String] {
    do throws(InvalidRuleSet) { return try checkValid().map(\.description) } catch {
      throw APIError.validation(
        error.issues.map { Problem(path: $0.path, code: $0.code.rawValue, message: $0.message) })
    }
  }

  var placedRules: [JSONValue] { rules.enumerated().map { $1.json(position: $0) } }
}
