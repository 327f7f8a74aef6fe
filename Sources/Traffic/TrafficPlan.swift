import Packets

/// What a run sends: named flows with their frames, and in which order.
public struct TrafficPlan: Sendable {
  public struct Flow: Sendable {
    public let name: String
    /// Different frames, in the order they are walked.
    public let frames: [[UInt8]]
    /// Frames that the ranges ask for, sizes aside; more than `frames` where the table has no room for all.
    public let frameCountAsked: UInt64
    /// Packets in all; nil: until the run is stopped.
    public let packetCount: UInt64?
  }

  /// What holds for every flow of a run.
  public struct Options: Hashable, Sendable {
    public var sourceMAC = MACAddress(0x02, 0, 0, 0, 0, 0x01)
    public var destinationMAC = MACAddress(0x02, 0, 0, 0, 0, 0x02)
    /// Of frames whose flow names none.
    public var frameSizes: FrameSizes?
    /// Source ports of flows that name none.
    public var sourcePortCount = 1
    /// Packets of all flows together, shared by weight; nil: by the flows' own counts, or without end.
    public var packetCount: UInt64?
    /// Decides the order of flows that are walked at random.
    public var seed: UInt64 = 1
    /// Bytes that every frame has room for behind its headers, at one place in all of them; 0: no stamp.
    public var stampByteCount = 0

    public init() {}
  }

  public let flows: [Flow]
  public let schedule: TrafficSchedule
  /// Where a stamp may be written in every frame; nil: nobody asked for room.
  public let stampOffset: Int?

  /// Flows made from specifications; without any, the standard one.
  public init(_ specifications: [FlowSpecification], options: Options) throws(TrafficError) {
    let specifications = specifications.isEmpty ? [FlowSpecification()] : specifications
    guard specifications.count <= TrafficLimits.flowCountMax else {
      throw TrafficError("\(specifications.count) flows are too many: at most \(TrafficLimits.flowCountMax)")
    }
    let names = try TrafficPlan.names(specifications)
    let counts = try TrafficPlan.packetCounts(specifications, names: names, total: options.packetCount)
    let trailers = try TrafficPlan.trailers(specifications, stampByteCount: options.stampByteCount)
    var sources: [FlowFrames] = []
    for (index, specification) in specifications.enumerated() {
      if options.sourcePortCount > 1, !specification.transport.hasPorts {
        throw TrafficError(
          "\(names[index]): \(specification.transport.rawValue) has no source ports to make several flows of")
      }
      do throws(TrafficError) {
        sources.append(
          try FlowFrames(
            specification, sourceMAC: options.sourceMAC, destinationMAC: options.destinationMAC,
            sizes: options.frameSizes, sourcePortCount: options.sourcePortCount, seed: options.seed,
            trailerByteCount: trailers[index]))
      } catch {
        throw TrafficError("\(names[index]): \(error.description)")
      }
    }
    // A flow of few packets needs no more frames than packets.
    let needed = zip(sources, counts ?? sources.map { _ in .max }).map { min($0.frameCount, max($1, 1)) }
    let shares = TrafficPlan.frameShares(needed)
    let withoutChecksum = options.stampByteCount > 0
    flows = sources.indices.map { index in
      let source = sources[index]
      let frameCount = min(source.frameCount(inRoomFor: shares[index]), shares[index])
      return Flow(
        name: names[index],
        frames: (0..<frameCount).map { withoutChecksum ? Stamp.withoutChecksum(source[$0]) : source[$0] },
        frameCountAsked: min(source.combinationCount, needed[index]), packetCount: counts?[index])
    }
    schedule = TrafficPlan.schedule(flows, weights: specifications.map { $0.weight ?? 1 })
    stampOffset = options.stampByteCount > 0 ? sources.map(\.headerByteCount).max() : nil
  }

  /// One flow of ready frames, sent in turn: 1 ... ``TrafficLimits/frameCountMax``.
  public init(name: String, frames: [[UInt8]], packetCount: UInt64?) {
    flows = [Flow(name: name, frames: frames, frameCountAsked: UInt64(frames.count), packetCount: packetCount)]
    schedule =
      packetCount.map { TrafficSchedule(inTurn: frames.count, packetCount: $0) }
      ?? TrafficPlan.schedule(flows, weights: [1])
    stampOffset = nil
  }

  /// The frames of a phase's table, for the engine.
  public func table(_ phase: TrafficSchedule.Phase) -> [[UInt8]] {
    phase.entries.map { flows[$0.flow].frames[$0.frame] }
  }

