import Foundation
import Packets
import Traffic

/// Plans and results, for people and as JSON.
enum GenerateText {
  static func json(_ job: GenerateJob, interface: String, frameCount: Int) -> JSON {
    let plan = job.plan
    let flows = plan.flows.map { flow -> JSON in
      [
        "name": .string(flow.name), "packets": flow.packetCount.map(JSON.count) ?? .null,
        "frames": .count(flow.frames.count), "frames_asked": .count(flow.frameCountAsked),
        "sizes": .object(
          Dictionary(uniqueKeysWithValues: sizes(flow).map { ("\($0.byteCount)", JSON.count($0.frameCount)) })),
        "first_frame": .string(hexadecimal(flow.frames.first ?? [])),
      ]
    }
    let tables = plan.schedule.phases.map { phase -> JSON in
      ["entries": .count(phase.entries.count), "rounds": phase.rounds.map(JSON.count) ?? .null]
    }
    let shown = firstFrames(plan, frameCount).map { JSON.string(hexadecimal($0.frame)) }
    return [
      "dry_run": true, "interface": .string(interface), "flows": .array(flows), "tables": .array(tables),
      "packets": plan.schedule.packetCount.map(JSON.count) ?? .null, "mean_frame_bytes": .number(mean(plan)),
      "rate": rates(job), "seconds": seconds(job).map(JSON.number) ?? .null, "threads": .count(job.cpus.count),
      "cpus": .array(job.cpus.map { $0.map(JSON.count) ?? .null }), "notes": .strings(job.notes),
      "first_frames": .array(shown),
    ]
  }

  static func table(_ job: GenerateJob, frameCount: Int) -> String {
    let plan = job.plan
    var table = Table("FLOW", ">PACKETS", ">FRAMES", ">BYTES", "FIRST FRAME")
    for flow in plan.flows {
      let sizes = sizes(flow).map(\.byteCount)
      let (least, most) = (sizes.first ?? 0, sizes.last ?? 0)
      table.add(
        flow.name, flow.packetCount.map(String.init) ?? "endless", String(flow.frames.count),
        least == most ? "\(least)" : "\(least)-\(most)", summary(flow.frames.first ?? []))
    }
    let tables = plan.schedule.phases.map { "\($0.entries.count) x \($0.rounds.map(String.init) ?? "endless")" }
    var lines = [
      table.text, "tables of frames x rounds: \(tables.joined(separator: ", "))",
      String(format: "mean frame: %.1f bytes", mean(plan)),
    ]
    let steps = job.pace.steps
    if let first = steps.first, let last = steps.last {
      let ends = [first, last].map { rate($0.rate.perSecond, mean(plan)) }
      lines.append("rate: " + (steps.count == 1 ? ends[0] : "\(ends[0]) to \(ends[1]) in \(steps.count) steps"))
    } else {
      lines.append("rate: " + (job.pace.isUnlimited ? "as fast as it goes" : "as recorded"))
    }
    if let seconds = seconds(job) { lines.append("time: \(String(format: "%.3f", seconds)) s") }
    if job.cpus.count > 1 { lines.append("threads: \(job.cpus.count)") }
    lines += job.notes.map { "note: \($0)" }
    lines += firstFrames(plan, frameCount).enumerated().map { "frame \($0 + 1) \($1.name) \(hexadecimal($1.frame))" }
    return lines.joined(separator: "\n")
  }

  private static func sizes(_ flow: TrafficPlan.Flow) -> [(byteCount: Int, frameCount: Int)] {
    let counts = flow.frames.reduce(into: [Int: Int]()) { $0[$1.count, default: 0] += 1 }
    return counts.sorted { $0.key < $1.key }.map { (byteCount: $0.key, frameCount: $0.value) }
  }

  private static func firstFrames(_ plan: TrafficPlan, _ count: Int) -> [(name: String, frame: [UInt8])] {
    guard let phase = plan.schedule.phases.first else { return [] }
    return phase.entries.prefix(count).map { (plan.flows[$0.flow].name, plan.flows[$0.flow].frames[$0.frame]) }
  }

  private static func mean(_ plan: TrafficPlan) -> Double {
    let totals = plan.totals
    return totals.frames == 0 ? 0 : Double(totals.bytes) / Double(totals.frames)
  }

  /// How long a paced run takes; nil where that isn't known.
  private static func seconds(_ job: GenerateJob) -> Double? {
    let last = job.plan.schedule.packetCount.flatMap { $0 == 0 ? nil : job.pace.time(of: $0 - 1) }
    let byCount = job.pace.isUnlimited ? nil : last
    return [byCount, job.durationNanoseconds].compactMap { $0 }.min().map { Double($0) / 1e9 }
  }

  private static func rates(_ job: GenerateJob) -> JSON {
    .array(
      job.pace.steps.map { step in
        [
          "packets_per_second": .number(step.rate.perSecond),
          "seconds": step.end.map { .number(Double($0 - step.start) / 1e9) } ?? .null,
        ]
      })
  }

  private static func rate(_ packetsPerSecond: Double, _ byteCount: Double) -> String {
    "\(Quantity.short(packetsPerSecond)) packets/s, \(Quantity.short(packetsPerSecond * byteCount * 8)) bits/s"
  }

  /// Where a range is not walked to its end.
  static func note(_ plan: TrafficPlan) -> String? {
    let cut = plan.flows.filter { $0.frameCountAsked > UInt64($0.frames.count) }
    if cut.isEmpty { return nil }
    return cut.map { "\($0.name) walks the first \($0.frames.count) of its \($0.frameCountAsked) frames" }
      .joined(separator: ", ") + " (all flows together have at most \(TrafficLimits.frameCountMax))"
  }

