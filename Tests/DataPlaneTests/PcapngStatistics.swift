import Foundation

/// What the last interface statistics block of a capture file says (pcapng, section 4.6).
struct PcapngStatistics {
  let received: UInt64
  let dropped: UInt64

  /// Nil where the file doesn't end with such a block.
  init?(path: String) throws {
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    func number(_ offset: Int, _ byteCount: Int) -> UInt64 {
      (0..<byteCount).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }
    guard bytes.count >= 24 else { return nil }
    let length = Int(number(bytes.count - 4, 4))
    let start = bytes.count - length
    guard start >= 0, number(start, 4) == 5, number(start + 4, 4) == UInt64(length) else { return nil }
    var options: [UInt64: UInt64] = [:]
    var place = start + 20
    while place + 4 <= bytes.count - 4 {
      let (code, byteCount) = (number(place, 2), Int(number(place + 2, 2)))
      if code == 0 { break }
      if byteCount == 8 { options[code] = number(place + 4, 8) }
      place += 4 + (byteCount + 3) / 4 * 4
    }
    guard let received = options[4], let dropped = options[5] else { return nil }  // isb_ifrecv, isb_ifdrop
    (self.received, self.dropped) = (received, dropped)
  }
}
