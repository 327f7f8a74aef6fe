import Foundation
import Packets
import Traffic

/// Plans and results, for people and as JSON.
enum GenerateText {
  static func json(_ plan: TrafficPlan, interface: String) -> JSON {
    let flows = plan.flows.map { flow -> JSON in
      [
        "name": .string(flow.name), "packets": flow.packetCount.map(JSON.count) ?? .null,
        "frames": .count(flow.frames.count), "frames_asked": .count(flow.frameCountAsked),
        "first_frame": .string(hexadecimal(flow.frames.first ?? [])),
      ]
    }
    let tables = plan.schedule.phases.map { phase -> JSON in
      ["entries": .count(phase.entries.count), "rounds": phase.rounds.map(JSON.count) ?? .null]
    }
    return [
      "dry_run": true, "interface": .string(interface), "flows": .array(flows), "tables": .array(tables),
      "packets": plan.schedule.packetCount.map(JSON.count) ?? .null,
    ]
  }

  static func table(_ plan: TrafficPlan) -> String {
    var table = Table("FLOW", ">PACKETS", ">FRAMES", ">BYTES", "FIRST FRAME")
    for flow in plan.flows {
      let sizes = flow.frames.map(\.count)
      let (least, most) = (sizes.min() ?? 0, sizes.max() ?? 0)
      table.add(
        flow.name, flow.packetCount.map(String.init) ?? "endless", String(flow.frames.count),
        least == most ? "\(least)" : "\(least)-\(most)", summary(flow.frames.first ?? []))
    }
    let tables = plan.schedule.phases.map { "\($0.entries.count) x \($0.rounds.map(String.init) ?? "endless")" }
    let lines = [table.text, "tables of frames x rounds: \(tables.joined(separator: ", "))", note(plan)]
    return lines.compactMap { $0 }.joined(separator: "\n")
  }

  /// Where a range is not walked to its end.
  static func note(_ plan: TrafficPlan) -> String? {
    let cut = plan.flows.filter { $0.frameCountAsked > UInt64($0.frames.count) }
    if cut.isEmpty { return nil }
    return "note: " + cut.map { "\($0.name) walks the first \($0.frames.count) of its \($0.frameCountAsked) frames" }
      .joined(separator: ", ") + " (all flows together have at most \(TrafficLimits.frameCountMax))"
  }

  static func json(_ report: TrafficReport, interface: String, slowReason: String?) -> JSON {
    let flows = report.flows.map { flow -> JSON in
      [
        "name": .string(flow.name), "planned": flow.planned.map(JSON.count) ?? .null,
        "attempted": .count(flow.attempted.packets), "attempted_bytes": .count(flow.attempted.bytes),
      ]
    }
    return [
      "interface": .string(interface), "flows": .array(flows), "attempted": .count(report.attempted),
      "attempted_bytes": .count(report.attemptedBytes), "redirected": .count(report.redirected),
      "failed": .count(report.failed), "transmit_dropped": .count(report.transmitDropped), "sent": .count(report.sent),
      "seconds": .number(report.seconds), "packets_per_second": .number(report.packetsPerSecond.rounded()),
      "bits_per_second": .number(report.bitsPerSecond.rounded()), "slow_reason": .optional(slowReason),
      "stopped_by": .string(report.stop.rawValue),
    ]
  }

  static func table(_ report: TrafficReport, slowReason: String?) -> String {
    var flows = Table("FLOW", ">PLANNED", ">ATTEMPTED", ">BYTES")
    for flow in report.flows {
      flows.add(
        flow.name, flow.planned.map(String.init) ?? "endless", String(flow.attempted.packets),
        String(flow.attempted.bytes))
    }
    let why =
      switch report.stop {
      case .count: ""
      case .duration: " (the duration is over)"
      case .signal: " (stopped by a signal)"
      }
    var lines = [
      flows.text, "",
      "attempted         \(report.attempted)",
      "redirected        \(report.redirected)",
      "failed            \(report.failed)",
      "transmit dropped  \(report.transmitDropped)",
      "sent              \(report.sent)",
      "time              \(String(format: "%.3f", report.seconds)) s\(why)",
      "rate              \(Quantity.short(report.packetsPerSecond)) packets/s, "
        + "\(Quantity.short(report.bitsPerSecond)) bits/s",
    ]
    if let slowReason { lines.append("slow because      \(slowReason)") }
    return lines.joined(separator: "\n")
  }

  /// `udp 198.18.0.1:1024 > 198.19.0.1:9`.
  private static func summary(_ frame: [UInt8]) -> String {
    let packet = PacketParser.parse(frame)
    guard let source = packet.source, let destination = packet.destination else { return "\(frame.count) bytes" }
    let vlan = packet.vlanTags.map { "vlan \($0.id) " }.joined()
    let name = packet.protocol.map { "\($0) " } ?? ""
    guard let ports = packet.ports else { return "\(vlan)\(name)\(source) > \(destination)" }
    func end(_ address: IPAddress, _ port: UInt16) -> String {
      address.family == .ipv4 ? "\(address):\(port)" : "[\(address)]:\(port)"
    }
    return "\(vlan)\(name)\(end(source, ports.source)) > \(end(destination, ports.destination))"
  }

  private static func hexadecimal(_ bytes: [UInt8]) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
  }
}
