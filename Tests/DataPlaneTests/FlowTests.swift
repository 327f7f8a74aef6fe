import DataPlane
import Flows
import Foundation
import LinuxSystem
import NetworkSupport
import Packets
import Testing

/// Frames of this many flows, of both families, TCP and UDP; what they add up to, by flow, as nfdump prints it.
private struct FlowLoad {
  private(set) var sums: [String: [UInt64]] = [:]
  private(set) var packets: UInt64 = 0

  /// Sends through the stage; packet `number` of a flow is `number` bytes longer than the first.
  mutating func run(_ stage: inout FlowStage, flows: Int, packetsEach: Int, at time: UInt64) throws {
    for number in 0..<flows {
      for packet in 0..<packetsEach {
        let builder = try frame(number, payload: 10 + packet)
        var bytes = builder.build()
        let ends = try self.ends(number)
        sums["\(ends.0) \(ends.1) \(1024 + number)", default: [0, 0]][0] += 1
        sums["\(ends.0) \(ends.1) \(1024 + number)", default: [0, 0]][1] += UInt64(bytes.count - 14)
        packets += 1
        var context = PacketContext(slot: 1, byteCount: UInt32(bytes.count), timestampNanoseconds: time, side: 1)
        var span = bytes.mutableSpan
        var raw = span.mutableBytes
        let verdict = stage.process(&raw, &context)
        #expect(verdict == .proceed)
      }
    }
  }

  private func ends(_ number: Int) throws -> (IPAddress, IPAddress) {
    number % 2 == 0
      ? (try IPAddress(parsing: "192.0.2.\(number % 250 + 1)"), try IPAddress(parsing: "198.51.100.7"))
      : (try IPAddress(parsing: "2001:db8::\(number % 250 + 1)"), try IPAddress(parsing: "2001:db8:ffff::7"))
  }

  private func frame(_ number: Int, payload: Int) throws -> PacketBuilder {
    let ends = try ends(number)
    let port = UInt16(1024 + number)
    let transport: PacketBuilder.Transport =
      number % 3 == 0 ? .tcp(source: port, destination: 443) : .udp(source: port, destination: 53)
    return PacketBuilder(from: ends.0, to: ends.1, transport, payload: Array(repeating: 7, count: payload))
  }
}

@Suite("Flow accounting on a packet thread", .serialized)
struct FlowTests {
  @Test("A collector adds up what was sent, flow by flow", arguments: ["127.0.0.1", "::1"])
  func collector(address: String) throws {
    let network = try NetworkNamespace()
    let folder = network.folder
    try network.run(
      """
      mkdir -p \(folder)/flows
      # What stays behind must not hold the descriptor by which Foundation notices that this shell has ended, and must
      # hear signals, which are blocked on the threads that tests run on.
      clean() { exec python3 -c 'import os, signal, sys
      os.closerange(3, 256)
      signal.pthread_sigmask(signal.SIG_SETMASK, [])
      os.execvp(sys.argv[1], sys.argv[1:])' "$@"; }
      clean nfcapd -p 9995 -b \(address) -l \(folder)/flows -t 3600 >/dev/null 2>&1 &
      echo $! >\(folder)/pid
      until ss -Hlun | grep -q 9995; do sleep 0.02; done
      clean tcpdump -i lo -U -w \(folder)/flows.pcap udp port 9995 >\(folder)/tcpdump.log 2>&1 &
      echo $! >\(folder)/tcpdump.pid
      until grep -q listening \(folder)/tcpdump.log; do sleep 0.02; done
      """)
    let destination = FlowCollector(address: try IPAddress(parsing: address), port: 9995)
    let exporter = try network.perform { try FlowExporter.start(destination) }
    let account = try FlowAccount(
      .init(interfaces: [.init(), .init(ingress: 21, egress: 22)]), exporter: exporter)
    var load = FlowLoad()
    var stage = FlowStage(account)
    try load.run(&stage, flows: 600, packetsEach: 5, at: SystemClock.monotonicNanoseconds())
    stage.finish()
    exporter.stop()

    let counters = account.counters()
    #expect(counters.packets == load.packets && counters.closed == 600 && counters.lost == 0 && counters.active == 0)
    let sent = exporter.counters()
    #expect(sent.records == 600 && sent.unsentRecords == 0 && sent.refused == 0 && sent.otherErrors == 0)
    let output = try network.run(
      """
      until [ "$(ss -Hlun | awk '/9995/ {print $2}')" = 0 ]; do sleep 0.02; done  # all taken from the socket
      kill -TERM $(cat \(folder)/pid)
      timeout 20 tail --pid=$(cat \(folder)/pid) -s 0.02 -f /dev/null
      kill -INT $(cat \(folder)/tcpdump.pid)
      timeout 20 tail --pid=$(cat \(folder)/tcpdump.pid) -s 0.02 -f /dev/null
      nfdump -I -r \(folder)/flows/nfcapd.2* | grep 'Sequence failures'
      nfdump -r \(folder)/flows/nfcapd.2* -q -N -6 -o 'fmt:row %sa %da %sp %pkt %byt %in %out'
      """)
    #expect(output.contains("Sequence failures: 0"))
    var received: [String: [UInt64]] = [:]
    for line in output.split(separator: "\n") where line.contains("row") {
      let words = line.split(separator: " ").map(String.init)
      guard words.count == 8, let packets = UInt64(words[4]), let bytes = UInt64(words[5]) else {
        Issue.record("\(line)")
        continue
      }
      received["\(words[1]) \(words[2]) \(words[3])"] = [packets, bytes]
      #expect(words[6] == "21" && words[7] == "22")
    }
    #expect(received == load.sums)

    // And what another program makes of the messages.
    let decoded = try network.run(
      """
      tshark -n -r \(folder)/flows.pcap -d udp.port==9995,cflow -T fields -e cflow.packets \
        2>/dev/null
      echo faults: $(tshark -n -r \(folder)/flows.pcap -d udp.port==9995,cflow \
        -Y '_ws.malformed || _ws.expert.severity >= 0x600000 || cflow.sequence_analysis.unexpected_sequence' \
        2>/dev/null | wc -l)
      """)
    #expect(decoded.contains("faults: 0"), "\(decoded)")
    let counts = decoded.split { ", \t\n".contains($0) }.compactMap { UInt64($0) }
    #expect(counts.filter { $0 == 5 }.count == 600)
  }

