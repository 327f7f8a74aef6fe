import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// Classifies packets that lie in memory by a generation, many in one run: for measuring what a packet costs, and for
/// comparing a great many verdicts. Attached nowhere, with maps of its own; needs Linux 5.17.
///
/// Not for sharing between threads.
public final class ClassificationProbe {
  /// Packets that it holds at most.
  public static var sampleCountMax: Int { Int(SLUICE_SAMPLES_MAX) }
  /// Packets of one run at most: bpf_loop's limit.
  public static var runCountMax: Int { 1 << 23 }

  private let recorder: OwnedDescriptor
  private let program: OwnedDescriptor
  private let samples: MappedRegion
  private let plan: MappedRegion
  private let tables: Tables
  public private(set) var sampleCount = 0

  /// - Parameters:
  ///   - generation: Bytes of a `struct sluice_generation`. The program reads of packets what it looks at, as the one of an
  ///     interface does.
  ///   - elements: Of its sets that count.
  public init(
    _ generation: UnsafeRawBufferPointer, counting elements: [sluice_element_key] = []
  ) throws(ProgramError) {
    let shape = ProgramShape(for: generation)
    let object = try ProgramObject(
      PackageResources.sluice_probe_bpf_o, programName: "sluice_probe",
      constants: shape.constants(zeroesStack: !ProgramLoader.kernelTakesUnwrittenStack))
    try shape.size(object)
    try object.load()
    recorder = try object.program(named: "sluice_record")
    program = try object.program()
    let samples = try object.map("samples").share(Int(SLUICE_SAMPLES_MAX) * Int(SLUICE_SAMPLE_BYTES))
    let plan = try object.map("probe").share(MemoryLayout<sluice_probe>.size)
    var counters = try ElementCounters(
      counted: try object.map("element_counters"), carried: try object.map("carried_elements"), isFresh: true)
    try counters.insert(elements, with: try CounterReader())
    var tables = try Tables(try object.map("tables"))
    tables.publish(generation)
    self.samples = samples
    self.plan = plan
    self.tables = tables
  }

  /// Parses an Ethernet frame of at least 14 bytes and adds it. Only while there are fewer than ``sampleCountMax``.
  ///
  /// - Returns: Whether it is well formed; it is not added if it isn't.
  public func add(_ frame: [UInt8]) throws(ProgramError) -> Bool {
    precondition(sampleCount < Self.sampleCountMax, "there is no room for another packet")
    precondition(frame.count >= 14, "BPF_PROG_TEST_RUN takes no frame below 14 bytes")
    set(sluice_probe(first: UInt32(sampleCount), mask: 0, count: 0, is_empty: 0))
    let recorder = recorder.rawValue
    try checkBPF("test-run", "sluice_record") {
      frame.withUnsafeBytes { sluice_test_run(recorder, $0.baseAddress, UInt32($0.count)) }
    }
    guard sample(sampleCount).malformed == 0 else { return false }
    sampleCount += 1
    return true
  }

  /// Classifies and counts `count` packets, from sample `first` on, `period` different ones over and over.
  ///
  /// - Parameters:
  ///   - period: A power of two.
  ///   - count: At most ``runCountMax``.
  ///   - isEmpty: All but that, to subtract.
  /// - Returns: Nanoseconds of the system call.
  public func run(first: Int = 0, period: Int, count: Int, isEmpty: Bool = false) throws(ProgramError) -> UInt64 {
    precondition(period > 0 && period & (period - 1) == 0 && first + period <= sampleCount, "samples that are there")
    precondition(count <= Self.runCountMax, "more than bpf_loop takes")
    set(
      sluice_probe(
        first: UInt32(first), mask: UInt32(period - 1), count: UInt32(count), is_empty: isEmpty ? 1 : 0))
    let program = program.rawValue
    let frame = [UInt8](repeating: 0, count: 64)
    let start = SystemClock.monotonicNanoseconds()
    try checkBPF("test-run", "sluice_probe") {
      frame.withUnsafeBytes { sluice_test_run(program, $0.baseAddress, UInt32($0.count)) }
    }
    return SystemClock.monotonicNanoseconds() - start
  }

  /// What the last run that classified a sample came to.
  public func verdict(_ index: Int) -> (action: UInt32, slot: UInt32) {
    let sample = sample(index)
    return (sample.action, sample.slot)
  }

  /// The half of the tables that its generation is in, to be changed under way.
  public var liveHalf: LiveHalf { LiveHalf(tables.liveHalf, owner: self) }

  private func sample(_ index: Int) -> sluice_sample {
    precondition((0..<Self.sampleCountMax).contains(index), "a sample that is there")
    // The map's values lie side by side, each begins with this.
    return (samples.base + index * Int(SLUICE_SAMPLE_BYTES)).load(as: sluice_sample.self)
  }

  private func set(_ value: sluice_probe) { plan.base.storeBytes(of: value, as: sluice_probe.self) }
}
