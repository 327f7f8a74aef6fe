import Packets
public import Rules

// Between the messages of rules.proto and the values of Rules. Reading checks the syntax of every field and the
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
    guard message.action == .jump || message.action == .goto || message.chain.isEmpty else {
      throw FieldError(path: "\(path).chain", reason: "only ACTION_JUMP and ACTION_GOTO lead to a chain")
    }
    switch message.action {
    case .jump, .goto:
      if message.chain.isEmpty {
        throw FieldError(path: "\(path).chain", reason: "is missing: ACTION_JUMP and ACTION_GOTO lead to a chain")
      }
      self = message.action == .jump ? .jump(chain: message.chain) : .goTo(chain: message.chain)
    case .return: self = .leave
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
    case .jump: self = .jump
    case .goTo: self = .goto
    case .leave: self = .return
    }
  }
}

extension Match {
  public init(_ message: Sluice_Control_V1_Match, path: String = "match") throws(FieldError) {
    // What a newer client asks for beside what is known here would be left out, and the rule match more than it says.
    guard message.unknownFields.data.isEmpty else {
      throw FieldError(path: path, reason: "asks for something that this version doesn't know")
    }
    self.init()
    for (field, elements) in message.lists where !elements.isEmpty {
      try set(ConditionForm(field: field, elements: elements), path: path)
    }
    for (index, condition) in message.conditions.enumerated() {
      let place = "\(path).conditions[\(index)]"
      guard condition.unknownFields.data.isEmpty else {
        throw FieldError(path: place, reason: "says something that this version doesn't know")
      }
      guard !condition.elements.isEmpty else {
        throw FieldError(path: "\(place).elements", reason: "is empty; leave the condition out to match every packet")
      }
      guard !conditions.contains(where: { $0.field == condition.field }) else {
        let field = ValueTextError.excerpt(condition.field)
        throw FieldError(path: "\(place).field", reason: "\(field) has a condition already; write one list")
      }
      let form = ConditionForm(field: condition.field, elements: condition.elements, isNegated: condition.negated)
      try set(form, path: path, place: place)
    }
  }

  /// - Parameter place: of the condition's message; nil: the field has a list of its own.
  private mutating func set(_ form: ConditionForm, path: String, place: String? = nil) throws(FieldError) {
    do throws(ConditionError) {
      try set(form)
    } catch {
      let list = place.map { $0 + ".elements" } ?? "\(path).\(form.field)"
      throw FieldError(path: error.index.map { "\(list)[\($0)]" } ?? place ?? list, reason: error.reason)
    }
  }
}

extension Sluice_Control_V1_Match {
  /// The lists of fields that have one of their own.
  fileprivate var lists: [(field: String, elements: [String])] {
    [
      ("sources", sources), ("destinations", destinations), ("protocols", protocols), ("source_ports", sourcePorts),
      ("destination_ports", destinationPorts),
    ]
  }

  public init(_ match: Match) {
    self.init()
    for form in match.conditions {
      switch form.field {
      case "sources" where !form.isNegated: sources = form.elements
      case "destinations" where !form.isNegated: destinations = form.elements
      case "protocols" where !form.isNegated: protocols = form.elements
      case "source_ports" where !form.isNegated: sourcePorts = form.elements
      case "destination_ports" where !form.isNegated: destinationPorts = form.elements
      default:
        conditions.append(
          .with { ($0.field, $0.elements, $0.negated) = (form.field, form.elements, form.isNegated) })
      }
    }
  }
}

extension Rule {
  /// `path` is where the rule stands, for the error.
  public init(_ message: Sluice_Control_V1_Rule, path: String = "rule") throws(FieldError) {
    if message.name.isEmpty {
      throw FieldError(path: "\(path).name", reason: "is missing: a rule's name is its identity")
    }
    // What a newer client says about a rule beside what is known here, for example when it ends.
    guard message.unknownFields.data.isEmpty else {
      throw FieldError(path: path, reason: "says something that this version doesn't know")
    }
    guard message.tags.count <= Limits.tagsPerRuleMax else {
      throw FieldError(
        path: "\(path).tags", reason: "has \(message.tags.count) tags and may have \(Limits.tagsPerRuleMax)")
    }
    self.init(
      name: message.name, match: try Match(message.match, path: "\(path).match"),
      action: try Rules.Action(message, path: path), comment: message.comment, isEnabled: !message.disabled,
      tags: message.tags, owner: message.owner, expiry: try Expiry(message, path: path))
  }
}

extension Expiry {
  /// Of a rule's message, whose `path` it is; nil where it says nothing.
  init?(_ message: Sluice_Control_V1_Rule, path: String) throws(FieldError) {
    guard message.hasExpiresAtUnixMillis else {
      guard message.ttlSeconds > 0 else { return nil }
      self = .after(seconds: Int64(message.ttlSeconds))
      return
    }
    guard message.ttlSeconds == 0 else {
      throw FieldError(path: "\(path).ttl_seconds", reason: "stands beside expires_at_unix_millis: a rule has one end")
    }
    self = .at(unixMilliseconds: message.expiresAtUnixMillis)
  }
}

