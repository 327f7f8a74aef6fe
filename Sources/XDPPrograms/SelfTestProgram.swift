import CSluiceABI
import CXDP
import LinuxSystem

/// The same program with maps of its own and attached nowhere: packets run through it by BPF_PROG_TEST_RUN, to see a
/// generation decide before it goes live.
///
/// Not for sharing between threads.
public final class SelfTestProgram {
  /// What the program decided: fields of `struct sluice_decision`.
  public struct Decision: Hashable, Sendable {
    /// `enum sluice_action`, before fallbacks.
    public var action: UInt32
    public var slot: UInt32
    /// `enum sluice_malformed`.
    public var malformed: UInt32

    public init(action: UInt32, slot: UInt32, malformed: UInt32) {
      self.action = action
      self.slot = slot
      self.malformed = malformed
    }
  }

  private let program: OwnedDescriptor
  private var maps: ProgramMaps
  private let decision: BPFMap
  private let counterReader: CounterReader

  /// Takes generations whatever their rules look at.
  ///
  /// - Parameter generationByteCount: Bytes of the largest generation that it is for; ``generationByteCountMax`` can be
  ///   more.
  /// - Parameter elementCount: Elements that ``makeElementCounters(_:)`` takes.
  public init(generationByteCount: Int = 0, elementCount: Int = 0) throws(ProgramError) {
    let reader = try CounterReader()
    let (object, _) = try ProgramLoader.open(
      ProgramShape(
        tablesByteCount: Tables.byteCount(forGenerationOf: generationByteCount), features: ProgramShape.allFeatures,
        slotCount: UInt32(SLUICE_SLOTS_MIN), elementCount: UInt32(elementCount)),
      recordsDecisions: true)
    try object.load()
    let program = try object.program()
    let maps = try ProgramMaps(of: object)
    let decision = try object.map("decision")
    counterReader = reader
    self.program = program
    self.maps = maps
    self.decision = decision
  }

  /// From now on packets are decided by this generation (bytes of a `struct sluice_generation`).
  ///
  /// - Parameter generation: At most ``generationByteCountMax`` bytes.
  public func load(_ generation: UnsafeRawBufferPointer) { maps.tables.publish(generation) }

  /// The half of the tables that its generation is in, to be changed under way.
  public var liveHalf: LiveHalf { LiveHalf(maps.tables.liveHalf, owner: self) }

  public var generationByteCountMax: Int { maps.tables.generationByteCountMax }

  /// Decides about one Ethernet frame of at least 14 bytes, the shortest that BPF_PROG_TEST_RUN takes.
  public func decide(_ frame: [UInt8]) throws(ProgramError) -> Decision {
    precondition(frame.count >= 14, "BPF_PROG_TEST_RUN takes no frame below 14 bytes")
    try checkBPF("test-run", "sluice_xdp") {
      frame.withUnsafeBytes { sluice_test_run(program.rawValue, $0.baseAddress, UInt32($0.count)) }
    }
    let result: sluice_decision = try decision.value(UInt32(0))
    return Decision(action: result.action, slot: result.slot, malformed: result.malformed)
  }

  /// What the rule of a slot below SLUICE_SLOTS_MIN has decided or counted in this instance.
  public func ruleCounter(slot: UInt32) throws(ProgramError) -> PacketCount {
    try maps.ruleCounters.read(slot, with: counterReader)
  }

  /// Elements that count from now on in this instance.
  public func makeElementCounters(_ keys: [sluice_element_key]) throws(ProgramError) {
    try maps.elementCounters.insert(keys, with: counterReader)
  }

  /// What rules counted at an element in this instance; nil: it doesn't count.
  public func elementCounter(_ key: sluice_element_key) throws(ProgramError) -> PacketCount? {
    try maps.elementCounters.read(key, with: counterReader)
  }

  /// By `enum sluice_interface_counter`.
  public func interfaceCounter(_ counter: UInt32) throws(ProgramError) -> PacketCount {
    try counterReader.read(maps.interfaceCounters, counter)
  }
}
