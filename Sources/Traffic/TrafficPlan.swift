import Packets

/// What a run sends: named flows with their frames, and in which order.
public struct TrafficPlan: Sendable {
  public struct Flow: Sendable {
    public let name: String
    /// Different frames, in the order they are walked.
    public let frames: [[UInt8]]
    /// Frames that the ranges ask for; more than `frames` where the table has no room for all.
    public let frameCountAsked: UInt64
    /// Packets in all; nil: until the run is stopped.
    public let packetCount: UInt64?
  }

  /// What holds for every flow of a run.
  public struct Options: Hashable, Sendable {
    public var sourceMAC = MACAddress(0x02, 0, 0, 0, 0, 0x01)
    public var destinationMAC = MACAddress(0x02, 0, 0, 0, 0, 0x02)
    /// Bytes of frames whose flow names no size.
    public var frameByteCount: Int?
    /// Source ports of flows that name none.
    public var sourcePortCount = 1
    /// Packets of all flows together, shared by weight; nil: by the flows' own counts, or without end.
    public var packetCount: UInt64?

    public init() {}
  }

  public let flows: [Flow]
  public let schedule: TrafficSchedule

  /// Flows made from specifications; without any, the standard one.
  public init(_ specifications: [FlowSpecification], options: Options) throws(TrafficError) {
    let specifications = specifications.isEmpty ? [FlowSpecification()] : specifications
    guard specifications.count <= TrafficLimits.flowCountMax else {
      throw TrafficError("\(specifications.count) flows are too many: at most \(TrafficLimits.flowCountMax)")
    }
    let names = try TrafficPlan.names(specifications)
    let counts = try TrafficPlan.packetCounts(specifications, names: names, total: options.packetCount)
    var sources: [FlowFrames] = []
    for (specification, name) in zip(specifications, names) {
      if options.sourcePortCount > 1, !specification.transport.hasPorts {
        throw TrafficError("\(name): \(specification.transport.rawValue) has no source ports to make several flows of")
      }
      do throws(TrafficError) {
        sources.append(
          try FlowFrames(
            specification, sourceMAC: options.sourceMAC, destinationMAC: options.destinationMAC,
            byteCount: options.frameByteCount, sourcePortCount: options.sourcePortCount))
      } catch {
        throw TrafficError("\(name): \(error.description)")
      }
    }
    // A flow of few packets needs no more frames than packets.
    let needed = zip(sources, counts ?? sources.map { _ in .max }).map { min($0.frameCount, max($1, 1)) }
    let shares = TrafficPlan.frameShares(needed)
    flows = sources.indices.map { index in
      Flow(
        name: names[index], frames: (0..<shares[index]).map { sources[index][$0] },
        frameCountAsked: needed[index], packetCount: counts?[index])
    }
    schedule = TrafficPlan.schedule(flows, weights: specifications.map { $0.weight ?? 1 })
  }

  /// One flow of ready frames, sent in turn: 1 ... ``TrafficLimits/frameCountMax``.
  public init(name: String, frames: [[UInt8]], packetCount: UInt64?) {
    flows = [Flow(name: name, frames: frames, frameCountAsked: UInt64(frames.count), packetCount: packetCount)]
    schedule = TrafficPlan.schedule(flows, weights: [1])
  }

  /// The frames of a phase's table, for the engine.
  public func table(_ phase: TrafficSchedule.Phase) -> [[UInt8]] {
    phase.entries.map { flows[$0.flow].frames[$0.frame] }
  }

  /// The greatest frame, bytes.
  public var frameByteCountMax: Int { flows.lazy.flatMap { $0.frames.lazy.map(\.count) }.max() ?? 0 }

  private static func schedule(_ flows: [Flow], weights: [Int]) -> TrafficSchedule {
    let counts = flows.compactMap(\.packetCount)
    if counts.count == flows.count {
      return TrafficSchedule(zip(flows, counts).map { .init(frameCount: $0.frames.count, packetCount: $1) })
    }
    return TrafficSchedule(endless: zip(flows, weights).map { .init(frameCount: $0.frames.count, weight: $1) })
  }
}

extension TrafficPlan {
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
