import Packets

/// Puts a rule set together from its lines.
struct RuleSetTextReader {
  private typealias Token = RuleLineLexer.Token
  private var name: String?
  private var revision: UInt64?
  private var defaultAction: Fate?
  private var malformed: MalformedPolicy?
  private var rules: [Rule] = []

  private static let statements = ["ruleset", "revision", "default", "malformed", "rule", "disabled"]

  func finish(lastLine: Int) throws(RuleTextError) -> RuleSet {
    guard let name else {
      throw RuleTextError(
        line: max(lastLine, 1), bytes: [], offset: 0, message: "the rule set has no name", suggestion: "ruleset NAME")
    }
    return RuleSet(
      name: name, revision: revision ?? 0, defaultAction: defaultAction ?? .pass, malformed: malformed ?? .init(),
      rules: rules)
  }

  mutating func read(_ line: inout RuleLineLexer) throws(RuleTextError) {
    guard let statement = try line.next() else { return }
    switch statement.text {
    case "ruleset" where name == nil:
      name = try word(&line, "the name of the rule set").text
    case "revision" where revision == nil:
      let token = try word(&line, "the number of the revision")
      guard let number = UInt64(token.text), String(number) == token.text else {
        throw line.failure(at: token.offset, "a revision is a number without sign and without leading zeros")
      }
      revision = number
    case "default" where defaultAction == nil:
      defaultAction = try fate(&line)
    case "malformed" where malformed == nil:
      malformed = try malformedPolicy(&line)
    case "rule":
      rules.append(try rule(&line, at: statement, isEnabled: true))
    case "disabled":
      let token = try word(&line, "rule")
      guard token.text == "rule" else { throw unknown(token, among: ["rule"], of: line, "after disabled comes rule") }
      rules.append(try rule(&line, at: statement, isEnabled: false))
    case let text where Self.statements.contains(text):
      throw line.failure(at: statement.offset, "\(text) stands in the text twice; remove one")
    default:
      throw unknown(
        statement, among: Self.statements, of: line,
        "a line begins with ruleset, revision, default, malformed, rule or disabled rule")
    }
    try finishStatement(&line)
    if statement.text == "rule" || statement.text == "disabled" {
      rules[rules.count - 1].comment = line.comment ?? ""
    }
  }

  /// Reads one rule from a line that is nothing else; the words `rule` and `disabled rule` may be left out.
  mutating func readRule(_ line: RuleLineLexer) throws(RuleTextError) -> Rule {
    var line = line
    if let first = try line.peek(), first.kind == .word, first.text == "rule" || first.text == "disabled" {
      try read(&line)
      return rules.removeLast()
    }
    var rule = try rule(&line, at: Token(kind: .word, text: "", offset: line.end), isEnabled: true)
    try finishStatement(&line)
    rule.comment = line.comment ?? ""
    return rule
  }

  private func finishStatement(_ line: inout RuleLineLexer) throws(RuleTextError) {
    if let token = try line.next() {
      throw line.failure(at: token.offset, "the statement is complete before \"\(excerpt(token))\"; remove the rest")
    }
  }

  // MARK: rules

  private func rule(
    _ line: inout RuleLineLexer, at statement: Token, isEnabled: Bool
  ) throws(RuleTextError) -> Rule {
    guard rules.count < Limits.rulesMax else {
      throw line.failure(at: statement.offset, "a rule set has at most \(Limits.rulesMax) rules")
    }
    let name = try line.takeName()
    guard isValidName(name.text) else {
      throw line.failure(
        at: name.offset,
        "\"\(excerpt(name))\" is not a rule's name: a-z, 0-9, \".\", \"_\", \"-\", the first a letter or a digit, "
          + "at most \(Limits.nameByteCountMax)",
        suggestion: isValidName(name.text.lowercased()) ? name.text.lowercased() : nil)
    }
    var match = Match()
    var seen: Set<String> = []
    while let token = try line.next() {
      if let action = try action(token, &line) {
        return Rule(name: name.text, match: match, action: action, isEnabled: isEnabled)
      }
      let field = try clause(token, &line, into: &match)
      guard seen.insert(field).inserted else {
        throw line.failure(at: token.offset, "\(field) stands in the rule twice; write one list with commas")
      }
    }
    throw line.failure(
      at: line.end, "the rule has no action",
      suggestion: "pass, drop, count, capture or redirect INTERFACE at its end")
  }

  private func action(_ token: Token, _ line: inout RuleLineLexer) throws(RuleTextError) -> Action? {
    guard token.kind == .word else { return nil }
    switch token.text {
    case "pass": return .pass
    case "drop": return .drop
    case "count": return .count
    case "capture": return .capture
    case "redirect":
      guard let target = try line.next(), target.kind != .comma else {
        throw line.failure(at: line.end, "redirect names an interface", suggestion: "redirect INTERFACE")
      }
      return .redirect(interface: target.text)
    default: return nil
    }
  }

