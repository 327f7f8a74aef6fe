import Glibc
import LinuxSystem
import NetworkSupport
import Testing

@Suite("Files")
struct FileTests {
  @Test("A file is replaced whole, with its mode, and nothing is left beside it", arguments: [0, 1, 200_000])
  func replace(byteCount: Int) throws {
    try withTemporaryDirectory { directory in
      let path = "\(directory)/state"
      try SmallFile.replace(path, with: [1, 2, 3], mode: 0o600)
      let bytes = (0..<byteCount).map { UInt8(truncatingIfNeeded: $0) }
      try SmallFile.replace(path, with: bytes, mode: 0o640)
      #expect(try SmallFile.read(path) == bytes)
      #expect(try Shell.run("ls -A \(directory); stat -c %a \(path)") == "state\n640\n")
    }
  }

  @Test("A replacement that fails leaves the old file")
  func replaceFails() throws {
    try withTemporaryDirectory { directory in
      try Shell.run("mount -t tmpfs -o size=64k tmpfs \(directory)")
      defer { _ = try? Shell.run("umount \(directory)") }
      try SmallFile.replace("\(directory)/state", with: [1])
      let error = #expect(throws: SystemError.self) {
        try SmallFile.replace("\(directory)/state", with: [UInt8](repeating: 0, count: 100_000))
      }
      #expect(error?.code == ENOSPC)
      #expect(try SmallFile.read("\(directory)/state") == [1])
      #expect(try Shell.run("ls -A \(directory)") == "state\n")
    }
  }

  @Test("Reading has a limit, and a missing file is named")
  func read() throws {
    try withTemporaryDirectory { directory in
      try SmallFile.replace("\(directory)/x", with: [UInt8](repeating: 0x20, count: 101))
      #expect(throws: SystemError(operation: "read", code: EFBIG, subject: "\(directory)/x")) {
        _ = try SmallFile.read("\(directory)/x", byteCountMax: 100)
      }
      #expect(try SmallFile.readText("\(directory)/x") == "")
      #expect(throws: SystemError(operation: "open", code: ENOENT, subject: "\(directory)/y")) {
        _ = try SmallFile.read("\(directory)/y")
      }
    }
  }

  @Test("A write that fails halfway can keep a beginning")
  func outputFileKeeps() throws {
    try withTemporaryDirectory { directory in
      try Shell.run("mount -t tmpfs -o size=64k tmpfs \(directory)")
      defer { _ = try? Shell.run("umount \(directory)") }
      var file = try OutputFile(creating: "\(directory)/out")
      let memory = UnsafeMutableRawPointer.allocate(byteCount: 200_000, alignment: 8)
      defer { memory.deallocate() }
      memory.initializeMemory(as: UInt8.self, repeating: 2, count: 200_000)
      // The end first: two pieces, the write fails within the first and begins again within it.
      var pieces = GatherList()
      pieces.append(memory + 50_001, byteCount: 149_999)
      pieces.append(memory, byteCount: 50_001)
      #expect(pieces.count == 2 && pieces.byteCount == 200_000)
      #expect(throws: SystemError.self) { try file.append(pieces) { $0 / 1000 * 1000 } }
      #expect(file.byteCount == 65_000)
      #expect(try Shell.run("stat -c %s \(directory)/out") == "65000\n")
      #expect(throws: SystemError.self) { try file.append(pieces) { _ in .max } }
      #expect(file.byteCount == 65_536)
    }
  }

  @Test("A mirrored region goes on at its beginning")
  func mirrored() throws {
    let region = try MirroredRegion(byteCount: 8192, subject: "test")
    for offset in [0, 1, 4095, 8184] {
      (region.base + offset).storeBytes(of: 0x0102_0304_0506_0708, as: UInt64.self)
      #expect((region.base + offset + 8192).loadUnaligned(as: UInt64.self) == 0x0102_0304_0506_0708)
    }
    (region.base + 8190).storeBytes(of: 0x1111_2222, as: UInt32.self)
    #expect(region.base.loadUnaligned(as: UInt16.self) == 0x1111)
  }

  @Test("A write that fails halfway leaves no trace in an output file")
  func outputFile() throws {
    try withTemporaryDirectory { directory in
      try Shell.run("mount -t tmpfs -o size=64k tmpfs \(directory)")
      defer { _ = try? Shell.run("umount \(directory)") }
      var file = try OutputFile(creating: "\(directory)/out")
      try file.append([UInt8](repeating: 1, count: 5000))
      var failure: SystemError?
      do throws(SystemError) {
        try file.append([UInt8](repeating: 2, count: 200_000))
      } catch { failure = error }
      #expect(failure?.code == ENOSPC && failure?.remedy != nil)
      try file.append([3])
      #expect(try SmallFile.read("\(directory)/out") == [UInt8](repeating: 1, count: 5000) + [3])
      #expect(file.byteCount == 5001)
    }
  }

  @Test("One lock at a time; the second learns who has it; it is free when the owner goes")
  func lock() throws {
    try withTemporaryDirectory { directory in
      let path = "\(directory)/lock"
      do {
        let lock = try FileLock(path: path)
        let error = #expect(throws: SystemError.self) { _ = try FileLock(path: path) }
        #expect(error?.code == EWOULDBLOCK && error?.remedy == "held by process \(getpid())")
        _ = consume lock
      }
      _ = try FileLock(path: path)
    }
  }

  @Test("bpffs is found where it is, mounted where it isn't, refused where it can't be")
  func bpffs() throws {
    try withTemporaryDirectory { directory in
      let path = "\(directory)/bpf"
      #expect(!BPFFileSystem.isPresent(at: path))
      let first = try BPFFileSystem.ensure(at: path)
      #expect(first == .mountedNow)
      defer { _ = try? Shell.run("umount \(path)") }
      #expect(try BPFFileSystem.ensure(at: path) == .wasMounted)
      #expect(try Shell.run("stat -f -c %T \(path)") == "bpf_fs\n")
      let error = #expect(throws: SystemError.self) { try BPFFileSystem.ensure(at: "\(directory)/none/bpf") }
      #expect(error?.code == ENOENT && error?.remedy?.contains("mount -t bpf") == true)
    }
  }

  @Test("The kernel has a release")
  func kernel() throws { #expect(Kernel.release() == (try Shell.run("uname -r")).dropLast()) }
}
