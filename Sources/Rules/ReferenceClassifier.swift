import Packets

/// What the rules say about a packet.
public struct Decision: Hashable, Sendable {
  /// One that decides: pass, drop, capture or redirect.
  public var action: Action
  /// The deciding rule; nil for the default action and for a malformed packet.
  public var ruleName: String?
  /// The `count` rules that the packet passed, in order.
  public var counted: [String]
  /// What counts it beside the rules that do, in their order.
  public var countedElements: [CountedElement] = []
  /// Why the packet is malformed; then the policy decided and no rule was asked.
  public var malformed: MalformedReason?

  public init(
    action: Action, ruleName: String? = nil, counted: [String] = [], countedElements: [CountedElement] = [],
    malformed: MalformedReason? = nil
  ) {
    self.action = action
    self.ruleName = ruleName
    self.counted = counted
    self.countedElements = countedElements
    self.malformed = malformed
  }
}

/// An element of a set with ``NamedSet/hasCounters`` at which a packet counts.
///
/// Whatever rule counts a packet, because it decides or because it lets it go on, the packet counts at the longest element that
/// holds its address in each such set that the rule's own match names and doesn't negate, once for each field that does. So a jump or goto counts nowhere.
public struct CountedElement: Hashable, Sendable {
  public var set: String
  public var element: IPPrefix

  public init(set: String, element: IPPrefix) {
    (self.set, self.element) = (set, element)
  }
}

/// Decides by walking the rules one by one: slow and plainly right. What every faster way must agree with.
public enum ReferenceClassifier {
  /// What `ruleSet` says about an Ethernet frame. Never traps, whatever the bytes.
  public static func decide(_ frame: [UInt8], by ruleSet: RuleSet, at arrival: Arrival = Arrival()) -> Decision {
    decide(PacketParser.parse(frame), by: ruleSet, at: arrival)
  }

  public static func decide(_ packet: ParsedPacket, by ruleSet: RuleSet, at arrival: Arrival = Arrival()) -> Decision {
    if let reason = packet.malformed {
      return Decision(action: Action(ruleSet.malformed.fate(for: reason)), malformed: reason)
    }
    var search = Search(ruleSet: ruleSet, packet: packet, arrival: arrival)
    if case .decided(let rule) = search.ask(ruleSet.rules) {
      search.noteElements(of: rule)
      return Decision(action: rule.action, ruleName: rule.name, counted: search.counted, countedElements: search.countedElements)
    }
    return Decision(action: Action(ruleSet.defaultAction), counted: search.counted, countedElements: search.countedElements)
  }

  /// One packet's way through the lists of rules.
  private struct Search {
    let ruleSet: RuleSet
    let packet: ParsedPacket
    let arrival: Arrival
    var counted: [String] = []
    var countedElements: [CountedElement] = []
    private let hasCounters: Bool
    /// Lists that are left to come back to. A rule set that wasn't validated may have chains that lead to themselves.
    private var depth = 0

    enum Outcome {
      case decided(Rule)
      /// Back to the list that jumped here.
      case left
    }

    init(ruleSet: RuleSet, packet: ParsedPacket, arrival: Arrival) {
      (self.ruleSet, self.packet, self.arrival) = (ruleSet, packet, arrival)
      hasCounters = ruleSet.sets.contains(where: \.hasCounters)
    }

    mutating func noteElements(of rule: Rule) {
      guard hasCounters else { return }
      for (condition, address) in [(rule.match.sources, packet.source), (rule.match.destinations, packet.destination)] {
        guard let address, !condition.isNegated else { continue }
        for set in ruleSet.sets where set.hasCounters && condition.sets.contains(set.name) {
          guard let element = set.longestElement(holding: address) else { continue }
          countedElements.append(CountedElement(set: set.name, element: element))
        }
      }
    }

    mutating func ask(_ rules: RuleList) -> Outcome {
      depth += 1
      defer { depth -= 1 }
      if depth > Limits.chainDepthMax + 1 { return .left }
      let (packet, arrival, sets) = (packet, arrival, ruleSet.sets)
      func isHit(_ rule: Rule) -> Bool { rule.isEnabled && rule.match.matches(packet, at: arrival, sets: sets) }
      var next = 0
      while let index = rules.index(from: next, where: isHit) {
        next = index + 1
        let rule = rules[index]
        switch rule.action {
        case .count:
          counted.append(rule.name)
          noteElements(of: rule)
        case .jump(let chain):
          if case .decided(let rule) = ask(ruleSet.rules(ofChain: chain)) { return .decided(rule) }
        case .goTo(let chain):
          return ask(ruleSet.rules(ofChain: chain))
        case .leave:
          counted.append(rule.name)
          noteElements(of: rule)
          return .left
        case .pass, .drop, .capture, .redirect:
          return .decided(rule)
        }
      }
      return .left
    }
  }
}

/// Where a packet came in.
public struct Arrival: Hashable, Sendable {
  public var interface: String
  public var queue: UInt8

  public init(interface: String = "", queue: UInt8 = 0) {
    self.interface = interface
    self.queue = queue
  }
}

extension Match {
  /// Whether the packet shows what every condition asks for. For packets that aren't malformed.
  ///
  /// - Parameter sets: of the rule set, for the names of sets in the match.
  @_effects(readonly)  // else whoever asks a rule in an array copies the rule first, which takes longer than the answer
  public func matches(_ packet: ParsedPacket, at arrival: Arrival = Arrival(), sets: [NamedSet] = []) -> Bool {
    func isIn(_ name: String, _ address: IPAddress) -> Bool {
      sets.contains { $0.name == name && $0.contains(address) }
    }
    func isIn(_ name: String, _ port: UInt16) -> Bool { sets.contains { $0.name == name && $0.contains(port) } }
    let isIP = packet.family != .other
    return interfaces.matches(arrival.interface) { $0 == $1 }
      && sourceMACs.matches(packet.sourceMAC) { $0.contains($1) }
      && destinationMACs.matches(packet.destinationMAC) { $0.contains($1) }
      && sources.matches(packet.source, isInSet: isIn) { $0.contains($1) }
      && destinations.matches(packet.destination, isInSet: isIn) { $0.contains($1) }
      && protocols.matches(packet.protocol) { $0 == $1 }
      && sourcePorts.matches(packet.ports?.source, isInSet: isIn) { $0.contains($1) }
      && destinationPorts.matches(packet.ports?.destination, isInSet: isIn) { $0.contains($1) }
      && tcpFlags.matches(packet.tcpFlags) { $0.contains($1) }
      && fragments.matches(isIP ? packet.fragment : nil) { $0.contains($1) }
      && (hasOptions == nil || hasOptions == packet.hasOptions)
      && numbers.allSatisfy { field, condition in
        condition.matches(field.value(of: packet, queue: arrival.queue)) { $0.contains($1) }
      }
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