extension Sluice_Control_V1_Rule {
  public init(_ rule: Rule) {
    self.init()
    name = rule.name
    match = Sluice_Control_V1_Match(rule.match)
    action = Sluice_Control_V1_Action(rule.action)
    redirectInterface = rule.action.redirectInterface ?? ""
    chain = rule.action.chain ?? ""
    comment = rule.comment
    disabled = !rule.isEnabled
    tags = rule.tags
    owner = rule.owner
    switch rule.expiry {
    case nil: break
    case .at(let moment): expiresAtUnixMillis = moment
    case .after(let seconds): ttlSeconds = UInt32(clamping: seconds)
    }
  }
}

extension RuleSet {
  /// `path` is where the set stands, for the error.
  public init(_ message: Sluice_Control_V1_RuleSet, path: String = "rule_set") throws(FieldError) {
    let malformed = MalformedPolicy(
      fate: try Fate(message.malformed, default: .drop, path: "\(path).malformed"),
      exceptions: try Self.exceptions(message.malformedExceptions, path: "\(path).malformed_exceptions"))
    let rules = try Self.rules(message.rules, path: "\(path).rules")
    try Self.check(message.chains.count, Limits.chainsMax, "chains", path: path)
    try Self.check(message.sets.count, Limits.setsMax, "sets", path: path)
    var chains: [Chain] = []
    for (index, chain) in message.chains.enumerated() {
      let place = "\(path).chains[\(index)]"
      if chain.name.isEmpty { throw FieldError(path: "\(place).name", reason: "is missing: rules lead to it by its name") }
      chains.append(
        Chain(name: chain.name, comment: chain.comment, rules: try Self.rules(chain.rules, path: "\(place).rules")))
    }
    var sets: [NamedSet] = []
    for (index, set) in message.sets.enumerated() {
      sets.append(try NamedSet(set, path: "\(path).sets[\(index)]"))
    }
    self.init(
      name: message.name, revision: message.revision,
      defaultAction: try Fate(message.defaultAction, default: .pass, path: "\(path).default_action"),
      malformed: malformed, rules: rules, chains: chains, sets: sets)
  }

  private static func check(_ count: Int, _ limit: Int, _ what: String, path: String) throws(FieldError) {
    guard count <= limit else {
      throw FieldError(path: "\(path).\(what)", reason: "has \(count) \(what) and may have \(limit)")
    }
  }

  private static func rules(_ messages: [Sluice_Control_V1_Rule], path: String) throws(FieldError) -> [Rule] {
    guard messages.count <= Limits.rulesMax else {
      throw FieldError(path: path, reason: "has \(messages.count) rules and may have \(Limits.rulesMax)")
    }
    var rules: [Rule] = []
    rules.reserveCapacity(messages.count)
    for (index, rule) in messages.enumerated() {
      rules.append(try Rule(rule, path: "\(path)[\(index)]"))
    }
    return rules
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
    chains = ruleSet.chains.map { chain in
      .with {
        ($0.name, $0.comment) = (chain.name, chain.comment)
        $0.rules = chain.rules.map(Sluice_Control_V1_Rule.init)
      }
    }
    sets = ruleSet.sets.map(Sluice_Control_V1_NamedSet.init)
  }
}

extension NamedSet {
  /// `path` is where the set stands, for the error.
  public init(_ message: Sluice_Control_V1_NamedSet, path: String = "set") throws(FieldError) {
    if message.name.isEmpty { throw FieldError(path: "\(path).name", reason: "is missing: matches name the set") }
    guard let kind = Kind(rawValue: message.type) else {
      let words = Kind.allCases.map(\.rawValue).joined(separator: ", ")
      throw FieldError(path: "\(path).type", reason: "is none that this version knows; types are \(words)")
    }
    guard message.elements.count <= Limits.setElementsMax else {
      throw FieldError(
        path: "\(path).elements", reason: "has \(message.elements.count) and may have \(Limits.setElementsMax)")
    }
    self.init(name: message.name, kind: kind, comment: message.comment)
    hasCounters = message.counters
    var elements: [SetMember] = []
    elements.reserveCapacity(message.elements.count)
    for (index, text) in message.elements.enumerated() {
      do throws(ValueTextError) {
        elements.append(try SetMember(parsing: text, for: kind))
      } catch {
        throw FieldError(path: "\(path).elements[\(index)]", reason: error.description)
      }
    }
    insert(elements)
  }
}

extension Sluice_Control_V1_NamedSet {
  public init(_ set: NamedSet) {
    self.init()
    (name, type, comment, elements) = (set.name, set.kind.rawValue, set.comment, set.texts)
    counters = set.hasCounters
  }
}
