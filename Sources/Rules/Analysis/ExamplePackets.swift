import Packets

extension PacketRegion {
  /// A packet of the region, which isn't empty: where there is a choice, an ordinary one.
  ///
  /// - Parameter interfaces: their names by index.
  func example(of kind: PacketKind, interfaces: [String]) -> ExamplePacket {
    var maker = ExampleMaker(region: self, kind: kind)
    maker.addLink()
    if kind.isIP {
      maker.addNetwork()
      maker.addTransport()
    }
    let index = maker.pick(.interface)
    let isNamed = index < UInt128(interfaces.count)
    let other = (0...interfaces.count).map { "eth\($0)" }.first { !interfaces.contains($0) }
    let arrival = Arrival(
      interface: isNamed ? interfaces[Int(index)] : other ?? "eth0", queue: UInt8(maker.number(.queues, .queue)))
    if self[.interface] != nil { maker.match.interfaces = [arrival.interface] }
    return ExamplePacket(packet: maker.packet, arrival: arrival, match: maker.match)
  }
}

/// Makes a packet, and the match for what of it is worth showing.
private struct ExampleMaker {
  let region: PacketRegion
  let kind: PacketKind
  var packet = ParsedPacket()
  var match = Match()

  init(region: PacketRegion, kind: PacketKind) {
    self.region = region
    self.kind = kind
  }

  func pick(_ dimension: Dimension) -> UInt128 {
    (region[dimension] ?? dimension.all).nearest(to: dimension.usual)
  }

  /// The number of a field, which the match shows if the region is about it.
  mutating func number(_ field: NumberField, _ dimension: Dimension, isShown: Bool = false) -> UInt32 {
    let value = UInt32(truncatingIfNeeded: pick(dimension))
    if isShown || region[dimension] != nil { match[field] = [NumberRange(value)] }
    return value
  }

  mutating func addLink() {
    let source = MACAddress(value: UInt64(pick(.sourceMAC)))
    let destination = MACAddress(value: UInt64(pick(.destinationMAC)))
    packet.sourceMAC = source
    packet.destinationMAC = destination
    if region[.sourceMAC] != nil { match.sourceMACs = [MACPattern(source)] }
    if region[.destinationMAC] != nil { match.destinationMACs = [MACPattern(destination)] }
    let tags = pick(.tags)
    if tags > 0 {
      let id = UInt16(number(.vlanIDs, .vlanID, isShown: true))
      packet.vlanTags.append(VLANTag(id: id, priority: UInt8(number(.vlanPriorities, .vlanPriority))))
    }
    if tags > 1 {
      let id = UInt16(number(.innerVLANIDs, .innerVLANID, isShown: true))
      packet.vlanTags.append(VLANTag(id: id, priority: UInt8(number(.innerVLANPriorities, .innerVLANPriority))))
    }
    packet.family = kind.family
    switch kind.family {
    case .ipv4: packet.etherType = .ipv4
    case .ipv6: packet.etherType = .ipv6
    case .other: packet.etherType = EtherType(rawValue: UInt16(number(.etherTypes, .etherType, isShown: true)))
    }
  }

  mutating func addNetwork() {
    let family: IPFamily = kind.family == .ipv4 ? .ipv4 : .ipv6
    let source = IPAddress(family: family, value: pick(.source))
    let destination = IPAddress(family: family, value: pick(.destination))
    packet.source = source
    packet.destination = destination
    match.sources = [IPPrefix(host: source)]
    match.destinations = [IPPrefix(host: destination)]
    let number = IPProtocol(rawValue: UInt8(pick(.protocol)))
    packet.protocol = number
    match.protocols = [number]
    packet.trafficClass = UInt8(self.number(.dscp, .dscp)) << 2 | UInt8(self.number(.ecn, .ecn))
    packet.hopLimit = UInt8(self.number(.hopLimits, .hopLimit))
    // Every region of IP says something about the length: what is shown is what is unusual.
    packet.datagramByteCount = UInt16(pick(.length))
    if pick(.length) != Dimension.length.usual { match[.lengths] = [NumberRange(UInt32(pick(.length)))] }
    if family == .ipv6 { packet.flowLabel = self.number(.flowLabels, .flowLabel) }
    packet.hasOptions = pick(.options) == 1
    if region[.options] != nil { match.hasOptions = packet.hasOptions }
    switch pick(.fragment) {
    case 0: packet.fragment = .none
    case 1: (packet.fragment, match.fragments) = (.first, [.first])
    default: (packet.fragment, match.fragments) = (.later, [.later])
    }
  }

  mutating func addTransport() {
    let (first, second) = (UInt16(pick(.firstLane)), UInt16(pick(.secondLane)))
    switch kind.transport {
    case .tcp, .udp:
      packet.ports = .init(source: first, destination: second)
      match.sourcePorts = [PortRange(first)]
      match.destinationPorts = [PortRange(second)]
      if kind.transport == .tcp {
        let flags = UInt16(pick(.tcpFlags))
        packet.tcpFlags = flags
        if region[.tcpFlags] != nil { match.tcpFlags = [TCPFlagTest(set: flags, mask: 0x1ff)] }
      }
    case .icmp:
      packet.icmp = .init(type: UInt8(truncatingIfNeeded: first), code: UInt8(truncatingIfNeeded: second))
      match[.icmpTypes] = [NumberRange(UInt32(first))]
      match[.icmpCodes] = [NumberRange(UInt32(second))]
    case .unknown, .laterFragment:
      break
    }
  }
}

extension Dimension {
  /// What an ordinary packet shows.
  fileprivate var usual: UInt128 {
    switch self {
    case .sourceMAC: 0x0200_0000_0001
    case .destinationMAC: 0x0200_0000_0002
    case .etherType: 0x0806
    case .vlanID, .innerVLANID: 1
    case .hopLimit: 64
    case .length: 100
    case .tcpFlags: 2
    default: 0
    }
  }
}
