import Foundation
import NetworkSupport
import Packets
import Testing
import Traffic

@testable import sluice

/// What the built command sends, as tcpdump and the kernel's counters at the other end of a veth pair see it.
@Suite("sluice generate, on the wire", .serialized)
struct GenerateWireTests {
  private let namespace: NetworkNamespace

  init() throws {
    namespace = try NetworkNamespace()
    try namespace.makePair("one", "two")
    try namespace.run("ethtool -K one gro on")
  }

  /// Packets and bytes that an interface has received, as the kernel counts them.
  private func received(_ interface: String) throws -> [UInt64] {
    let counters = try namespace.run("ip -json -s link show \(interface)")
    let rows = try #require(JSON.parse(counters.utf8)).elements
    return rows.flatMap { row in
      ["bytes", "packets"].compactMap { row["stats64"]["rx"][$0].integer.map { UInt64($0) } }
    }
  }

  private func generate(_ arguments: String...) async throws -> Run {
    try await withFolder { home in
      try await sluice(["generate", "--interface", "two"] + arguments, home: home, namespace: namespace.name)
    }
  }

  private func result(_ arguments: [String]) async throws -> JSON {
    try await withFolder { home in
      let run = try await sluice(
        ["generate", "--interface", "two", "--json"] + arguments, home: home, namespace: namespace.name)
      #expect(run.status == 0, "\(run)")
      return try #require(JSON.parse(run.output.utf8), "\(run)")
    }
  }

  @Test("A peer that goes down meanwhile ends the run: what is sent from then on vanishes without a count")
  func outage() async throws {
    async let run = generate("--duration", "20s", "--rate", "1000")
    try await Task.sleep(for: .seconds(3))
    try namespace.run("ip link set one down")
    let ended = try await run
    #expect(ended.status == 1 && ended.errors.contains("no carrier"), "\(ended)")
  }

  /// The frames that arrive at `one` while the command runs.
  private func capture(_ count: Int, _ arguments: String...) async throws -> (result: JSON, frames: [[UInt8]]) {
    let folder = namespace.folder
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let path = folder + "/seen.pcap"
    let dump = Process()
    dump.executableURL = URL(filePath: "/bin/ip")
    dump.arguments = [
      "netns", "exec", namespace.name, "tcpdump", "-i", "one", "-p", "-n", "-U", "--immediate-mode", "-B", "65536",
      "-s", "0", "-Z", "root", "-c", "\(count)", "-w", path,
    ]
    dump.standardOutput = FileHandle.nullDevice
    let log = folder + "/log"
    try Data().write(to: URL(filePath: log))
    dump.standardError = FileHandle(forWritingAtPath: log)
    try dump.run()
    defer { if dump.isRunning { kill(dump.processIdentifier, SIGKILL) } }
    try await until { (try? String(contentsOfFile: log, encoding: .utf8))?.contains("listening on") == true }
    let result = try await result(arguments)
    try await until { !dump.isRunning }  // it has its packets
    return (result, try CaptureFile(parsing: Array(Data(contentsOf: URL(filePath: path)))).frames)
  }

  /// Looks again and again, for five seconds at most.
  private func until(_ condition: () -> Bool) async throws {
    for _ in 0..<100 where !condition() { try await Task.sleep(for: .milliseconds(50)) }
    try #require(condition())
  }

  private func counts<Value: Hashable>(_ values: [Value]) -> [Value: Int] {
    values.reduce(into: [:]) { $0[$1, default: 0] += 1 }
  }

  @Test("Two threads send every flow and every size exactly as often as asked, and say so")
  func sendsExactly() async throws {
    let (result, frames) = try await capture(
      4800, "--threads", "2", "--size", "imix", "--flows", "8", "--count", "4800", "--rate", "20k")
    #expect(result["attempted"] == 4800 && result["sent"] == 4800 && result["threads"] == 2)
    #expect(result["due"] == 4800 && result["shortfall"] == 0 && result["stopped_by"] == "count")
    #expect(frames.count == 4800)
    #expect(counts(frames.map(\.count)) == [60: 2800, 566: 1600, 1514: 400])
    let ports = counts(frames.compactMap { PacketParser.parse($0).ports?.source })
    #expect(ports.count == 8 && ports.values.allSatisfy { $0 == 600 })
    // Each 1/20000 s: not before the last is due, whatever the machine does.
    guard case .number(let seconds) = result["seconds"] else {
      Issue.record("no time in \(result)")
      return
    }
    #expect(seconds >= 4799.0 / 20_000)
  }

