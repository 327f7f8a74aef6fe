import Packets

extension RuleSet {
  /// Everything wrong or doubtful in the rule set, in its order. Without errors it can be compiled (unless it expands
  /// beyond the entry limit). At most ``Limits/issuesMax`` of each severity.
  public func validate() -> [ValidationIssue] {
    var issues = IssueCollector()
    if !isValidName(name) { issues.add(.invalidName, "name", invalidNameMessage(name)) }
    if ruleCount > Limits.rulesMax {
      issues.add(.tooManyRules, "rules", "\(ruleCount) rules; a rule set has at most \(Limits.rulesMax)")
    }
    validateSets(into: &issues)
    var lists = ListValidator(ruleSet: self)
    lists.validate(rules, at: "rules", into: &issues)
    validateChains(with: &lists, into: &issues)
    return issues.issues
  }

  /// The warnings about one rule, as ``validate()`` has them among the others; of a rule set without errors.
  public func warnings(ofRuleAt index: Int) -> [ValidationIssue] {
    let path = "rules[\(index)]"
    var issues = IssueCollector()
    rules[index].validate(at: path, into: &issues)
    if rules[index].isEnabled, let catchAll = rules.firstIndex(where: \.decidesAll), catchAll < index {
      issues.add(.unreachableRule, path, Self.unreachable(below: rules[catchAll]))
    }
    return issues.issues.filter { $0.severity == .warning }
  }

  static func unreachable(below catchAll: Rule) -> String {
    "no packet comes here: \"\(ValueTextError.excerpt(catchAll.name))\" above decides about every one"
  }

  /// Whether one look shows that there is no error in it: it differs from a valid one by a rule, which is valid and neither
  /// counted nor led anywhere. Where it doesn't, ``checkValid()`` tells.
  public func isEvidentlyValid(after valid: RuleSet) -> Bool {
    guard chains.isEmpty, rules.count <= Limits.rulesMax, let change = ruleChange(from: valid) else { return false }
    guard let rule = change.inserted else { return true }
    guard [.pass, .drop, .capture].contains(rule.action), let place = index(ofRule: rule.name),
      rules.index(from: place + 1, where: { $0.name == rule.name }) == nil
    else { return false }
    var alone = self
    alone.rules = [rule]
    return !alone.validate().contains { $0.severity == .error }
  }

  /// The warnings of a rule set that can be applied; throws the errors of one that can't.
  @discardableResult
  public func checkValid() throws(InvalidRuleSet) -> [ValidationIssue] {
    let issues = validate()
    let errors = issues.filter { $0.severity == .error }
    if !errors.isEmpty { throw InvalidRuleSet(issues: errors) }
    return issues
  }
}

extension Rule {
  var decidesAll: Bool {
    // Most rules have addresses: that is a quick no.
    match.sources.isEmpty && match.destinations.isEmpty && isEnabled && expiry == nil && !action.goesOn && match == Match()
  }

  /// Everything wrong or doubtful in the rule by itself. Paths begin with `path`, which may be empty.
  public func validate(at path: String = "") -> [ValidationIssue] {
    var issues = IssueCollector()
    validate(at: path, into: &issues)
    return issues.issues
  }

  /// Whether a quick look shows that there is nothing to say about the rule, as about most; where it doesn't,
  /// ``validate(at:into:)`` tells.
  var isEvidentlyValid: Bool {
    tags.isEmpty && owner.isEmpty && expiry == nil && comment.isEmpty && action.redirectInterface == nil && name != Rule.reservedName
      && isValidName(name) && match.isEvidentlyValid
  }

  func validate(at path: String, into issues: inout IssueCollector) {
    let prefix = path.isEmpty ? "" : path + "."
    if !isValidName(name) {
      issues.add(.invalidName, prefix + "name", invalidNameMessage(name))
    } else if name == Rule.reservedName {
      issues.add(
        .reservedName, prefix + "name",
        "\"\(Rule.reservedName)\" is what counters call the default action; choose another name")
    }
    validateComment(comment, at: prefix + "comment", into: &issues)
    validateTagsAndOwner(at: prefix, into: &issues)
    if let reason = expiry?.fault { issues.add(.invalidExpiry, prefix + "expires_at", reason) }
    if let target = action.redirectInterface, let reason = interfaceNameFault(target) {
      issues.add(
        .invalidInterfaceName, prefix + "redirect_to",
        "\"\(ValueTextError.excerpt(target))\" can't be the name of an interface: \(reason)")
    }
    match.validate(at: prefix + "match", into: &issues)
  }

