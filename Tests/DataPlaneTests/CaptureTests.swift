import DataPlane
import Glibc
import LinuxSystem
import NetworkSupport
import Testing
import XSK

@Suite("Capture over veth", .serialized)
struct CaptureTests {
  @Test("Every packet sent is in the file: comment, time, length, bytes, interface", arguments: [200, 1400], [false, true])
  func endToEnd(byteCount: Int, byProgram: Bool) throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network, byProgram: byProgram)
        let path = "\(directory)/all.pcapng"
        let outcome = Outcome()
        let session = try bench.capture(.init(path: path), onFinish: outcome.callback)
        let before = SystemClock.realtimeNanoseconds()
        try bench.send(2000, byteCount: byteCount) { UInt8($0 % 5) }
        let summary = session.stop()
        let after = SystemClock.realtimeNanoseconds()
        #expect(summary.state == .finished(.stopped) && summary.isAccountedFor)
        #expect(summary.received == 2000 && summary.written == 2000 && summary.dropped == 0)
        #expect(outcome.all == [summary] && summary.files == [path])
        #expect(try Shell.run("stat -c %s \(path)").dropLast() == "\(summary.bytesWritten)")
        let packets = try tshark(
          path, ["frame.comment", "frame.len", "frame.time_epoch", "frame.interface_name", "data.data"])
        #expect(packets.count == 2000)
        for (index, packet) in packets.enumerated() {
          #expect(packet[0] == "rule=rule-\(index % 5)" && packet[1] == "\(byteCount)" && packet[3] == "near")
          let digits = packet[2].split(separator: ".")
          let time = (UInt64(digits[0]) ?? 0) * 1_000_000_000 + (UInt64(digits[1]) ?? 0)
          #expect((before - 1_000_000...after + 1_000_000).contains(time))
          let number = String(index, radix: 16)
          #expect(packet[4].dropFirst(2).prefix(8) == String(repeating: "0", count: 8 - number.count) + number)
        }
        bench.stop()
      }
    }
  }

  @Test("Packets of a program without metadata have no comment and the time of their receipt")
  func withoutMetadata() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network, withMetadata: false)
        let path = "\(directory)/plain.pcapng"
        let session = try bench.capture(.init(path: path, snapByteCount: 20))
        try bench.send(100)
        #expect(session.stop().written == 100)
        let packets = try tshark(path, ["frame.comment", "frame.len", "frame.cap_len"])
        #expect(packets == Array(repeating: ["", "64", "20"], count: 100))
        bench.stop()
      }
    }
  }

  @Test("Sampling and filters are exact", arguments: [1, 2, 7, 1000] as [UInt32])
  func sampling(every: UInt32) throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let session = try bench.capture(.init(path: "\(directory)/x.pcapng", sampleEvery: every, slots: [1, 3]))
        try bench.send(1000) { UInt8($0 % 4) }
        let summary = session.stop()
        let expected = (500 + UInt64(every) - 1) / UInt64(every)
        #expect(summary.received == 1000 && summary.filteredOut == 500)
        #expect(summary.written == expected && summary.sampledOut == 500 - expected && summary.isAccountedFor)
        #expect(try tshark("\(directory)/x.pcapng", ["frame.number"]).count == Int(expected))
        bench.stop()
      }
    }
  }

  @Test("A packet limit is exact; what comes later is no loss", arguments: [1, 100] as [UInt64])
  func packetLimit(limit: UInt64) throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let session = try bench.capture(.init(path: "\(directory)/x.pcapng", packetLimit: limit))
        try bench.send(300)
        let summary = session.waitUntilFinished()
        #expect(summary.state == .finished(.packetLimit) && summary.written == limit && summary.isAccountedFor)
        #expect(summary.dropped == 0 && summary.received == limit)
        #expect(try tshark("\(directory)/x.pcapng", ["frame.number"]).count == Int(limit))
        let statistics = try #require(try PcapngStatistics(path: "\(directory)/x.pcapng"))
        #expect(statistics.received == limit && statistics.dropped == 0, "\(statistics)")
        try bench.send(10)
        #expect(session.summary == summary)
        bench.stop()
      }
    }
  }

  @Test("Byte limits hold to the byte", arguments: [4096, 10_000] as [UInt64])
  func byteLimit(limit: UInt64) throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let total = try bench.capture(.init(path: "\(directory)/total.pcapng", byteLimit: limit))
        let file = try bench.capture(.init(path: "\(directory)/file.pcapng", fileByteLimit: limit))
        try bench.send(200)
        #expect(total.waitUntilFinished().state == .finished(.byteLimit))
        #expect(file.waitUntilFinished().state == .finished(.fileFull))
        for (name, summary) in [("total", total.summary), ("file", file.summary)] {
          let size = UInt64(try Shell.run("stat -c %s \(directory)/\(name).pcapng").dropLast()) ?? 0
          #expect(size <= limit && size > limit - 300 && size == summary.bytesWritten && summary.isAccountedFor)
          #expect(try tshark("\(directory)/\(name).pcapng", ["frame.number"]).count == Int(summary.written))
        }
        bench.stop()
      }
    }
  }

  @Test("A ring of files keeps the newest, and no packet is lost between two")
  func fileRing() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let path = "\(directory)/ring.pcapng"
        try Shell.run("echo theirs >\(directory)/ring.00002.pcapng")
        let all = try bench.capture(.init(path: path, fileByteLimit: 8192, fileCount: 100))
        let ring = try bench.capture(.init(path: "\(directory)/short", fileByteLimit: 8192, fileCount: 3))
        try bench.send(1000)
        let summary = all.stop()
        #expect(
          summary.written == 1000 && summary.files.count > 10 && summary.files[1] == "\(directory)/ring.00001.pcapng")
        #expect(summary.files[2] == "\(directory)/ring.00003.pcapng", "a file that was there is passed over")
        #expect(try Shell.run("cat \(directory)/ring.00002.pcapng") == "theirs\n")
        let counts = try summary.files.map { try tshark($0, ["frame.number"]).count }
        #expect(counts.reduce(0, +) == 1000)
        let kept = ring.stop()
        #expect(kept.written == 1000 && kept.files.count == 3 && kept.files[2].hasPrefix("\(directory)/short.000"))
        #expect(try Shell.run("ls \(directory)/short* | wc -l").dropLast() == "3")
        let last = try tshark(kept.files[2], ["data.data"]).last?.first
        #expect(last?.dropFirst(2).prefix(8) == "000003e7")
        bench.stop()
      }
    }
  }

  @Test("A ring of files goes on where the disk has room for just as many, and all of it can be read")
  func tightRing() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        // Headers and three files of seven pages.
        try Shell.run("mount -t tmpfs -o size=88k tmpfs \(directory)")
        defer { _ = try? Shell.run("umount \(directory)") }
        var bench = try Bench(network)
        let session = try bench.capture(.init(path: "\(directory)/x.pcapng", fileByteLimit: 28_000, fileCount: 3))
        for _ in 0..<10 { try bench.send(100, byteCount: 500) }
        let summary = session.stop()
        #expect(summary.state == .finished(.stopped) && summary.written == 1000 && summary.files.count == 3)
        for file in summary.files { #expect(try !tshark(file, ["frame.number"]).isEmpty) }
        bench.stop()
      }
    }
  }

  @Test("A duration ends by itself, without a packet")
  func duration() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        let bench = try Bench(network)
        let start = SystemClock.monotonicNanoseconds()
        let session = try bench.capture(.init(path: "\(directory)/x.pcapng", durationMilliseconds: 100))
        let summary = session.waitUntilFinished()
        #expect(summary.state == .finished(.duration) && summary.written == 0)
        #expect((100_000_000...2_000_000_000).contains(SystemClock.monotonicNanoseconds() - start))
        #expect(try tshark("\(directory)/x.pcapng", ["frame.number"]).isEmpty)
        bench.stop()
      }
    }
  }

  @Test("A full disk fails the session, keeps whole packets, and the packet path goes on", arguments: [500, 1400])
  func fullDisk(byteCount: Int) throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        try Shell.run("mount -t tmpfs -o size=64k tmpfs \(directory)")
        defer { _ = try? Shell.run("umount \(directory)") }
        var bench = try Bench(network)
        let outcome = Outcome()
        let session = try bench.capture(.init(path: "\(directory)/x.pcapng"), onFinish: outcome.callback)
        for _ in 0..<20 { try bench.send(100, byteCount: byteCount) }
        let summary = session.waitUntilFinished()
        guard case .failed(let error) = summary.state else {
          Issue.record("\(summary)")
          return
        }
        #expect(error.code == ENOSPC && error.remedy == "free some space" && outcome.all.count == 1)
        #expect(summary.isAccountedFor && summary.droppedWriteError > 0 && summary.bytesWritten > 60_000)
        #expect(try tshark("\(directory)/x.pcapng", ["frame.number"]).count == Int(summary.written))
        try bench.send(100)
        #expect(bench.workers[0].counters().statistics == XDPStatistics())
        bench.stop()
      }
    }
  }

  @Test("A ring that is full drops and counts; the packet path never waits")
  func slowWriter() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        let (session, gate) = try bench.captureWithHangingWriter(.init(path: "\(directory)/x.pcapng", ringByteCount: 4096))
        try bench.send(500)
        gate.open()
        let summary = session.stop()
        #expect(summary.received == 500 && summary.isAccountedFor && summary.droppedRingFull > 300)
        #expect(try tshark("\(directory)/x.pcapng", ["frame.number"]).count == Int(summary.written))
        bench.stop()
      }
    }
  }

  @Test("Paths that cannot be written fail at the start and leave nothing attached")
  func paths() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        try Shell.run("touch \(directory)/there; ln -s /nowhere/x \(directory)/link")
        let bench = try Bench(network)
        for (path, code) in [
          ("\(directory)/none/x.pcapng", ENOENT), ("\(directory)/there", EEXIST), ("\(directory)/link", EEXIST),
          ("/proc/x.pcapng", ENOENT), (directory, EEXIST),
        ] {
          let error = #expect(throws: CaptureError.self) { _ = try bench.capture(.init(path: path)) }
          guard case .system(let reason) = error else {
            Issue.record("\(path): \(String(describing: error))")
            continue
          }
          #expect(reason.code == code && reason.remedy != nil && reason.subject == path)
        }
        var sessions: [CaptureSession] = []
        for number in 0..<TapBoard.slotCount {
          sessions.append(try bench.capture(.init(path: "\(directory)/\(number)")))
        }
        #expect(throws: CaptureError.tooMany(limit: 4)) { _ = try bench.capture(.init(path: "\(directory)/more")) }
        #expect(access("\(directory)/more", F_OK) != 0)
        bench.stop()
        for session in sessions { #expect(session.waitUntilFinished().state == .finished(.queuesStopped)) }
        #expect(throws: CaptureError.queueStopped) { _ = try bench.capture(.init(path: "\(directory)/late")) }
      }
    }
  }

  @Test("Packets of two queues end up in one file, each with its queue")
  func twoQueues() throws {
    try withTestNetwork(queues: 2) { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network, queues: 2)
        let session = try bench.capture(.init(path: "\(directory)/x.pcapng"))
        try bench.send(500)
        #expect(session.stop().written == 500)
        #expect(try tshark("\(directory)/x.pcapng", ["frame.number"]).count == 500)
        bench.stop()
      }
    }
  }

  @Test("A capture that has started misses nothing; under start and stop each accounts for what it saw")
  func churn() throws {
    try withTestNetwork { network in
      try withTemporaryDirectory { directory in
        var bench = try Bench(network)
        for number in 0..<200 {
          let session = try bench.capture(.init(path: "\(directory)/\(number).pcapng", ringByteCount: 1 << 16))
          try bench.send(50)
          session.requestStop()
          try bench.send(50)
          let summary = session.waitUntilFinished()
          #expect(summary.isAccountedFor && summary.dropped == 0 && summary.written >= 50)
        }
        bench.stop()
      }
    }
  }
}

@Suite("Capture request")
struct CaptureRequestTests {
  @Test(
    "A request that cannot be names its field",
    arguments: [
      (CaptureRequest(path: ""), "path"), (CaptureRequest(path: "a\0b"), "path"),
      (CaptureRequest(path: "/x", snapByteCount: 262_145), "snap_length"),
      (CaptureRequest(path: "/x", byteLimit: 1), "byte_limit"),
      (CaptureRequest(path: "/x", fileByteLimit: 4095), "file_byte_limit"),
      (CaptureRequest(path: "/x", fileCount: 2), "file_count"),
      (CaptureRequest(path: "/x", fileByteLimit: 4096, fileCount: 10_001), "file_count"),
      (CaptureRequest(path: "/x", slots: []), "rules"),
      (CaptureRequest(path: "/x", ringByteCount: 5000), "ring_byte_count"),
    ])
  func invalid(request: CaptureRequest, field: String) {
    let error = #expect(throws: CaptureError.self) { try request.validate() }
    guard case .invalid(field, _) = error else {
      Issue.record("\(String(describing: error))")
      return
    }
  }
}