  /// Frames and their bytes in one round of an endless schedule, or in all of a finite one: for the mean size.
  public var totals: (frames: UInt64, bytes: UInt64) {
    schedule.phases.reduce(into: (0, 0)) { totals, phase in
      let rounds = phase.rounds ?? 1
      totals.frames += rounds * UInt64(phase.entries.count)
      // Saturates: then the mean is off, but no plan of so many bytes ends in this century.
      let bytes = phase.entries.reduce(0 as UInt64) { $0 + UInt64(flows[$1.flow].frames[$1.frame].count) }
      totals.bytes = UInt64(clamping: UInt128(totals.bytes) + UInt128(bytes) * UInt128(rounds))
    }
  }

  /// The greatest frame, bytes.
  public var frameByteCountMax: Int { flows.lazy.flatMap { $0.frames.lazy.map(\.count) }.max() ?? 0 }
  /// The MTU that its frames need: those without the Ethernet header and one VLAN tag, which the kernel's
  /// `xdp_ok_fwd_dev()` leaves room for.
  public var mtuNeeded: Int {
    flows.lazy.flatMap { $0.frames.lazy.map { $0.count - ($0.hasVLANTag ? 18 : 14) } }.max() ?? 0
  }

  private static func schedule(_ flows: [Flow], weights: [Int]) -> TrafficSchedule {
    let counts = flows.compactMap(\.packetCount)
    if counts.count == flows.count {
      return TrafficSchedule(zip(flows, counts).map { .init(frameCount: $0.frames.count, packetCount: $1) })
    }
    return TrafficSchedule(endless: zip(flows, weights).map { .init(frameCount: $0.frames.count, weight: $1) })
  }
}

extension TrafficPlan {
  /// Bytes behind the headers of each flow so that a stamp of one place in all frames lies behind all headers.
  private static func trailers(
    _ specifications: [FlowSpecification], stampByteCount: Int
  ) throws(TrafficError) -> [Int] {
    if stampByteCount == 0 { return specifications.map { _ in 0 } }
    var headers: [Int] = []
    for specification in specifications {
      let frames = try FlowFrames(
        specification, sourceMAC: MACAddress(value: 0), destinationMAC: MACAddress(value: 0),
        sizes: FrameSizes(TrafficLimits.frameByteCountMax))
      headers.append(frames.headerByteCount)
    }
    let offset = headers.max() ?? 0
    return headers.map { offset + stampByteCount - $0 }
  }

  private static func names(_ specifications: [FlowSpecification]) throws(TrafficError) -> [String] {
    let names = specifications.enumerated().map { $1.name ?? "flow\($0 + 1)" }
    var seen: Set<String> = []
    for name in names where !seen.insert(name).inserted { throw TrafficError("two flows have the name \(name)") }
    return names
  }

  /// Packets of each flow; nil: without end.
  private static func packetCounts(
    _ specifications: [FlowSpecification], names: [String], total: UInt64?
  ) throws(TrafficError) -> [UInt64]? {
    let own = specifications.compactMap(\.packetCount)
    if own.isEmpty { return total.map { share($0, byWeights: specifications.map { UInt64($0.weight ?? 1) }) } }
    if total != nil {
      throw TrafficError("--count is a total shared by weight, and flows have their own counts: give one or the other")
    }
    guard own.count == specifications.count else {
      let name = zip(specifications, names).first { $0.0.packetCount == nil }?.1 ?? ""
      throw TrafficError("flow \(name) has no count while others have: give it one, or --count and weights to all")
    }
    guard own.reduce(0, +) <= TrafficLimits.packetCountMax else {
      throw TrafficError("the flows have more than \(TrafficLimits.packetCountMax) packets together")
    }
    return own
  }

  /// `total` in parts as the weights are to each other; the parts add up to it (largest remainders).
  static func share(_ total: UInt64, byWeights weights: [UInt64]) -> [UInt64] {
    let sum = UInt128(weights.reduce(0, +))
    let products = weights.map { UInt128(total) * UInt128($0) }
    var parts = products.map { UInt64($0 / sum) }
    let missing = Int(total - parts.reduce(0, +))
    let order = weights.indices.sorted { (products[$0] % sum, $1) > (products[$1] % sum, $0) }
    for index in order.prefix(missing) { parts[index] += 1 }
    return parts
  }

  /// How many frames each flow gets so that all fit in the table: all it needs, or an equal part of the room.
  static func frameShares(_ needed: [UInt64]) -> [Int] {
    var room = TrafficLimits.frameCountMax
    var shares = needed.map { _ in 0 }
    let order = needed.indices.sorted { (needed[$0], $0) < (needed[$1], $1) }
    for (place, index) in order.enumerated() {
      shares[index] = Int(min(needed[index], UInt64(room / (order.count - place))))
      room -= shares[index]
    }
    return shares
  }
}

extension [UInt8] {
  fileprivate var hasVLANTag: Bool { count >= 18 && FrameLayout.vlanTypes.contains(UInt16(self[12]) << 8 | UInt16(self[13])) }
}
