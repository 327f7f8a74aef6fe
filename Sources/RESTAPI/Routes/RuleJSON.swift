import ControlProtocol
import Foundation
import Packets
import Rules

// Rules in the JSON of the API: the same form as the Codable of Rules, which a test checks, but read with every fault
// reported at once and with its path.

/// The shapes of rules.
enum RuleShapes {
  /// An element of a field, with the reader's own complaint.
  private static func element(of field: String) -> Schema {
    // The longest: two sets of nine TCP flags.
    .string(
      StringShape(bytes: 1...128, format: formats[field] ?? "number-range", check: { Match.fault(of: $0, in: field) }))
  }

  /// What elements are called in the OpenAPI document, where they aren't numbers.
  private static let formats = [
    "interfaces": "interface-name", "source_macs": "mac-pattern", "destination_macs": "mac-pattern",
    "sources": "ip-prefix", "destinations": "ip-prefix", "protocols": "ip-protocol", "source_ports": "port-range",
    "destination_ports": "port-range", "tcp_flags": "tcp-flag-test", "fragments": "fragment-test",
    "options": "presence",
  ]

  private static let notes = [
    "interfaces": "Names of interfaces that the packet came in by", "queues": "Receive queues: 0, 4-7",
    "source_macs": "02:00:00:00:00:01, or with a mask: 02:00:00:00:00:00/ff:ff:ff:00:00:00",
    "ether_types": "Behind the VLAN tags: 0x0806", "vlan_ids": "Of the outer tag: 7, 100-199",
    "sources": "192.0.2.0/24, 2001:db8::/32; a bare address is a host; @blocked is a set of the rule set",
    "protocols": "tcp, udp, icmp, icmpv6, … or 0 to 255",
    "source_ports": "443, 8000-8080, @services; only with protocols tcp and udp",
    "tcp_flags": "syn; syn/syn|ack: SYN without ACK; none/rst: without RST. Only with the protocol tcp",
    "icmp_types": "Only with protocols icmp and icmpv6", "icmp_codes": "Only with protocols icmp and icmpv6",
    "dscp": "0 to 63", "ecn": "0 to 3", "hop_limits": "IPv4's time to live, IPv6's hop limit", "flow_labels": "IPv6's",
    "lengths": "Bytes of the IP datagram with its header: 0-99, 1400-65535", "fragments": "not, first, later, any",
    "options": "present or absent: IPv4 options, or IPv6 extension headers other than Fragment",
  ]

  /// Strict: a misspelt field would make the rule match more than its author meant.
  static let match = Schema.named(
    "Match",
    .strictObject(
      Match.fieldNames.map { name in
        .optional(name, .negatableArray(element(of: name), max: Limits.elementsPerFieldMax), notes[name])
      }))

  static func ruleFields(nameIsRequired: Bool) -> [Field] {
    let name = nameIsRequired ? Field.required("name", Shapes.name) : .optional("name", Shapes.name)
    return [
      name, .optional("match", match), .required("action", .words(Action.names)),
      .optional("redirect_to", .nullable(Shapes.interface), "Only with the action redirect"),
      .optional("chain", .nullable(Shapes.name), "Only with the actions jump and goto: where they lead"),
      .optional("comment", .text(max: Limits.commentByteCountMax), default: ""),
      .optional("enabled", .boolean, default: true),
      .optional("tags", .array(Shapes.name, max: Limits.tagsPerRuleMax), default: [], "Names to find rules by"),
      .optional("owner", .text(max: Limits.ownerByteCountMax), default: "", "Whom to ask about the rule"),
      .optional(
        "expires_at", .nullable(expiresAt),
        "The moment from which the rule decides nothing any more: the daemon takes it out, also without the API"),
      .optional(
        "ttl_seconds", .nullable(.integer(1...Int64(Limits.ttlSecondsMax))),
        "Instead of expires_at: so long from when it is accepted"),
    ]
  }

  static let expiresAt = Schema.string(
    StringShape(bytes: 1...64, format: "date-time") { text in
      RFC3339.unixMilliseconds(parsing: text) == nil ? "is no moment of RFC 3339: write 2026-01-31T12:00:00Z" : nil
    })

  static let rule = Schema.named("Rule", .strictObject(ruleFields(nameIsRequired: true)))
  static let rules = Schema.array(rule, max: Limits.rulesMax)

