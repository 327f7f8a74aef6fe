import Control
import Telemetry
import XDPPrograms

/// The daemon's metrics, read from the kernel's counters at each scrape.
public enum MetricsCollector {
  /// Adds everything that the controller knows to the registry's scrapes.
  public static func add(_ controller: Controller, to registry: PrometheusRegistry) {
    registry.addCollector { exposition in
      // An attachment that goes away between the two has no counters in this scrape.
      let attachments = await controller.attachmentReports()
      let counters = await controller.readableCounters()
      let statistics = await controller.statistics
      add(counters, to: &exposition)
      add(attachments, to: &exposition)
      addExpiry(attachments, to: &exposition)
      add(attachments.flatMap { attachment in attachment.queues.map { (attachment.interface, $0) } }, to: &exposition)
      add(statistics, to: &exposition)
      WireMetrics.add(await controller.wireStatuses(), fallbacks: statistics.wireFallbacks, to: &exposition)
    }
  }

  private typealias Samples = [(labels: [(String, String)], count: PacketCount)]

  private static func add(_ reports: [CountersReport], to exposition: inout Exposition) {
    add(
      "sluice_interface", "Packets that the XDP program decided, by what became of them; each is in one action.",
      reports.flatMap { report in
        report.actions.map { ([("interface", report.interface), ("action", $0.name)], $0.count) }
      }, to: &exposition)
    add(
      "sluice_rule", "Packets that a rule decided or counted; rule=\"default\" is the rule set's default action.",
      reports.flatMap { report in
        report.rules.map {
          ([("interface", report.interface), ("rule_set", report.ruleSet ?? ""), ("rule", $0.rule)], $0.count)
        }
      }, to: &exposition)
    add(
      "sluice_malformed", "Malformed packets by reason; their fate is among the interface's actions.",
      reports.flatMap { report in
        report.malformed.map { ([("interface", report.interface), ("reason", $0.name)], $0.count) }
      }, to: &exposition)
    add(
      "sluice_event", "Packets whose fate had a special cause: no capture running, redirect target gone, nothing published.",
      reports.flatMap { report in
        report.events.map { ([("interface", report.interface), ("event", $0.name)], $0.count) }
      }, to: &exposition)
  }

  /// Two families: packets and bytes.
  private static func add(
    _ name: String, _ help: String, _ samples: Samples, to exposition: inout Exposition
  ) {
    exposition.family("\(name)_packets_total", .counter, help: help) { family in
      for sample in samples { family.sample(sample.labels, sample.count.packets) }
    }
    exposition.family("\(name)_bytes_total", .counter, help: "Bytes of the same packets, without FCS.") { family in
      for sample in samples { family.sample(sample.labels, sample.count.bytes) }
    }
  }

  private static func add(_ attachments: [AttachmentReport], to exposition: inout Exposition) {
    exposition.family(
      "sluice_attachment_native", .gauge, help: "1: the program runs in the driver; 0: in generic mode, much slower."
    ) { family in
      for attachment in attachments { family.sample(["interface": attachment.interface], attachment.isNative ? UInt64(1) : 0) }
    }
    exposition.family(
      "sluice_attachment_fallback", .gauge, help: "1: native mode was preferred and the driver refused it."
    ) { family in
      for attachment in attachments {
        family.sample(["interface": attachment.interface], attachment.fallbackReason == nil ? UInt64(0) : 1)
      }
    }
    exposition.family("sluice_attachment_generation", .gauge, help: "Number of the live generation.") { family in
      for attachment in attachments { family.sample(["interface": attachment.interface], attachment.generation) }
    }
    exposition.family("sluice_attachment_revision", .gauge, help: "Revision of the live rule set; 0: none.") { family in
      for attachment in attachments {
        family.sample(["interface": attachment.interface, "rule_set": attachment.ruleSet ?? ""], attachment.revision)
      }
    }
  }

  private static func addExpiry(_ attachments: [AttachmentReport], to exposition: inout Exposition) {
    exposition.family("sluice_attachment_expiring_rules", .gauge, help: "Live rules that will end.") { family in
      for attachment in attachments {
        family.sample(["interface": attachment.interface], UInt64(attachment.expiringRules))
      }
    }
    exposition.family(
      "sluice_attachment_expiring_elements", .gauge, help: "Elements of live sets that will end."
    ) { family in
      for attachment in attachments {
        family.sample(["interface": attachment.interface], UInt64(attachment.expiringElements))
      }
    }
    exposition.family(
      "sluice_attachment_next_expiry_timestamp_seconds", .gauge, help: "When the next of both ends; 0: none will."
    ) { family in
      for attachment in attachments {
        family.sample(["interface": attachment.interface], Double(attachment.nextExpiryNanoseconds) / 1e9)
      }
    }
  }

