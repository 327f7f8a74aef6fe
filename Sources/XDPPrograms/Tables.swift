import CSluiceABI
import Glibc
import LinuxSystem
import Synchronization

/// The tables of one program, mapped: where generations are put and swapped.
///
/// There is room for two: the live one, and the next. One thread at a time.
struct Tables: ~Copyable {
  let map: BPFMap
  let byteCount: Int
  let generationByteCountMax: Int
  private let region: MappedRegion
  /// Where generations may begin.
  private let places: (UInt64, UInt64)
  /// For packets that read what is changed here.
  let barrier: ProgramBarrier
  /// Runs until no packet reads the generation before the live one any more.
  private var gracePeriod: PinnedThread?

  private static let headerByteCount = Int(SLUICE_TABLES_HEADER_BYTES)

  /// Behind a generation, for rules that come while it is live.
  private static let roomMin = 1 << 16

  /// The size of tables for generations of so many bytes, with room for a sixteenth more: a power of two.
  static func byteCount(forGenerationOf byteCount: Int) -> Int {
    let needed = 2 * (headerByteCount + byteCount + max(roomMin, byteCount / 16))
    var size = Int(SLUICE_TABLES_BYTES_MIN)
    while size < min(needed, Int(SLUICE_TABLES_BYTES_MAX)) { size *= 2 }
    return size
  }

  /// Whether tables of a size take a generation of so many bytes, without room for more.
  static func fits(_ byteCount: Int, into tablesByteCount: Int) -> Bool { byteCount <= tablesByteCount / 2 - headerByteCount }

  init(_ map: consuming BPFMap) throws(ProgramError) {
    let byteCount = try map.sizes().valueByteCount
    let barrier = try ProgramBarrier()
    do throws(SystemError) {
      region = try MappedRegion(
        sharingDescriptor: map.descriptor.rawValue, byteCount: byteCount, subject: "tables")
    } catch {
      throw .system(error)
    }
    let headerByteCount = Tables.headerByteCount
    generationByteCountMax = byteCount / 2 - headerByteCount
    places = (UInt64(headerByteCount), UInt64(byteCount / 2 + headerByteCount))
    self.byteCount = byteCount
    self.barrier = barrier
    self.map = map
  }

  /// The first word: where the live generation begins.
  private var live: UnsafePointer<Atomic<UInt64>> {
    UnsafePointer(region.base.assumingMemoryBound(to: Atomic<UInt64>.self))  // it has the layout of UInt64
  }

  /// The words of the half that the live generation is in.
  var liveHalf: UnsafeMutableBufferPointer<UInt64> {
    let begin = Int(live.pointee.load(ordering: .acquiring)) & (byteCount / 2)
    let words = (region.base + begin).assumingMemoryBound(to: UInt64.self)
    return UnsafeMutableBufferPointer(start: words, count: byteCount / 2 / 8)
  }

  /// What the live generation looks at, of `enum sluice_feature`; 0 while there is none.
  var liveFeatures: UInt8 {
    let offset = Int(live.pointee.load(ordering: .acquiring))
    guard offset != 0, offset <= byteCount - MemoryLayout<sluice_generation>.size else { return 0 }
    return (region.base + offset).loadUnaligned(as: sluice_generation.self).features
  }

  /// Puts a generation beside the live one and makes it live by one store: a packet sees the one or the other, whole.
  ///
  /// - Parameter generation: At most ``generationByteCountMax`` bytes.
  mutating func publish(_ generation: UnsafeRawBufferPointer) {
    precondition(generation.count <= generationByteCountMax, "the tables were made for smaller generations")
    let current = live.pointee.load(ordering: .relaxed)
    let next = current == places.0 ? places.1 : places.0
    waitForGracePeriod()  // packets that began before the last swap may still read this half
    let place = UnsafeMutableRawBufferPointer(start: region.base + Int(next), count: generationByteCountMax)
    place.copyMemory(from: generation)
    live.pointee.store(next, ordering: .releasing)  // the generation is there before the word says so
    gracePeriod = try? PinnedThread.spawn(name: "grace-period") { [barrier] in barrier.wait() }
    if gracePeriod == nil { barrier.wait() }
  }

  /// Returns when no packet is in the generation before the live one any more: some 10 ms after the swap.
  mutating func waitForGracePeriod() {
    if let thread = gracePeriod.take() { thread.join() }
  }
}