  @Test("A collector that isn't there stops nothing; every record is accounted for")
  func unreachable() throws {
    let network = try NetworkNamespace()
    for (text, isRefused) in [("127.0.0.1", true), ("192.0.2.1", false)] {
      let destination = FlowCollector(address: try IPAddress(parsing: text), port: 9)
      let exporter = try network.perform { try FlowExporter.start(destination) }
      let account = try FlowAccount(.init(), exporter: exporter)
      var load = FlowLoad()
      var stage = FlowStage(account)
      try load.run(&stage, flows: 300, packetsEach: 1, at: 0)
      stage.finish()
      exporter.stop()
      let counters = exporter.counters()
      #expect(counters.records == 300 && account.counters().lost == 0)
      if isRefused {
        #expect(counters.refused > 0 && counters.unreachable == 0)
      } else {
        #expect(counters.unreachable > 0 && counters.unsentRecords == 300 && counters.messages == 0)
      }
    }
  }

  @Test("A collector hears on where the address of this machine changes")
  func movedExporter() throws {
    let network = try NetworkNamespace()
    try network.makePair("one", "two")
    try network.run("ip addr add 192.0.2.1/24 dev one")
    let exporter = try network.perform {
      try FlowExporter.start(FlowCollector(address: try IPAddress(parsing: "192.0.2.9"), port: 9))
    }
    try network.run("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev one")
    func export() throws {
      var stage = FlowStage(try FlowAccount(.init(), exporter: exporter))
      var load = FlowLoad()
      try load.run(&stage, flows: 10, packetsEach: 1, at: 0)
      stage.finish()
    }
    func wait(_ isEnough: (FlowExportCounters) -> Bool) -> Bool {
      for _ in 0..<500 {
        if isEnough(exporter.counters()) { return true }
        usleep(10_000)
      }
      return false
    }
    try export()
    #expect(wait { $0.messages > 0 })
    let before = exporter.counters().messages
    try network.run("ip addr add 192.0.2.2/24 dev one && ip addr del 192.0.2.1/24 dev one && ip addr replace 192.0.2.2/24 dev one")
    var hears = false
    for _ in 0..<10 where !hears {
      try export()
      usleep(500_000)
      hears = exporter.counters().messages > before
    }
    #expect(hears, "\(exporter.counters())")
    exporter.stop()
  }

  @Test("A snapshot has every flow, picks the greatest, and packets go on meanwhile", arguments: [1, 64, 5000])
  func snapshot(flows: Int) throws {
    let account = try FlowAccount(.init(flowCount: 10_000), exporter: nil)
    let stopping = Gate()
    let done = Handoff<UInt64>()
    let filled = Handoff<Void>()
    let thread = try PinnedThread.spawn(name: "packets") {
      var load = FlowLoad()
      var stage = FlowStage(account)
      try? load.run(&stage, flows: flows, packetsEach: 2, at: SystemClock.monotonicNanoseconds())
      filled.put(())
      while !stopping.isOpened { _ = stage.advance(now: SystemClock.monotonicNanoseconds(), isIdle: false) }
      stage.finish()
      done.put(load.packets)
    }
    filled.take()
    let snapshot = try FlowSnapshot.take(of: [account], limit: 10, by: .bytes)
    #expect(snapshot.isComplete && snapshot.flowCount == flows && snapshot.entries.count == min(flows, 10))
    #expect(snapshot.entries.map(\.record.bytes) == snapshot.entries.map(\.record.bytes).sorted(by: >))
    #expect(snapshot.entries.allSatisfy { $0.record.packets == 2 && $0.bytesPerSecond > 0 })
    let again = try FlowSnapshot.take(of: [account], limit: 5000, by: .packets)
    #expect(again.flowCount == flows && again.entries.count == min(flows, TopFlows.limitMax))
    stopping.open()
    thread.join()
    #expect(account.counters().packets == done.take() && account.counters().closed == UInt64(flows))
    let over = try FlowSnapshot.take(of: [account], limit: 10, by: .bytes)
    #expect(over.isComplete && over.flowCount == 0, "nobody waits for a thread that has ended")
  }

  @Test("What isn't IP, is malformed or not sampled is told apart")
  func unaccounted() throws {
    let account = try FlowAccount(.init(), exporter: nil)
    var stage = FlowStage(account)
    for (bytes, isSampled) in [(Array(repeating: UInt8(0), count: 60), true), ([1, 2], true), ([1, 2], false)] {
      var bytes = bytes
      var context = PacketContext(slot: 1, byteCount: UInt32(bytes.count), timestampNanoseconds: 0)
      context.isSampled = isSampled
      var span = bytes.mutableSpan
      var raw = span.mutableBytes
      let verdict = stage.process(&raw, &context)
      #expect(verdict == .proceed)
    }
    _ = stage.advance(now: 0, isIdle: true)
    let counters = account.counters()
    #expect(counters.notIP == 1 && counters.malformed == 1 && counters.packets == 0)
    stage.finish()
  }
}
