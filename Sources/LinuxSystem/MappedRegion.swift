import Glibc

/// Memory from mmap(2), unmapped when its owner goes.
public struct MappedRegion: ~Copyable, @unchecked Sendable {
  // Sendable: the value owns its pages alone; whoever shares `base` answers for the synchronisation.
  public let base: UnsafeMutableRawPointer
  /// Rounded up to whole pages of ``pageByteCount``.
  public let byteCount: Int
  /// Size of the pages behind it: the huge page size if they are huge, else that of the system.
  public let pageByteCount: Int
  /// Why there are no huge pages although they were wanted; nil otherwise.
  public let hugePageRefusal: SystemError?

  public var isHuge: Bool { pageByteCount > MappedRegion.systemPageByteCount }

  public static var systemPageByteCount: Int { sysconf(CInt(_SC_PAGESIZE)) }

  /// The 2 MiB pages of x86-64 and arm64 (4 KiB base pages).
  public static var hugePageByteCount: Int { 2 << 20 }

  /// Shares `byteCount` bytes of an open file, device or socket, readable and (unless told otherwise) writable.
  ///
  /// The descriptor may be closed afterwards.
  public init(
    sharing descriptor: borrowing OwnedDescriptor, offset: Int = 0, byteCount: Int, isWritable: Bool = true,
    subject: String
  ) throws(SystemError) {
    try self.init(
      sharingDescriptor: descriptor.rawValue, offset: offset, byteCount: byteCount, isWritable: isWritable,
      subject: subject)
  }

  /// As above, of a descriptor that somebody else owns (a BPF map of libbpf).
  public init(
    sharingDescriptor descriptor: CInt, offset: Int = 0, byteCount: Int, isWritable: Bool = true, subject: String
  ) throws(SystemError) {
    let protection = isWritable ? PROT_READ | PROT_WRITE : PROT_READ
    base = try MappedRegion.map(byteCount, protection, MAP_SHARED | MAP_POPULATE, descriptor, offset, subject)
    self.byteCount = byteCount
    pageByteCount = MappedRegion.systemPageByteCount
    hugePageRefusal = nil
  }

  /// Fresh zeroed memory. No page is touched yet, so that a NUMA policy can still be set.
  ///
  /// - Parameter wantsHugePages: Takes huge pages where enough are free, else ordinary ones and ``hugePageRefusal``.
  public init(anonymous byteCount: Int, wantsHugePages: Bool = false, subject: String) throws(SystemError) {
    precondition(byteCount > 0, "a mapping has at least one byte")
    let anonymous = MAP_PRIVATE | MAP_ANONYMOUS
    var refusal: SystemError?
    if wantsHugePages {
      let rounded = MappedRegion.round(byteCount, to: MappedRegion.hugePageByteCount)
      let flags = anonymous | MappedRegion.hugeTLB | MappedRegion.hugeTLB2MiB
      do throws(SystemError) {
        base = try MappedRegion.map(rounded, PROT_READ | PROT_WRITE, flags, -1, 0, subject)
        self.byteCount = rounded
        pageByteCount = MappedRegion.hugePageByteCount
        hugePageRefusal = nil
        return
      } catch {
        let pages = rounded / MappedRegion.hugePageByteCount
        refusal = error.withRemedy("needs \(pages) free huge pages of 2 MiB: raise vm.nr_hugepages")
      }
    }
    let rounded = MappedRegion.round(byteCount, to: MappedRegion.systemPageByteCount)
    base = try MappedRegion.map(rounded, PROT_READ | PROT_WRITE, anonymous, -1, 0, subject)
    self.byteCount = rounded
    pageByteCount = MappedRegion.systemPageByteCount
    hugePageRefusal = refusal
  }

  deinit { munmap(base, byteCount) }

  /// Makes every page be there, or says why one can't: touching it would end the process with SIGBUS, as where the huge
  /// pages that are free lie on another node than the one it is bound to.
  public func populate() throws(SystemError) {
    while madvise(base, byteCount, MappedRegion.populateWrite) != 0 {
      let code = errno
      switch code {
      case EINTR, EAGAIN: continue
      case EINVAL:  // before Linux 5.14
        for offset in stride(from: 0, to: byteCount, by: pageByteCount) {
          base.storeBytes(of: 0, toByteOffset: offset, as: UInt8.self)  // in bounds: offset < byteCount
        }
        return
      default: throw SystemError(operation: "populate memory", code: code, subject: "\(byteCount) bytes")
      }
    }
  }

  // linux/mman.h; glibc's module doesn't export them.
  private static var populateWrite: CInt { 23 }
  private static var hugeTLB: CInt { 0x40000 }
  private static var hugeTLB2MiB: CInt { 21 << 26 }

  private static func round(_ byteCount: Int, to unit: Int) -> Int { (byteCount + unit - 1) / unit * unit }

  private static func map(
    _ byteCount: Int, _ protection: CInt, _ flags: CInt, _ descriptor: CInt, _ offset: Int, _ subject: String
  ) throws(SystemError) -> UnsafeMutableRawPointer {
    let address = mmap(nil, byteCount, protection, flags, descriptor, off_t(offset))
    let code = errno
    guard let address, address != MAP_FAILED else {
      throw SystemError(operation: "mmap", code: code, subject: "\(subject), \(byteCount) bytes")
    }
    return address
  }
}