  private func validateTagsAndOwner(at prefix: String, into issues: inout IssueCollector) {
    if tags.count > Limits.tagsPerRuleMax {
      issues.add(.invalidTag, prefix + "tags", "\(tags.count) tags; a rule has at most \(Limits.tagsPerRuleMax)")
    }
    for (index, tag) in tags.prefix(Limits.tagsPerRuleMax).enumerated() {
      let place = "\(prefix)tags[\(index)]"
      if !isValidName(tag) {
        issues.add(.invalidTag, place, invalidNameMessage(tag))
      } else if tags[..<index].contains(tag) {
        issues.add(.invalidTag, place, "\(tag) stands in the list before; remove one")
      }
    }
    if owner.utf8.count > Limits.ownerByteCountMax || owner.unicodeScalars.contains(where: isControl) {
      issues.add(
        .invalidOwner, prefix + "owner", "an owner is at most \(Limits.ownerByteCountMax) bytes of text on one line")
    }
  }

  /// What counters call the default action.
  public static let reservedName = "default"
}

extension Match {
  /// Of ordinary rules: no more than one element in a list, nothing negated, one family, no rare field.
  fileprivate var isEvidentlyValid: Bool {
    guard isPlain else { return false }
    if let source = sources.elements.first, let destination = destinations.elements.first,
      source.family != destination.family
    {
      return false
    }
    guard let number = protocols.elements.first else {
      return sourcePorts.isEmpty && destinationPorts.isEmpty && tcpFlags.isEmpty
    }
    if number == .tcp { return true }
    guard tcpFlags.isEmpty else { return false }
    if number == .udp { return true }
    return sourcePorts.isEmpty && destinationPorts.isEmpty && number != .icmp && number != .icmpv6
      && !number.isIPv6Extension
  }

  /// Whether it has at most one prefix, port range, protocol and test of TCP flags, each, not negated, and nothing else.
  public var isPlain: Bool {
    func isPlain<Element>(_ condition: Condition<Element>) -> Bool {
      condition.sets.isEmpty && condition.elements.count <= 1 && (!condition.isNegated || condition.elements.isEmpty)
    }
    return isPlain(sources) && isPlain(destinations) && isPlain(protocols) && isPlain(sourcePorts)
      && isPlain(destinationPorts) && isPlain(tcpFlags) && numbers.isEmpty && interfaces.elements.isEmpty
      && sourceMACs.elements.isEmpty && destinationMACs.elements.isEmpty && fragments.elements.isEmpty && hasOptions == nil
  }

  func validate(at path: String, into issues: inout IssueCollector) {
    for condition in conditions { checkElements(condition, at: "\(path).\(condition.field)", into: &issues) }
    for (field, condition) in numbers {
      for (index, range) in condition.prefix(Limits.elementsPerFieldMax).enumerated() where range.high > field.most {
        issues.add(
          .numberOutOfRange, "\(path).\(field.rawValue)[\(index)]", "\(range) is above \(field.most), the most there is")
      }
    }
    for (index, name) in interfaces.prefix(Limits.elementsPerFieldMax).enumerated() {
      guard let fault = interfaceNameFault(name) else { continue }
      issues.add(
        .invalidInterfaceName, "\(path).interfaces[\(index)]",
        "\"\(ValueTextError.excerpt(name))\" can't be the name of an interface: \(fault)")
    }
    checkProtocolOfFields(at: path, into: &issues)
    checkFamilies(at: path, into: &issues)
    checkProtocols(at: path, into: &issues)
  }

  private func checkElements(_ condition: ConditionForm, at path: String, into issues: inout IssueCollector) {
    let elements = condition.elements
    if elements.count > Limits.elementsPerFieldMax {
      issues.add(
        .tooManyElements, path,
        "\(elements.count) elements; a field has at most \(Limits.elementsPerFieldMax), split the rule")
    }
    var seen: Set<String> = []
    for (index, element) in elements.prefix(Limits.elementsPerFieldMax).enumerated()
    where !seen.insert(element).inserted {
      issues.add(.duplicateElement, "\(path)[\(index)]", "\(element) stands in the list before; remove one")
    }
  }

  /// Fields that only packets of some protocols have.
  private func checkProtocolOfFields(at path: String, into issues: inout IssueCollector) {
    let fields: [(isAsked: Bool, field: String, what: String, protocols: [IPProtocol])] = [
      (!destinationPorts.isEmpty, "destination_ports", "ports", [.tcp, .udp]),
      (!sourcePorts.isEmpty && destinationPorts.isEmpty, "source_ports", "ports", [.tcp, .udp]),
      (!tcpFlags.isEmpty, "tcp_flags", "TCP flags", [.tcp]),
      (!self[.icmpTypes].isEmpty, "icmp_types", "ICMP types", [.icmp, .icmpv6]),
      (!self[.icmpCodes].isEmpty && self[.icmpTypes].isEmpty, "icmp_codes", "ICMP codes", [.icmp, .icmpv6]),
    ]
    for (isAsked, field, what, owners) in fields where isAsked {
      let names = owners.map(\.description).joined(separator: " or ")
      if protocols.isEmpty || protocols.isNegated {
        issues.add(
          .portsWithoutProtocol, "\(path).\(field)", "\(what) belong to a protocol; name \(names) in protocols")
        continue
      }
      for (index, number) in protocols.prefix(Limits.elementsPerFieldMax).enumerated() where !owners.contains(number) {
        issues.add(
          .portsOfPortlessProtocol, "\(path).protocols[\(index)]",
          "\(number) has no \(what) that rules can match, \(names) has; remove it or the \(what)")
      }
    }
  }

