import DataPlane
import LinuxSystem
import NetworkSupport
import Testing
import XSK

@Suite("Capture of packets longer than a frame", .serialized)
struct LongCaptureTests {
  /// One buffer, exactly full; one byte more; two; the longest that the MTU lets through.
  static var byteCounts: [Int] { [64, 3840, 3841, 7680, 7681, 9014] }

  @Test(
    "Packets in several buffers are in the file whole, between others",
    arguments: [0, 100, 3840, 3842, 8000] as [UInt32], [false, true])
  func whole(snapByteCount: UInt32, byProgram: Bool) throws {
    try withJumboBench(byProgram: byProgram) { bench, directory in
      let path = "\(directory)/x.pcapng"
      let session = try bench.capture(.init(path: path, snapByteCount: snapByteCount))
      let before = bench.receivedBytes
      for round in 0..<20 { try bench.send(1, byteCount: LongCaptureTests.byteCounts[round % 6]) { _ in UInt8(round) } }
      let summary = session.stop()
      #expect(summary.written == 20 && summary.isAccountedFor)
      let packets = try tshark(path, ["frame.len", "frame.cap_len", "data.data"])
      #expect(packets.count == 20)
      var sum: UInt64 = 0
      for (index, packet) in packets.enumerated() {
        let byteCount = LongCaptureTests.byteCounts[index % 6]
        let captured = snapByteCount == 0 ? byteCount : min(byteCount, Int(snapByteCount))
        #expect(packet[0] == "\(byteCount)" && packet[1] == "\(captured)")
        let frame = testFrame(slot: UInt8(index), number: UInt32(index), byteCount: byteCount)
        let digits = frame[14..<captured].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(packet[2] == digits, "packet \(index) of \(byteCount) bytes")
        sum += UInt64(byteCount)
      }
      #expect(bench.receivedBytes - before == sum)
    }
  }

  @Test("A burst of long packets is accounted for to the packet, also where frames run out", arguments: [false, true])
  func burst(byProgram: Bool) throws {
    try withJumboBench(frameCount: 64, byProgram: byProgram) { bench, directory in
      let path = "\(directory)/x.pcapng"
      let session = try bench.capture(.init(path: path))
      let sent = try bench.flood(byteCount: 9014)
      let summary = session.stop()
      #expect(summary.received + summary.lostByKernel == sent && summary.isAccountedFor && summary.lostByKernel > 0)
      let lengths = try tshark(path, ["frame.cap_len"])
      #expect(lengths.count == Int(summary.written) && lengths.allSatisfy { $0 == ["9014"] })
      let frames = bench.workers[0].counters()
      #expect(frames.framesPool + frames.framesFill + frames.framesInFlight == 64)
    }
  }

  private func withJumboBench(frameCount: UInt32 = 1024, byProgram: Bool, _ body: (inout Bench, String) throws -> Void) throws {
    try withTestNetwork { network in
      try Shell.run("ip link set near mtu 9000 && ip link set far mtu 9000")
      try withTemporaryDirectory { directory in
        var bench = try Bench(network, frameCount: frameCount, takesFragments: true, byProgram: byProgram)
        #expect(bench.workers.allSatisfy { $0.report.usesFragments && $0.report.frameByteCount == 4096 })
        try body(&bench, directory)
        bench.stop()
      }
    }
  }
}
