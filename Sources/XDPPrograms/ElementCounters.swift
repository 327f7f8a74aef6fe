import CSluiceABI
import CXDP
import Glibc
import LinuxSystem

/// What a generation's sets that count have for elements, as keys of the program's map, beside the ones before it.
public struct CountedElements {
  /// That come with it.
  public var new: [sluice_element_key]
  /// That go with the ones before it.
  public var gone: [sluice_element_key]
  /// All of its own, for a program whose map has others or none.
  public var all: () -> [sluice_element_key]

  public init(
    new: [sluice_element_key] = [], gone: [sluice_element_key] = [], all: @escaping () -> [sluice_element_key] = { [] }
  ) {
    (self.new, self.gone, self.all) = (new, gone, all)
  }
}

/// What the elements of one interface's sets have counted: the map that the program adds to, whose keys are made here, and what
/// smaller ones before it had counted.
///
/// Not for sharing between threads. Reading, making and removing an element is two system calls or three.
struct ElementCounters: ~Copyable {
  static let names = ["element_counters", "carried_elements"]

  /// One row per CPU; only the program adds.
  let counted: BPFMap
  /// Only we write.
  let carried: BPFMap
  /// Elements that it holds at most.
  let elementCount: UInt32
  /// Whether anything can be in the second map.
  private var hasCarried: Bool

  /// - Parameter isFresh: The maps were made just now.
  init(counted: consuming BPFMap, carried: consuming BPFMap, isFresh: Bool) throws(ProgramError) {
    elementCount = min(try counted.sizes().entryCount, try carried.sizes().entryCount)
    self.counted = counted
    self.carried = carried
    hasCarried = !isFresh
  }

  /// Makes those that aren't there; what the others have counted stays. All or none.
  mutating func insert(_ keys: [sluice_element_key], with reader: borrowing CounterReader) throws(ProgramError) {
    var done: [sluice_element_key] = []
    do throws(ProgramError) {
      for key in keys where try reader.insert(key, into: counted) { done.append(key) }
    } catch {
      remove(done)
      guard case .system(let cause) = error, cause.code == E2BIG else { throw error }
      throw .tooManyCountedElements(limit: Int(elementCount))
    }
  }

  /// Their counts go with them. What isn't there is no fault.
  func remove(_ keys: [sluice_element_key]) {
    for key in keys {
      // The one failure that there is, is that a key isn't there.
      try? counted.remove(key)
      if hasCarried { try? carried.remove(key) }
    }
  }

  /// Nil: there is no such element.
  func read(_ key: sluice_element_key, with reader: borrowing CounterReader) throws(ProgramError) -> PacketCount? {
    guard var count = try reader.readIfPresent(counted, key) else { return nil }
    if hasCarried, let before: sluice_counter = try carried.valueIfPresent(key) {
      count.packets &+= before.packets
      count.bytes &+= before.bytes
    }
    return count
  }

  /// In no order.
  func keys() throws(ProgramError) -> [sluice_element_key] { try counted.keys(from: sluice_element_key()) }

  /// Takes over what `previous` has counted for elements that are here, too. No program adds to that any more.
  mutating func carry(from previous: borrowing ElementCounters, with reader: borrowing CounterReader) throws(ProgramError) {
    for key in try previous.keys() {
      guard let count = try previous.read(key, with: reader), count.packets > 0,
        try reader.readIfPresent(counted, key) != nil
      else { continue }
      hasCarried = true
      try carried.update(key, to: sluice_counter(packets: count.packets, bytes: count.bytes))
    }
  }

  /// Makes and removes keys so that these are there; for maps of an earlier daemon.
  mutating func reconcile(_ wanted: [sluice_element_key], with reader: borrowing CounterReader) throws(ProgramError) {
    let names = Set(wanted.map(KeyName.init))
    remove(try keys().filter { !names.contains(KeyName($0)) })
    try insert(wanted, with: reader)
  }

  private struct KeyName: Hashable {
    let set, high, low: UInt64
    init(_ key: sluice_element_key) { (set, high, low) = (key.set, key.high, key.low) }
  }
}

extension CounterReader {
  /// A row of zeros, where there is none. Whether there was none.
  fileprivate func insert(_ key: sluice_element_key, into map: borrowing BPFMap) throws(ProgramError) -> Bool {
    try map.insert(key, bytes: zeros)
  }
}
