import Glibc

/// Pieces of memory that are written one behind the other, in one system call (`writev(2)`).
///
/// One thread owns it. It points to the memory of others, who keep it as it is until the list is written and emptied.
public struct GatherList: ~Copyable {
  /// Most pieces: less than `IOV_MAX`, so that one call takes them all.
  public static var capacityMax: Int { 512 }

  private let pieces: UnsafeMutablePointer<iovec>
  public private(set) var count = 0
  /// Of all pieces.
  public private(set) var byteCount = 0

  public init() { pieces = .allocate(capacity: GatherList.capacityMax) }

  deinit { pieces.deallocate() }

  /// What does not directly follow the last piece in memory finds no room.
  public var isFull: Bool { count == GatherList.capacityMax }

  /// Adds bytes, at most what ``isFull`` allows; one piece with the last where they follow it in memory.
  public mutating func append(_ start: UnsafeRawPointer, byteCount: Int) {
    self.byteCount += byteCount
    if count > 0, let base = pieces[count - 1].iov_base, UnsafeRawPointer(base) + pieces[count - 1].iov_len == start {
      pieces[count - 1].iov_len += byteCount
      return
    }
    precondition(count < GatherList.capacityMax, "a full list")
    pieces[count] = iovec(iov_base: UnsafeMutableRawPointer(mutating: start), iov_len: byteCount)
    count += 1
  }

  public mutating func removeAll() {
    count = 0
    byteCount = 0
  }

  /// Piece `index`, below ``count``. Valid as long as its memory.
  public func withPiece<Result>(_ index: Int, _ body: (RawSpan) -> Result) -> Result {
    precondition(index < count, "a piece of the list")
    return body(UnsafeRawBufferPointer(start: pieces[index].iov_base, count: pieces[index].iov_len).bytes)
  }

  /// A copy of all the bytes.
  public var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(byteCount)
    for index in 0..<count {
      bytes += UnsafeRawBufferPointer(start: pieces[index].iov_base, count: pieces[index].iov_len)
    }
    return bytes
  }

  /// Writes from byte `offset` on, as much as the kernel takes in one call; -1 and `errno` as write(2).
  func write(to descriptor: CInt, from offset: Int) -> Int {
    var (index, left) = (0, offset)
    while index < count, left >= pieces[index].iov_len {
      left -= pieces[index].iov_len
      index += 1
    }
    if index == count { return 0 }
    if left == 0 { return writev(descriptor, pieces + index, CInt(count - index)) }
    // In the middle of a piece: the rest of it first.
    return Glibc.write(descriptor, pieces[index].iov_base.map { $0 + left }, pieces[index].iov_len - left)
  }
}
