import LinuxSystem

/// The enhanced packet block of a pcapng file (draft-ietf-opsawg-pcapng, section 4.3), in the host's byte order:
/// type, length, interface, time (upper and lower half), captured and original length, the packet padded to four bytes,
/// options, the length again.
public enum PacketBlock {
  /// Size of a block with so many bytes of a packet, and of options.
  public static func byteCount(captured: Int, options: Int) -> Int {
    overheadByteCount + (captured + 3) / 4 * 4 + options
  }

  static func byteCount(at block: UnsafeRawPointer) -> Int {
    Int(block.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
  }

  /// How much of `blocks`, a sequence of whole blocks, is within the limits: whole blocks again, and their number.
  public static func measure(
    _ blocks: RawSpan, packetLimit: UInt64 = .max, byteLimit: UInt64 = .max
  ) -> (byteCount: Int, packets: UInt64) {
    blocks.withUnsafeBytes { bytes in
      let limit = Int(clamping: min(UInt64(bytes.count), byteLimit))
      var byteCount = 0
      var packets: UInt64 = 0
      while byteCount < limit, packets < packetLimit {
        // In bounds: a block begins here, and has its length within the first eight bytes.
        let next = byteCount + Int(bytes.loadUnaligned(fromByteOffset: byteCount + 4, as: UInt32.self))
        if next > limit { break }
        byteCount = next
        packets += 1
      }
      return (byteCount, packets)
    }
  }
}

extension PacketBlock {
  /// The same of blocks of which each is whole in one of the list's pieces.
  public static func measure(_ blocks: borrowing GatherList, byteLimit: UInt64) -> (byteCount: Int, packets: UInt64) {
    var total = (byteCount: 0, packets: UInt64(0))
    for index in 0..<blocks.count {
      let left = byteLimit - UInt64(total.byteCount)
      let (part, isWhole) = blocks.withPiece(index) { piece in
        let part = measure(piece, byteLimit: left)
        return (part, part.byteCount == piece.byteCount)
      }
      total = (total.byteCount + part.byteCount, total.packets + part.packets)
      if !isWhole { break }
    }
    return total
  }
}
