import Packets
public import Rules

// Between the messages of control.proto and the values of Rules. Reading checks the syntax of every field and the
// limits on list lengths; what needs the whole set is `RuleSet.validate()`'s business. Unknown enum numbers, which a
// newer client may send, are refused: a rule must never mean less than its author wrote.

extension Fate {
  /// nil for UNSPECIFIED.
  init?(_ message: Sluice_Control_V1_Fate, path: String) throws(FieldError) {
    switch message {
    case .unspecified: return nil
    case .pass: self = .pass
    case .drop: self = .drop
    case .UNRECOGNIZED(let number):
      throw FieldError(path: path, reason: "\(number) is no fate that this version knows: FATE_PASS or FATE_DROP")
    }
  }

  /// The fate of a message, or `fallback` where it says nothing.
  public init(_ message: Sluice_Control_V1_Fate, default fallback: Fate, path: String) throws(FieldError) {
    self = try Fate(message, path: path) ?? fallback
  }
}

extension Sluice_Control_V1_Fate {
  public init(_ fate: Fate) {
    switch fate {
    case .pass: self = .pass
    case .drop: self = .drop
    }
  }
}

extension Rules.Action {
  /// The action of a rule's message; `path` is the rule's.
  init(_ message: Sluice_Control_V1_Rule, path: String) throws(FieldError) {
    let target = message.redirectInterface
    if message.action != .redirect, !target.isEmpty {
      throw FieldError(path: "\(path).redirect_interface", reason: "only ACTION_REDIRECT has a target")
    }
    switch message.action {
    case .pass: self = .pass
    case .drop: self = .drop
    case .count: self = .count
    case .capture: self = .capture
    case .redirect:
      if target.isEmpty {
        throw FieldError(
          path: "\(path).redirect_interface", reason: "ACTION_REDIRECT needs the interface to redirect to")
      }
      self = .redirect(interface: target)
    case .unspecified:
      throw FieldError(path: "\(path).action", reason: "is missing: a rule says what it does")
    case .UNRECOGNIZED(let number):
      throw FieldError(path: "\(path).action", reason: "\(number) is no action that this version knows")
    }
  }
}

extension Sluice_Control_V1_Action {
  public init(_ action: Rules.Action) {
    switch action {
    case .pass: self = .pass
    case .drop: self = .drop
    case .count: self = .count
    case .capture: self = .capture
    case .redirect: self = .redirect
    }
  }
}

extension Match {
  public init(_ message: Sluice_Control_V1_Match, path: String = "match") throws(FieldError) {
    self.init(
      sources: try parse(message.sources, "\(path).sources", IPPrefix.init(parsing:)),
      destinations: try parse(message.destinations, "\(path).destinations", IPPrefix.init(parsing:)),
      protocols: try parse(message.protocols, "\(path).protocols", IPProtocol.init(parsing:)),
      sourcePorts: try parse(message.sourcePorts, "\(path).source_ports", PortRange.init(parsing:)),
      destinationPorts: try parse(message.destinationPorts, "\(path).destination_ports", PortRange.init(parsing:)))
  }
}

private func parse<Value>(
  _ texts: [String], _ path: String, _ value: (String) throws(ValueTextError) -> Value
) throws(FieldError) -> [Value] {
  guard texts.count <= Limits.elementsPerFieldMax else {
    throw FieldError(
      path: path,
      reason: "has \(texts.count) elements and may have \(Limits.elementsPerFieldMax); split the rule")
  }
  var values: [Value] = []
  values.reserveCapacity(texts.count)
  for (index, text) in texts.enumerated() {
    do throws(ValueTextError) {
      values.append(try value(text))
    } catch {
      throw FieldError(path: "\(path)[\(index)]", reason: error.description)
    }
  }
  return values
}

extension Sluice_Control_V1_Match {
  public init(_ match: Match) {
    self.init()
    sources = match.sources.map(\.description)
    destinations = match.destinations.map(\.description)
    protocols = match.protocols.map(\.description)
    sourcePorts = match.sourcePorts.map(\.description)
    destinationPorts = match.destinationPorts.map(\.description)
  }
}

extension Rule {
  /// `path` is where the rule stands, for the error.
  public init(_ message: Sluice_Control_V1_Rule, path: String = "rule") throws(FieldError) {
    if message.name.isEmpty {
      throw FieldError(path: "\(path).name", reason: "is missing: a rule's name is its identity")
    }
    self.init(
      name: message.name, match: try Match(message.match, path: "\(path).match"),
      action: try Rules.Action(message, path: path), comment: message.comment, isEnabled: !message.disabled)
  }
}

extension Sluice_Control_V1_Rule {
  public init(_ rule: Rule) {
    self.init()
    name = rule.name
    match = Sluice_Control_V1_Match(rule.match)
    action = Sluice_Control_V1_Action(rule.action)
    redirectInterface = rule.action.redirectInterface ?? ""
    comment = rule.comment
    disabled = !rule.isEnabled
  }
}

extension RuleSet {
  /// `path` is where the set stands, for the error.
  public init(_ message: Sluice_Control_V1_RuleSet, path: String = "rule_set") throws(FieldError) {
    guard message.rules.count <= Limits.rulesMax else {
      throw FieldError(
        path: "\(path).rules", reason: "has \(message.rules.count) rules and may have \(Limits.rulesMax)")
    }
    let malformed = MalformedPolicy(
      fate: try Fate(message.malformed, default: .drop, path: "\(path).malformed"),
      exceptions: try Self.exceptions(message.malformedExceptions, path: "\(path).malformed_exceptions"))
    var rules: [Rule] = []
    rules.reserveCapacity(message.rules.count)
    for (index, rule) in message.rules.enumerated() {
      rules.append(try Rule(rule, path: "\(path).rules[\(index)]"))
    }
    self.init(
      name: message.name, revision: message.revision,
      defaultAction: try Fate(message.defaultAction, default: .pass, path: "\(path).default_action"),
      malformed: malformed, rules: rules)
  }

  private static func exceptions(
    _ entries: [String: Sluice_Control_V1_Fate], path: String
  ) throws(FieldError) -> [MalformedReason: Fate] {
    var exceptions: [MalformedReason: Fate] = [:]
    for (name, message) in entries.sorted(by: { $0.key < $1.key }) {
      let entry = "\(path)[\"\(ValueTextError.excerpt(name))\"]"
      guard let reason = MalformedReason(rawValue: name) else {
        let names = MalformedReason.allCases.map(\.rawValue).joined(separator: ", ")
        throw FieldError(path: entry, reason: "is no reason for a malformed packet; reasons are \(names)")
      }
      guard let fate = try Fate(message, path: entry) else {
        throw FieldError(path: entry, reason: "is missing a fate: FATE_PASS or FATE_DROP")
      }
      exceptions[reason] = fate
    }
    return exceptions
  }
}

extension Sluice_Control_V1_RuleSet {
  public init(_ ruleSet: RuleSet) {
    self.init()
    name = ruleSet.name
    revision = ruleSet.revision
    defaultAction = Sluice_Control_V1_Fate(ruleSet.defaultAction)
    malformed = Sluice_Control_V1_Fate(ruleSet.malformed.fate)
    malformedExceptions = .init(
      uniqueKeysWithValues: ruleSet.malformed.exceptions.map { ($0.key.rawValue, Sluice_Control_V1_Fate($0.value)) })
    rules = ruleSet.rules.map(Sluice_Control_V1_Rule.init)
  }
}
