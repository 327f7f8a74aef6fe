import ControlProtocol
import Foundation

// What the daemon reports, as JSON. Words are those of the REST contract; times are RFC 3339.

extension Sluice_Control_V1_Attachment {
  var json: JSONValue {
    [
      "interface": .string(interface), "options": options.json, "mode": .string(mode.word),
      "fallback_reason": .string(fallbackReason), "dispatcher": .bool(dispatcher), "program_id": .count(programID),
      "generation": .count(generation), "rule_set": ruleSet.isEmpty ? .null : .string(ruleSet),
      "revision": .count(revision), "queues": .array(queues.map(\.json)), "warnings": .strings(warnings),
      "attached_at": .time(unixNanoseconds: attachedAtUnixNanos),
    ]
  }

  static let schema = Schema.named(
    "ObservedAttachment",
    .object([
      .required("interface", .string()), .required("options", Sluice_Control_V1_AttachOptions.schema),
      .required("mode", .words(Sluice_Control_V1_AttachMode.words)), .required("fallback_reason", .string()),
      .required("dispatcher", .boolean), .required("program_id", .count), .required("generation", .count),
      .required("rule_set", .nullable(.string())), .required("revision", .count),
      .required("queues", .array(Sluice_Control_V1_QueueState.schema, max: Int.max)),
      .required("warnings", .array(.string(), max: Int.max)), .required("attached_at", .nullable(.timestamp)),
    ]))
}

extension Sluice_Control_V1_AttachOptions {
  var json: JSONValue {
    [
      "mode": .string(mode.word), "zero_copy": .string(zeroCopy.word), "coexistence": .string(coexistence.word),
      "capture_fallback": captureFallback == .drop ? "drop" : "pass", "keep_on_exit": .bool(keepOnExit),
    ]
  }

  static let schema = Schema.object([
    .required("mode", .words(Sluice_Control_V1_AttachMode.words)),
    .required("zero_copy", .words(["auto", "required", "off"])),
    .required("coexistence", .words(["auto", "exclusive", "dispatcher"])),
    .required("capture_fallback", .words(["pass", "drop"])), .required("keep_on_exit", .boolean),
  ])
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

extension Sluice_Control_V1_QueueState {
  var json: JSONValue {
    [
      "queue": .count(queue), "zero_copy": .bool(zeroCopy), "cpu": .count(cpu), "numa_node": .count(numaNode),
      "huge_pages": .bool(hugePages), "frames_total": .count(framesTotal), "frames_pool": .count(framesPool),
      "frames_fill": .count(framesFill), "frames_in_flight": .count(framesInFlight),
      "received_packets": .count(receivedPackets), "received_bytes": .count(receivedBytes),
      "rx_dropped": .count(rxDropped), "rx_invalid_descs": .count(rxInvalidDescs), "rx_ring_full": .count(rxRingFull),
      "rx_fill_ring_empty_descs": .count(rxFillRingEmptyDescs),
    ]
  }

  static let schema = Schema.named(
    "QueueState",
    .object([
      .required("queue", .count), .required("zero_copy", .boolean), .required("cpu", .integer(-1...Int64.max)),
      .required("numa_node", .integer(-1...Int64.max)), .required("huge_pages", .boolean),
      .required("frames_total", .count), .required("frames_pool", .count), .required("frames_fill", .count),
      .required("frames_in_flight", .count), .required("received_packets", .count),
      .required("received_bytes", .count), .required("rx_dropped", .count), .required("rx_invalid_descs", .count),
      .required("rx_ring_full", .count), .required("rx_fill_ring_empty_descs", .count),
    ]))
}

extension Sluice_Control_V1_Interface {
  var json: JSONValue {
    [
      "name": .string(name), "index": .count(index), "mac": .string(mac), "mtu": .count(mtu), "up": .bool(up),
      "carrier": .bool(carrier), "rx_queues": .count(rxQueues), "driver": .string(driver),
      "numa_node": .count(numaNode), "foreign_program_id": .count(foreignProgramID),
      "attachment": hasAttachment ? attachment.json : .null,
    ]
  }

  static let schema = Schema.named(
    "Interface",
    .object([
      .required("name", .string()), .required("index", .count), .required("mac", .string()),
      .required("mtu", .count), .required("up", .boolean), .required("carrier", .boolean),
      .required("rx_queues", .count), .required("driver", .string()),
      .required("numa_node", .integer(-1...Int64.max)), .required("foreign_program_id", .count),
      .required("attachment", .nullable(Sluice_Control_V1_Attachment.schema)),
    ]))
}

extension Sluice_Control_V1_InterfaceCounters {
  var json: JSONValue {
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

  private static let counter = Schema.named(
    "Counter", .object([.required("packets", .count), .required("bytes", .count)]))

  static let schema = Schema.named(
    "InterfaceCounters",
    .object([
      .required("interface", .string()), .required("rule_set", .nullable(.string())), .required("revision", .count),
      .required("generation", .count),
      .required(
        "rules",
        .array(
          .object([
            .required("rule", .string(), "\"default\" for the default action"), .required("action", .string()),
            .required("packets", .count), .required("bytes", .count),
          ]), max: Int.max)),
      .required("actions", .map(counter, keys: nil), "Every packet is in exactly one"),
      .required("events", .map(counter, keys: nil)), .required("malformed", .map(counter, keys: nil), "By reason"),
    ]))
}

extension Sluice_Control_V1_Counter {
  var json: JSONValue { ["packets": .count(packets), "bytes": .count(bytes)] }
}

extension Sluice_Control_V1_GetStatusResponse {
  var json: JSONValue {
    [
      "version": .string(version), "started_at": .time(unixNanoseconds: startedAtUnixNanos),
      "kernel": .string(kernel), "state_directory": .string(stateDirectory), "bpffs": .string(bpffs),
      "attachments": .array(attachments.map(\.json)),
      "running_captures": .count(captures.count { $0.state == .running }),
      "limits": .object(limits.mapValues { .count($0) }),
      "features": .object(features.mapValues(JSONValue.string)),
    ]
  }

  static let schema = Schema.named(
    "NodeStatus",
    .object([
      .required("version", .string()), .required("started_at", .nullable(.timestamp)),
      .required("kernel", .string()), .required("state_directory", .string()), .required("bpffs", .string()),
      .required("attachments", .array(Sluice_Control_V1_Attachment.schema, max: Int.max)),
      .required("running_captures", .count), .required("limits", .map(.count, keys: nil)),
      .required("features", .map(.string(), keys: nil)),
    ]))
}

extension JSONValue {
  /// Nanoseconds since 1970, 0 for "not known".
  static func time(unixNanoseconds: UInt64) -> JSONValue {
    guard unixNanoseconds > 0 else { return .null }
    return .time(Date(timeIntervalSince1970: Double(unixNanoseconds) / 1e9))
  }

  static func time(_ date: Date) -> JSONValue { .string(Envelope.timestamp(date)) }
  static func time(_ date: Date?) -> JSONValue { date.map(JSONValue.time) ?? .null }
}
