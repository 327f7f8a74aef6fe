/// The frames of a UMEM that nobody uses, last in first out, so that the next one taken is likely still in the cache.
///
/// One thread owns this value. No lock; no allocation after init. A frame is named by its offset in the UMEM. Debug
/// builds trap on a frame that is returned twice or was never in the pool; ``FrameCounts`` shows one that leaked.
public struct FramePool: ~Copyable {
  @usableFromInline let frames: UnsafeMutablePointer<UInt64>  // the first `free` are free
  /// Takes an address in a frame to the frame: cuts off the offset in the frame, wherever it stands.
  @usableFromInline let frameMask: UInt64
  @usableFromInline let frameByteCount: UInt64
  public let capacity: UInt32
  /// Free frames.
  @inlinable public var count: UInt32 { free }
  @usableFromInline var free: UInt32
  #if DEBUG
    @usableFromInline let isFree: UnsafeMutablePointer<Bool>
  #endif

  /// A full pool of `frameCount` frames.
  ///
  /// - Parameters:
  ///   - frameByteCount: A power of two, unless unaligned.
  ///   - isUnaligned: An address carries its offset in the frame in its upper 16 bits.
  public init(frameCount: UInt32, frameByteCount: UInt32, isUnaligned: Bool = false) {
    precondition(
      frameByteCount > 0 && (isUnaligned || frameByteCount & (frameByteCount - 1) == 0),
      "an aligned frame's size is a power of two")
    frames = .allocate(capacity: Int(frameCount))
    self.frameByteCount = UInt64(frameByteCount)
    frameMask = isUnaligned ? FramePool.unalignedMask : ~(UInt64(frameByteCount) - 1)
    capacity = frameCount
    free = frameCount
    // The lowest frame on top.
    for index in 0..<frameCount { frames[Int(index)] = UInt64(frameCount - 1 - index) * UInt64(frameByteCount) }
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

  /// XSK_UNALIGNED_BUF_ADDR_MASK.
  @inlinable static var unalignedMask: UInt64 {
    @_noAllocation @_noLocks get { (1 << 48) - 1 }
  }

  /// The offset of a free frame, now the caller's. The pool must not be empty.
  @inlinable public mutating func take() -> UInt64 {
    precondition(free > 0, "took a frame from an empty pool")
    free &-= 1
    let frame = frames[Int(free)]
    #if DEBUG
      isFree[Int(frame / frameByteCount)] = false
    #endif
    return frame
  }

  /// Returns a frame by any address in it: receive descriptors point behind the headroom.
  @inlinable public mutating func put(_ address: UInt64) {
    let frame = address & frameMask
    precondition(
      frame < UInt64(capacity) &* frameByteCount && free < capacity, "returned a frame that is not the pool's")
    markReturned(frame)
    frames[Int(free)] = frame
    free &+= 1
  }

  /// Debug builds: each frame comes back once, and by its own offset.
  @inlinable func markReturned(_ frame: UInt64) {
    #if DEBUG
      let index = Int(frame / frameByteCount)
      precondition(index < Int(capacity) && frame % frameByteCount == 0, "returned a frame that is not the pool's")
      precondition(!isFree[index], "returned a frame twice")
      isFree[index] = true
    #endif
  }

  /// Where the next `count` frames go that the kernel returns; ``didPut(_:)`` says that they are there. One check for
  /// the whole batch: what the kernel returns is what it got from us.
  @inlinable mutating func placeToPut(_ count: UInt32) -> UnsafeMutablePointer<UInt64> {
    precondition(count <= capacity &- free, "returned more frames than the pool has room for")
    return frames + Int(free)
  }

  /// The next `count` places hold frames.
  @inlinable mutating func didPut(_ count: UInt32) { free &+= count }

  /// Returns frames by `count` addresses that the kernel returned, eight at a time.
  @inlinable mutating func put(_ count: UInt32, from source: UnsafePointer<UInt64>) {
    let place = placeToPut(count)
    let end = Int(count)
    let eightMasks = SIMD8<UInt64>(repeating: frameMask)
    var index = 0
    // In bounds: the pool has room for `count` frames, source is the caller's promise.
    while index &+ 8 <= end {
      let eight = UnsafeRawPointer(source + index).loadUnaligned(as: SIMD8<UInt64>.self) & eightMasks
      UnsafeMutableRawPointer(place + index).storeBytes(of: eight, as: SIMD8<UInt64>.self)
      index &+= 8
    }
    while index < end {
      place[index] = source[index] & frameMask
      index &+= 1
    }
    #if DEBUG
      index = 0
      while index < end {
        markReturned(place[index])
        index &+= 1
      }
    #endif
    didPut(count)
  }

  /// Moves `count` free frames to `destination`, eight at a time. The pool must have so many.
  @inlinable mutating func move(_ count: UInt32, to destination: UnsafeMutablePointer<UInt64>) {
    precondition(count <= free, "took a frame from an empty pool")
    free &-= count
    let source = frames + Int(free)
    let end = Int(count)
    var index = 0
    // In bounds: source has `count` frames above it, destination is the caller's promise; nothing is read twice.
    while index &+ 8 <= end {
      let eight = UnsafeRawPointer(source + index).loadUnaligned(as: SIMD8<UInt64>.self)
      UnsafeMutableRawPointer(destination + index).storeBytes(of: eight, as: SIMD8<UInt64>.self)
      index &+= 8
    }
    while index < end {
      destination[index] = source[index]
      index &+= 1
    }
    #if DEBUG
      index = 0
      while index < end {
        isFree[Int(source[index] / frameByteCount)] = false
        index &+= 1
      }
    #endif
  }
}
