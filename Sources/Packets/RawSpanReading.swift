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