  @Test("A capture is replayed in its gaps, looped, byte for byte as the rewriting says")
  func replays() async throws {
    let file = ReplayFile()
    let path = namespace.folder + "-replay.pcap"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(file.bytes).write(to: URL(filePath: path))
    let (result, frames) = try await capture(
      60, "--pcap", path, "--replay-speed", "2x", "--loops", "3", "--map", "10.0.0.0/8=198.0.0.0/8", "--set-vlan", "77",
      "--source-mac", "02:00:00:00:00:07", "--destination-mac", "02:00:00:00:00:08")
    #expect(result["attempted"] == 60 && result["stopped_by"] == "count")
    let expected = file.rewritten()
    #expect(frames == expected + expected + expected)
    // 19 gaps of 4 ms at double speed, three times, with two mean gaps between the rounds.
    guard case .number(let seconds) = result["seconds"] else {
      Issue.record("no time in \(result)")
      return
    }
    #expect(seconds >= 0.118)
  }

  @Test("A ramp reports each of its steps; what it attempted adds up")
  func ramps() async throws {
    let result = try await result(["--rate", "10k", "--ramp", "10%:50%:20%:100ms", "--quiet"])
    let steps = result["steps"].elements
    #expect(steps.map { $0["asked_packets_per_second"].integer } == [1000, 3000, 5000])
    let attempted = try #require(result["attempted"].integer)
    #expect(steps.compactMap { $0["attempted"].integer }.reduce(0, +) == attempted)
    // All that was due, or the rest is owned up to.
    #expect(try result["due"] == 900 && attempted + #require(result["shortfall"].integer) == 900)
    #expect(attempted > 0 && result["stopped_by"] == "duration")
  }

  @Test("With --json and --interval a line each time, the result last")
  func lines() async throws {
    let run = try await generate("--json", "--interval", "100ms", "--rate", "1000", "--duration", "550ms")
    let lines = run.output.split(separator: "\n").compactMap { JSON.parse($0.utf8) }
    #expect(run.status == 0 && run.errors.isEmpty && lines.count >= 3, "\(run)")
    #expect(lines.dropLast().allSatisfy { $0["progress"] == true } && lines.last?["due"] == 550)
    let attempted = lines.compactMap { $0["attempted"].integer }
    #expect(attempted == attempted.sorted() && attempted.count == lines.count)
  }

  @Test("People see a line each second, unless --quiet")
  func progress() async throws {
    let shown = try await generate("--rate", "100", "--duration", "1.5")
    #expect(shown.errors.contains("1 s: 1") && shown.output.contains("due by the rate   150, shortfall"), "\(shown)")
    let quiet = try await generate("--rate", "100", "--duration", "1.5", "--quiet")
    #expect(quiet.errors.isEmpty && quiet.output.contains("attempted         1"), "\(quiet)")
  }

  @Test("What carries a default route is refused unless forced; a peer without XDP is named with the remedy")
  func checks() async throws {
    try namespace.run("ip addr add 192.0.2.2/24 dev two; ip route add default via 192.0.2.1")
    let refused = try await generate("--count", "5", "--json")
    #expect(refused.status == 1 && JSON.parse(refused.errors.utf8)?["error"]["code"] == "default_route")
    #expect(try await generate("--count", "5", "--force").status == 0)
    // One tag is no part of what the MTU limits.
    let before = try received("one")
    #expect(try await generate("--flow", "vlan=7,size=1518", "--count", "5", "--force").status == 0)
    #expect(try received("one")[1] - before[1] == 5)
    let long = try await generate("--flow", "size=1515", "--count", "5", "--force")
    #expect(long.status == 1 && long.errors.contains("mtu 1501"), "\(long)")
    try namespace.run("ethtool -K one gro off")
    let vanishing = try await generate("--count", "5", "--force")
    #expect(vanishing.status == 1 && vanishing.errors.contains("ethtool -K PEER gro on"), "\(vanishing)")
    try namespace.run("ip link set one down")
    #expect(try await generate("--count", "5", "--force").errors.contains("no carrier"))
    let unknown = try await generate("-i", "nothere", "--count", "5")
    #expect(unknown.status == 5 && unknown.errors.contains("there are lo, "), "\(unknown)")
  }

  @Test("Without the privileges it says which are missing")
  func privileges() async throws {
    let output = try namespace.run(
      "setpriv --bounding-set=-bpf --inh-caps=-bpf \(executable.path) generate -i two --count 1 2>&1 || echo status $?")
    #expect(output.contains("CAP_BPF") && output.contains("status 1"), "\(output)")
  }

