import Packets

/// Rule sets as text, for files and for people. One statement per line:
///
///     ruleset edge
///     default pass
///     malformed drop except truncated_ipv6 pass, bad_udp pass
///
///     rule drop-telnet: ip saddr 10.0.0.0/8, 192.0.2.1 tcp dport 23, 2323 drop   # kept as the rule's comment
///     rule web: ip6 daddr 2001:db8::/32 tcp, udp sport 1024-65535 dport 443 pass
///     disabled rule tunnels: protocol gre, 4 redirect eth1
///     rule rest: count
///
/// A rule is its name, what must match, in any order, and its action at the end: `pass`, `drop`, `count`, `capture`,
/// `jump CHAIN`, `goto CHAIN`, `return` or `redirect INTERFACE` (in double quotes where the name has `#`, `,`, `$` or `"`). Before the action may stand, for people
/// and programs, `tag lab, dmz` and `owner net-ops` or `owner "the net ops"`, and when the rule ends:
/// `expires 2026-11-21T15:38:47Z`, or `expires 90m` (`s`, `m`, `h`, `d`) from when it is accepted. What must match is written like nftables:
///
/// | words | elements |
/// |---|---|
/// | `iif`, `queue` | interfaces; receive queues |
/// | `ether saddr`, `ether daddr`, `ether type` | `02:00:00:00:00:01`, with a mask `…/ff:ff:ff:00:00:00`; `0x0806` |
/// | `vlan id`, `vlan pcp`, `vlan inner-id`, `vlan inner-pcp` | `7`, `100-199` |
/// | `[ip\|ip6] saddr`, `[ip\|ip6] daddr` | `10.0.0.0/8`, `2001:db8::1`; `ip` and `ip6` only say which family they must be |
/// | `tcp`, `udp` …, or `protocol` | names; behind `protocol` numbers, too |
/// | `sport`, `dport` | `443`, `8000-8080` |
/// | `flags` | TCP's: `syn`, `syn/syn\|ack`, `none/rst` |
/// | `type`, `code` | ICMP's and ICMPv6's |
/// | `dscp`, `ecn`, `ttl` or `hoplimit`, `flowlabel`, `length` | `46`, `0-1`, `0x12345`; the length is the IP datagram's |
/// | `frag` | `not`, `first`, `later`, `any` |
/// | `options` | `present`, `absent`: IPv4 options, or IPv6 extension headers other than Fragment |
///
/// Each stands once, with a list of elements with commas, any of which matches, or none of them behind `!=`:
/// `dport != 22, 80`. A line `define $lab = 10.0.0.0/8, 192.0.2.1` gives a list a name; below it `$lab` in a list stands for
/// its elements, in other definitions, too. Definitions are of the text: the rule set has the elements.
///
/// Sets and chains are of the rule set, and may stand above or below the rules that name them:
///
///     set blocked {  # the list of the day
///       type ipv4_addr
///       elements 192.0.2.0/24, 198.51.100.7, 203.0.113.9 timeout 12h
///     }
///     chain services {
///       rule ssh: tcp saddr != @blocked dport 22 pass
///       rule rest: return
///     }
///     rule inbound: ip daddr 203.0.113.0/24 jump services
///
/// An element may end: behind it `timeout 12h`, from when it is accepted, or `expires` and a moment.
/// Behind its type a set of addresses may say `counters`: then packets and bytes are counted for each of its elements.
/// A set's type is `ipv4_addr`, `ipv6_addr` or `inet_service`; `@blocked` stands in lists of addresses or ports. `jump CHAIN`
/// asks the chain's rules and, where none of them decides or one says `return`, those behind the jump. `goto CHAIN` asks them
/// instead of those behind it. Chains may lead to others, at most 16 deep and never back.
///
/// Behind `#` stands a comment: a rule's, a chain's and a set's are kept, any other isn't. `ruleset NAME` is required;
/// `revision N`, `default` and `malformed` aren't.
public enum RuleSetText {
  /// Reads a rule set. What it says may still be invalid: see ``RuleSet/validate()``. Time and memory are linear in
  /// the text, which has at most `byteCountMax` bytes.
  public static func parse(
    _ text: String, byteCountMax: Int = Limits.textByteCountMax
  ) throws(RuleTextError) -> RuleSet {
    guard text.utf8.count <= byteCountMax else {
      throw RuleTextError(
        line: 1, bytes: [], offset: 0,
        message: "the text has \(text.utf8.count) bytes; at most \(byteCountMax) are read")
    }
    var reader = RuleSetTextReader()
    let lineCount = try read(text, with: &reader)
    return try reader.finish(lastLine: lineCount)
  }

  /// Reads all lines and returns how many there are.
  ///
  /// - Parameter begun: Gets each line that a rule, chain or set begins with.
  static func read(
    _ text: String, with reader: inout RuleSetTextReader, begun: (RuleLineLexer, IssueSubject) -> Void = { _, _ in }
  ) throws(RuleTextError) -> Int {
    let bytes = Array(text.utf8)
    var start = byteOrderMarkByteCount(at: bytes)
    var line = 0
    while start < bytes.count {
      var end = bytes[start...].firstIndex(of: 0x0a) ?? bytes.count
      let following = end + 1
      if end > start, bytes[end - 1] == 0x0d { end -= 1 }
      line += 1
      let whole = RuleLineLexer(line: line, bytes: bytes[start..<end])
      var lexer = whole
      if let subject = try reader.read(&lexer) { begun(whole, subject) }
      start = following
    }
    return line
  }

