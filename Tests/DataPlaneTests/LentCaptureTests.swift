import DataPlane
import LinuxSystem
import NetworkSupport
import Testing
import XSK

@Suite("Captures of large packets, in the frames they came in", .serialized)
struct LentCaptureTests {
  @Test("Large and small ones stay in order, for two captures at once, and every frame comes back", arguments: [false, true])
  func keepsOrder(byProgram: Bool) throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network, byProgram: byProgram)
        let sessions = try ["a", "b"].map { try bench.capture(.init(path: "\(directory)/\($0).pcapng")) }
        for round in 0..<60 { try bench.send(50, byteCount: [64, 1400, 511, 512, 1000][round % 5]) }
        for (session, name) in zip(sessions, ["a", "b"]) {
          let summary = session.stop()
          #expect(summary.written == 3000 && summary.dropped == 0 && summary.isAccountedFor)
          let packets = try tshark("\(directory)/\(name).pcapng", ["frame.len", "data.data"])
          #expect(packets.count == 3000)
          for (index, packet) in packets.enumerated() {
            let number = String(index, radix: 16)
            let digits = String(repeating: "0", count: 8 - number.count) + number
            #expect(packet[0] == "\([64, 1400, 511, 512, 1000][index / 50 % 5])")
            #expect(packet[1].dropFirst(2).prefix(8) == digits)
          }
        }
        let worker = bench.workers[0]
        #expect(eventually { worker.counters().framesLent == 0 }, "\(worker.counters())")
        bench.stop()
      }
    }
  }

  @Test("A writer that hangs holds half of the frames; the others go on receiving, and packets are copied")
  func slowWriter() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let (session, gate) = try bench.captureWithHangingWriter(.init(path: "\(directory)/x.pcapng", ringByteCount: 1 << 20))
        try bench.send(2000, byteCount: 1400)
        let lent = bench.workers[0].counters().framesLent
        #expect(lent > 0 && lent <= 512)
        gate.open()
        let summary = session.stop()
        // Half of 1024 frames and a MiB of copies hold some 1200 packets.
        #expect(summary.received == 2000 && summary.isAccountedFor && (1..<1200).contains(summary.droppedRingFull))
        #expect(try tshark("\(directory)/x.pcapng", ["frame.number"]).count == Int(summary.written))
        let worker = bench.workers[0]
        #expect(eventually { worker.counters().framesLent == 0 }, "\(worker.counters())")
        bench.stop()
      }
    }
  }

  @Test("The queue may end while its frames are lent: what was received is written")
  func endsBeforeWriter() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let (session, gate) = try bench.captureWithHangingWriter(.init(path: "\(directory)/x.pcapng"))
        try bench.send(300, byteCount: 1400)
        bench.stop()
        gate.open()
        let summary = session.waitUntilFinished()
        #expect(summary.state == .finished(.queuesStopped) && summary.written == 300 && summary.isAccountedFor)
        let lengths = try tshark("\(directory)/x.pcapng", ["frame.len"])
        #expect(lengths == Array(repeating: ["1400"], count: 300))
      }
    }
  }
}
