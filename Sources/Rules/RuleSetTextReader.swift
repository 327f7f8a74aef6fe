import Packets

/// Puts a rule set together from its lines.
struct RuleSetTextReader {
  typealias Token = RuleLineLexer.Token
  private var name: String?
  private var revision: UInt64?
  private var defaultAction: Fate?
  private var malformed: MalformedPolicy?
  private var rules: [Rule] = []
  private var ruleCount = 0
  var chains: [Chain] = []
  var sets: [NamedSet] = []
  /// What `{` has opened and `}` not closed yet.
  var block: Block?
  /// Sets that lists of one family name; the sets may stand below them.
  private var setFamilies: [(token: Token, list: FamilyList)] = []
  /// Elements by the name of the variable, with its `$`.
  private var variables: [String: [String]] = [:]

  private static let statements = [
    "ruleset", "revision", "default", "malformed", "define", "rule", "disabled", "chain", "set",
  ]

  func finish(lastLine: Int) throws(RuleTextError) -> RuleSet {
    if let block {
      throw RuleTextError(
        line: max(lastLine, 1), bytes: [], offset: 0, message: "\(block.title) of line \(block.line) is not closed",
        suggestion: "} in a line of its own")
    }
    guard let name else {
      throw RuleTextError(
        line: max(lastLine, 1), bytes: [], offset: 0, message: "the rule set has no name", suggestion: "ruleset NAME")
    }
    let families = Dictionary(sets.map { ($0.name, $0.family) }, uniquingKeysWith: { first, _ in first })
    for (token, list) in setFamilies {
      guard let known = families[String(token.text.dropFirst())], let family = known, family != list.family else { continue }
      throw list.failure(token, "\(excerpt(token)) is a set of the other family")
    }
    return RuleSet(
      name: name, revision: revision ?? 0, defaultAction: defaultAction ?? .pass, malformed: malformed ?? .init(),
      rules: rules, chains: chains, sets: sets)
  }

