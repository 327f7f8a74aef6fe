import CSluiceABI
import Packets
import Rules

extension Match {
  /// Of a plain one: the one family that its prefixes leave; nil where it has none, or they contradict each other.
  var familyOfPrefixes: IPFamily? {
    guard let source = sources.elements.first else { return destinations.elements.first?.family }
    let family = source.family
    guard let destination = destinations.elements.first else { return family }
    return destination.family == family ? family : nil
  }
}

extension Forest {
  /// The one entry of a plain match with prefixes, as ``Expansion`` makes it, without its lists: most rules are such.
  ///
  /// - Returns: False where it is not so simple, and nothing was appended.
  mutating func append(plain match: Match, _ template: CutRule) -> Bool {
    guard let family = match.familyOfPrefixes else { return false }
    let layout: KeyLayout = family == .ipv4 ? .ipv4 : .ipv6
    var entry = template
    var header = Ternary()
    if let number = match.protocols.elements.first { header = Ternary(value: UInt64(number.rawValue), mask: 0xff) }
    if let flags = match.tcpFlags.elements.first {
      guard flags.mask <= 0xff else { return false }
      let notLater = Ternary(value: 0, mask: 1).shifted(Int(SLUICE_HEADER_LATER_FRAGMENT))
      header =
        header | notLater
        | Ternary(value: UInt64(flags.set), mask: UInt64(flags.mask)).shifted(Int(SLUICE_HEADER_TCP_FLAGS))
    }
    entry.ternaries[layout.header] = header
    entry.setAddresses(match.sources.elements.first, match.destinations.elements.first, layout)
    if let range = match.sourcePorts.elements.first { entry.setLane(.sourcePort, range) }
    if let range = match.destinationPorts.elements.first { entry.setLane(.destinationPort, range) }
    if layout == .ipv4 { ipv4.append(entry) } else { ipv6.append(entry) }
    return true
  }
}

extension CutRule {
  /// Where the packet comes from and goes to; nil is any.
  mutating func setAddresses(_ source: IPPrefix?, _ destination: IPPrefix?, _ layout: KeyLayout) {
    switch layout {
    case .ipv4:
      ternaries[0] = Ternary(high: source.ternary32, low: destination.ternary32)
    case .ipv6:
      (ternaries[0], ternaries[2]) = source.ternary128
      (ternaries[1], ternaries[3]) = destination.ternary128
    }
  }

  fileprivate mutating func setLane(_ lane: Lane, _ range: PortRange) {
    low[lane.rawValue] = UInt32(range.low)
    high[lane.rawValue] = UInt32(range.high)
  }
}
