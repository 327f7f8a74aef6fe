import CZlib

/// RFC 1952, of whole texts.
enum Gzip {
  /// Nil where that would not make it smaller.
  static func compressed(_ bytes: [UInt8]) -> [UInt8]? {
    guard let count = UInt32(exactly: bytes.count), count > 0 else { return nil }
    return filled(room: bytes.count) { sluice_gzip(bytes, count, $0, count) }
  }

  /// Nil where it is no gzip, or larger than `byteCountMax`.
  static func expanded(_ bytes: [UInt8], byteCountMax: Int) -> [UInt8]? {
    guard let count = UInt32(exactly: bytes.count), let room = UInt32(exactly: byteCountMax) else { return nil }
    return filled(room: byteCountMax) { sluice_gunzip(bytes, count, $0, room) }
  }

  private static func filled(room: Int, _ fill: (UnsafeMutablePointer<UInt8>) -> UInt) -> [UInt8]? {
    let result = [UInt8](unsafeUninitializedCapacity: room) { buffer, filledCount in
      // zlib writes at most `room` bytes and says how many.
      filledCount = buffer.baseAddress.map { Int(fill($0)) } ?? 0
    }
    return result.isEmpty ? nil : result
  }
}
