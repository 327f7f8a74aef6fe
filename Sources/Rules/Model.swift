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
  public var rules: [Rule]

  public init(
    name: String, revision: UInt64 = 0, defaultAction: Fate = .pass, malformed: MalformedPolicy = .init(),
    rules: [Rule] = []
  ) {
    self.name = name
    self.revision = revision
    self.defaultAction = defaultAction
    self.malformed = malformed
    self.rules = rules
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
  public var match: Match
  public var action: Action
  /// Free text, at most 256 bytes of UTF-8 without control characters.
  public var comment: String
  public var isEnabled: Bool

  public init(name: String, match: Match = .init(), action: Action, comment: String = "", isEnabled: Bool = true) {
    self.name = name
    self.match = match
    self.action = action
    self.comment = comment
    self.isEnabled = isEnabled
  }
}

/// What a packet must show: every field that isn't empty, any element of each.
public struct Match: Hashable, Sendable, Codable {
  public var sources: [IPPrefix]
  public var destinations: [IPPrefix]
  public var protocols: [IPProtocol]
  /// Ports need `protocols` to be non-empty and only TCP and UDP; a later fragment shows no ports and doesn't match.
  public var sourcePorts: [PortRange]
  public var destinationPorts: [PortRange]

  public init(
    sources: [IPPrefix] = [], destinations: [IPPrefix] = [], protocols: [IPProtocol] = [],
    sourcePorts: [PortRange] = [], destinationPorts: [PortRange] = []
  ) {
    self.sources = sources
    self.destinations = destinations
    self.protocols = protocols
    self.sourcePorts = sourcePorts
    self.destinationPorts = destinationPorts
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
}
