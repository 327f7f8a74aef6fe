import Packets

/// A rule that does nothing, or nothing of its own, and the proof.
public struct RuleFinding: Hashable, Sendable, CustomStringConvertible {
  /// Stable names for programs.
  public enum Kind: String, Hashable, Sendable, Codable, CaseIterable {
    /// Its conditions exclude each other: no packet matches.
    case contradictory
    /// A rule above matches all that it matches, and decides otherwise.
    case shadowed
    /// Rules above together match all that it matches, and some decide otherwise.
    case neverHit = "never_hit"
    /// Without it every packet would be decided the same.
    case redundant
    /// Too much work to tell.
    case undecided
  }

  public var kind: Kind
  public var rule: String
  /// The chain that the rule is in; nil: the rule set's own list.
  public var chain: String?
  /// Of the rule in its list.
  public var index: Int
  /// Rules that match what it matches, in their order: above it, or for some redundant ones below it. The default action is
  /// ``Rule/reservedName``. Of very many the first 64; the message says how many there are.
  public var by: [String]
  /// A packet that the rule matches, and one of ``by``, too. Nil where none matches.
  public var packet: ExamplePacket?
  /// The cause and its remedy, a sentence without a full stop.
  public var message: String

  public var description: String {
    "\(kind.rawValue): \(rule): \(message)" + (packet.map { "; for example \($0)" } ?? "")
  }
}

/// A packet as far as rules see it.
public struct ExamplePacket: Hashable, Sendable, CustomStringConvertible {
  public var packet: ParsedPacket
  public var arrival: Arrival
  /// What a rule would ask for that matches it: what the rules in question look at, and what people look at.
  public var match: Match

  public var description: String { RuleSetText.words(of: match) }
}

/// What was found out about the rules of a set.
public struct RuleSetAnalysis: Hashable, Sendable {
  /// In the order of the rules; at most ``Limits/analysisFindingsMax``, and few of the undecided.
  public var findings: [RuleFinding]
  /// Rules that were not decided about, whether they are among the findings or not.
  public var undecidedCount: Int
  /// Whether there are more findings than are reported.
  public var isCut: Bool
  /// For each other rule a packet that reaches it, where that was found out.
  public var reached: [String: ExamplePacket]
  /// Rules that were looked at: the enabled ones.
  public var ruleCount: Int
  /// What it took, of the budget.
  public var stepCount: Int

  /// Whether every rule was decided about, and all that was found is reported.
  public var isComplete: Bool { undecidedCount == 0 && !isCut }
}

extension RuleSetAnalysis {
  /// Adds what was found out about another list of the same rule set.
  mutating func add(_ other: RuleSetAnalysis) {
    let room = Limits.analysisFindingsMax - findings.count
    findings += other.findings.prefix(max(room, 0))
    isCut = isCut || other.isCut || other.findings.count > room
    undecidedCount += other.undecidedCount
    ruleCount += other.ruleCount
    stepCount += other.stepCount
  }
}
