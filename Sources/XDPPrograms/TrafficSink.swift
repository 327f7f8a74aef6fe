import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Counts what an interface receives, in its driver, and takes it off the network; with stamps also how long packets took,
/// and how many are missing. Attached from creation to the end of the value.
///
/// Sequence numbers are followed by stream, exactly where each stream comes through one receive queue: on a veth, where
/// its sender stays on one CPU. Not for sharing between threads.
public final class TrafficSink {
  /// What arrived, all CPUs together.
  public struct Counts: Hashable, Sendable {
    /// Where stamps were asked for, of those that have one.
    public var packets: UInt64 = 0
    /// Frame lengths without FCS.
    public var bytes: UInt64 = 0
    public var stamped: UInt64 = 0
    /// Stamps were asked for, and these had none: not the generator's, such as a stack's own multicasts.
    public var foreign: UInt64 = 0
    /// Sequence numbers that were skipped; those that came after all are in ``late`` too.
    public var missing: UInt64 = 0
    /// Came behind a packet that was sent later.
    public var late: UInt64 = 0
  }

  /// How long stamped packets took, nanoseconds. Buckets as in the BPF program: 32 to each doubling.
  public struct Latencies: Hashable, Sendable {
    public var buckets: [UInt64]
    public var least: UInt64
    public var greatest: UInt64
    public var sum: UInt64
  }

  private let counters: BPFMap
  private let latencies: BPFMap
  private let streams: UnsafePointer<sluice_stream>
  private let streamRegion: MappedRegion
  private let link: OwnedDescriptor
  private let cpuCount: Int

  /// Attaches natively to an interface of the caller's network namespace that has no XDP program.
  ///
  /// - Parameters:
  ///   - stampOffset: Where packets have a generator's stamp; nil: nothing is measured.
  ///   - passes: Packets go on to the stack.
  public init(interfaceIndex: UInt32, stampOffset: Int? = nil, passes: Bool = false) throws(ProgramError) {
    precondition(0..<4096 ~= stampOffset ?? 0, "a stamp lies in the frame")
    let object = try ProgramObject(
      PackageResources.sluice_sink_bpf_o, programName: "sluice_sink",
      constants: sluice_sink_constants(
        stamp_offset: UInt32(stampOffset ?? 0), has_stamp: stampOffset == nil ? 0 : 1, passes: passes ? 1 : 0))
    try object.setFragsSupport()
    try object.load()
    let counters = try object.map("counters")
    let latencies = try object.map("latencies")
    let region = try object.map("streams").share(Int(SLUICE_STREAMS_MAX) * MemoryLayout<sluice_stream>.stride)
    streams = UnsafePointer(region.base.assumingMemoryBound(to: sluice_stream.self))  // the map's values, side by side
    streamRegion = region
    let program = try object.program()
    cpuCount = Int(try checkBPF("count possible CPUs", "") { libbpf_num_possible_cpus() })
    let raw = program.rawValue
    link = OwnedDescriptor(
      owning: try checkBPF("attach sink to interface", "\(interfaceIndex)") {
        sluice_xdp_link_create(raw, CInt(interfaceIndex), UInt32(XDP_FLAGS_DRV_MODE))
      })
    self.counters = counters
    self.latencies = latencies
  }

  public func counts() throws(ProgramError) -> Counts {
    var sum = Counts()
    for cpu in try counters.values(UInt32(0), cpuCount: cpuCount, of: sluice_sink_counters.self) {
      sum.packets &+= cpu.packets
      sum.bytes &+= cpu.bytes
      sum.stamped &+= cpu.stamped
      sum.foreign &+= cpu.foreign
    }
    for stream in 0..<Int(SLUICE_STREAMS_MAX) {
      sum.missing &+= streams[stream].missing
      sum.late &+= streams[stream].late
    }
    return sum
  }

  /// Of stamped packets so far; all 0 before the first.
  public func latency() throws(ProgramError) -> Latencies {
    let cpus = try counters.values(UInt32(0), cpuCount: cpuCount, of: sluice_sink_counters.self).filter { $0.stamped > 0 }
    var buckets: [UInt64] = []
    buckets.reserveCapacity(Int(SLUICE_LATENCY_BUCKETS))
    for key in 0..<UInt32(SLUICE_LATENCY_BUCKETS) {
      buckets.append(try latencies.values(key, cpuCount: cpuCount, of: UInt64.self).reduce(0, &+))
    }
    return Latencies(
      buckets: buckets, least: cpus.map(\.latency_least).min() ?? 0,
      greatest: cpus.map(\.latency_greatest).max() ?? 0, sum: cpus.reduce(0) { $0 &+ $1.latency_sum })
  }
}

extension BPFMap {
  /// The values of a key in a per-CPU map, one for each possible CPU. Their size is a multiple of 8.
  fileprivate func values<Key: BitwiseCopyable, Value: BitwiseCopyable>(
    _ key: Key, cpuCount: Int, of type: Value.Type
  ) throws(ProgramError) -> [Value] {
    let values = UnsafeMutableBufferPointer<Value>.allocate(capacity: cpuCount)
    defer { values.deallocate() }
    let name = name
    try checkBPF("look up map", name) {
      withUnsafePointer(to: key) { bpf_map_lookup_elem(descriptor.rawValue, $0, values.baseAddress) }
    }
    return Array(values)  // BitwiseCopyable, written whole by the kernel
  }
}
