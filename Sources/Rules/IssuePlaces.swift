import Packets

/// Which rule, chain or set an issue is about.
public struct IssueSubject: Hashable, Sendable {
  /// Of the chain in question, or of the one that the rule stands in.
  public var chain: Int?
  /// In the chain, or in the rule set's own list.
  public var rule: Int?
  public var set: Int?

  /// What a path such as `chains[2].rules[7].match.sources` leads to, or through; nil: to the rule set as a whole.
  public init?(path: String) {
    for step in path.split(separator: ".").prefix(2) {
      let parts = step.split(separator: "[")
      guard parts.count == 2, let index = Int(parts[1].dropLast()) else { break }
      switch parts[0] {
      case "chains": chain = index
      case "rules": rule = index
      case "sets": set = index
      default: break
      }
    }
    if self == IssueSubject() { return nil }
  }

  init(chain: Int? = nil, rule: Int? = nil, set: Int? = nil) {
    (self.chain, self.rule, self.set) = (chain, rule, set)
  }

  /// The rule's name; nil: it is about none.
  public func ruleName(in ruleSet: RuleSet) -> String? {
    guard let rule else { return nil }
    if let chain, !ruleSet.chains.indices.contains(chain) { return nil }
    let rules = chain.map { ruleSet.chains[$0].rules } ?? ruleSet.rules
    return rules.indices.contains(rule) ? rules[rule].name : nil
  }
}

extension RuleSetText {
  /// Where in the text, from which the rule set was read, stands what the issues are about, with their messages: in the order of the
  /// issues, nil for what is about the rule set as a whole. Reads the text once more.
  public static func located(_ issues: [ValidationIssue], in text: String) -> [RuleTextError?] {
    var places: [RuleTextError?] = Array(repeating: nil, count: issues.count)
    let wanted = Dictionary(grouping: issues.indices) { IssueSubject(path: issues[$0].path) }
    var reader = RuleSetTextReader()
    // The text is that of a rule set: if it isn't, the places up to its fault are known.
    _ = try? read(text, with: &reader) { line, subject in
      for index in wanted[subject] ?? [] {
        places[index] = RuleTextError(
          line: line.line, bytes: line.bytes, offset: offset(of: issues[index].path, in: line), message: issues[index].message)
      }
    }
    return places
  }

  /// Of the word that names the field which the path ends in, else of the subject's name.
  private static func offset(of path: String, in line: RuleLineLexer) -> Int {
    let field = path.split(separator: ".").last { !$0.hasSuffix("]") || !$0.hasPrefix("rules") }
      .map { String($0.prefix { $0 != "[" }) } ?? ""
    var rest = line
    var tokens: [RuleLineLexer.Token] = []
    while let token = try? rest.next() { tokens.append(token) }
    let name = tokens.first { !["rule", "disabled", "chain", "set"].contains($0.text) }?.offset ?? line.bytes.startIndex
    for (index, token) in tokens.enumerated() where token.offset > name && token.kind == .word {
      if MatchWords.fields[token.text] == field || (field == "protocols" && IPProtocol.allNames.contains(token.text)) {
        return token.offset
      }
      let following = index + 1 < tokens.count ? tokens[index + 1].text : ""
      if MatchWords.second[token.text]?.contains(where: { ($0.word, $0.field) == (following, field) }) == true {
        return token.offset
      }
    }
    return name
  }
}
