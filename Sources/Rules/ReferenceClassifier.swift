import Packets

/// What the rules say about a packet.
public struct Decision: Hashable, Sendable {
  /// Never ``Action/count``.
  public var action: Action
  /// The deciding rule; nil for the default action and for a malformed packet.
  public var ruleName: String?
  /// The `count` rules that the packet passed, in order.
  public var counted: [String]
  /// Why the packet is malformed; then the policy decided and no rule was asked.
  public var malformed: MalformedReason?

  public init(action: Action, ruleName: String? = nil, counted: [String] = [], malformed: MalformedReason? = nil) {
    self.action = action
    self.ruleName = ruleName
    self.counted = counted
    self.malformed = malformed
  }
}

/// Decides by walking the rules one by one: slow and plainly right. What every faster way must agree with.
public enum ReferenceClassifier {
  /// What `ruleSet` says about an Ethernet frame. Never traps, whatever the bytes.
  public static func decide(_ frame: [UInt8], by ruleSet: RuleSet) -> Decision {
    decide(PacketParser.parse(frame), by: ruleSet)
  }

  public static func decide(_ packet: ParsedPacket, by ruleSet: RuleSet) -> Decision {
    if let reason = packet.malformed {
      return Decision(action: Action(ruleSet.malformed.fate(for: reason)), malformed: reason)
    }
    var counted: [String] = []
    for rule in ruleSet.rules where rule.isEnabled && rule.match.matches(packet) {
      if rule.action != .count { return Decision(action: rule.action, ruleName: rule.name, counted: counted) }
      counted.append(rule.name)
    }
    return Decision(action: Action(ruleSet.defaultAction), counted: counted)
  }
}

extension Match {
  /// Whether the packet shows every field that isn't empty. What a packet doesn't have (ports of a later fragment,
  /// addresses of ARP) it doesn't show. For packets that aren't malformed.
  public func matches(_ packet: ParsedPacket) -> Bool {
    func shows<Element, Value>(_ elements: [Element], _ value: Value?, _ test: (Element, Value) -> Bool) -> Bool {
      if elements.isEmpty { return true }
      guard let value else { return false }
      return elements.contains { test($0, value) }
    }
    return shows(sources, packet.source) { $0.contains($1) }
      && shows(destinations, packet.destination) { $0.contains($1) }
      && shows(protocols, packet.protocol) { $0 == $1 }
      && shows(sourcePorts, packet.ports?.source) { $0.contains($1) }
      && shows(destinationPorts, packet.ports?.destination) { $0.contains($1) }
  }
}

extension Action {
  public init(_ fate: Fate) {
    switch fate {
    case .pass: self = .pass
    case .drop: self = .drop
    }
  }
}
