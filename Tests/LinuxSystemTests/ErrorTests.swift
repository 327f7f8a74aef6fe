import CLinuxShims
import Glibc
import LinuxSystem
import Testing

@Suite("System errors and owned things")
struct ErrorTests {
  @Test("An error names operation, subject, reason, code and remedy")
  func description() {
    let error = SystemError(operation: "bind", code: EBUSY, subject: "veth0 queue 3", remedy: "close the other one")
    #expect("\(error)" == "bind veth0 queue 3: Device or resource busy (EBUSY); close the other one")
    #expect(SystemError(operation: "poll", code: 9999, subject: "").description == "poll: unknown error (errno 9999)")
  }

  @Test(
    "Only a lack of privilege asks for the capability", arguments: [(EPERM, true), (EACCES, true), (ENOENT, false)])
  func privilege(code: CInt, expectsRemedy: Bool) {
    #expect(
      throws: SystemError(
        operation: "call", code: code, subject: "x", remedy: expectsRemedy ? "needs CAP_NET_ADMIN" : nil)
    ) {
      try check("call", "x", needs: .netAdmin) { () -> CInt in
        errno = code
        return -1
      }
    }
  }

  @Test("EINTR is retried")
  func interrupted() throws {
    var calls = 0
    let result = try check("call") { () -> CInt in
      calls += 1
      errno = EINTR
      return calls < 3 ? -1 : 7
    }
    #expect(result == 7 && calls == 3)
  }

  @Test("A descriptor closes with its owner, and not if it was released")
  func descriptor() throws {
    let isOpen = { (raw: CInt) in fcntl(raw, F_GETFD) != -1 }
    var raw: CInt = -1
    do {
      let owned = try OwnedDescriptor.open("/dev/null", flags: O_RDONLY)
      raw = owned.rawValue
      let second = try owned.duplicate()
      #expect(isOpen(raw) && isOpen(second.rawValue) && second.rawValue != raw)
      #expect(fcntl(second.rawValue, F_GETFD) & FD_CLOEXEC != 0)
      raw = owned.release()
    }
    #expect(isOpen(raw))
    close(raw)
  }

  @Test("A mapping shares a file and refuses nonsense")
  func mapping() throws {
    let region = try MappedRegion(anonymous: 1, subject: "test")
    #expect(region.byteCount == MappedRegion.systemPageByteCount && region.isHuge == false)
    #expect(region.base.load(as: UInt8.self) == 0)
    #expect(throws: SystemError.self) {
      _ = try MappedRegion(sharingDescriptor: 9999, byteCount: 4096, subject: "nothing")
    }
    let error = #expect(throws: SystemError.self) { _ = try MappedRegion(anonymous: 1 << 60, subject: "everything") }
    #expect(error?.code == ENOMEM)
  }

  @Test("Capabilities are bits; this test's user has those that it needs")
  func capabilities() throws {
    let some = Capabilities(bits: 1 << 12 | 1 << 39)
    #expect(some.has(.netAdmin) && some.has(.bpf) && !some.has(.netRaw))
    #expect(some.missing(of: [.bpf, .netRaw, .ipcLock]) == [.netRaw, .ipcLock])
    #expect(try Capabilities.effective().has(.netAdmin))
    let status = try SmallFile.readText("/proc/thread-self/status")
    let line = status.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
    #expect(
      try UInt64(line?.dropFirst(7).filter { !$0.isWhitespace } ?? "", radix: 16) == Capabilities.effective().bits)
  }
}
