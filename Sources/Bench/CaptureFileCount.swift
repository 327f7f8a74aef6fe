import Foundation

/// How many packets are in a capture file, by walking its records: what the program says of itself doesn't count.
struct CaptureFileCount {
  /// Bytes read at once.
  private static let chunkByteCount = 8 << 20

  private(set) var packets: UInt64 = 0
  /// Bytes of the current record still to pass over.
  private var skip = 0
  private var isPcapng = false
  private var isStarted = false
  private var head: [UInt8] = []

  /// Packets of a pcap or pcapng file in this machine's byte order; nil if it is neither, or ends within a record.
  static func packets(ofFile path: String) -> UInt64? {
    guard let file = FileHandle(forReadingAtPath: path) else { return nil }
    defer { try? file.close() }
    var count = CaptureFileCount()
    while let chunk = try? file.read(upToCount: chunkByteCount), !chunk.isEmpty {
      guard count.walk([UInt8](chunk)) else { return nil }
    }
    return count.isWhole ? count.packets : nil
  }

  /// Whether the bytes so far end with a record.
  var isWhole: Bool { isStarted && skip == 0 && head.isEmpty }

  /// Takes the next bytes; false if they are no such file.
  mutating func walk(_ bytes: [UInt8]) -> Bool {
    var offset = 0
    while offset < bytes.count {
      if skip > 0 {
        let count = min(skip, bytes.count - offset)
        (skip, offset) = (skip - count, offset + count)
        continue
      }
      // The head of a record may lie across two chunks.
      let wanted = isStarted && !isPcapng ? 16 : 12
      let count = min(wanted - head.count, bytes.count - offset)
      head += bytes[offset..<offset + count]
      offset += count
      if head.count == wanted {
        guard takeHead() else { return false }
        head = []
      }
    }
    return true
  }

  private mutating func takeHead() -> Bool {
    if !isStarted {
      isStarted = true
      let magic = word(0)
      isPcapng = magic == 0x0a0d_0d0a
      if isPcapng { return takeBlock() }
      skip = 24 - 12
      return magic == 0xa1b2_c3d4 || magic == 0xa1b2_3c4d
    }
    if isPcapng { return takeBlock() }
    packets += 1
    skip = Int(word(8))
    return true
  }

  /// An enhanced (6) or simple (3) packet block, or another one.
  private mutating func takeBlock() -> Bool {
    let byteCount = Int(word(4))
    if word(0) == 6 || word(0) == 3 { packets += 1 }
    skip = byteCount - 12
    return byteCount >= 12 && byteCount % 4 == 0
  }

  private func word(_ offset: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(head[offset + $1]) << UInt32(8 * $1) }
  }
}
