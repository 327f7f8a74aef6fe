import Control
import Telemetry

/// Wires and their flows, as metrics.
enum WireMetrics {
  static func add(_ wires: [WireStatus], fallbacks: UInt64, to exposition: inout Exposition) {
    exposition.family("sluice_wire_fallbacks_total", .counter, help: "User paths that failed, so that the kernel took over.") {
      $0.sample(fallbacks)
    }
    exposition.family("sluice_wire_path", .gauge, help: "1: the way that the wire's packets go now.") { family in
      for wire in wires {
        for path in ["kernel", "user", "none"] {
          family.sample(["wire": wire.options.name, "path": path], wire.path.rawValue == path ? UInt64(1) : 0)
        }
      }
    }
    exposition.family(
      "sluice_wire_fallback", .gauge, help: "1: the user path was chosen, and the kernel carries the packets."
    ) { family in
      for wire in wires { family.sample(["wire": wire.options.name], wire.fallbackReason == nil ? UInt64(0) : 1) }
    }
    addSides(wires, to: &exposition)
    addQueues(wires, to: &exposition)
    addFlows(wires, to: &exposition)
  }

  private static func addSides(_ wires: [WireStatus], to exposition: inout Exposition) {
    let sides = wires.flatMap { wire in wire.sides.map { (wire.options.name, $0) } }
    func family(
      _ name: String, _ help: String, label: String, _ values: (WireSideStatus) -> [(String, UInt64)]
    ) {
      exposition.family("sluice_wire_\(name)", .counter, help: help) { family in
        for (wire, side) in sides {
          for (word, count) in values(side) { family.sample(["wire": wire, "interface": side.interface, label: word], count) }
        }
      }
    }
    func sorted(_ counts: [String: UInt64]) -> [(String, UInt64)] { counts.sorted { $0.key < $1.key } }
    family("received_packets_total", "Packets that came in by the interface, by who got them.", label: "path") {
      $0.received.map { ($0.name, $0.count.packets) }
    }
    family("received_bytes_total", "Bytes of the same packets, without FCS.", label: "path") {
      $0.received.map { ($0.name, $0.count.bytes) }
    }
    family("forwarded_packets_total", "Of these, sent on, by the way they left: kernel, live, af_xdp.", label: "way") {
      sorted($0.forwarded)
    }
    family("dropped_packets_total", "Of these, not sent on, by reason.", label: "reason") { sorted($0.dropped) }
    family("not_live_packets_total", "Sent by AF_XDP, by why not as live frames.", label: "reason") { sorted($0.notLive) }
    family("copies_total", "Packets kept for captures, and copies for the mirror.", label: "kind") {
      [("captured", $0.captured), ("mirrored", $0.mirrored), ("mirror_dropped", $0.mirrorDropped)]
    }
  }

  private static func addQueues(_ wires: [WireStatus], to exposition: inout Exposition) {
    let queues = wires.flatMap { wire in wire.queues.map { ([("wire", wire.options.name), ("queue", "\($0.queue)")], $0) } }
    exposition.family("sluice_wire_zero_copy", .gauge, help: "1: sockets of all sides are zero-copy, natively.") { family in
      for (labels, queue) in queues { family.sample(labels, queue.isZeroCopy ? UInt64(1) : 0) }
    }
    exposition.family("sluice_wire_live_frames", .gauge, help: "1: live frames are set up.") { family in
      for (labels, queue) in queues { family.sample(labels, queue.hasLiveFrames ? UInt64(1) : 0) }
    }
    ThreadMetrics.add(queues.map { ($0.0, $0.1.thread) }, prefix: "sluice_wire", to: &exposition)
  }

  private static func addFlows(_ wires: [WireStatus], to exposition: inout Exposition) {
    let flows = wires.compactMap { wire in wire.flows.map { (wire.options.name, $0) } }
    func family(_ name: String, _ type: MetricType, _ help: String, _ value: (FlowStatus) -> UInt64) {
      exposition.family("sluice_flow\(name)", type, help: help) { family in
        for (wire, status) in flows { family.sample(["wire": wire], value(status)) }
      }
    }
    family("s_active", .gauge, "Flows in the tables now.") { $0.active }
    family("s_capacity", .gauge, "Flows that the tables hold.") { $0.capacity }
    family("_packets_total", .counter, "Packets accounted to flows.") { $0.packets }
    family("_not_ip_packets_total", .counter, "Packets of no flow: not IP.") { $0.notIP }
    family("_malformed_packets_total", .counter, "Packets of no flow: malformed.") { $0.malformed }
    family("_records_closed_total", .counter, "Records closed.") { $0.closed }
    family("_records_evicted_total", .counter, "Of these, closed early: the table was full there.") { $0.evicted }
    family("_records_lost_total", .counter, "Of these, never exported: the exporter was too slow.") { $0.lost }
    family("_export_records_total", .counter, "Records that the exporter took.") { $0.exportedRecords }
    family("_export_unsent_records_total", .counter, "Of these, in messages that could not be sent.") { $0.unsentRecords }
    family("_export_messages_total", .counter, "IPFIX messages sent.") { $0.messages }
    family("_lost_packets_total", .counter, "Packets in records that were lost.") { $0.lostPackets }
    exposition.family(
      "sluice_flow_export_errors_total", .counter, help: "What went wrong with IPFIX messages; refused: nobody listens."
    ) { family in
      for (wire, status) in flows {
        for (reason, count) in status.exportErrors.sorted(by: { $0.key < $1.key }) {
          family.sample(["wire": wire, "reason": reason], count)
        }
      }
    }
  }
}

/// What packet threads did, as metrics.
enum ThreadMetrics {
  static func add(
    _ threads: [(labels: [(String, String)], report: ThreadReport)], prefix: String, to exposition: inout Exposition
  ) {
    exposition.family("\(prefix)_batch_packets", .histogram, help: "Packets that the packet thread took at a time.") {
      family in
      for (labels, report) in threads {
        let bounds = (1..<report.batches.count).map { Double(1 << $0 - 1) }
        family.histogram(labels, bounds: bounds, counts: report.batches, sum: Double(report.packets))
      }
    }
    exposition.family(
      "\(prefix)_thread_seconds_total", .counter, help: "What the packet thread did with its time; idle: awake for nothing."
    ) { family in
      for (labels, report) in threads {
        for (state, seconds) in [
          ("busy", report.busySeconds), ("idle", report.idleSeconds), ("asleep", report.asleepSeconds),
        ] { family.sample(labels + [("state", state)], seconds) }
      }
    }
  }
}
