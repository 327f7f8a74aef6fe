import DataPlane
import Glibc

/// The memory between packet threads and capture files: a ring for each queue of each capture.
enum CaptureMemory {
  /// Less does not cover the shortest stall of a disk.
  static let ringByteCountMin = 4 << 20

  /// Of all captures together: a quarter of the machine's memory.
  static let byteCountMax = max(0, sysconf(CInt(_SC_PHYS_PAGES))) * max(0, sysconf(CInt(_SC_PAGESIZE))) / 4

  /// Bytes of each ring of a capture: a power of two, less than ``DataPlane/CaptureRequest/ringByteCountStandard`` where the others leave no room for that.
  /// Nil: there is no room.
  static func ringByteCount(queueCount: Int, used: Int, of limit: Int = byteCountMax) -> Int? {
    var byteCount = CaptureRequest.ringByteCountStandard
    while byteCount >= ringByteCountMin {
      if used + queueCount * byteCount <= limit { return byteCount }
      byteCount /= 2
    }
    return nil
  }
}
