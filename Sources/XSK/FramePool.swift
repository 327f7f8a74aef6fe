/// The frames of a UMEM that nobody uses, last in first out, so that the next one taken is likely still in the cache.
///
/// One thread owns this value. No lock; no allocation after init. A frame is named by its offset in the UMEM. Debug
/// builds trap on a frame that is returned twice or was never in the pool.
public struct FramePool: ~Copyable {
  @usableFromInline let frames: UnsafeMutablePointer<UInt64>  // the first `count` are free
  @usableFromInline let frameByteCountLog2: UInt64
  public let capacity: UInt32
  /// Free frames.
  @inlinable public var count: UInt32 { free }
  @usableFromInline var free: UInt32
  #if DEBUG
    @usableFromInline let isFree: UnsafeMutablePointer<Bool>
  #endif

  /// A full pool of `frameCount` frames.
  ///
  /// - Parameter frameByteCount: A power of two.
  public init(frameCount: UInt32, frameByteCount: UInt32) {
    precondition(frameByteCount > 0 && frameByteCount & (frameByteCount - 1) == 0, "a frame's size is a power of two")
    frames = .allocate(capacity: Int(frameCount))
    frameByteCountLog2 = UInt64(frameByteCount.trailingZeroBitCount)
    capacity = frameCount
    free = frameCount
    // The lowest frame on top.
    for index in 0..<frameCount { frames[Int(index)] = UInt64(frameCount - 1 - index) << frameByteCountLog2 }
    #if DEBUG
      isFree = .allocate(capacity: Int(frameCount))
      isFree.initialize(repeating: true, count: Int(frameCount))
    #endif
  }

  deinit {
    frames.deallocate()
    #if DEBUG
      isFree.deallocate()
    #endif
  }

  /// The offset of a free frame, now the caller's. The pool must not be empty.
  @inlinable public mutating func take() -> UInt64 {
    precondition(free > 0, "took a frame from an empty pool")
    free &-= 1
    let frame = frames[Int(free)]
    #if DEBUG
      isFree[Int(frame >> frameByteCountLog2)] = false
    #endif
    return frame
  }

  /// Returns a frame by any offset in it: receive descriptors point behind the headroom.
  @inlinable public mutating func put(_ offset: UInt64) {
    let index = offset >> frameByteCountLog2
    precondition(index < UInt64(capacity) && free < capacity, "returned a frame that is not the pool's")
    #if DEBUG
      precondition(!isFree[Int(index)], "returned a frame twice")
      isFree[Int(index)] = true
    #endif
    frames[Int(free)] = index << frameByteCountLog2
    free &+= 1
  }
}
