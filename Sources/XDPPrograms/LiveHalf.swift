import Synchronization

/// The half of a program's tables that its live generation is in: words that packets read meanwhile.
///
/// One thread stores. Valid as long as no other generation is published.
public struct LiveHalf {
  private let words: UnsafeMutableBufferPointer<UInt64>
  /// Keeps the mapping.
  private let owner: AnyObject

  public var wordCount: Int { words.count }

  init(_ words: UnsafeMutableBufferPointer<UInt64>, owner: AnyObject) {
    self.words = words
    self.owner = owner
  }

  /// The word at an index below ``wordCount``.
  public func word(_ index: Int) -> UInt64 { atomic(index).pointee.load(ordering: .relaxed) }

  /// One store, behind all before it: a packet that reads it finds what they wrote.
  public func store(_ word: UInt64, at index: Int) { atomic(index).pointee.store(word, ordering: .releasing) }

  private func atomic(_ index: Int) -> UnsafePointer<Atomic<UInt64>> {
    precondition(words.indices.contains(index), "a word of the half")
    return UnsafePointer(UnsafeRawPointer(words.baseAddress! + index).assumingMemoryBound(to: Atomic<UInt64>.self))
  }
}