  static func json(_ outcome: GenerateOutcome, interface: String) -> JSON {
    let report = outcome.report
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
      "bits_per_second": .number(report.bitsPerSecond(.l2).rounded()),
      "bits_per_second_l1": .number(report.bitsPerSecond(.l1).rounded()),
      "due": report.due.map(JSON.count) ?? .null, "shortfall": .count(report.shortfall),
      "lateness_ns": quantiles(report.lateness), "steps": .array(report.steps.map(json)),
      "received": outcome.received.map(json) ?? .null,
      "latency_ns": outcome.received?.latency.map(quantiles) ?? .null,
      "threads": .count(outcome.threadCount), "slow_reason": .optional(outcome.slowReason),
      "stopped_by": .string(report.stop.rawValue),
    ]
  }

  private static func json(_ received: GenerateReceiver.Received) -> JSON {
    [
      "interface": .string(received.interface), "packets": .count(received.packets), "bytes": .count(received.bytes),
      "lost": .count(received.lost), "foreign": received.foreign.map(JSON.count) ?? .null, "missing": received.missing.map(JSON.count) ?? .null,
      "late": received.late.map(JSON.count) ?? .null,
    ]
  }

  private static func json(_ step: TrafficReport.Step) -> JSON {
    [
      "asked_packets_per_second": .number(step.asked), "packets_per_second": .number(step.packetsPerSecond),
      "seconds": .number(Double(step.nanoseconds) / 1e9), "attempted": .count(step.attempted),
      "transmit_dropped": .count(step.transmitDropped), "received": step.received.map(JSON.count) ?? .null,
    ]
  }

  /// Of nanoseconds; null without values.
  static func quantiles(_ histogram: LatencyHistogram) -> JSON {
    guard histogram.count > 0 else { return .null }
    var members: [String: JSON] = [
      "count": .count(histogram.count), "min": .count(histogram.least), "max": .count(histogram.greatest),
      "mean": .number(histogram.mean ?? 0),
    ]
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999)] {
      members[name] = histogram.quantile(share).map(JSON.count) ?? .null
    }
    return .object(members)
  }

  static func table(_ outcome: GenerateOutcome) -> String {
    let report = outcome.report
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
        + "\(Quantity.short(report.bitsPerSecond(.l2))) bits/s "
        + "(\(Quantity.short(report.bitsPerSecond(.l1))) on the line)",
    ]
    if let due = report.due { lines.append("due by the rate   \(due), shortfall \(report.shortfall)") }
    if let p50 = report.lateness.quantile(0.5), let p99 = report.lateness.quantile(0.99) {
      lines.append(
        "late              p50 \(time(p50)), p99 \(time(p99)), at most \(time(report.lateness.greatest))")
    }
    if let received = outcome.received { lines += text(received, of: report.attempted) }
    if outcome.threadCount > 1 { lines.append("threads           \(outcome.threadCount)") }
    if !report.steps.isEmpty { lines += ["", table(report.steps)] }
    if let slowReason = outcome.slowReason { lines.append("slow because      \(slowReason)") }
    return lines.joined(separator: "\n")
  }

  private static func text(_ received: GenerateReceiver.Received, of attempted: UInt64) -> [String] {
    let share = attempted == 0 ? 0 : Double(received.lost) / Double(attempted) * 100
    var lines = [
      "received          \(received.packets) at \(received.interface), lost \(received.lost) "
        + "(\(String(format: "%.4f", share)) %)"
    ]
    if let foreign = received.foreign, foreign > 0 { lines.append("foreign           \(foreign) that are not of this run") }
    if let missing = received.missing, let late = received.late {
      lines.append("sequence          \(missing) skipped, \(late) behind a later one")
    }
    guard let latency = received.latency, latency.count > 0 else { return lines }
    let shares: [(String, Double)] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)]
    let quantiles = shares.map { "\($0.0) \(time(latency.quantile($0.1) ?? 0))" }
    lines.append(
      "latency           min \(time(latency.least)), \(quantiles.joined(separator: ", ")), "
        + "max \(time(latency.greatest))")
    return lines
  }

  private static func table(_ steps: [TrafficReport.Step]) -> String {
    let hasReceiver = steps.contains { $0.received != nil }
    var table = Table(
      ">STEP", ">ASKED/S", ">SENT/S", ">SECONDS", ">ATTEMPTED", ">DROPPED", hasReceiver ? ">RECEIVED" : "")
    for (index, step) in steps.enumerated() {
      table.add(
        "\(index + 1)", Quantity.short(step.asked), Quantity.short(step.packetsPerSecond),
        String(format: "%.3f", Double(step.nanoseconds) / 1e9), "\(step.attempted)", "\(step.transmitDropped)",
        step.received.map(String.init) ?? "")
    }
    return table.text
  }

  /// Nanoseconds for people: `850 ns`, `12.4 us`, `3.05 ms`, `1.20 s`.
  static func time(_ nanoseconds: UInt64) -> String {
    let units: [(String, Double)] = [("s", 1e9), ("ms", 1e6), ("us", 1e3)]
    let value = Double(nanoseconds)
    guard let (unit, factor) = units.first(where: { value >= $0.1 }) else { return "\(nanoseconds) ns" }
    let digits = value / factor >= 99.95 ? 0 : value / factor >= 9.995 ? 1 : 2
    return String(format: "%.\(digits)f", value / factor) + " " + unit
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
