import ControlProtocol
import Foundation

// What the daemon says over its socket, in the JSON of the API, so that `--json` has one shape.

extension JSON {
  /// Nanoseconds since 1970, 0 for "not known".
  static func time(unixNanoseconds: UInt64) -> JSON {
    guard unixNanoseconds > 0 else { return .null }
    let date = Date(timeIntervalSince1970: Double(unixNanoseconds) / 1e9)
    return .string(date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
  }
}

extension Sluice_Control_V1_AttachMode {
  static let words = ["auto", "native", "generic"]
  var word: String {
    switch self {
    case .native: "native"
    case .generic: "generic"
    case .auto, .unspecified, .UNRECOGNIZED: "auto"
    }
  }
}

extension Sluice_Control_V1_ZeroCopy {
  var word: String {
    switch self {
    case .required: "required"
    case .off: "off"
    case .auto, .unspecified, .UNRECOGNIZED: "auto"
    }
  }
}

extension Sluice_Control_V1_Coexistence {
  var word: String {
    switch self {
    case .exclusive: "exclusive"
    case .dispatcher: "dispatcher"
    case .auto, .unspecified, .UNRECOGNIZED: "auto"
    }
  }
}

extension Sluice_Control_V1_AttachOptions {
  var json: JSON {
    [
      "mode": .string(mode.word), "zero_copy": .string(zeroCopy.word), "coexistence": .string(coexistence.word),
      "capture_fallback": captureFallback == .drop ? "drop" : "pass", "keep_on_exit": .bool(keepOnExit),
    ]
  }
}

extension Sluice_Control_V1_QueueState {
  var json: JSON {
    [
      "queue": .count(queue), "zero_copy": .bool(zeroCopy), "cpu": .count(cpu), "numa_node": .count(numaNode),
      "huge_pages": .bool(hugePages), "frames_total": .count(framesTotal), "frames_pool": .count(framesPool),
      "frames_fill": .count(framesFill), "frames_in_flight": .count(framesInFlight),
      "received_packets": .count(receivedPackets), "received_bytes": .count(receivedBytes),
      "rx_dropped": .count(rxDropped), "rx_invalid_descs": .count(rxInvalidDescs), "rx_ring_full": .count(rxRingFull),
      "rx_fill_ring_empty_descs": .count(rxFillRingEmptyDescs),
    ]
  }
}

extension Sluice_Control_V1_Attachment {
  var json: JSON {
    [
      "interface": .string(interface), "options": options.json, "mode": .string(mode.word),
      "fallback_reason": .string(fallbackReason), "dispatcher": .bool(dispatcher), "program_id": .count(programID),
      "generation": .count(generation), "rule_set": ruleSet.isEmpty ? .null : .string(ruleSet),
      "revision": .count(revision), "queues": .array(queues.map(\.json)), "warnings": .strings(warnings),
      "attached_at": .time(unixNanoseconds: attachedAtUnixNanos),
    ]
  }
}

extension Sluice_Control_V1_Interface {
  var json: JSON {
    [
      "name": .string(name), "index": .count(index), "mac": .string(mac), "mtu": .count(mtu), "up": .bool(up),
      "carrier": .bool(carrier), "rx_queues": .count(rxQueues), "driver": .string(driver),
      "numa_node": .count(numaNode), "foreign_program_id": .count(foreignProgramID),
      "attachment": hasAttachment ? attachment.json : .null,
    ]
  }
}

extension Sluice_Control_V1_Counter {
  var json: JSON { ["packets": .count(packets), "bytes": .count(bytes)] }
}

extension Sluice_Control_V1_InterfaceCounters {
  var json: JSON {
    [
      "interface": .string(interface), "rule_set": ruleSet.isEmpty ? .null : .string(ruleSet),
      "revision": .count(revision), "generation": .count(generation),
      "rules": .array(
        rules.map { rule in
          [
            "rule": .string(rule.rule), "action": .string(rule.action), "packets": .count(rule.counter.packets),
            "bytes": .count(rule.counter.bytes),
          ]
        }),
      "actions": .object(actions.mapValues(\.json)), "events": .object(events.mapValues(\.json)),
      "malformed": .object(malformed.mapValues(\.json)),
    ]
  }
}

extension Sluice_Control_V1_GetStatusResponse {
  var json: JSON {
    [
      "version": .string(version), "started_at": .time(unixNanoseconds: startedAtUnixNanos),
      "kernel": .string(kernel), "state_directory": .string(stateDirectory), "bpffs": .string(bpffs),
      "attachments": .array(attachments.map(\.json)),
      "running_captures": .count(captures.count { $0.state == .running }),
      "limits": .object(limits.mapValues { .count($0) }), "features": .object(features.mapValues(JSON.string)),
    ]
  }
}

extension Sluice_Control_V1_ApplyResponse {
  func json(ruleSet: String, revision: UInt64, isDryRun: Bool) -> JSON {
    [
      "rule_set": .string(ruleSet), "revision": .count(revision), "dry_run": .bool(isDryRun),
      "results": .array(
        results.map { result in
          [
            "node": "local", "interface": .string(result.interface), "generation": .count(result.generation),
            "entries": .count(result.entries), "self_test_packets": .count(result.selfTestPackets),
            "apply_seconds": .number(result.applySeconds),
          ]
        }),
      "warnings": .strings(warnings),
    ]
  }
}

extension Sluice_Control_V1_Capture {
  var json: JSON {
    let word =
      switch state {
      case .running: "running"
      case .finished: "finished"
      case .failed: "failed"
      case .unspecified, .UNRECOGNIZED: "unknown"
      }
    return [
      "id": .string(id), "node": "local", "interface": .string(request.interface), "daemon_id": .string(id),
      "state": .string(word), "error": .string(error), "packets_received": .count(packetsReceived),
      "packets_written": .count(packetsWritten), "packets_sampled_out": .count(packetsSampledOut),
      "packets_filtered_out": .count(packetsFilteredOut), "packets_dropped": .count(packetsDropped),
      "bytes_written": .count(bytesWritten), "files": .strings(files),
      "started_at": .time(unixNanoseconds: startedAtUnixNanos),
      "finished_at": .time(unixNanoseconds: finishedAtUnixNanos), "path": .string(request.path),
      "snap_length": .count(request.snapLength), "sample_every": .count(request.sampleEvery),
      "packet_limit": .count(request.packetLimit), "byte_limit": .count(request.byteLimit),
      "duration_ms": .count(request.durationMillis), "file_byte_limit": .count(request.fileByteLimit),
      "file_count": .count(request.fileCount), "rules": .strings(request.rules),
    ]
  }
}
