import Packets

/// The frames of a flow: every address and port that it takes together, with every size of its mix.
public struct FlowFrames: Sendable {
  /// Different addresses and ports that stand together; `UInt64.max` also for more.
  public let combinationCount: UInt64
  /// ``combinationCount`` times the sizes in a round; `UInt64.max` also for more.
  public let frameCount: UInt64
  /// What the headers of each frame take, bytes.
  public let headerByteCount: Int
  public let sizes: FrameSizes

  private let specification: FlowSpecification
  private let sourcePorts: PortRange
  private let destinationPorts: PortRange
  private let templates: [Int: PacketBuilder]
  private let order: FrameOrder
  /// After so many frames the sizes begin one further on, or else each combination would always meet the same ones.
  private let turn: UInt64

  /// - Parameters:
  ///   - sizes: Of flows that name none; nil: 64, or what the headers take if that is more.
  ///   - sourcePortCount: Source ports, from 1024 on, of flows that name none.
  ///   - seed: Of flows that are walked at random.
  ///   - trailerByteCount: Bytes that must follow the headers in every frame.
  public init(
    _ specification: FlowSpecification, sourceMAC: MACAddress, destinationMAC: MACAddress, sizes: FrameSizes? = nil,
    sourcePortCount: Int = 1, seed: UInt64 = 1, trailerByteCount: Int = 0
  ) throws(TrafficError) {
    precondition(1...64512 ~= sourcePortCount, "1 ... 64512 source ports")
    self.specification = specification
    sourcePorts = specification.sourcePorts ?? PortRange(1024, through: UInt16(1023 + sourcePortCount))
    destinationPorts = specification.destinationPorts ?? PortRange(9, through: 9)
    let hasPorts = specification.transport.hasPorts
    order = FrameOrder(
      counts: [
        hasPorts ? sourcePorts.count : 1, hasPorts ? destinationPorts.count : 1, specification.source.count,
        specification.destination.count,
      ], walk: specification.walk, seed: seed)
    combinationCount = order.count

    var template = FlowFrames.packet(specification, sourcePorts, destinationPorts, [0, 0, 0, 0])
    template.sourceMAC = sourceMAC
    template.destinationMAC = destinationMAC
    if let vlan = specification.vlan { template.vlanTags = [VLANTag(id: vlan)] }
    headerByteCount = template.build().count
    let least = headerByteCount + trailerByteCount
    self.sizes = specification.frameSizes ?? sizes ?? FrameSizes(max(64, least))
    guard let smallest = self.sizes.round.min(), smallest >= least else {
      throw TrafficError(
        "a frame of \(specification.source.family == .ipv4 ? "IPv4" : "IPv6") \(specification.transport.rawValue)"
          + (specification.vlan == nil ? "" : " with a VLAN tag") + (trailerByteCount == 0 ? "" : " and a stamp")
          + " takes at least \(least) bytes; \(self.sizes.round.min() ?? 0) are too few")
    }
    var templates: [Int: PacketBuilder] = [:]
    for size in Set(self.sizes.round) {
      template.fillPayload(toFrameByteCount: size)
      templates[size] = template
    }
    self.templates = templates
    let round = UInt64(self.sizes.round.count)
    frameCount = UInt64(clamping: UInt128(combinationCount) * UInt128(round))
    turn = leastCommonMultiple([combinationCount, round], limit: .max)
  }

  /// The frame at `index`, counted round and round.
  public subscript(index: Int) -> [UInt8] {
    let index = UInt64(index)
    let round = UInt64(sizes.round.count)
    let size = sizes.round[Int((index % round + index / turn % round) % round)]
    let packet = FlowFrames.packet(specification, sourcePorts, destinationPorts, order[index % combinationCount])
    guard var builder = templates[size] else { preconditionFailure("a template for every size of the round") }
    builder.network = packet.network
    builder.transport = packet.transport
    return builder.build()
  }

  /// How many frames to make where there is room for `room`: all combinations equally often if that is possible.
  public func frameCount(inRoomFor room: Int) -> Int {
    if UInt64(room) >= frameCount { return Int(frameCount) }
    return UInt64(room) < combinationCount ? room : room - Int(UInt64(room) % combinationCount)
  }

  private static func packet(
    _ specification: FlowSpecification, _ sourcePorts: PortRange, _ destinationPorts: PortRange, _ places: [UInt64]
  ) -> PacketBuilder {
    let ports = (sourcePorts[Int(places[0])], destinationPorts[Int(places[1])])
    let transport: PacketBuilder.Transport =
      switch specification.transport {
      case .udp: .udp(source: ports.0, destination: ports.1)
      case .tcp: .tcp(source: ports.0, destination: ports.1)
      case .icmp: .icmp()
      case .icmpv6: .icmpv6()
      }
    return PacketBuilder(from: specification.source[places[2]], to: specification.destination[places[3]], transport)
  }
}

/// In which order ranges are walked. Pure; the same for the same seed.
struct FrameOrder: Hashable, Sendable {
  /// Combinations; `UInt64.max` also for more.
  let count: UInt64
  private let counts: [UInt64]
  private let walk: FlowSpecification.Walk
  private let seed: UInt64

  init(counts: [UInt64], walk: FlowSpecification.Walk, seed: UInt64) {
    self.counts = counts
    self.walk = walk
    self.seed = seed
    count =
      walk == .together
      ? leastCommonMultiple(counts, limit: .max)
      : counts.reduce(1) { product, count in
        let (next, overflow) = product.multipliedReportingOverflow(by: count)
        return overflow ? .max : next
      }
  }

  /// The place in each range; `index` is below ``count``.
  subscript(index: UInt64) -> [UInt64] {
    if walk == .together { return counts.map { index % $0 } }
    var rest = walk == .random ? shuffled(index) : index
    return counts.map { count in
      defer { rest /= count }
      return rest % count
    }
  }

  /// A permutation of 0 ..< count: a Feistel network over the next even power of two, walked until it is in range.
  private func shuffled(_ index: UInt64) -> UInt64 {
    guard count > 1 else { return 0 }
    let halfBits = UInt64(64 - (count - 1).leadingZeroBitCount + 1) / 2
    let mask = (1 as UInt64) << halfBits &- 1
    var value = index
    repeat {
      var (left, right) = (value >> halfBits, value & mask)
      for round in 0..<4 as Range<UInt64> {
        (left, right) = (right, left ^ (FrameOrder.mix(right &+ seed &* 0x9e37_79b9_7f4a_7c15 &+ round << 56) & mask))
      }
      value = left << halfBits | right
    } while value >= count
    return value
  }

  /// The finaliser of MurmurHash3's 64 bits: every bit of the input reaches every bit of the output.
  private static func mix(_ value: UInt64) -> UInt64 {
    var value = value
    value = (value ^ value >> 33) &* 0xff51_afd7_ed55_8ccd
    value = (value ^ value >> 33) &* 0xc4ce_b9fe_1a85_ec53
    return value ^ value >> 33
  }
}