  /// Reads one field of the match; returns what it is called.
  private func clause(
    _ token: Token, _ line: inout RuleLineLexer, into match: inout Match
  ) throws(RuleTextError) -> String {
    switch token.text {
    case "ip", "ip6":
      let field = try word(&line, "saddr or daddr")
      guard field.text == "saddr" || field.text == "daddr" else {
        throw unknown(field, among: ["saddr", "daddr"], of: line, "after \(token.text) comes saddr or daddr")
      }
      try addresses(field.text, family: token.text == "ip" ? .ipv4 : .ipv6, &line, into: &match)
      return field.text
    case "saddr", "daddr":
      try addresses(token.text, family: nil, &line, into: &match)
    case "sport":
      match.sourcePorts = try list(&line, "a port", PortRange.init(parsing:))
    case "dport":
      match.destinationPorts = try list(&line, "a port", PortRange.init(parsing:))
    case "protocol":
      match.protocols = try list(&line, "a protocol", IPProtocol.init(parsing:))
      return "a list of protocols"
    case let text where IPProtocol.allNames.contains(text):
      match.protocols = try list(&line, first: token, "a protocol", IPProtocol.init(parsing:))
      return "a list of protocols"
    default:
      throw unknown(token, among: Self.clauseWords, of: line, "here comes something to match or an action")
    }
    return token.text
  }

  private static let clauseWords =
    ["ip", "ip6", "saddr", "daddr", "sport", "dport", "protocol"] + Action.names + IPProtocol.allNames

  private func addresses(
    _ field: String, family: IPFamily?, _ line: inout RuleLineLexer, into match: inout Match
  ) throws(RuleTextError) {
    let prefixes = try list(&line, "a prefix") { (text: String) throws(ValueTextError) in
      let prefix = try IPPrefix(parsing: text)
      guard let family, prefix.family != family else { return prefix }
      throw ValueTextError(
        expected: family == .ipv4 ? "an IPv4 prefix" : "an IPv6 prefix", text: text,
        reason: "\(family == .ipv4 ? "ip" : "ip6") says that this list holds only these",
        suggestion: "\(field) alone for both families")
    }
    if field == "saddr" { match.sources = prefixes } else { match.destinations = prefixes }
  }

  /// Elements with commas between them.
  private func list<Element>(
    _ line: inout RuleLineLexer, first: Token? = nil, _ what: String,
    _ parse: (String) throws(ValueTextError) -> Element
  ) throws(RuleTextError) -> [Element] {
    var elements: [Element] = []
    var pending = first
    while true {
      let token: Token
      if let first = pending { token = first } else { token = try word(&line, what) }
      pending = nil
      if elements.count == Limits.elementsPerFieldMax {
        throw line.failure(
          at: token.offset, "a list has at most \(Limits.elementsPerFieldMax) elements; split the rule")
      }
      do throws(ValueTextError) {
        elements.append(try parse(token.text))
      } catch {
        let braces = token.text.hasPrefix("{") ? "the list without braces" : nil
        throw RuleTextError(
          line: line.line, bytes: line.bytes, offset: token.offset,
          message: "\"\(error.text)\" is not \(error.expected): \(error.reason)",
          suggestion: error.suggestion ?? braces)
      }
      guard try line.peek()?.kind == .comma else { return elements }
      _ = try line.next()
    }
  }

  // MARK: the other statements

  private func malformedPolicy(_ line: inout RuleLineLexer) throws(RuleTextError) -> MalformedPolicy {
    var policy = MalformedPolicy(fate: try fate(&line))
    guard try line.peek() != nil else { return policy }
    let except = try word(&line, "except")
    guard except.text == "except" else {
      throw unknown(except, among: ["except"], of: line, "exceptions come after the word except")
    }
    let reasons = MalformedReason.allCases.map(\.rawValue)
    repeat {
      let token = try word(&line, "a reason")
      guard let reason = MalformedReason(rawValue: token.text) else {
        throw unknown(token, among: reasons, of: line, "reasons are \(reasons.joined(separator: ", "))")
      }
      guard policy.exceptions[reason] == nil else {
        throw line.failure(at: token.offset, "\(token.text) stands in the list twice; remove one")
      }
      policy.exceptions[reason] = try fate(&line)
    } while try takeComma(&line)
    return policy
  }

  private func takeComma(_ line: inout RuleLineLexer) throws(RuleTextError) -> Bool {
    guard try line.peek()?.kind == .comma else { return false }
    _ = try line.next()
    return true
  }

  private func fate(_ line: inout RuleLineLexer) throws(RuleTextError) -> Fate {
    let token = try word(&line, "pass or drop")
    guard let fate = Fate(rawValue: token.text) else {
      throw unknown(token, among: Fate.allCases.map(\.rawValue), of: line, "here comes pass or drop")
    }
    return fate
  }

  private func word(_ line: inout RuleLineLexer, _ what: String) throws(RuleTextError) -> Token {
    guard let token = try line.next() else {
      throw line.failure(at: line.end, "the line ends where \(what) should come")
    }
    guard token.kind == .word else {
      throw line.failure(at: token.offset, "here comes \(what), without quotation marks and commas before it")
    }
    return token
  }

  private func unknown(
    _ token: Token, among words: [String], of line: RuleLineLexer, _ message: String
  ) -> RuleTextError {
    line.failure(
      at: token.offset, "\"\(excerpt(token))\" is not known: \(message)",
      suggestion: nearest(to: token.text, among: words))
  }

  private func excerpt(_ token: Token) -> String { ValueTextError.excerpt(token.text) }
}
