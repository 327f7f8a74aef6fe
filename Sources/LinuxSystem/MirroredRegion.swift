import CLinuxShims
import Glibc

/// Zeroed memory that is mapped twice, one view right behind the other: what is written past the end of the first
/// appears at its beginning. A ring of bytes in it has no seam.
///
/// Unmapped when its owner goes.
public struct MirroredRegion: ~Copyable, @unchecked Sendable {
  // Sendable: the value owns its pages alone; whoever shares `base` answers for the synchronisation.
  /// Valid for twice ``byteCount`` bytes.
  public let base: UnsafeMutableRawPointer
  /// Of one view.
  public let byteCount: Int

  /// - Parameter byteCount: A multiple of the system's page size. All pages are touched at once, so that nobody who
  ///   writes into them waits for the kernel later.
  public init(byteCount: Int, subject: String) throws(SystemError) {
    precondition(
      byteCount > 0 && byteCount % MappedRegion.systemPageByteCount == 0, "a mirrored region is whole pages")
    let file = OwnedDescriptor(owning: try check("make memory file", subject) { sluice_memory_file("sluice-ring") })
    let raw = file.rawValue
    try check("size memory file", subject) { ftruncate(raw, off_t(byteCount)) }
    let base = try MirroredRegion.map(2 * byteCount, at: nil, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, subject)
    do throws(SystemError) {
      for view in 0..<2 {
        _ = try MirroredRegion.map(
          byteCount, at: base + view * byteCount, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE, raw,
          subject)
      }
    } catch {
      munmap(base, 2 * byteCount)  // whatever of it is mapped
      throw error
    }
    self.base = base
    self.byteCount = byteCount
  }

  deinit { munmap(base, 2 * byteCount) }

  private static func map(
    _ byteCount: Int, at place: UnsafeMutableRawPointer?, _ protection: CInt, _ flags: CInt, _ descriptor: CInt,
    _ subject: String
  ) throws(SystemError) -> UnsafeMutableRawPointer {
    let address = mmap(place, byteCount, protection, flags, descriptor, 0)
    let code = errno
    guard let address, address != MAP_FAILED else {
      throw SystemError(operation: "mmap", code: code, subject: "\(subject), \(byteCount) bytes")
    }
    return address
  }
}
