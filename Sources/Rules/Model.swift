import Packets

/// An ordered list of rules and what happens to packets that no rule decides. First match wins.
///
/// A value, pure; validated by ``RuleSet/validate()``. Its JSON form (`Codable`) is the one of the REST API and of the
/// daemon's state file: snake_case keys.
public struct RuleSet: Hashable, Sendable, Codable {
  /// `[a-z0-9][a-z0-9._-]{0,62}`.
  public var name: String
  /// Number of the revision in the database; 0 for a rule set that never was in one.
  public var revision: UInt64
  public var defaultAction: Fate
  public var malformed: MalformedPolicy
  public var rules: RuleList
  /// Rules that are asked where a rule jumps to them or goes to them.
  public var chains: [Chain]
  /// Elements that matches name: `@blocked`.
  public var sets: [NamedSet]

  public init(
    name: String, revision: UInt64 = 0, defaultAction: Fate = .pass, malformed: MalformedPolicy = .init(),
    rules: some Sequence<Rule> = [], chains: [Chain] = [], sets: [NamedSet] = []
  ) {
    self.name = name
    self.revision = revision
    self.defaultAction = defaultAction
    self.malformed = malformed
    self.rules = RuleList(rules)
    self.chains = chains
    self.sets = sets
  }
}

/// What can become of a packet without a rule.
public enum Fate: String, Hashable, Sendable, Codable, CaseIterable {
  case pass, drop
}

/// What becomes of malformed and truncated packets: one fate, with exceptions by reason.
public struct MalformedPolicy: Hashable, Sendable {
  public var fate: Fate
  public var exceptions: [MalformedReason: Fate]

  public init(fate: Fate = .drop, exceptions: [MalformedReason: Fate] = [:]) {
    self.fate = fate
    self.exceptions = exceptions
  }

  public func fate(for reason: MalformedReason) -> Fate { exceptions[reason] ?? fate }
}

/// One rule. Its name is its identity: counters belong to it across revisions, reorders and restarts.
public struct Rule: Hashable, Sendable, Codable {
  /// Unique in the rule set: `[a-z0-9][a-z0-9._-]{0,62}`, and not `default`.
  public var name: String
  /// Shared: it is most of a rule, and lists of rules are copied and compared whole.
  @Shared public var match: Match
  public var action: Action
  /// Free text, at most 256 bytes of UTF-8 without control characters.
  public var comment: String
  public var isEnabled: Bool
  /// For people and programs to find rules by: names, each once.
  public var tags: [String]
  /// Whom to ask about the rule: free text, at most 63 bytes of UTF-8 without control characters; empty: nobody is named.
  public var owner: String
  /// When the rule ends; nil: never.
  public var expiry: Expiry?

  public init(
    name: String, match: Match = .init(), action: Action, comment: String = "", isEnabled: Bool = true,
    tags: [String] = [], owner: String = "", expiry: Expiry? = nil
  ) {
    self.name = name
    self.match = match
    self.action = action
    self.comment = comment
    self.isEnabled = isEnabled
    self.tags = tags
    self.owner = owner
    self.expiry = expiry
  }
}

/// What a packet must show: each condition that isn't empty.
public struct Match: Hashable, Sendable, Codable {
  /// Names of interfaces that the packet came in by.
  public var interfaces: Condition<String>
  public var sourceMACs: Condition<MACPattern>
  public var destinationMACs: Condition<MACPattern>
  /// No empty condition is in it.
  public private(set) var numbers: [NumberField: Condition<NumberRange>]
  public var sources: Condition<IPPrefix>
  public var destinations: Condition<IPPrefix>
  public var protocols: Condition<IPProtocol>
  /// Ports need `protocols` to be non-empty and only TCP and UDP.
  public var sourcePorts: Condition<PortRange>
  public var destinationPorts: Condition<PortRange>
  /// Needs `protocols` to be TCP alone.
  public var tcpFlags: Condition<TCPFlagTest>
  public var fragments: Condition<FragmentTest>
  /// Whether the IPv4 header has options, or an IPv6 extension header other than Fragment was seen; nil: either way.
  public var hasOptions: Bool?

  public init(
    sources: Condition<IPPrefix> = [], destinations: Condition<IPPrefix> = [], protocols: Condition<IPProtocol> = [],
    sourcePorts: Condition<PortRange> = [], destinationPorts: Condition<PortRange> = []
  ) {
    interfaces = []
    sourceMACs = []
    destinationMACs = []
    numbers = [:]
    self.sources = sources
    self.destinations = destinations
    self.protocols = protocols
    self.sourcePorts = sourcePorts
    self.destinationPorts = destinationPorts
    tcpFlags = []
    fragments = []
    hasOptions = nil
  }

  public subscript(field: NumberField) -> Condition<NumberRange> {
    get { numbers[field] ?? [] }
    set { numbers[field] = newValue.isEmpty ? nil : newValue }
  }
}

/// What a rule does with a packet that it matches.
public enum Action: Hashable, Sendable {
  case pass
  case drop
  /// Count the packet and go on with the next rule.
  case count
  /// Hand the packet to AF_XDP while a capture runs; else the attachment's capture fallback.
  case capture
  case redirect(interface: String)
  /// Ask the rules of a chain and, where none of them decides, those behind this one. Not counted: the chain's rules are.
  case jump(chain: String)
  /// As a jump, but where none decides it is over with the list that this rule stands in, too.
  case goTo(chain: String)
  /// Count the packet, leave the chain, and go on behind the rule that jumped to it; in the rule set's own list, and where
  /// all before were gone to: the default action.
  case leave
}