  @Test("SIGINT, though timeout(1) sends it twice, ends the run, and the result is that of what was sent")
  func interrupts() async throws {
    let output = try namespace.run(
      """
      timeout --signal INT --kill-after 20 1 \(executable.path) generate -i two --rate 1000 --json || true
      """)
    let result = try #require(JSON.parse(output.utf8), "\(output)")
    #expect(result["stopped_by"] == "signal" && (result["attempted"].integer ?? 0) > 0)
    #expect(result["sent"] == result["attempted"])
  }
}

extension GenerateWireTests {
  @Test("At a rate, no packet leaves before it is due, and the kernel at the other end counts what is said to be sent")
  func countsAgree() async throws {
    let before = try received("one")
    let result = try await result(["--rate", "40k", "--duration", "500ms", "--flows", "200", "--size", "imix"])
    let after = try received("one")
    // A slow machine may leave a shortfall, which is told; it never sends more than is due.
    let sent = try #require(result["sent"].integer)
    let shortfall = try #require(result["shortfall"].integer)
    #expect(result["due"] == 20_000 && sent + shortfall == 20_000 && sent > 0)
    #expect(after[1] - before[1] == UInt64(sent))
    #expect(after[0] - before[0] == result["attempted_bytes"].integer.map { UInt64($0) })
  }

  @Test("A receiver has all of 3400-byte frames, the longest that there are")
  func sendsLongest() async throws {
    try namespace.run("ip link set one mtu 4000; ip link set two mtu 4000")
    let result = try await result(["--size", "3400", "--count", "500", "--rate", "10k", "--receive", "one"])
    #expect(result["attempted"] == 500 && result["failed"] == 0 && result["attempted_bytes"] == 1_700_000)
    #expect(result["received"]["packets"] == 500 && result["received"]["bytes"] == 1_700_000)
    #expect(result["received"]["lost"] == 0 && result["latency_ns"] == .null)
    let longer = try await generate("--size", "3401", "--count", "1")
    #expect(longer.status == 2 && longer.errors.contains("60 to 3400"), "\(longer)")
  }