  /// Of the mark that some editors put before a text; 0: there is none.
  public static func byteOrderMarkByteCount(at bytes: some Sequence<UInt8>) -> Int {
    bytes.starts(with: [0xef, 0xbb, 0xbf]) ? 3 : 0
  }

  /// Reads the line of one rule, with or without the word `rule`: `drop-telnet: tcp dport 23 drop  # why`.
  public static func parseRule(_ line: String) throws(RuleTextError) -> Rule {
    guard line.utf8.count <= Limits.textByteCountMax, !line.utf8.contains(0x0a) else {
      throw RuleTextError(line: 1, bytes: [], offset: 0, message: "a rule is one line")
    }
    let bytes = Array(line.utf8)
    var reader = RuleSetTextReader()
    return try reader.readRule(RuleLineLexer(line: 1, bytes: bytes[...]))
  }

  /// The text of a valid rule set; parsing it gives the same rule set.
  public static func print(_ ruleSet: RuleSet) -> String {
    var text = "ruleset \(ruleSet.name)\n"
    if ruleSet.revision != 0 { text += "revision \(ruleSet.revision)\n" }
    text += "default \(ruleSet.defaultAction.rawValue)\nmalformed \(ruleSet.malformed.fate.rawValue)"
    let exceptions = ruleSet.malformed.exceptions.sorted { $0.key.index < $1.key.index }
    if !exceptions.isEmpty {
      text += " except " + exceptions.map { "\($0.key.rawValue) \($0.value.rawValue)" }.joined(separator: ", ")
    }
    text += "\n"
    for set in ruleSet.sets { text += "\n" + print(set) }
    for chain in ruleSet.chains {
      text += "\nchain \(chain.name) {\(chain.comment.isEmpty ? "" : "  # \(chain.comment)")\n"
      for rule in chain.rules { text += "  \(print(rule))\n" }
      text += "}\n"
    }
    if !ruleSet.rules.isEmpty { text += "\n" }
    for rule in ruleSet.rules { text += print(rule) + "\n" }
    return text
  }

  /// A set with its elements, eight in a line, or two where they may end.
  private static func print(_ set: NamedSet) -> String {
    var text = "set \(set.name) {\(set.comment.isEmpty ? "" : "  # \(set.comment)")\n  type \(set.kind.rawValue)\n"
    if set.hasCounters { text += "  counters\n" }
    let perLine = set.expiries.isEmpty ? 8 : 2
    for start in stride(from: 0, to: set.count, by: perLine) {
      let part = set.texts(start..<min(start + perLine, set.count)).joined(separator: ", ")
      text += "  elements \(part)\n"
    }
    return text + "}\n"
  }

  /// The line of one rule, without a line feed.
  public static func print(_ rule: Rule) -> String {
    var words = [rule.isEnabled ? "rule \(rule.name):" : "disabled rule \(rule.name):"]
    if rule.match != Match() { words.append(RuleSetText.words(of: rule.match)) }
    if !rule.tags.isEmpty { words += ["tag", rule.tags.joined(separator: ", ")] }
    if !rule.owner.isEmpty { words += ["owner", quotedIfNeeded(rule.owner)] }
    if let expiry = rule.expiry { words += ["expires", expiry.text] }
    words.append(rule.action.name)
    if let target = rule.action.redirectInterface { words.append(quotedIfNeeded(target)) }
    if let chain = rule.action.chain { words.append(chain) }
    if !rule.comment.isEmpty { words.append(" # \(rule.comment)") }
    return words.joined(separator: " ")
  }

  /// What must match, as in a rule's line.
  public static func words(of match: Match) -> String {
    match.conditions.flatMap { clause($0, match) }.joined(separator: " ")
  }

  private static func clause(_ condition: ConditionForm, _ match: Match) -> [String] {
    var words: [String] = []
    switch condition.field {
    case "sources", "destinations":
      let prefixes = condition.field == "sources" ? match.sources : match.destinations
      switch prefixes.sets.isEmpty ? Set(prefixes.map(\.family)) : [] {
      case [.ipv4]: words.append("ip")
      case [.ipv6]: words.append("ip6")
      default: break
      }
      words.append(MatchWords.words(of: condition.field))
    case "protocols":
      if condition.isNegated || match.protocols.contains(where: { $0.name == nil }) { words.append("protocol") }
    default:
      words.append(MatchWords.words(of: condition.field))
    }
    if condition.isNegated { words.append("!=") }
    // An interface may be called as a sign is.
    func element(_ text: String) -> String {
      condition.field == "interfaces" && negations.contains(text) ? quoted(text) : quotedIfNeeded(text)
    }
    words.append(condition.elements.map(element).joined(separator: ", "))
    return words
  }

  private static func quotedIfNeeded(_ word: String) -> String {
    let special: [UInt8] = [0x09, 0x20, 0x22, 0x23, 0x24, 0x2c]
    return !word.isEmpty && !word.utf8.contains(where: special.contains) ? word : quoted(word)
  }

  /// What negates a condition, in front of its elements.
  static let negations = ["!=", "not"]

  private static func quoted(_ word: String) -> String {
    "\"" + word.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }
}
