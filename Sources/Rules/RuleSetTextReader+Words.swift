import Packets

/// Words that statements are made of.
extension RuleSetTextReader {
  func element(_ line: inout RuleLineLexer, of field: String) throws(RuleTextError) -> Token {
    if field == "interfaces", let token = try line.peek(), token.kind == .quoted {
      _ = try line.next()
      return token
    }
    return try word(&line, MatchWords.element(of: field))
  }

  func takeComma(_ line: inout RuleLineLexer) throws(RuleTextError) -> Bool {
    guard try line.peek()?.kind == .comma else { return false }
    _ = try line.next()
    return true
  }

  func fate(_ line: inout RuleLineLexer) throws(RuleTextError) -> Fate {
    let token = try word(&line, "pass or drop")
    guard let fate = Fate(rawValue: token.text) else {
      throw unknown(token, among: Fate.allCases.map(\.rawValue), of: line, "here comes pass or drop")
    }
    return fate
  }

  func word(_ line: inout RuleLineLexer, _ what: String) throws(RuleTextError) -> Token {
    guard let token = try line.next() else {
      throw line.failure(at: line.end, "the line ends where \(what) should come")
    }
    guard token.kind == .word else {
      throw line.failure(at: token.offset, "here comes \(what), without quotation marks and commas before it")
    }
    return token
  }

  func unknown(
    _ token: Token, among words: [String], of line: RuleLineLexer, _ message: String
  ) -> RuleTextError {
    line.failure(
      at: token.offset, "\"\(excerpt(token))\" is not known: \(message)",
      suggestion: nearest(to: token.text, among: words))
  }

  func excerpt(_ token: Token) -> String { ValueTextError.excerpt(token.text) }
}