  /// Families that the prefixes leave; both where there are none.
  private var families: Set<IPFamily> {
    func families(_ prefixes: Condition<IPPrefix>) -> Set<IPFamily> {
      prefixes.isEmpty || prefixes.isNegated || !prefixes.sets.isEmpty ? Set(IPFamily.allCases) : Set(prefixes.map(\.family))
    }
    return families(sources).intersection(families(destinations))
  }

  private func checkFamilies(at path: String, into issues: inout IssueCollector) {
    let families = families
    if families.isEmpty {
      issues.add(
        .noCommonFamily, path,
        "no packet matches: sources are \(sources[0].family) and destinations \(destinations[0].family); "
          + "use one family or both in both lists")
      return
    }
    for (field, prefixes) in [("sources", sources), ("destinations", destinations)] where !prefixes.isNegated {
      let other = field == "sources" ? "destination" : "source"
      for (index, prefix) in prefixes.prefix(Limits.elementsPerFieldMax).enumerated()
      where !families.contains(prefix.family) {
        issues.add(
          .deadPrefix, "\(path).\(field)[\(prefixes.sets.count + index)]",
          "\(prefix) matches nothing: no \(other) is \(prefix.family); add one or remove it")
      }
    }
  }

  private func checkProtocols(at path: String, into issues: inout IssueCollector) {
    let families = families
    let hasPrefixes = !(sources.isEmpty && destinations.isEmpty) && !protocols.isNegated
    for (index, number) in protocols.prefix(Limits.elementsPerFieldMax).enumerated() {
      let place = "\(path).protocols[\(index)]"
      if number == .icmp && hasPrefixes && families == [.ipv6] {
        issues.add(.otherFamilysProtocol, place, "icmp is IPv4's and the prefixes are IPv6; icmpv6 is probably meant")
      }
      if number == .icmpv6 && hasPrefixes && families == [.ipv4] {
        issues.add(.otherFamilysProtocol, place, "icmpv6 is IPv6's and the prefixes are IPv4; icmp is probably meant")
      }
      if number.isIPv6Extension && hasPrefixes && families == [.ipv6] {
        issues.add(
          .protocolNeverShown, place,
          "\(number) is an IPv6 extension header, walked through and never a packet's protocol; match what follows it")
      }
    }
  }
}

/// Whether `name` can name a rule or a rule set: `[a-z0-9][a-z0-9._-]{0,62}`.
public func isValidName(_ name: String) -> Bool {
  func isAlphanumeric(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) }
  let bytes = name.utf8
  guard let first = bytes.first, isAlphanumeric(first), bytes.count <= Limits.nameByteCountMax else { return false }
  return bytes.allSatisfy { isAlphanumeric($0) || $0 == 0x2e || $0 == 0x5f || $0 == 0x2d }
}

func invalidNameMessage(_ name: String) -> String {
  "\"\(ValueTextError.excerpt(name))\" is not a name: 1 to \(Limits.nameByteCountMax) of a-z, 0-9, \".\", \"_\", "
    + "\"-\", the first a letter or a digit"
}

/// Why `name` can't name a network interface: what the kernel's `dev_valid_name` refuses. Nil if it can.
public func interfaceNameFault(_ name: String) -> String? {
  let bytes = Array(name.utf8.prefix(Limits.interfaceNameByteCountMax + 1))
  if bytes.isEmpty { return "it is empty" }
  if bytes.count > Limits.interfaceNameByteCountMax {
    return "it is longer than \(Limits.interfaceNameByteCountMax) bytes"
  }
  if name == "." || name == ".." { return "it is a directory's" }
  // The kernel's isspace: ASCII white space, and 0xa0 wherever it stands in UTF-8.
  let forbidden: [UInt8] = [0x00, 0x2f, 0x3a, 0x20, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0xa0]
  return bytes.contains(where: forbidden.contains) ? "\"/\", \":\" and white space can't be in it" : nil
}

func isControl(_ scalar: Unicode.Scalar) -> Bool {
  switch scalar.properties.generalCategory {
  case .control, .lineSeparator, .paragraphSeparator: true
  default: false
  }
}