  private static func add(_ queues: [(interface: String, report: Control.QueueReport)], to exposition: inout Exposition) {
    func family(
      _ name: String, _ type: MetricType, _ help: String, _ value: (Control.QueueReport) -> UInt64
    ) {
      exposition.family("sluice_xsk_\(name)", type, help: help) { family in
        for (interface, report) in queues {
          family.sample(["interface": interface, "queue": "\(report.queue)"], value(report))
        }
      }
    }
    family("zero_copy", .gauge, "1: the driver writes packets into the frame pool itself.") { $0.isZeroCopy ? 1 : 0 }
    family("received_packets_total", .counter, "Packets received by the AF_XDP socket.") { $0.received.packets }
    family("received_bytes_total", .counter, "Bytes of these packets.") { $0.received.bytes }
    family("rx_dropped_total", .counter, "xdp_statistics.rx_dropped.") { $0.rxDropped }
    family("rx_invalid_descs_total", .counter, "xdp_statistics.rx_invalid_descs.") { $0.rxInvalidDescriptors }
    family("rx_ring_full_total", .counter, "xdp_statistics.rx_ring_full: the thread was too slow.") { $0.rxRingFull }
    family(
      "rx_fill_ring_empty_descs_total", .counter,
      "xdp_statistics.rx_fill_ring_empty_descs: looks for a free frame, in vain. Packets lost by it are in rx_dropped."
    ) { $0.rxFillRingEmpty }
    exposition.family("sluice_xsk_frames", .gauge, help: "Frames of the pool by where they are; their sum is constant.") {
      family in
      for (interface, report) in queues {
        for (state, count) in [
          ("pool", report.framesPool), ("fill", report.framesFill), ("in_flight", report.framesInFlight),
          ("lent", report.framesLent),
        ] {
          family.sample(["interface": interface, "queue": "\(report.queue)", "state": state], count)
        }
      }
    }
    ThreadMetrics.add(
      queues.map { ([("interface", $0.interface), ("queue", "\($0.report.queue)")], $0.report.thread) },
      prefix: "sluice_xsk", to: &exposition)
  }

  private static func add(_ statistics: ControlStatistics, to exposition: inout Exposition) {
    exposition.family("sluice_applies_total", .counter, help: "Rule sets applied, refused and rolled back.") { family in
      family.sample(["result": "applied"], statistics.applied)
      family.sample(["result": "refused"], statistics.refused)
      family.sample(["result": "rolled_back"], statistics.rolledBack)
    }
    exposition.family("sluice_rules_expired_total", .counter, help: "Rules taken out of what is live at their end.") {
      $0.sample(statistics.rulesExpired)
    }
    exposition.family(
      "sluice_set_elements_expired_total", .counter, help: "Elements of sets taken out of what is live at their end."
    ) { $0.sample(statistics.elementsEnded) }
    exposition.family(
      "sluice_apply_last_duration_seconds", .gauge, help: "From the compilation to the end of the swap, last time."
    ) { $0.sample(statistics.lastApplySeconds) }
    exposition.family("sluice_attachments_lost_total", .counter, help: "Programs found missing from their interface.") {
      $0.sample(statistics.attachmentsLost)
    }
    exposition.family("sluice_captures_running", .gauge, help: "Captures that run now.") {
      $0.sample(UInt64(statistics.capturesRunning))
    }
    exposition.family("sluice_capture_packets_total", .counter, help: "Packets for captures, by what became of them.") {
      family in
      family.sample(["result": "written"], statistics.capture.written)
      family.sample(["result": "sampled_out"], statistics.capture.sampledOut)
      family.sample(["result": "filtered_out"], statistics.capture.filteredOut)
      family.sample(["result": "dropped"], statistics.capture.dropped)
      family.sample(["result": "lost_by_kernel"], statistics.capture.lostByKernel)
    }
    exposition.family("sluice_capture_written_bytes_total", .counter, help: "Bytes of capture files written.") {
      $0.sample(statistics.capture.bytesWritten)
    }
  }
}
