import CSluiceABI
import Packets
import RuleCompiler
import Rules
import XDPPrograms

/// What elements of a set have counted, on some interfaces together.
public struct SetCountersReport: Hashable, Sendable {
  public struct ElementCount: Hashable, Sendable {
    public var element: IPPrefix
    public var count: PacketCount
  }

  public var elements: [ElementCount] = []
  /// Where they were read.
  public var interfaces: [String] = []
  /// Of the top only: what all elements have counted, and how many of them anything.
  public var total = PacketCount()
  public var countingElementCount = 0
}

extension Controller {
  /// Elements that one call is about.
  public static let setCountersMax = 10_000

  /// Named elements, in their order; what isn't in the set is left out. See ``SetCountersReport``.
  ///
  /// - Parameter names: Where the rule set is applied; empty: wherever it is.
  public func counters(
    of elements: [SetElement], in set: String, ofRuleSet ruleSet: String, on names: [String]
  ) throws(ControlError) -> SetCountersReport {
    guard elements.count <= Controller.setCountersMax else {
      throw ControlError(.invalidArgument, "elements: \(elements.count); at most \(Controller.setCountersMax) are read at a time")
    }
    let targets = try counting(set, ofRuleSet: ruleSet, names)
    var report = SetCountersReport(interfaces: targets.map(\.attachment.interface))
    for prefix in elements.prefixes {
      var sum: PacketCount?
      for (attachment, set) in targets {
        let count = try translating { () throws(ProgramError) in
          try set.counterKeys(of: CollectionOfOne(prefix)).first.flatMap { (key) throws(ProgramError) in
            try attachment.program.elementCounter(key)
          }
        }
        if let count { sum = (sum ?? PacketCount()).adding(count) }
      }
      if let sum { report.elements.append(.init(element: prefix, count: sum)) }
    }
    return report
  }

  /// The elements that have counted the most packets, the greatest first. Reads all of them: about a second for a million.
  public func topElements(
    _ limit: Int, in set: String, ofRuleSet ruleSet: String, on names: [String]
  ) throws(ControlError) -> SetCountersReport {
    guard (0...Controller.setCountersMax).contains(limit) else {
      throw ControlError(.invalidArgument, "top: 0 to \(Controller.setCountersMax)")
    }
    let targets = try counting(set, ofRuleSet: ruleSet, names)
    var report = SetCountersReport(interfaces: targets.map(\.attachment.interface))
    var counts: [IPPrefix: PacketCount] = [:]
    for (attachment, set) in targets {
      try translating { () throws(ProgramError) in
        for key in try attachment.program.elementKeys() {
          guard let element = set.element(ofKey: key), let count = try attachment.program.elementCounter(key),
            count.packets > 0
          else { continue }
          counts[element] = counts[element, default: PacketCount()].adding(count)
          report.total = report.total.adding(count)
        }
      }
    }
    report.countingElementCount = counts.count
    let order = counts.sorted { left, right in
      left.value.packets == right.value.packets
        ? (left.key.address.value, left.key.length) < (right.key.address.value, right.key.length)
        : left.value.packets > right.value.packets
    }
    report.elements = order.prefix(limit).map { SetCountersReport.ElementCount(element: $0.key, count: $0.value) }
    return report
  }

  private func counting(
    _ name: String, ofRuleSet ruleSet: String, _ names: [String]
  ) throws(ControlError) -> [(attachment: Attachment, set: NamedSet)] {
    try checkRunning()
    var result: [(attachment: Attachment, set: NamedSet)] = []
    for attachment in try targets(ofRuleSet: ruleSet, names) {
      guard let set = attachment.ruleSet?.sets.first(where: { $0.name == name }) else {
        throw ControlError(.notFound, "the rule set \(ruleSet) has no set \(name) on \(attachment.interface)")
      }
      guard set.hasCounters else {
        throw ControlError(
          .failedPrecondition, "the elements of \(name) don't count on \(attachment.interface): give the set counters, and apply "
            + "the rule set")
      }
      result.append((attachment, set))
    }
    return result
  }
}

extension PacketCount {
  fileprivate func adding(_ other: PacketCount) -> PacketCount {
    PacketCount(packets: packets &+ other.packets, bytes: bytes &+ other.bytes)
  }
}
