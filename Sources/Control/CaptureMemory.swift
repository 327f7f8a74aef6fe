import Glibc

/// The memory between packet threads and capture files: a ring for each queue of each capture.
enum CaptureMemory {
  /// What a ring has where there is room: 150 ms of 4 million small packets a second.
  static let ringByteCount = 64 << 20
  /// Less does not cover the shortest stall of a disk.
  static let ringByteCountMin = 4 << 20

  /// Of all captures together: a quarter of the machine's memory.
  static let byteCountMax = max(0, sysconf(CInt(_SC_PHYS_PAGES))) * max(0, sysconf(CInt(_SC_PAGESIZE))) / 4

  /// Bytes of each ring of a capture: a power of two, less than ``ringByteCount`` where the others leave no room for that.
  /// Nil: there is no room.
  static func ringByteCount(queueCount: Int, used: Int, of limit: Int = byteCountMax) -> Int? {
    var byteCount = ringByteCount
    while byteCount >= ringByteCountMin {
      if used + queueCount * byteCount <= limit { return byteCount }
      byteCount /= 2
    }
    return nil
  }
}