  /// A rule in an answer: with its place in the list.
  static let placedRule = Schema.named(
    "PlacedRule",
    .object(
      ruleFields(nameIsRequired: true).filter { $0.name != "ttl_seconds" }.map { field in
        var field = field
        field.isRequired = !["redirect_to", "chain", "tags", "owner", "expires_at"].contains(field.name)
        field.fallback = nil
        return field
      } + [
        .optional("expired", .boolean, "Where it has expires_at: whether that is past"),
        .required("position", .count, "From 0"),
      ]))

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
      action = try Action(
        name: actionName, redirectTo: value.present("redirect_to")?.string, chain: value.present("chain")?.string)
    } catch {
      throw APIError.validation(path.isEmpty ? "action" : "\(path).action", "invalid", error.description)
    }
    let expiry: Expiry?
    do throws(ValueTextError) {
      expiry = try Expiry(
        expiresAt: value.present("expires_at")?.string, ttlSeconds: value.present("ttl_seconds")?.integer)
    } catch {
      throw APIError.validation(path.isEmpty ? "ttl_seconds" : "\(path).ttl_seconds", "contradiction", error.description)
    }
    self.init(
      name: try value["name"]?.string ?? name ?? value.text("name"),
      match: try value["match"].map { try Match(checked: $0, path: path.isEmpty ? "match" : "\(path).match") } ?? Match(),
      action: action,
      comment: value["comment"]?.string ?? "", isEnabled: value["enabled"]?.bool ?? true,
      tags: value.texts("tags"), owner: value["owner"]?.string ?? "", expiry: expiry)
  }

  func json(position: Int? = nil) -> JSONValue {
    var members: [String: JSONValue] = [
      "name": .string(name), "match": match.json, "action": .string(action.name), "comment": .string(comment),
      "enabled": .bool(isEnabled),
    ]
    if !tags.isEmpty { members["tags"] = .strings(tags) }
    if !owner.isEmpty { members["owner"] = .string(owner) }
    if let moment = expiresAtUnixMilliseconds {
      members["expires_at"] = .string(RFC3339.text(unixMilliseconds: moment))
      members["expired"] = .bool(hasExpired(atUnixMilliseconds: .now))
    }
    if let target = action.redirectInterface { members["redirect_to"] = .string(target) }
    if let chain = action.chain { members["chain"] = .string(chain) }
    if let position { members["position"] = .count(position) }
    return .object(members)
  }
}

extension Match {
  fileprivate init(checked value: JSONValue, path: String) throws {
    self.init()
    for name in Match.fieldNames {
      guard let condition = value.present(name) else { continue }
      let isNegated = condition.object != nil
      let elements = (isNegated ? condition.object?["not"] : condition)?.array?.compactMap(\.string) ?? []
      do throws(ConditionError) {
        try set(ConditionForm(field: name, elements: elements, isNegated: isNegated))
      } catch {
        // Each element was checked: it is the list that is wrong.
        throw APIError.validation("\(path).\(name)", "invalid", error.reason)
      }
    }
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
      self.rules = RuleList(try rules.enumerated().map { try Rule(checked: $1, path: "rules[\($0)]") })
    }
    if let chains = value["chains"]?.array {
      self.chains = try chains.enumerated().map { try Chain(checked: $1, path: "chains[\($0)]") }
    }
    if let sets = value["sets"]?.array {
      self.sets = try sets.enumerated().map { try NamedSet(checked: $1, path: "sets[\($0)]") }
    }
  }

  /// Throws what makes the set unusable, as `validation_failed`; returns what is doubtful.
  func checked() throws -> [String] {
    let now = Int64.now
    return try check().map(\.description)
      + allRules.lazy.filter { $0.hasExpired(atUnixMilliseconds: now) }.prefix(Limits.issuesMax).map {
        "warning: the rule \($0.name) has expired: it decides nothing"
      }
  }

  /// As ``checked()``, without a word on rules that have expired.
  ///
  /// - Parameter text: The text that it was read from, if it was: then what is thrown says where in it.
  @discardableResult
  func check(readFrom text: String? = nil) throws -> [ValidationIssue] {
    do throws(InvalidRuleSet) { return try checkValid() } catch {
      let places = text.map { RuleSetText.located(error.issues, in: $0) } ?? error.issues.map { _ in nil }
      throw APIError.validation(
        zip(error.issues, places).map {
          Problem(path: $0.path, code: $0.code.rawValue, message: $1?.description ?? $0.message)
        })
    }
  }

  var placedRules: [JSONValue] { rules.enumerated().map { $1.json(position: $0) } }
}

extension Int64 {
  /// Milliseconds since 1970.
  static var now: Int64 { Int64((Date.now.timeIntervalSince1970 * 1000).rounded(.down)) }
}
