import DataPlane
import Glibc
import LinuxSystem
import NetworkSupport
import Synchronization
import Testing
import XSK

/// Reads a stream on a thread of its own, into a file that tshark can read.
private final class Reader: Sendable {
  let stream: CaptureStream
  private let pieces = Mutex<[[UInt8]]>([])

  init() throws {
    let wake = try WakeSignal()
    stream = CaptureStream(byteCountMax: CaptureStream.byteCountMin) { wake.signal() }
    self.wake = wake
  }

  private let wake: WakeSignal

  func readAll() throws {
    while true {
      while let piece = stream.next() { pieces.withLock { $0.append(piece) } }
      if stream.isFinished { return }
      try wake.nap(milliseconds: 1000)
    }
  }

  func write(to path: String) throws {
    var file = try OutputFile(creating: path)
    for piece in pieces.withLock({ $0 }) { try file.append(piece) }
  }

  var byteCounts: [Int] { pieces.withLock { $0.map(\.count) } }
}

@Suite("Capture streams", .serialized)
struct CaptureStreamTests {
  @Test("A stream is the whole capture, in pieces of whole blocks, with statistics")
  func whole() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let reader = try Reader()
        let session = try bench.capture(.init(to: .stream(reader.stream)))
        let thread = try PinnedThread.spawn(name: "reader") { try? reader.readAll() }
        for _ in 0..<12 {
          try bench.send(100) { UInt8($0 % 3) }
          usleep(100_000)  // longer than a second in all: statistics come in between
        }
        let summary = session.stop()
        thread.join()
        #expect(summary.written == 1200 && summary.isAccountedFor && summary.dropped == 0 && summary.files.isEmpty)
        #expect(reader.byteCounts.reduce(0, +) == Int(summary.bytesWritten))
        let path = "\(directory)/stream.pcapng"
        try reader.write(to: path)
        let packets = try tshark(path, ["frame.comment"])
        #expect(packets == (0..<1200).map { ["rule=rule-\($0 % 100 % 3)"] })
        let text = try Shell.run("capinfos -c \(path)")
        #expect(text.contains("1200"))
        #expect(try statistics(of: path).count >= 2)
        #expect(try statistics(of: path).last == [4: 1200, 5: 0, 6: 1200, 7: 0, 8: 1200])
        bench.stop()
      }
    }
  }

  @Test("A reader that is too slow costs counted packets; the session ends all the same")
  func slowReader() throws {
    try withTestNetwork { network in
      var bench = try Bench(network)
      let stream = CaptureStream(byteCountMax: CaptureStream.byteCountMin) {}
      let session = try bench.capture(.init(to: .stream(stream), ringByteCount: 1 << 16))
      try bench.send(2500, byteCount: 1000)
      let start = SystemClock.monotonicNanoseconds()
      let summary = session.stop()
      #expect(SystemClock.monotonicNanoseconds() - start < 3_000_000_000)
      #expect(summary.state == .finished(.stopped) && summary.isAccountedFor)
      #expect(summary.droppedRingFull > 500 && summary.droppedUnread > 10 && summary.written > 300)
      var byteCount = 0
      while let piece = stream.next() { byteCount += piece.count }
      #expect(stream.isFinished && byteCount == Int(summary.bytesWritten))
      #expect(byteCount <= CaptureStream.byteCountMin + 200)
      bench.stop()
    }
  }

  @Test("When the reader goes, the capture ends; a stream is for one capture; limits hold")
  func cancelled() throws {
    try withTestNetwork { network in
      var bench = try Bench(network)
      let stream = CaptureStream {}
      let session = try bench.capture(.init(to: .stream(stream)))
      #expect(throws: CaptureError.self) { _ = try bench.capture(.init(to: .stream(stream))) }
      try bench.send(10)
      stream.cancel()
      #expect(session.waitUntilFinished().state == .finished(.readerGone) && stream.isFinished)
      #expect(session.summary.isAccountedFor && stream.next() == nil)
      let limited = CaptureStream {}
      let second = try bench.capture(.init(to: .stream(limited), byteLimit: 4096))
      try bench.send(100)
      #expect(second.waitUntilFinished().state == .finished(.byteLimit))
      #expect((3900...4096).contains(second.summary.bytesWritten) && second.summary.isAccountedFor)
      bench.stop()
    }
  }

  @Test("Each file of a ring ends with the statistics so far, packets that the kernel lost among them")
  func rotation() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network, frameCount: 64)
        let session = try bench.capture(
          .init(path: "\(directory)/x.pcapng", fileByteLimit: 8192, fileCount: 1000, slots: [1]))
        try bench.send(300) { UInt8($0 % 2) }
        let total = try 300 + bench.flood()
        let summary = session.stop()
        #expect(summary.isAccountedFor && summary.lostByKernel > 0)
        #expect(summary.received + summary.lostByKernel == total)
        var delivered: UInt64 = 0
        for path in summary.files {
          let last = try #require(try statistics(of: path).last)
          delivered += UInt64(try tshark(path, ["frame.number"]).count)
          #expect(last[8] == delivered && (last[4] ?? 0) >= delivered)
        }
        let end = try statistics(of: summary.files[summary.files.count - 1]).last
        #expect(
          end == [
            4: total, 5: summary.lostByKernel, 6: summary.received - summary.filteredOut, 7: summary.lostByKernel,
            8: summary.written,
          ])
        bench.stop()
      }
    }
  }

  @Test("A rule that gets its name, or another, while captures run: packets have it from then on")
  func names() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let names = SlotNames()
        func start(_ name: String) throws -> CaptureSession {
          try CaptureSession.start(
            .init(path: "\(directory)/\(name)"), interface: "near", workers: bench.workers, names: names, onFinish: { _ in })
        }
        let sessions = [try start("0"), try start("1")]
        try bench.send(1)
        names.set(["first": 1])
        try bench.send(10)
        names.set(["second": 1, "other": 2])
        try bench.send(10)
        let last = try start("2")
        try bench.send(5)
        for (number, session) in sessions.enumerated() {
          #expect(session.stop().written == 26)
          let comments = try tshark("\(directory)/\(number)", ["frame.number", "frame.comment"]).map { $0[1] }
          #expect(
            comments == [""] + Array(repeating: "rule=first", count: 10) + Array(repeating: "rule=second", count: 15))
        }
        #expect(last.stop().written == 5)
        let comments = try tshark("\(directory)/2", ["frame.number", "frame.comment"]).map { $0[1] }
        #expect(comments == Array(repeating: "rule=second", count: 5))
        bench.stop()
      }
    }
  }

  /// Counters of the file's interface statistics blocks by option code: 4 received, 5 dropped, 6 accepted, 7 dropped by
  /// the system, 8 delivered.
  private func statistics(of path: String) throws -> [[UInt16: UInt64]] {
    let hex = try Shell.run("xxd -p \(path)").filter { !$0.isNewline }.utf8.map { $0 }
    let digit = { (byte: UInt8) in UInt64(byte > 0x60 ? byte - 0x57 : byte - 0x30) }
    let bytes = stride(from: 0, to: hex.count, by: 2).map { digit(hex[$0]) << 4 | digit(hex[$0 + 1]) }
    let number = { (offset: Int, count: Int) in
      (0..<count).reduce(UInt64(0)) { $0 | bytes[offset + $1] << UInt64(8 * $1) }
    }
    var found: [[UInt16: UInt64]] = []
    var offset = 0
    while offset < bytes.count {
      let end = offset + Int(number(offset + 4, 4))
      if number(offset, 4) == 5 {
        var counters: [UInt16: UInt64] = [:]
        var option = offset + 20
        while option < end - 4 {
          let code = UInt16(number(option, 2))
          if code > 3 { counters[code] = number(option + 4, 8) }
          option += 4 + (Int(number(option + 2, 2)) + 3) / 4 * 4
        }
        found.append(counters)
      }
      offset = end
    }
    return found
  }
}