  @Test(
    "Latency: every packet has one, in order, whatever the threads and tables",
    arguments: [
      ["--count", "20000"], ["--count", "20000", "--threads", "2"],
      // Counts that make several tables of each thread.
      ["--threads", "3", "--flow", "name=a,source=10.0.0.0/28,count=7001", "--flow", "name=b,protocol=icmp,count=4999"],
    ])
  func measuresLatency(_ arguments: [String]) async throws {
    try namespace.run("ethtool -K one gro off")  // the receiver's program lets frames in
    let result = try await result(arguments + ["--rate", "50k", "--receive", "one", "--latency"])
    let (sent, latency, received) = (result["sent"], result["latency_ns"], result["received"])
    #expect(received["packets"] == sent && latency["count"] == sent && received["lost"] == 0, "\(result)")
    #expect(received["missing"] == 0 && received["late"] == 0, "\(received)")
    let rising = try ["min", "p50", "p90", "p99", "p99_9", "max"].map { try #require(latency[$0].integer) }
    guard case .number(let seconds) = result["seconds"] else {
      Issue.record("no time in \(result)")
      return
    }
    #expect(rising == rising.sorted() && rising[0] > 0, "\(rising)")
    // Nothing is on a cable for longer than the run and the looking afterwards.
    #expect(rising[5] < Int64((seconds + 1) * 1e9), "\(rising)")
  }

  @Test("What holds every packet for 30 ms is seen: no latency is less, and most are not much more")
  func seesDelay() async throws {
    try namespace.makePair("three", "four")
    // Between `one` and `three` a process takes each packet in, and gives it out again 30 ms after it came.
    let relay = """
      import collections, select, socket, time
      ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol)) for protocol in (3, 0)]
      for end, name in zip(ends, ("one", "three")): end.bind((name, 0))
      ends[0].setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
      ends[0].setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
      print("ready", flush=True)
      held = collections.deque()
      while True:
        wait = max(0, held[0][0] - time.monotonic()) if held else None
        if select.select([ends[0]], [], [], wait)[0]: held.append((time.monotonic() + 0.03, ends[0].recv(4096)))
        while held and held[0][0] <= time.monotonic(): ends[1].send(held.popleft()[1])
      """
    let process = Process()
    process.executableURL = URL(filePath: "/bin/ip")
    process.arguments = ["netns", "exec", namespace.name, "python3", "-c", relay]
    let said = Pipe()
    process.standardOutput = said
    try process.run()
    defer { kill(process.processIdentifier, SIGKILL) }
    #expect(String(decoding: said.fileHandleForReading.availableData, as: UTF8.self).hasPrefix("ready"))
    let result = try await result(["--rate", "1000", "--count", "300", "--receive", "four", "--latency"])
    #expect(result["sent"] == 300 && result["received"]["lost"] == 0 && result["received"]["missing"] == 0, "\(result)")
    let latency = result["latency_ns"]
    let (least, middle) = (try #require(latency["min"].integer), try #require(latency["p50"].integer))
    #expect(latency["count"] == 300 && least >= 30_000_000, "\(latency)")
    // Half of them on a machine that does other things too; without the delay they'd be microseconds.
    #expect(middle < 130_000_000, "\(latency)")
  }

  @Test("A ramp with a receiver says of each step what arrived, and it adds up to what was sent")
  func rampsToReceiver() async throws {
    let result = try await result(["--rate", "10k", "--ramp", "10%:50%:20%:100ms", "--receive", "one", "--quiet"])
    let received = result["steps"].elements.compactMap { $0["received"].integer }
    #expect(received.count == 3 && result["due"] == 900, "\(result)")
    #expect(try received.reduce(0, +) == #require(result["received"]["packets"].integer), "\(result)")
    #expect(result["received"]["packets"] == result["sent"] && result["received"]["lost"] == 0, "\(result)")
  }

  @Test("A receiver that is missing, in use, or the sender itself, is refused in words")
  func checksReceiver() async throws {
    let cases = [
      (["--receive", "two"], 2, "name the other end"), (["--receive", "nothere"], 5, "there are lo, "),
      (["--latency"], 2, "--latency needs --receive"),
    ]
    for (arguments, status, part) in cases {
      let run = try await withFolder { home in
        try await sluice(
          ["generate", "--interface", "two", "--count", "5"] + arguments, home: home, namespace: namespace.name)
      }
      #expect(run.status == Int32(status) && run.errors.contains(part), "\(run)")
    }
    let table = try await generate("--count", "1000", "--rate", "10k", "--receive", "one", "--latency", "--quiet")
    #expect(table.output.contains("received          1000 at one, lost 0 (0.0000 %)"), "\(table)")
    #expect(table.output.contains("sequence          0 skipped, 0 behind a later one"), "\(table)")
    #expect(table.output.contains("latency           min ") && table.output.contains("p99.9 "), "\(table)")
  }
}

/// A capture of twenty packets, 4 ms apart, and what rewriting makes of it.
private struct ReplayFile {
  private var packets: [PacketBuilder] = []

  init() {
    for index in 0..<20 as Range<UInt8> {
      let transport: PacketBuilder.Transport =
        index % 2 == 0 ? .udp(source: 1000 + UInt16(index), destination: 9) : .icmp()
      var packet = PacketBuilder(
        from: .v4(IPv4Address(10, 1, 2, index)), to: .v4(IPv4Address(index < 10 ? 10 : 172, 3, 4, 5)), transport,
        payload: Array(repeating: index, count: 20 + Int(index)))
      packet.paddedByteCount = 60
      packets.append(packet)
    }
  }

  var bytes: [UInt8] {
    func word(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
    var bytes: [UInt8] = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0] + word(0) + word(0) + word(65535) + word(1)
    for (index, packet) in packets.enumerated() {
      let frame = packet.build()
      bytes += word(1_700_000_000) + word(index * 4000) + word(frame.count) + word(frame.count) + frame
    }
    return bytes
  }

  /// Built anew from other fields: the rewriting code has no part in it.
  func rewritten() -> [[UInt8]] {
    packets.map { packet in
      var packet = packet
      packet.sourceMAC = MACAddress(2, 0, 0, 0, 0, 7)
      packet.destinationMAC = MACAddress(2, 0, 0, 0, 0, 8)
      packet.vlanTags = [VLANTag(id: 77)]
      packet.paddedByteCount += 4
      guard case .ipv4(var header) = packet.network else { return [] }
      func moved(_ address: IPv4Address) -> IPv4Address {
        address.bytes[0] == 10 ? IPv4Address(198, address.bytes[1], address.bytes[2], address.bytes[3]) : address
      }
      (header.source, header.destination) = (moved(header.source), moved(header.destination))
      packet.network = .ipv4(header)
      return packet.build()
    }
  }
}