  /// Reads a line; returns the rule, chain or set that begins in it.
  @discardableResult
  mutating func read(_ line: inout RuleLineLexer) throws(RuleTextError) -> IssueSubject? {
    if case .set = block {
      try readSet(&line)
      return nil
    }
    guard let statement = try line.next() else { return nil }
    if case .chain = block, !["rule", "disabled", "}"].contains(statement.text) {
      throw unknown(
        statement, among: ["rule", "disabled"], of: line, "in a chain are rules, and } in a line of its own ends it")
    }
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
    case "define":
      try define(&line)
    case "chain":
      try openChain(&line)
    case "set":
      let subject = IssueSubject(set: sets.count)
      try openSet(&line)
      return subject
    case "}" where block != nil:
      closeChain()
    case "rule", "disabled":
      return try readRule(&line, at: statement)
    case let text where Self.statements.contains(text):
      throw line.failure(at: statement.offset, "\(text) stands in the text twice; remove one")
    case "}":
      throw line.failure(at: statement.offset, "no chain and no set is open here; remove it")
    default:
      throw unknown(
        statement, among: Self.statements, of: line,
        "a line begins with ruleset, revision, default, malformed, define, set, chain, rule or disabled rule")
    }
    try finishStatement(&line)
    guard statement.text == "chain" else { return nil }
    comment(line.comment)
    return IssueSubject(chain: chains.count)
  }

  private mutating func readRule(_ line: inout RuleLineLexer, at statement: Token) throws(RuleTextError) -> IssueSubject {
    let isEnabled = statement.text == "rule"
    if !isEnabled {
      let token = try word(&line, "rule")
      guard token.text == "rule" else { throw unknown(token, among: ["rule"], of: line, "after disabled comes rule") }
    }
    var rule = try rule(&line, at: statement, isEnabled: isEnabled)
    try finishStatement(&line)
    rule.comment = line.comment ?? ""
    ruleCount += 1
    if let place = addToChain(rule) { return place }
    rules.append(rule)
    return IssueSubject(rule: rules.count - 1)
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

  func finishStatement(_ line: inout RuleLineLexer) throws(RuleTextError) {
    if let token = try line.next() {
      throw line.failure(at: token.offset, "the statement is complete before \"\(excerpt(token))\"; remove the rest")
    }
  }

  // MARK: rules

  private mutating func rule(
    _ line: inout RuleLineLexer, at statement: Token, isEnabled: Bool
  ) throws(RuleTextError) -> Rule {
    guard ruleCount < Limits.rulesMax else {
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
    var rule = Rule(name: name.text, action: .pass, isEnabled: isEnabled)
    var seen: Set<String> = []
    while let token = try line.next() {
      if let action = try action(token, &line) {
        rule.action = action
        return rule
      }
      var field = try label(token, &line, into: &rule)
      if field == nil { field = try clause(token, &line, into: &rule.match) }
      guard let field, seen.insert(field).inserted else {
        throw line.failure(at: token.offset, "\(field ?? "this") stands in the rule twice; write one list with commas")
      }
    }
    throw line.failure(
      at: line.end, "the rule has no action",
      suggestion: "pass, drop, count, capture, redirect INTERFACE, jump CHAIN, goto CHAIN or return at its end")
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
      try refuseVariable(target, line)
      return .redirect(interface: target.text)
    case "jump", "goto":
      let chain = try word(&line, "the name of a chain").text
      return token.text == "jump" ? .jump(chain: chain) : .goTo(chain: chain)
    case "return": return .leave
    default: return nil
    }
  }

  /// Reads tags, the owner or the expiry; returns what it is called, or nil where it is none.
  private func label(_ token: Token, _ line: inout RuleLineLexer, into rule: inout Rule) throws(RuleTextError) -> String? {
    guard token.kind == .word else { return nil }
    switch token.text {
    case "tag":
      repeat {
        let tag = try word(&line, "a tag")
        guard isValidName(tag.text), !rule.tags.contains(tag.text), rule.tags.count < Limits.tagsPerRuleMax else {
          throw line.failure(
            at: tag.offset,
            "\"\(excerpt(tag))\" can't be a tag here: at most \(Limits.tagsPerRuleMax) names, each once, of a-z, 0-9, "
              + "\".\", \"_\", \"-\", the first a letter or a digit")
        }
        rule.tags.append(tag.text)
      } while try takeComma(&line)
    case "owner":
      guard let owner = try line.next(), owner.kind != .comma, !owner.text.isEmpty else {
        throw line.failure(at: line.end, "owner names somebody", suggestion: "owner NAME")
      }
      try refuseVariable(owner, line)
      rule.owner = owner.text
    case "expires":
      let word = try word(&line, "a moment or a time")
      do throws(ValueTextError) { rule.expiry = try Expiry(parsing: word.text) } catch {
        throw line.failure(
          at: word.offset, "\"\(excerpt(word))\" is not \(error.expected): \(error.reason)", suggestion: error.suggestion)
      }
    default: return nil
    }
    return token.text
  }

  /// Reads one field of the match; returns what it is called.
  private mutating func clause(
    _ token: Token, _ line: inout RuleLineLexer, into match: inout Match
  ) throws(RuleTextError) -> String {
    if token.kind == .word {
      if IPProtocol.allNames.contains(token.text) {
        try condition("protocols", first: token, &line, into: &match)
        return "a list of protocols"
      }
      if let field = MatchWords.fields[token.text] {
        try condition(field, &line, into: &match)
        return field == "protocols" ? "a list of protocols" : field == "hop_limits" ? "ttl or hoplimit" : token.text
      }
      if let words = MatchWords.second[token.text] {
        let choices = words.map(\.word)
        let text = choices.count > 1 ? choices.dropLast().joined(separator: ", ") + " or " + choices[choices.count - 1] : ""
        let second = try word(&line, text)
        guard let field = words.first(where: { $0.word == second.text })?.field else {
          throw unknown(second, among: choices, of: line, "after \(token.text) comes \(text)")
        }
        try condition(field, family: MatchWords.families[token.text], &line, into: &match)
        return MatchWords.families[token.text] == nil ? "\(token.text) \(second.text)" : second.text
      }
    }
    throw unknown(token, among: MatchWords.all, of: line, "here comes something to match or an action")
  }

  /// Reads the elements of a condition, with commas between them, and before them `!=` where it is negated.
  private mutating func condition(
    _ field: String, first: Token? = nil, family: IPFamily? = nil, _ line: inout RuleLineLexer, into match: inout Match
  ) throws(RuleTextError) {
    var isNegated = false
    if first == nil, let sign = try line.peek(), sign.kind == .word, RuleSetText.negations.contains(sign.text) {
      // `frag not` is what isn't a fragment.
      isNegated = sign.text == "!=" || field != "fragments"
      if isNegated { _ = try line.next() }
    }
    var tokens: [Token] = []
    repeat {
      let token: Token
      if tokens.isEmpty, let first { token = first } else { token = try element(&line, of: field) }
      for part in try expanded(token, line) {
        if tokens.count == Limits.elementsPerFieldMax {
          throw line.failure(
            at: token.offset, "a list has at most \(Limits.elementsPerFieldMax) elements; split the rule")
        }
        tokens.append(part)
      }
    } while try takeComma(&line)
    if let family {
      let list = FamilyList(
        family: family, line: line, suggestion: "\(field == "sources" ? "saddr" : "daddr") alone for both families")
      for token in tokens {
        if token.text.hasPrefix("@") {
          setFamilies.append((token, list))
        } else if token.text.utf8.contains(0x3a) != (family == .ipv6) {
          throw list.failure(token, "\"\(excerpt(token))\" is not an \(list.kind) prefix")
        }
      }
    }
    do throws(ConditionError) {
      try match.set(ConditionForm(field: field, elements: tokens.map(\.text), isNegated: isNegated))
    } catch {
      let token = tokens[error.index ?? 0]
      let braces = token.text.hasPrefix("{") ? "the list without braces" : nil
      throw RuleTextError(
        line: line.line, bytes: line.bytes, offset: token.offset,
        message: error.cause.map { "\"\($0.text)\" is not \($0.expected): \($0.reason)" } ?? error.reason,
        suggestion: error.cause?.suggestion ?? braces)
    }
  }

  // MARK: variables

  private mutating func define(_ line: inout RuleLineLexer) throws(RuleTextError) {
    let name = try word(&line, "$NAME")
    guard name.text.hasPrefix("$"), isValidName(String(name.text.dropFirst())) else {
      throw line.failure(
        at: name.offset, "\"\(excerpt(name))\" is not a variable: $ and a name", suggestion: "define $lab = 10.0.0.0/8")
    }
    guard variables[name.text] == nil else {
      throw line.failure(at: name.offset, "\(name.text) is defined above; give this one another name")
    }
    guard variables.count < Limits.variablesMax else {
      throw line.failure(at: name.offset, "a rule set has at most \(Limits.variablesMax) variables")
    }
    let sign = try word(&line, "=")
    guard sign.text == "=" else {
      throw line.failure(at: sign.offset, "here comes = with blanks around it", suggestion: "define \(name.text) = …")
    }
    var elements: [String] = []
    repeat {
      guard let token = try line.next(), token.kind != .comma else {
        throw line.failure(at: line.end, "the line ends where an element should come")
      }
      let parts = try expanded(token, line)
      guard elements.count + parts.count <= Limits.elementsPerFieldMax else {
        throw line.failure(at: token.offset, "a list has at most \(Limits.elementsPerFieldMax) elements")
      }
      elements += parts.map(\.text)
    } while try takeComma(&line)
    variables[name.text] = elements
  }

  /// Where one name stands and no list.
  private func refuseVariable(_ token: Token, _ line: RuleLineLexer) throws(RuleTextError) {
    guard token.kind == .word, token.text.hasPrefix("$") else { return }
    throw line.failure(
      at: token.offset, "variables stand in what a rule matches, and not here",
      suggestion: "the name itself, in quotes if it begins with $")
  }

  /// What a word stands for: itself, or the elements of the variable that it names, all where it stands.
  private func expanded(_ token: Token, _ line: RuleLineLexer) throws(RuleTextError) -> [Token] {
    guard token.kind == .word, token.text.hasPrefix("$") else { return [token] }
    guard let elements = variables[token.text] else {
      throw unknown(
        token, among: variables.keys.sorted(), of: line, "a variable is defined above the line that it stands in")
    }
    return elements.map { Token(kind: token.kind, text: $0, offset: token.offset) }
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
}
