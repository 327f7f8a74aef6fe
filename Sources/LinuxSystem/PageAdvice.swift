import Glibc

/// Advice to the kernel about memory that is in use.
public enum PageAdvice {
  // linux/mman.h, since 6.1; older C libraries don't know it. EINVAL on older kernels.
  private static var collapse: CInt { 25 }

  /// Asks for transparent huge pages behind the memory, now. Only advice: false where the kernel doesn't follow.
  @discardableResult
  public static func preferHugePages(_ memory: UnsafeRawBufferPointer) -> Bool {
    guard let base = memory.baseAddress, memory.count >= MappedRegion.hugePageByteCount else { return false }
    let address = UnsafeMutableRawPointer(mutating: base)  // the contents stay
    guard madvise(address, memory.count, MADV_HUGEPAGE) == 0 else { return false }
    return madvise(address, memory.count, collapse) == 0
  }
}
