import LinuxSystem
import Synchronization

/// The options of packets' blocks by rule slot, prepared by a control thread and read by packet threads without a lock.
///
/// An option list is written once into memory that is never written again; a slot's entry is the list's place there.
/// One thread at a time changes it.
public final class PacketOptions: @unchecked Sendable {
  // Sendable: readers see atomic entries, and lists that are complete before their entry says where they are.
  private let entries: UnsafeMutablePointer<Atomic<UInt32>>
  private let lists: MappedRegion
  private var places: [[UInt8]: UInt32] = [:]
  private var usedByteCount: Int

  /// Lists, all together; slots whose list is beyond have the standard one. Pages are touched as they are used.
  public static var byteCountMax: Int { 16 << 20 }

  /// - Parameter standard: The list of slots that have none. As all lists: whole options as they stand in a block, a
  ///   multiple of four bytes, with an end of options; or empty.
  public init(standard: [UInt8] = []) throws(SystemError) {
    lists = try MappedRegion(anonymous: PacketOptions.byteCountMax, subject: "options of packets")
    entries = .allocate(capacity: Int(RecordAdmission.slotLimit))
    for slot in 0..<Int(RecordAdmission.slotLimit) { (entries + slot).initialize(to: Atomic(0)) }
    usedByteCount = 0
    store(standard)
  }

  deinit {
    entries.deinitialize(count: Int(RecordAdmission.slotLimit))
    entries.deallocate()
  }

  /// From now on packets of the slot have these options; nil: the standard ones.
  public func set(_ options: [UInt8]?, of slot: UInt32) {
    guard slot < RecordAdmission.slotLimit else { return }
    let place = options.map { places[$0] ?? store($0) } ?? 0
    entries[Int(slot)].store(place, ordering: .releasing)  // the list is there before the entry says so
  }

  @discardableResult
  private func store(_ options: [UInt8]) -> UInt32 {
    precondition(options.count % 4 == 0, "options are padded")
    let place = UInt32(usedByteCount / 4)
    if usedByteCount + 4 + options.count > PacketOptions.byteCountMax { return 0 }
    let target = lists.base + usedByteCount
    target.storeBytes(of: UInt32(options.count), as: UInt32.self)
    (target + 4).initializeMemory(as: UInt8.self, from: options, count: options.count)
    usedByteCount += 4 + options.count
    places[options] = place
    return place
  }

  /// For packet threads; the object must outlive it.
  var view: PacketOptionsView {
    PacketOptionsView(entries: UnsafePointer(entries), lists: lists.base)
  }
}
