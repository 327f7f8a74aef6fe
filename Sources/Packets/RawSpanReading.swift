extension RawSpan {
  /// The byte at `offset`. Traps beyond the end.
  @inlinable
  public func byte(at offset: Int) -> UInt8 {
    // Safe: bounds are checked by the load, and every bit pattern is an UInt8.
    unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt8.self)
  }

  /// The number in network byte order at `offset`. Traps beyond the end.
  @inlinable
  public func bigEndian<Number: FixedWidthInteger & BitwiseCopyable>(
    at offset: Int, as type: Number.Type = Number.self
  ) -> Number {
    // Safe: bounds are checked by the load, and every bit pattern is an integer.
    Number(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: type))
  }
}

// For the packet thread. The compiler's proof that nothing allocates accepts in debug builds neither a default argument
// that is a type nor a temporary RawSpan of the bytes.
extension MutableRawSpan {
  /// The byte at `offset`. Traps beyond the end.
  @inlinable @inline(__always)
  public func byte(at offset: Int) -> UInt8 {
    // Safe: bounds are checked by the load, and every bit pattern is an integer.
    unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt8.self)
  }

  /// The 16-bit number in network byte order at `offset`. Traps beyond the end.
  @inlinable @inline(__always)
  public func uint16(at offset: Int) -> UInt16 {
    // Safe, as above.
    UInt16(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  /// The 32-bit number in network byte order at `offset`. Traps beyond the end.
  @inlinable @inline(__always)
  public func uint32(at offset: Int) -> UInt32 {
    // Safe, as above.
    UInt32(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  /// The 64-bit number in network byte order at `offset`. Traps beyond the end.
  @inlinable @inline(__always)
  public func uint64(at offset: Int) -> UInt64 {
    // Safe, as above.
    UInt64(bigEndian: unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}
