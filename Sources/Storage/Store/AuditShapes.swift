import Audit
import Foundation
import Identity
import JSONValues
import Rules

// What the audit log shows of each thing: names as in the API, no secret.

extension User {
  var audited: AuditedState { audited(passwordChanged: false) }

  func audited(passwordChanged: Bool) -> AuditedState {
    var members: [String: JSONValue] = [
      "email": .string(email.value), "name": .string(name), "roles": .strings(roles.sorted().map(\.rawValue)),
      "custom_roles": .strings(customRoles.map(\.name)), "is_active": .bool(isActive),
      "must_change_password": .bool(mustChangePassword),
    ]
    if passwordChanged { members["password_changed"] = true }
    return AuditedState(id, .object(members))
  }
}

extension Node {
  var audited: AuditedState {
    AuditedState(
      id, ["name": .string(name), "address": .string(address), "description": .string(description)])
  }
}

extension Attachment {
  var audited: AuditedState {
    AuditedState(
      id,
      [
        "node": .string(node), "interface": .string(interface), "rule_set": .optional(ruleSet),
        "applied_revision": appliedRevision.map { .count($0) } ?? .null, "mode": .string(options.mode.rawValue),
        "zero_copy": .string(options.zeroCopy.rawValue), "coexistence": .string(options.coexistence.rawValue),
        "capture_fallback": .string(options.captureFallback.rawValue), "keep_on_exit": .bool(options.keepOnExit),
      ])
  }
}

extension CaptureRecord {
  func audited() throws -> AuditedState {
    AuditedState(
      id, ["node": .string(node), "interface": .string(interface), "request": try .encoding(request)])
  }
}

extension RuleSetTable.Written {
  /// Rules of one record; the others are counted. The revisions have them all.
  private static let rulesMax = 32

  /// Both with the rules that the other one has not.
  func audited(replacedBy new: Self) throws -> (old: AuditedState, new: AuditedState) {
    let (before, after) = (ruleSet.content, new.ruleSet.content)
    let (gone, come) = (Self.placed(before, unlike: after), Self.placed(after, unlike: before))
    let (wasThere, isThere) = (Set(gone), Set(come))
    return (
      try audited(gone.filter { !isThere.contains($0) }), try new.audited(come.filter { !wasThere.contains($0) })
    )
  }

  var audited: AuditedState { get throws { try audited(Self.placed(ruleSet.content, unlike: nil)) } }

  /// A rule and the chain that it stands in; nil: the rule set's own list.
  private struct Placed: Hashable {
    let rule: Rule
    let chain: String?

    func json() throws -> JSONValue {
      let json = try JSONValue.encoding(rule)
      guard let chain, case .object(var members) = json else { return json }
      members["in_chain"] = .string(chain)
      return .object(members)
    }
  }

  /// The rules of each list without those at both ends that the other one's list has there, too.
  private static func placed(_ content: RuleSet, unlike other: RuleSet?) -> [Placed] {
    content.lists.flatMap { chain, rules in
      let others = other.map { chain.map($0.rules(ofChain:)) ?? $0.rules } ?? []
      let (first, last) = rules.commonEnds(with: others)
      return rules[first..<rules.count - last].map { Placed(rule: $0, chain: chain) }
    }
  }

  private func audited(_ rules: [Placed]) throws -> AuditedState {
    let content = ruleSet.content
    var members: [String: JSONValue] = [
      "name": .string(ruleSet.name), "revision": .count(ruleSet.revision), "description": .string(ruleSet.description),
      "default_action": .string(content.defaultAction.rawValue),
      "rule_count": .count(content.allRules.count),
      "content_sha256": .string(text.digest), "rules": .array(try rules.prefix(Self.rulesMax).map { try $0.json() }),
    ]
    if rules.count > Self.rulesMax { members["rules_omitted"] = .count(rules.count - Self.rulesMax) }
    if let reason = ruleSet.current.info.reason { members["reason"] = .string(reason) }
    return AuditedState(ruleSet.id, .object(members))
  }
}

extension SignIn {
  /// Who fails to sign in may have typed a password for his address: only what is an address is written.
  var audited: AuditEvent {
    let address = (try? Email(email))?.value ?? ""
    let id = userID.map { SQLValue($0).plainText }
    return AuditEvent(
      actor: succeeded
        ? AuditActor(kind: .user, id: id, name: address) : AuditActor(kind: .anonymous, name: address),
      outcome: succeeded ? .succeeded : .refused, code: succeeded ? nil : "unauthenticated",
      subject: id.map { AuditSubject(kind: "user", id: $0) })
  }
}

extension JSONValue {
  /// A value in the form of its `Codable`.
  static func encoding(_ value: some Encodable) throws -> JSONValue {
    try JSONValue(parsing: Array(JSONEncoder().encode(value)))
  }
}
