import Packets

/// A list of addresses whose word says of which family they are: `ip`, `ip6`.
struct FamilyList {
  let family: IPFamily
  let line: RuleLineLexer
  let suggestion: String

  var kind: String { family == .ipv4 ? "IPv4" : "IPv6" }

  func failure(_ token: RuleLineLexer.Token, _ reason: String) -> RuleTextError {
    RuleTextError(
      line: line.line, bytes: line.bytes, offset: token.offset,
      message: "\(reason): \(family == .ipv4 ? "ip" : "ip6") says that this list holds only these", suggestion: suggestion)
  }
}
