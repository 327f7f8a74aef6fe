import Packets

/// The frames of a flow: as many as its ranges have combinations when walked side by side.
public struct FlowFrames: Sendable {
  /// 1 or more.
  public let frameCount: UInt64
  private let specification: FlowSpecification
  private let sourcePorts: PortRange
  private let destinationPorts: PortRange
  private let template: PacketBuilder

  /// - Parameters:
  ///   - byteCount: Of frames whose flow names no size; nil: 64, or what the headers take if that is more.
  ///   - sourcePortCount: Source ports, from 1024 on, of flows that name none.
  public init(
    _ specification: FlowSpecification, sourceMAC: MACAddress, destinationMAC: MACAddress, byteCount: Int? = nil,
    sourcePortCount: Int = 1
  ) throws(TrafficError) {
    precondition(1...64512 ~= sourcePortCount, "1 ... 64512 source ports")
    self.specification = specification
    sourcePorts = specification.sourcePorts ?? PortRange(1024, through: UInt16(1023 + sourcePortCount))
    destinationPorts = specification.destinationPorts ?? PortRange(9, through: 9)
    var counts = [specification.source.count, specification.destination.count]
    if specification.transport.hasPorts { counts += [sourcePorts.count, destinationPorts.count] }
    frameCount = leastCommonMultiple(counts, limit: .max)

    var template = FlowFrames.packet(specification, sourcePorts, destinationPorts, 0)
    template.sourceMAC = sourceMAC
    template.destinationMAC = destinationMAC
    if let vlan = specification.vlan { template.vlanTags = [VLANTag(id: vlan)] }
    let headerByteCount = template.build().count
    let frameByteCount = specification.frameByteCount ?? byteCount ?? max(64, headerByteCount)
    guard frameByteCount >= headerByteCount else {
      throw TrafficError(
        "a frame of \(specification.source.family == .ipv4 ? "IPv4" : "IPv6") \(specification.transport.rawValue)"
          + "\(specification.vlan == nil ? "" : " with a VLAN tag") takes at least \(headerByteCount) bytes; "
          + "\(frameByteCount) are too few")
    }
    template.fillPayload(toFrameByteCount: frameByteCount)
    self.template = template
  }

  /// Bytes of each frame.
  public var frameByteCount: Int { template.build().count }

  /// The frame at `index`, counted round and round.
  public subscript(index: Int) -> [UInt8] {
    let packet = FlowFrames.packet(specification, sourcePorts, destinationPorts, index)
    var builder = template
    builder.network = packet.network
    builder.transport = packet.transport
    return builder.build()
  }

  private static func packet(
    _ specification: FlowSpecification, _ sourcePorts: PortRange, _ destinationPorts: PortRange, _ index: Int
  ) -> PacketBuilder {
    let transport: PacketBuilder.Transport =
      switch specification.transport {
      case .udp: .udp(source: sourcePorts[index], destination: destinationPorts[index])
      case .tcp: .tcp(source: sourcePorts[index], destination: destinationPorts[index])
      case .icmp: .icmp()
      case .icmpv6: .icmpv6()
      }
    return PacketBuilder(from: specification.source[index], to: specification.destination[index], transport)
  }
}
