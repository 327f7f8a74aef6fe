import Synchronization

/// Counters that one thread writes and any thread reads, on cache lines of their own.
public final class CounterBlock: @unchecked Sendable {
  // Sendable: atomics only.
  private let cells: UnsafeMutablePointer<Atomic<UInt64>>
  private let count: Int

  /// `count` counters, zero.
  public init(count: Int) {
    self.count = count
    let byteCount = (count * 8 + 127) / 128 * 128  // pairs of lines: the prefetcher takes two
    let memory = UnsafeMutableRawPointer.allocate(byteCount: byteCount, alignment: 128)
    cells = memory.bindMemory(to: Atomic<UInt64>.self, capacity: count)
    for index in 0..<count { (cells + index).initialize(to: Atomic(0)) }
  }

  deinit { cells.deallocate() }

  /// The writer's thread. A plain store.
  public func store(_ value: UInt64, at index: Int) {
    precondition(index >= 0 && index < count, "no such counter")
    cells[index].store(value, ordering: .relaxed)
  }

  /// The writer's thread. A plain load and store.
  public func add(_ amount: UInt64, at index: Int) { store(load(index) &+ amount, at: index) }

  /// Any thread.
  public func load(_ index: Int) -> UInt64 {
    precondition(index >= 0 && index < count, "no such counter")
    return cells[index].load(ordering: .relaxed)
  }
}
